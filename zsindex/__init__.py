"""zsindex: encode a photo library once, then ask it anything.

    from zsindex import Library

    with Library.open("photos.zsindex", model="nano") as library:
        library.sync(["~/Pictures"])
        for result in library.classify(["owl", "fox", "bear"]):
            print(result.path, result.label, result.score)

Names are imported when they are first used, so that ``import zsindex`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from zsindex._version import __version__

if TYPE_CHECKING:
    from zsindex.classification.prompts import label_set, parse_labels, prompts_for
    from zsindex.classification.results import Classification, Hit, Prediction, Result, Run
    from zsindex.classification.scores import label_vectors, logits, probabilities, sigmoid, softmax
    from zsindex.errors import ZsindexError
    from zsindex.library import Library
    from zsindex.records import (
        Activation,
        DecodeMode,
        IccMode,
        LabelSet,
        ModelInfo,
        ModelSpec,
        Progress,
        SkipReason,
        SyncReport,
        TransparencyMode,
    )
    from zsindex.zero_shot.by_hand import AutoModelForZeroShotImageClassification, AutoProcessor
    from zsindex.zero_shot.pipeline import ZeroShotImageClassifier, pipeline

_HOMES = {
    "zero_shot.by_hand": ("AutoModelForZeroShotImageClassification", "AutoProcessor"),
    "classification.scores": ("label_vectors", "logits", "probabilities", "sigmoid", "softmax"),
    "errors": ("ZsindexError",),
    "library": ("Library",),
    "classification.prompts": ("label_set", "parse_labels", "prompts_for"),
    "records": (
        "Activation",
        "DecodeMode",
        "IccMode",
        "LabelSet",
        "ModelInfo",
        "ModelSpec",
        "Progress",
        "SkipReason",
        "SyncReport",
        "TransparencyMode",
    ),
    "classification.results": ("Classification", "Hit", "Prediction", "Result", "Run"),
    "zero_shot.pipeline": ("ZeroShotImageClassifier", "pipeline"),
}

__all__ = [
    "Activation",
    "AutoModelForZeroShotImageClassification",
    "AutoProcessor",
    "Classification",
    "DecodeMode",
    "Hit",
    "IccMode",
    "LabelSet",
    "Library",
    "ModelInfo",
    "ModelSpec",
    "Prediction",
    "Progress",
    "Result",
    "Run",
    "SkipReason",
    "SyncReport",
    "TransparencyMode",
    "ZeroShotImageClassifier",
    "ZsindexError",
    "__version__",
    "label_set",
    "label_vectors",
    "logits",
    "parse_labels",
    "pipeline",
    "probabilities",
    "prompts_for",
    "sigmoid",
    "softmax",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
