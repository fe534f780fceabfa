"""Whether all is well, and what can go: `check`, `prune`, `status`.

May import `exchange`, `index`, `storage` and the ground floor. Start with `maintenance`. Not public.
"""
