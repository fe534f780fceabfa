"""Whether all is well, and what can go: `check`, `prune`, `status`.

Imports storage, index and exchange. Start with `maintenance`.
"""
