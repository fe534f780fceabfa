"""What to call unknown, as users write it: ``METHOD``, ``METHOD:RATE``, ``METHOD:score=X``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from zsindex.errors import BadUnknown


class Method(StrEnum):
    """How knownness is measured.

    SOFTMAX is the greatest probability (Hendrycks and Gimpel 2017), MCM the same at temperature 1 (Ming et al. 2022),
    NEGLABEL the labels' share against words that are far from them (Jiang et al. 2024), and NEGREFINE the same with
    words that name no kind of a label, and with a chance for photos of both (Ansari et al. 2025). ZSCORE and MARGIN
    compare the photo with the library: how far its best label is above that label's usual score there, and above the
    next label.
    """

    SOFTMAX = "softmax"
    MCM = "mcm"
    NEGLABEL = "neglabel"
    NEGREFINE = "negrefine"
    ZSCORE = "zscore"
    MARGIN = "margin"


# Below these a photo is unknown, whatever the library.
NATURAL_CUT = {Method.NEGLABEL: 0.5, Method.NEGREFINE: 0.5}
# Those that compare labels with the words of a vocabulary.
WITH_WORDS = (Method.NEGLABEL, Method.NEGREFINE)


@dataclass(frozen=True, slots=True)
class UnknownRule:
    """What to call unknown.

    Attributes:
        method: how knownness is measured.
        vocabulary: for `WITH_WORDS`, see `zsindex.lab.vocabulary.words`.
        rate: the share of the library to call unknown.
        score: or the knownness below which a photo is unknown. Neither: the method's own cut.
    """

    method: Method
    vocabulary: str = "basic"
    rate: float | None = None
    score: float | None = None

    @classmethod
    def parse(cls, text: str, *, needs_cut: bool = True) -> UnknownRule:
        """Read ``METHOD``, ``METHOD:RATE`` or ``METHOD:score=X``; ``neglabel@VOCABULARY`` and
        ``negrefine@VOCABULARY`` also name a vocabulary.

        Args:
            needs_cut: refuse a method without a cut of its own if the text gives none.

        Raises:
            BadUnknown: says what is wrong with it.
        """
        head, _, tail = text.rpartition(":")
        by_score = tail.startswith("score=")
        value = _number(tail.removeprefix("score=")) if head else None
        if value is None:
            head = text
        name, at, vocabulary = head.partition("@")
        if name not in list(Method):
            raise BadUnknown(text, f"the methods are {', '.join(Method)}")
        method = Method(name)
        if at and (method not in WITH_WORDS or not vocabulary):
            raise BadUnknown(
                text,
                "only neglabel and negrefine take a vocabulary: neglabel@basic, neglabel@wordnet, neglabel@FILE",
            )
        if value is not None and not by_score and not 0 <= value <= 1:
            raise BadUnknown(text, "the share of photos to call unknown must be between 0 and 1")
        if value is None and method not in NATURAL_CUT and needs_cut:
            raise BadUnknown(text, f"say how many photos to call unknown, such as a tenth: {head}:0.1")
        return cls(method, vocabulary or "basic", None if by_score else value, value if by_score else None)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
