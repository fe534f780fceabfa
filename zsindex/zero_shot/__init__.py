"""The drop-in for transformers' pipeline and for its guide's second half, with the cache behind it.

Asks a library like any user. May import `library`, `classification`, `models`, `photos` and the ground floor. Start
with `pipeline`. What is public of it, `zsindex` offers.
"""
