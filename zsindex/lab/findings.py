"""What checking a label set brings to light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# What makes answers worse, and what is only worth knowing.
WARNING, INFO = "warning", "info"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a label set that somebody should look at.

    Attributes:
        kind: ``collision``, ``hub``, ``never-wins``, ``too-long``, ``template-adds-nothing``,
            ``template-drowns-labels`` or ``template-disagrees``.
        severity: ``warning`` or ``info``.
        words: the labels, prompts or templates it is about.
        message: what is the case, in words.
        advice: what to do about it.
        photos: paths of photos that show it, the clearest first.
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
    """What one of several templates does, without truth.

    Attributes:
        agreement: share of the photos that it answers, alone, like the average of all the others.
        changed: share of the photos that get another answer when it is left out.
        margin: its mean distance between the two best logits, alone.
        spread: root mean square distance of its label vectors from their mean: how much it leaves of the labels.
    """

    template: str
    agreement: float
    changed: float
    margin: float
    spread: float


@dataclass(frozen=True, slots=True)
class LintReport:
    """What `Library.lab.lint` found.

    Attributes:
        label_set: a saved set's name and version; empty for others.
        labels, images: how many were looked at; copies of a photo are one image.
        findings: warnings first.
        skewness: of the number of images that a label is among the best for: around 0 where all labels are met alike,
            large where a few are everywhere (Radovanović et al. 2010). 0 without photos.
        templates: measures of each, where there are several.
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
        """How many findings are warnings."""
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
