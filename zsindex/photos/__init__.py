"""Files to pixels and facts: what lies in a folder, what a file is and says, how it is decoded, within bounds.

Knows nothing of models and of the library. May import the ground floor. Start with `scan`, then `decode`. Not public.
"""
