"""Files to pixels: what lies in a folder, what a file is, and how it is decoded, with its colours, depth and bounds.

Knows nothing of models and of the library. May import the ground floor. Start with `scan`, then `decode`. Not public.
"""
