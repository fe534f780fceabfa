"""The flow of a sync: scan the disk, compare, decode and encode what is new, store it batch by batch.

May import `storage`, `models`, `photos` and the ground floor. Start with `sync.Sync.run`, and then `encoding`, the one
loop that encodes. Not public.
"""
