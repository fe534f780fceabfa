"""What callers hand over, made uniform: one or several, numbers within bounds, text files of any encoding.

Imports errors alone. Start with `several`: every argument that takes several goes through it.
"""
