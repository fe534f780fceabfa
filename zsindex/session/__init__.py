"""What the parts of a library share: its storage, the current model, that model's index, and the clock.

May import `lab`, `ingest`, `classification`, `index`, `storage/sqlite`, `storage/postgres`, `storage`, `models`,
`photos` and the ground floor. Start with `session`, then `model`, `index`, `embedding`. Not public.
"""
