"""What was learnt from corrections, as a classification tells it; `zsindex.lab.few_shot` learns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# With fewer photos nothing is learnt for others: leaving one out says too little. Of two that were mistaken for each
# other, each would teach the opposite of what the words say, and every answer would turn round.
LEAST = 5
# Below so many corrections of an answer there is too little to go by.
FEW = 4


@dataclass(frozen=True)
class Learned:
    """What was learnt from corrections, and what speaks against trusting it.

    Attributes:
        method: ``gda`` or ``tip-adapter``.
        weight: α; 0 where the words alone do best.
        sharpness: β of Tip-Adapter.
        temperature: what the sum is divided by, so that scores are as high as they are right.
        used: images of which a label was said.
        ruled_out: images of which is only known what they do not show.
        without, accuracy: share of the `used` that is answered right, by the words alone, and with corrections, where
            each image is left out of what is learnt; None where there are none.
        gain: accuracy - without.
        interval: of the gain, 95 %.
        n_left_out: how many these are measured on.
        per_answer: how many of the `used` there are by answer.
        unknown_labels, without_vector: corrections that were kept and not used; see `Lessons`.
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
        """Why the gain is not to be trusted yet, in words; none where it is."""
        if self.interval is None:
            return ("there are no corrections to learn from",)
        found = []
        if self.used < LEAST:
            found.append(f"nothing is learnt for other photos from fewer than {LEAST} corrections")
        if self.without == 0 and self.used > 1:
            # What is right by leave-one-out then says nothing of photos that the words get right.
            found.append("every corrected photo was a mistake: confirm some right answers, too")
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
