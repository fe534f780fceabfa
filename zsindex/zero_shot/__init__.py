"""The drop-in for transformers' pipeline and for the second half of its guide, backed by the cache.

Uses a library like any other user. May import `library`, `classification`, `models`, `photos` and the ground floor.
Start with `pipeline`. Its public names are offered by `zsindex`.
"""
