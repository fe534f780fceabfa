"""The ten kinds of clothing-dataset-small in words: its folders' names, and what people would say."""

from __future__ import annotations

CLOTHING = {
    "dress": ("dress",),
    "hat": ("hat",),
    "longsleeve": ("sweatshirt", "sweater"),
    "outwear": ("coat", "jacket"),
    "pants": ("trousers", "jeans"),
    "shirt": ("shirt",),
    "shoes": ("shoes", "sneakers"),
    "shorts": ("shorts",),
    "skirt": ("skirt",),
    "t-shirt": ("T-shirt",),
}
