"""The result of moving a library to another model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zsindex.lab.diff import Diff
from zsindex.records import SkippedFile


@dataclass(frozen=True, slots=True)
class Migration:
    """How far a library has moved to another model, and what would change.

    Attributes:
        before, after: the models' names.
        photos: number in the library; `ready` of them have a vector from the new model.
        encoded: number of images encoded in this run.
        away: photos without one whose file is not on this disk, such as imported ones. Encode them where the file is,
            or import their vectors.
        skipped: photos without one that could not be read or encoded.
        interrupted: it was stopped; the same call continues from there, and nothing was compared.
        diffs: by the name of the label set, all photos classified by both models.
        switched: the new model is now the library's default.
    """

    before: str
    after: str
    photos: int
    ready: int
    encoded: int
    away: tuple[str, ...]
    skipped: tuple[SkippedFile, ...]
    interrupted: bool
    diffs: Mapping[str, Diff]
    switched: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "before": self.before,
            "after": self.after,
            "photos": self.photos,
            "ready": self.ready,
            "encoded": self.encoded,
            "away": list(self.away),
            "skipped": [{"path": s.path, "reason": str(s.reason), "detail": s.detail} for s in self.skipped],
            "interrupted": self.interrupted,
            "diffs": {name: diff.to_dict() for name, diff in self.diffs.items()},
            "switched": self.switched,
        }
