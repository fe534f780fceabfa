"""What was learnt from corrections, as reported with a classification; the learning is in `zsindex.lab.few_shot`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# How to learn from corrections. The default is the one that is hardly ever worse than words alone: docs/lab.md.
METHODS = ("logistic", "gda", "tip-adapter")
DEFAULT_METHOD = "logistic"
# With fewer photos, nothing is learnt for others: leaving one out says too little. With two photos mistaken for each
# other, each would teach the opposite of what the words say, and every answer would be reversed.
LEAST = 5
# With fewer corrections of an answer there is too little to go by.
FEW = 4


@dataclass(frozen=True)
class Learned:
    """What was learnt from corrections, and what speaks against trusting it.

    Attributes:
        method: ``logistic``, ``gda`` or ``tip-adapter``.
        weight: α; 0 if words alone do best, which ``logistic`` has no need to ask: 1.
        sharpness: β of Tip-Adapter.
        temperature: divides the sum, so that scores match how often answers are right.
        used: images with a label.
        ruled_out: images of which it is only known what they do not show.
        without, accuracy: share of the `used` that is answered right, from words alone and with corrections, where each
            image is left out of the learning; None if there are none.
        gain: accuracy - without.
        interval: of the gain, 95 %.
        n_left_out: number of images these are measured on.
        per_answer: number of `used` images per answer.
        unknown_labels, without_vector: corrections that were kept but not used; see `Lessons`.
    """

    method: str
    weight: float = 0.0
    sharpness: float | None = None
    temperature: float = 1.0
    used: int = 0
    ruled_out: int = 0
    without: float | None = None
    accuracy: float | None = None
    gain: float | None = None
    interval: tuple[float, float] | None = None
    n_left_out: int = 0
    per_answer: dict[str, int] = field(default_factory=dict)
    unknown_labels: dict[str, int] = field(default_factory=dict)
    without_vector: int = 0

    @property
    def doubts(self) -> tuple[str, ...]:
        """Reasons not to trust the gain yet, in words; empty if there are none."""
        if self.interval is None:
            return ("there are no corrections to learn from",)
        found = []
        if self.used < LEAST:
            found.append(f"nothing is learnt for other photos from fewer than {LEAST} corrections")
        if self.without == 0 and self.used > 1:
            # Accuracy by leave-one-out then says nothing about photos that the words get right.
            found.append("every corrected photo was a mistake: confirm some right answers as well")
        if self.interval[0] <= 0:
            found.append("the interval of the gain includes 0")
        few = [answer for answer, n in self.per_answer.items() if n < FEW]
        if few:
            shown = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
            found.append(f"fewer than {FEW} corrections: {shown}")
        return tuple(found)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "method": self.method,
            "weight": self.weight,
            "sharpness": self.sharpness,
            "temperature": self.temperature,
            "used": self.used,
            "ruled_out": self.ruled_out,
            "without": self.without,
            "accuracy": self.accuracy,
            "gain": self.gain,
            "interval": None if self.interval is None else list(self.interval),
            "n_left_out": self.n_left_out,
            "per_answer": dict(self.per_answer),
            "unknown_labels": dict(self.unknown_labels),
            "without_vector": self.without_vector,
            "doubts": list(self.doubts),
        }
