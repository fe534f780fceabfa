"""What `zsindex ci` found; and how it is told: as Markdown, for people, and as JUnit XML, for servers that show tests.
No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from xml.etree import ElementTree

from zsindex.lab.bootstrap import Estimate
from zsindex.lab.findings import WARNING, LintReport

# What a flip means, the worst first; UNKNOWN where nobody knows what the photo shows.
WORSE, NEITHER, UNKNOWN, BETTER = "worse", "neither", "", "better"
# Rows of recalls and mistakes that Markdown shows, the worst first.
_MOST_LABELS, _MOST_MISTAKES, _MOST_SKIPPED = 20, 10, 20
# Flips in a message of JUnit, which servers keep in a database.
_MOST_FLIPS = 200


class CiFlip(NamedTuple):
    """A photo that gets another answer than in the baseline.

    Attributes:
        moved: how far its scores are apart, see `zsindex.lab.Diff`; against a table of answers, by how much the new
            answer's score exceeds the one that the old answer has now.
        verdict: ``worse`` if the old answer was right, ``better`` if the new one is, ``neither`` if both are wrong;
            empty if nobody knows.
    """

    path: str
    before: str
    after: str
    moved: float
    verdict: str


class Flips(NamedTuple):
    """What changed against a baseline: flips, worst first; photos compared; and photos that only one side knows."""

    flips: tuple[CiFlip, ...]
    compared: int
    only_before: int
    only_after: int

    def count(self, verdict: str) -> int:
        """Flips with a verdict."""
        return sum(flip.verdict == verdict for flip in self.flips)

    @property
    def share(self) -> float:
        """Of the photos compared; 0 if there are none."""
        return len(self.flips) / max(1, self.compared)


@dataclass(frozen=True, slots=True)
class CiBound:
    """A bound, and whether it was kept.

    Attributes:
        key: its name in the file, such as ``min-top1``, with the label for ``min-recall``.
        bound: as a number.
        value: what was measured; None if that was impossible.
        passed: False if it was broken, also by what cannot be measured; None if there was nothing to compare with yet.
        said: what was measured, in words.
    """

    key: str
    bound: float
    value: float | None
    passed: bool | None
    said: str

    @property
    def asked(self) -> str:
        """The bound in words: ``at least 80.0 %``."""
        how = "at least" if self.key.startswith("min-") else "at most"
        return f"{how} {self.bound:g}" if self.key in _NUMBERS else f"{how} {percent(self.bound)}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"key": self.key, "bound": self.bound, "value": self.value, "passed": self.passed, "said": self.said}


_NUMBERS = ("min-photos", "max-lint-warnings", "max-set-size", "max-skipped")


@dataclass(frozen=True, slots=True)
class SetsOfLabels:
    """How often sets of labels hold what photos show, each half of the photos calibrated by the other.

    Attributes:
        asked: the coverage that they are made for.
        photos: number of photos measured; `coverage` is the share whose set holds what they show, with its interval.
        size: mean number of labels in a set.
    """

    asked: float
    photos: int
    coverage: Estimate
    size: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "asked": self.asked,
            "photos": self.photos,
            "coverage": self.coverage.to_dict(),
            "size": self.size,
        }


@dataclass(frozen=True, slots=True)
class LabelRecall:
    """How many of the photos that show a label are answered with it; `recall` with its interval."""

    label: str
    photos: int
    right: int
    recall: Estimate

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"label": self.label, "photos": self.photos, "right": self.right, "recall": self.recall.to_dict()}


@dataclass(frozen=True)
class CiCheck:
    """A label set with a model: what was measured, and the bounds.

    Attributes:
        name: of the label set; with its model, if it is checked with several.
        run: key of the classification, which other runs on the same photos have as well.
        photos: number that were answered; `compared` of them with the truth.
        top1, top5: shares of these that are right; None without truth. The intervals are Wilson's.
        ece: expected calibration error; None without truth.
        sets: sets of labels; None if none were asked for.
        recalls: of labels that photos show, worst first.
        mistakes: (truth, answer, photos), most frequent first.
        baseline: what it was compared with, in words; None if it has none. `flips` is None if that did not exist yet.
        lint: findings about the label set.
        bounds: those asked for, in the order of docs/ci.md.
        notes: what the reader should know, such as photos left out.
    """

    name: str
    model: str
    run: str
    labels: int
    photos: int
    compared: int
    top1: Estimate | None
    top5: Estimate | None
    ece: float | None
    sets: SetsOfLabels | None
    recalls: tuple[LabelRecall, ...]
    mistakes: tuple[tuple[str, str, int], ...]
    baseline: str | None
    flips: Flips | None
    lint: LintReport
    bounds: tuple[CiBound, ...]
    notes: tuple[str, ...]

    @property
    def broken(self) -> tuple[CiBound, ...]:
        """The bounds that were not kept."""
        return tuple(bound for bound in self.bounds if bound.passed is False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        flips = self.flips
        return {
            "name": self.name,
            "model": self.model,
            "run": self.run,
            "labels": self.labels,
            "photos": self.photos,
            "compared": self.compared,
            "top1": None if self.top1 is None else self.top1.to_dict(),
            "top5": None if self.top5 is None else self.top5.to_dict(),
            "ece": self.ece,
            "sets": None if self.sets is None else self.sets.to_dict(),
            "recalls": [recall.to_dict() for recall in self.recalls],
            "mistakes": [{"truth": t, "answer": a, "photos": n} for t, a, n in self.mistakes],
            "baseline": self.baseline,
            "flips": None
            if flips is None
            else {
                "photos": flips.compared,
                "flipped": len(flips.flips),
                "share": flips.share,
                "only_before": flips.only_before,
                "only_after": flips.only_after,
                "flips": [flip._asdict() for flip in flips.flips],
            },
            "lint": [finding.to_dict() for finding in self.lint.findings],
            "passed": not self.broken,
            "bounds": [bound.to_dict() for bound in self.bounds],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class CiReport:
    """What `Library.ci.run` found.

    Attributes:
        source: the file with the bounds.
        photos: number of photos with vectors.
        skipped: (path, reason) of photos that cannot be read.
        bounds: those of the photos.
        checks: one for each label set and model.
        accepted: tables of answers that were written.
        interrupted: it was stopped while photos were encoded; nothing was checked.
    """

    source: str
    photos: int
    skipped: tuple[tuple[str, str], ...]
    bounds: tuple[CiBound, ...]
    checks: tuple[CiCheck, ...]
    accepted: tuple[str, ...] = ()
    interrupted: bool = False

    @property
    def broken(self) -> tuple[tuple[str, CiBound], ...]:
        """The bounds that were not kept, each with the name of its check, or ``photos``."""
        of_photos = [("photos", bound) for bound in self.bounds if bound.passed is False]
        return (*of_photos, *((check.name, bound) for check in self.checks for bound in check.broken))

    @property
    def passed(self) -> bool:
        """Whether every bound was kept."""
        return not self.broken and not self.interrupted

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "source": self.source,
            "passed": self.passed,
            "photos": self.photos,
            "skipped": [{"path": path, "why": why} for path, why in self.skipped],
            "bounds": [bound.to_dict() for bound in self.bounds],
            "checks": [check.to_dict() for check in self.checks],
            "accepted": list(self.accepted),
        }

    def to_markdown(self, *, most: int = 50) -> str:
        """A report for people; `most` flips of each check are listed."""
        return _markdown(self, most=most)

    def to_junit(self) -> str:
        """JUnit XML, with a test case for each bound."""
        return _junit(self)


def percent(share: float) -> str:
    """A share in percent, with one digit."""
    return f"{100 * share:.1f} %"


def said_of(estimate: Estimate) -> str:
    """A share with its interval."""
    return f"{percent(estimate.value)} ({percent(estimate.low)} … {percent(estimate.high)})"


# --- Markdown ---------------------------------------------------------------------------------------------------------


def _markdown(report: CiReport, *, most: int) -> str:
    """The report in the Markdown of GitHub and GitLab; see `CiReport.to_markdown`."""
    n = sum(len(check.bounds) for check in report.checks) + len(report.bounds)
    outcome = "passed" if report.passed else f"failed: {len(report.broken)} of {_plural(n, 'bound')} broken"
    parts = [
        f"# zsindex ci: {outcome}",
        f"{_plural(report.photos, 'photo')}, {_code(report.source)}",
        _table(
            ["label set", "model", "top-1 (95 % interval)", "flips", "bounds"],
            [
                [
                    _text(check.name),
                    _text(check.model),
                    "" if check.top1 is None else said_of(check.top1),
                    "" if check.flips is None else f"{len(check.flips.flips):,} of {check.flips.compared:,}",
                    f"**{len(check.broken)} of {len(check.bounds)} broken**" if check.broken else "passed",
                ]
                for check in report.checks
            ],
        ),
        *_bounds(report.bounds),
    ]
    if report.skipped:
        shown = [[_code(path), _text(why)] for path, why in report.skipped[:_MOST_SKIPPED]]
        title = f"{_plural(len(report.skipped), 'photo')} that cannot be read"
        parts.append(_folded(title, _table(["photo", "why"], shown) + _more(len(report.skipped), _MOST_SKIPPED)))
    for check in report.checks:
        parts.extend(_check(check, most))
    if report.accepted:
        parts.append(f"Answers accepted: {', '.join(map(_code, report.accepted))}")
    return "\n\n".join(parts) + "\n"


def _check(check: CiCheck, most: int) -> Iterator[str]:
    yield f"## {_text(check.name)}"
    yield (
        f"{_plural(check.labels, 'label')}, {_plural(check.photos, 'photo')}, {_text(check.model)}, "
        f"run {_code(check.run)}"
    )
    yield from _bounds(check.bounds)
    if check.flips is not None:
        yield f"### {_title(check.flips, check.baseline or '')}"
        if check.flips.flips:
            rows = [_flip(flip) for flip in check.flips.flips[:most]]
            yield _table(["photo", "before", "after", "moved", ""], rows) + _more(len(check.flips.flips), most)
    if (sets := check.sets) is not None:
        yield (
            f"Sets of labels for a coverage of {percent(sets.asked)}: {said_of(sets.coverage)} of "
            f"{_plural(sets.photos, 'photo')} are given what they show, among {sets.size:.2f} labels on average"
        )
    if check.recalls:
        rows = [
            [_text(recall.label), f"{recall.photos:,}", said_of(recall.recall)]
            for recall in check.recalls[:_MOST_LABELS]
        ]
        body = _table(["label", "photos", "recall (95 % interval)"], rows) + _more(len(check.recalls), _MOST_LABELS)
        yield _folded("Recall, worst first", body)
    if check.mistakes:
        cells = [[_text(truth), _text(answer), f"{n:,}"] for truth, answer, n in check.mistakes[:_MOST_MISTAKES]]
        yield _folded("Most frequent mistakes", _table(["shows", "answered", "photos"], cells))
    if findings := check.lint.findings:
        warnings = sum(finding.severity == WARNING for finding in findings)
        rows = [[f.severity, f.kind, _text(" | ".join(f.words)), _text(f.message)] for f in findings]
        yield _folded(f"Lint: {_plural(warnings, 'warning')}", _table(["", "kind", "words", "finding"], rows))
    for note in check.notes:
        yield f"> {_text(note)}"


def _bounds(bounds: Sequence[CiBound]) -> Iterator[str]:
    if bounds:
        rows = [[_text(bound.key), bound.asked, _text(bound.said), _outcome(bound)] for bound in bounds]
        yield _table(["bound", "asked", "measured", ""], rows)


def _outcome(bound: CiBound) -> str:
    return "not compared" if bound.passed is None else "passed" if bound.passed else "**broken**"


def _title(flips: Flips, baseline: str) -> str:
    said = {WORSE: "worse", BETTER: "better", NEITHER: "right neither before nor after"}
    verdicts = [f"{n:,} {words}" for verdict, words in said.items() if (n := flips.count(verdict))]
    known = f": {', '.join(verdicts)}" if verdicts else ""
    return (
        f"{_plural(len(flips.flips), 'flip')} among {_plural(flips.compared, 'photo')} against {_text(baseline)}{known}"
    )


def _flip(flip: CiFlip) -> list[str]:
    return [_code(flip.path), _text(flip.before), _text(flip.after), f"{flip.moved:.3f}", flip.verdict]


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{body}\n\n</details>"


def _more(n: int, most: int) -> str:
    return f"\n\n… and {n - most:,} more" if n > most else ""


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _text(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = " ".join(_plain(text).split())
    return re.sub(r"([\\`*_\[\]<>|~$])", r"\\\1", line).replace("&", "&amp;")


def _code(text: str) -> str:
    """Text as code, within a table as well."""
    line = " ".join(_plain(text).split(" ")).replace("\n", " ").replace("\t", " ").replace("|", "\\|")
    fence = "`" * (max((len(run) for run in re.findall("`+", line)), default=0) + 1)
    return f"{fence} {line} {fence}" if line.startswith("`") or line.endswith("`") else f"{fence}{line}{fence}"


def _plural(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


# --- JUnit ------------------------------------------------------------------------------------------------------------

# What XML 1.0 cannot hold, not even escaped; and halves of surrogate pairs, which names of files may have.
_NO_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _plain(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _junit(report: CiReport) -> str:
    """The report as JUnit XML: a suite for each check, and a test case for each of its bounds."""
    suites = [_suite("photos", report.bounds, {}, None)] if report.bounds else []
    suites.extend(
        _suite(
            check.name,
            check.bounds,
            {
                "model": check.model,
                "run": check.run,
                "labels": str(check.labels),
                "photos": str(check.photos),
                **({} if check.top1 is None else {"top-1": said_of(check.top1)}),
                **({} if check.baseline is None else {"baseline": check.baseline}),
            },
            check.flips,
        )
        for check in report.checks
    )
    root = ElementTree.Element("testsuites", {"name": "zsindex ci", **_counts(suites)})
    root.extend(suites)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(name: str, bounds: Sequence[CiBound], about: dict[str, str], flips: Flips | None) -> ElementTree.Element:
    suite = ElementTree.Element("testsuite", {"name": _plain(name)})
    if about:
        properties = ElementTree.SubElement(suite, "properties")
        for key, value in about.items():
            ElementTree.SubElement(properties, "property", {"name": key, "value": _plain(value)})
    for bound in bounds:
        # Servers compare runs by these names: what was measured must not be in them.
        case = ElementTree.SubElement(suite, "testcase", {"classname": _plain(name), "name": _plain(bound.key)})
        if bound.passed is None:
            ElementTree.SubElement(case, "skipped", {"message": _plain(bound.said)})
        elif not bound.passed:
            message = f"{bound.said}; asked for {bound.asked}"
            failure = ElementTree.SubElement(case, "failure", {"message": _plain(message), "type": bound.key})
            listed = bound.key in ("max-flips", "max-worse") and flips is not None
            failure.text = _plain("\n".join([message, *(_lines(flips, bound.key) if listed and flips else [])]))
    if flips is not None and flips.flips:
        ElementTree.SubElement(suite, "system-out").text = _plain("\n".join(_lines(flips, "max-flips")))
    failures, skipped = (len(suite.findall(f"testcase/{kind}")) for kind in ("failure", "skipped"))
    counts = {"tests": len(bounds), "failures": failures, "errors": 0, "skipped": skipped}
    suite.attrib.update({key: str(n) for key, n in counts.items()})
    return suite


def _counts(suites: Sequence[ElementTree.Element]) -> dict[str, str]:
    return {
        key: str(sum(int(suite.attrib[key]) for suite in suites)) for key in ("tests", "failures", "errors", "skipped")
    }


def _lines(flips: Flips, key: str) -> Iterator[str]:
    listed = [flip for flip in flips.flips if key == "max-flips" or flip.verdict == WORSE]
    for flip in listed[:_MOST_FLIPS]:
        verdict = f"  {flip.verdict}" if flip.verdict else ""
        yield f"{flip.path}: {flip.before} → {flip.after}  ({flip.moved:.3f}){verdict}"
    if len(listed) > _MOST_FLIPS:
        yield f"… and {len(listed) - _MOST_FLIPS:,} more"
