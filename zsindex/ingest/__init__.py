"""The flow of a sync: look at the disk, compare, decode and encode what is new, store it batch by batch.

Imports storage, models, photos. Start with `sync.Sync.run`, and then `encoding`, the one loop that encodes.
"""
