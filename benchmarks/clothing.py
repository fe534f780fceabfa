"""The ten kinds of clothing-dataset-small in words: its folders' names, what people would say, and descriptions."""

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
DESCRIBED = {
    "dress": ["a dress"],
    "hat": ["a hat"],
    "longsleeve": ["a long-sleeved T-shirt"],
    "outwear": ["a coat or a jacket"],
    "pants": ["a pair of trousers"],
    "shirt": ["a shirt with buttons"],
    "shoes": ["a pair of shoes"],
    "shorts": ["a pair of shorts"],
    "skirt": ["a skirt"],
    "t-shirt": ["a short-sleeved T-shirt"],
}
