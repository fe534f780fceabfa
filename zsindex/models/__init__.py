"""Pixels and words to vectors: the `Encoder` protocol, what implements it, and which one a name means.

Everything that knows torch, open_clip, transformers, OpenVINO or a model hub lies here. Imports photos for what pixels
are. Start with `encoder`, then `loading`.
"""
