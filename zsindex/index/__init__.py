"""Vectors side by side, derived from storage: snapshots on disk, the rows in memory, and the nearest to a query.

Asks storage, never SQL. May import `storage` and the ground floor. Start with `snapshots.VectorIndex`. Not public.
"""
