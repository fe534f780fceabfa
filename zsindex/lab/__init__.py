"""The label lab: which words work. Each module is one method over existing vectors; docs/methods.md has their sources.

May import `exchange`, `classification`, `index`, `storage`, `photos` and the ground floor. Start with `evaluate`. The
names below, which a library's answers are made of, are public; the modules themselves are not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zsindex.classification.coverage import Coverage, Promise
    from zsindex.classification.learned import Learned
    from zsindex.lab.albums import Album, AlbumPhoto, AlbumPhotos
    from zsindex.lab.attribution import Attribution, LabelEffect, TemplateEffect
    from zsindex.lab.bootstrap import Estimate
    from zsindex.lab.choose import Duel, Standing
    from zsindex.lab.ci_report import CiBound, CiCheck, CiFlip, CiReport, Flips, LabelRecall, SetsOfLabels
    from zsindex.lab.corrections import CorrectedPhoto, Statement
    from zsindex.lab.counting import GroupCount, PhotoCount
    from zsindex.lab.decisions import Decision
    from zsindex.lab.diff import Diff
    from zsindex.lab.duplicates import Duplicate, Duplicates
    from zsindex.lab.evaluate import Confusion, Evaluation, LabelReport, Report
    from zsindex.lab.events import Burst, Event, Events
    from zsindex.lab.explain import AnswerScore, PromptCosine, TemplateScores, Why
    from zsindex.lab.findings import Finding, LintReport, TemplateMeasures
    from zsindex.lab.layout import Layout
    from zsindex.lab.metrics import ReliabilityBin
    from zsindex.lab.migration import Migration
    from zsindex.lab.neighbours import Graph
    from zsindex.lab.next import Suggestion
    from zsindex.lab.prior import PriorEstimate
    from zsindex.lab.review import Certificate, ReviewState
    from zsindex.lab.runs import Repeat, RunRecord
    from zsindex.lab.suggest import Suggestions
    from zsindex.lab.surveys import Look, Survey
    from zsindex.lab.tags import SidecarChange, SkippedSidecar, TagReport
    from zsindex.lab.temperature import Calibration, TemperatureFit
    from zsindex.lab.thresholds import Curve, Curves
    from zsindex.lab.tradeoff import Tradeoff, TradeoffPoint
    from zsindex.lab.truth import Truth
    from zsindex.lab.unknown import Knownness, Separation, UnknownReport

_HOMES = {
    "albums": (
        "Album",
        "AlbumPhoto",
        "AlbumPhotos",
    ),
    "attribution": (
        "Attribution",
        "LabelEffect",
        "TemplateEffect",
    ),
    "bootstrap": ("Estimate",),
    "choose": (
        "Duel",
        "Standing",
    ),
    "ci_report": (
        "CiBound",
        "CiCheck",
        "CiFlip",
        "CiReport",
        "Flips",
        "LabelRecall",
        "SetsOfLabels",
    ),
    "conformal": (
        "Coverage",
        "Promise",
    ),
    "corrections": (
        "CorrectedPhoto",
        "Statement",
    ),
    "counting": (
        "GroupCount",
        "PhotoCount",
    ),
    "decisions": ("Decision",),
    "diff": ("Diff",),
    "duplicates": (
        "Duplicate",
        "Duplicates",
    ),
    "evaluate": (
        "Confusion",
        "Evaluation",
        "LabelReport",
        "Report",
    ),
    "events": (
        "Burst",
        "Event",
        "Events",
    ),
    "explain": (
        "AnswerScore",
        "PromptCosine",
        "TemplateScores",
        "Why",
    ),
    "few_shot": ("Learned",),
    "findings": (
        "Finding",
        "LintReport",
        "TemplateMeasures",
    ),
    "layout": ("Layout",),
    "metrics": ("ReliabilityBin",),
    "migration": ("Migration",),
    "neighbours": ("Graph",),
    "next": ("Suggestion",),
    "prior": ("PriorEstimate",),
    "review": (
        "Certificate",
        "ReviewState",
    ),
    "runs": (
        "Repeat",
        "RunRecord",
    ),
    "suggest": ("Suggestions",),
    "surveys": (
        "Look",
        "Survey",
    ),
    "tags": (
        "SidecarChange",
        "SkippedSidecar",
        "TagReport",
    ),
    "temperature": (
        "Calibration",
        "Certificate",
        "TemperatureFit",
    ),
    "thresholds": (
        "Curve",
        "Curves",
    ),
    "tradeoff": (
        "Tradeoff",
        "TradeoffPoint",
    ),
    "truth": ("Truth",),
    "unknown": (
        "Knownness",
        "Separation",
        "UnknownReport",
    ),
}

__all__ = [
    "Album",
    "AlbumPhoto",
    "AlbumPhotos",
    "AnswerScore",
    "Attribution",
    "Burst",
    "Calibration",
    "Certificate",
    "CiBound",
    "CiCheck",
    "CiFlip",
    "CiReport",
    "Confusion",
    "CorrectedPhoto",
    "Coverage",
    "Curve",
    "Curves",
    "Decision",
    "Diff",
    "Duel",
    "Duplicate",
    "Duplicates",
    "Estimate",
    "Evaluation",
    "Event",
    "Events",
    "Finding",
    "Flips",
    "Graph",
    "GroupCount",
    "Knownness",
    "LabelEffect",
    "LabelRecall",
    "LabelReport",
    "Layout",
    "Learned",
    "LintReport",
    "Look",
    "Migration",
    "PhotoCount",
    "PriorEstimate",
    "Promise",
    "PromptCosine",
    "ReliabilityBin",
    "Repeat",
    "Report",
    "ReviewState",
    "RunRecord",
    "Separation",
    "SetsOfLabels",
    "SidecarChange",
    "SkippedSidecar",
    "Standing",
    "Statement",
    "Suggestion",
    "Suggestions",
    "Survey",
    "TagReport",
    "TemperatureFit",
    "TemplateEffect",
    "TemplateMeasures",
    "TemplateScores",
    "Tradeoff",
    "TradeoffPoint",
    "Truth",
    "UnknownReport",
    "Why",
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
