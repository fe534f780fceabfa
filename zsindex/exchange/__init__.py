"""Vectors, tags and stored answers in the formats of other programs, in and out.

May import `classification`, `index`, `storage`, `photos` and the ground floor. Start with `vectors`, which imports and
exports clip-retrieval's layout. Not public.
"""
