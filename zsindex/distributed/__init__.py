"""Work on several machines: what syncs, classifies and exports on a Ray cluster. The only place that knows Ray.

May import `session`, `exchange`, `ingest`, `classification`, `index`, `storage`, `models`, `photos` and the ground
floor. Start with `cluster`. Not public.
"""
