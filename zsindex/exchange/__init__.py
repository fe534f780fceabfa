"""Vectors, tags and stored answers in the formats of others, in and out.

Imports storage, index and what is below. Start with `vectors`, which imports and exports clip-retrieval's layout.
"""
