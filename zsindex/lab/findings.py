"""The findings of a label set check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Problems that make answers worse, and things merely worth knowing.
WARNING, INFO = "warning", "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a label set that deserves a look.

    Attributes:
        kind: ``collision``, ``hub``, ``never-wins``, ``too-long``, ``template-adds-nothing``,
            ``template-drowns-labels`` or ``template-disagrees``.
        severity: ``warning`` or ``info``.
        words: the labels, prompts or templates it is about.
        message: the finding, in words.
        advice: what to do about it.
        photos: paths of photos that illustrate it, the clearest first.
        measures: the numbers behind it.
    """

    kind: str
    severity: str
    words: tuple[str, ...]
    message: str
    advice: str
    photos: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        document = asdict(self)
        return {**document, "words": list(self.words), "photos": list(self.photos)}


@dataclass(frozen=True, slots=True)
class TemplateMeasures:
    """Measures of one of several templates, without truth.

    Attributes:
        agreement: share of the photos that it alone answers like the average of all the others.
        changed: share of the photos that get a different answer when it is left out.
        margin: mean difference between the two best logits, with it alone.
        spread: root mean square distance of its label vectors from their mean: how much of the labels it leaves.
    """

    template: str
    agreement: float
    changed: float
    margin: float
    spread: float


@dataclass(frozen=True, slots=True)
class LintReport:
    """The result of `Library.lab.lint`.

    Attributes:
        label_set: a saved set's name and version; empty for others.
        labels, images: numbers checked; copies of a photo are one image.
        findings: warnings first.
        skewness: of the number of images that a label is among the best for: around 0 if all labels are similar, large
            if a few are everywhere (Radovanović et al. 2010). 0 without photos.
        templates: measures of each, if there are several.
    """

    label_set: str
    model: str
    labels: int
    images: int
    findings: tuple[Finding, ...]
    skewness: float
    templates: tuple[TemplateMeasures, ...] = ()

    @property
    def warnings(self) -> int:
        """The number of findings that are warnings."""
        return sum(finding.severity == WARNING for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "label_set": self.label_set,
            "model": self.model,
            "labels": self.labels,
            "images": self.images,
            "warnings": self.warnings,
            "skewness": self.skewness,
            "findings": [finding.to_dict() for finding in self.findings],
            "templates": [asdict(measures) for measures in self.templates],
        }
