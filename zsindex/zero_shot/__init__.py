"""The drop-in for transformers' pipeline and for its guide's second half, with the cache behind it.

Asks a library like any user; so it stands above `zsindex.library`. Start with `pipeline`.
"""
