"""What the parts of a library share: its storage, the model it is asked with, the index of that, and the clock.

May import `lab`, `ingest`, `classification`, `index`, `storage/sqlite`, `storage`, `models`, `photos` and the ground
floor. Start with `session`, then `model`, `index`, `embedding`. Not public.
"""
