"""Pixels and words to vectors: the `Encoder` protocol, what implements it, and which one a name means.

Everything that knows torch, open_clip, transformers, OpenVINO or a model hub lies here. May import `photos` and the
ground floor. Start with `encoder`, which is public, then `loading`.
"""
