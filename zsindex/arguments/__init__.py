"""What callers hand over, made uniform: one or several, paths, numbers within bounds, text files in any encoding.

May import `config`, `errors`. Start with `several`: every argument that takes several goes through it. Not public.
"""
