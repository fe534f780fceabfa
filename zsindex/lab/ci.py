"""Whether label sets keep their bounds: accuracy with intervals, flips against a baseline, lint. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import NormalDist

from zsindex.arguments import text_files
from zsindex.classification.results import Answer
from zsindex.lab.bootstrap import LEVEL, Estimate
from zsindex.lab.ci_file import OF_BASELINE, Bounds
from zsindex.lab.ci_report import (
    BETTER,
    NEITHER,
    UNKNOWN,
    WORSE,
    CiBound,
    CiCheck,
    CiFlip,
    Flips,
    LabelRecall,
    SetsOfLabels,
    percent,
    said_of,
)
from zsindex.lab.diff import Diff
from zsindex.lab.evaluate import Evaluation
from zsindex.lab.findings import WARNING, LintReport

_ORDER = (WORSE, NEITHER, UNKNOWN, BETTER)

# Whether an answer to a photo, by its path, is right; None if nobody knows.
Judge = Callable[[str, str], bool | None]


def proportion(right: int, n: int, level: float = LEVEL) -> Estimate:
    """A share with its score interval (Wilson 1927), which unlike the bootstrap's has a width where all are right; all
    NaN for n = 0.
    """
    if n == 0:
        return Estimate(float("nan"))
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    # At the ends it is exactly 0 or 1, which rounding may miss.
    return Estimate(share, 0.0 if right == 0 else middle - half, 1.0 if right == n else middle + half)


# --- flips ------------------------------------------------------------------------------------------------------------


def flips_of(diff: Diff, judge: Judge, was_right: Judge, shown: Callable[[str], str]) -> Flips:
    """The flips of a comparison.

    Args:
        judge: of answers after; `was_right` of answers before, by the names that they have after.
        shown: how paths are written.
    """
    rows = (
        CiFlip(shown(f.path), f.before, f.after, f.moved, _verdict(was_right(f.path, f.before), judge(f.path, f.after)))
        for f in diff.flips
    )
    return Flips(_worst_first(rows), len(diff), diff.uncompared, 0)


def flips_against(
    answers: Mapping[str, str],
    now: Answer,
    labels: Sequence[str],
    score_of: Callable[[int, str], float],
    judge: Judge,
    shown: Callable[[str], str],
    rename: Mapping[str, str],
) -> Flips:
    """The flips against a table of answers.

    Args:
        answers: label by path.
        now: the best answers now.
        labels: the possible answers now.
        score_of: the score now of an answer for the photo of a number; 0 for what is no answer anymore.
        rename: names of the table's answers, mapped to their names now.
    """
    found, compared = [], 0
    for photo, path in enumerate(now.paths):
        if path not in answers:
            continue
        compared += 1
        before = rename.get(answers[path], answers[path])
        after = labels[int(now.best[photo, 0])]
        if before != after:
            moved = float(now.scores[photo, 0]) - score_of(photo, before)
            verdict = _verdict(judge(path, before), judge(path, after))
            found.append(CiFlip(shown(path), before, after, moved, verdict))
    return Flips(_worst_first(found), compared, len(answers.keys() - set(now.paths)), len(now.paths) - compared)


def _verdict(was_right: bool | None, is_right: bool | None) -> str:
    if was_right is None or is_right is None:
        return UNKNOWN
    return WORSE if was_right and not is_right else BETTER if is_right and not was_right else NEITHER


def _worst_first(flips: Iterable[CiFlip]) -> tuple[CiFlip, ...]:
    return tuple(sorted(flips, key=lambda flip: (_ORDER.index(flip.verdict), -flip.moved, flip.path)))


def answers_table(text: str) -> dict[str, str]:
    """A table of answers, by the paths as they are written.

    Raises:
        zsindex.arguments.text_files.UnreadableText: names the line.
    """
    answers: dict[str, str] = {}
    for line, row in text_files.table(text, required=("path", "label")):
        if not row["path"] or not row["label"]:
            raise text_files.UnreadableText(f"line {line}: there is no {'label' if row['path'] else 'path'}")
        if row["path"] in answers:
            raise text_files.UnreadableText(f"line {line}: {row['path']} is there twice")
        answers[row["path"]] = row["label"]
    return answers


def sets_of(asked: float, hits: Sequence[tuple[bool, int]]) -> SetsOfLabels:
    """What came of sets of labels.

    Args:
        hits: of each photo, whether its set holds what it shows, and how many labels are in it.
    """
    n = len(hits)
    size = sum(labels for _, labels in hits) / n if n else float("nan")
    return SetsOfLabels(asked, n, proportion(sum(hit for hit, _ in hits), n), size)


# --- bounds -----------------------------------------------------------------------------------------------------------


def recalls_of(evaluation: Evaluation | None) -> tuple[LabelRecall, ...]:
    """The recalls of all labels that photos show, worst first."""
    if evaluation is None:
        return ()
    found = [
        LabelRecall(label.label, label.photos, label.right, proportion(label.right, label.photos))
        for label in evaluation.reports[0].labels
        if label.photos
    ]
    return tuple(sorted(found, key=lambda recall: (recall.recall.value, recall.label)))


def bounds_kept(
    bounds: Bounds,
    *,
    compared: int,
    top1: Estimate | None,
    top5: Estimate | None,
    ece: float | None,
    sets: SetsOfLabels | None,
    recalls: Sequence[LabelRecall],
    flips: Flips | None,
    lint: LintReport,
) -> Iterator[CiBound]:
    """Each bound that is asked for, and whether it was kept."""
    if bounds.min_photos is not None:
        said = f"{compared:,} compared with the truth"
        yield CiBound("min-photos", bounds.min_photos, compared, compared >= bounds.min_photos, said)
    for key, least, estimate, of in (
        ("min-top1", bounds.min_top1, top1, "value"),
        ("min-top1-low", bounds.min_top1_low, top1, "low"),
        ("min-top5", bounds.min_top5, top5, "value"),
    ):
        if least is not None:
            yield _at_least(key, least, estimate, of, f"of {compared:,} photos")
    of_label = {recall.label: recall for recall in recalls}
    if bounds.min_recall is not None:
        for recall in recalls:
            if recall.label not in bounds.min_recall_of:
                yield _recall(recall.label, bounds.min_recall, recall)
    for label, least in bounds.min_recall_of.items():
        yield _recall(label, least, of_label.get(label))
    if bounds.max_ece is not None:
        is_known = ece is not None and ece == ece
        said = percent(ece) if ece is not None and is_known else "it could not be measured"
        kept = ece is not None and is_known and ece <= bounds.max_ece
        yield CiBound("max-ece", bounds.max_ece, ece if is_known else None, kept, said)
    if sets is not None and bounds.min_coverage is not None:
        yield _at_least("min-coverage", bounds.min_coverage, sets.coverage, "value", f"of {sets.photos:,} photos")
    if sets is not None and bounds.max_set_size is not None:
        kept = sets.size <= bounds.max_set_size
        yield CiBound("max-set-size", bounds.max_set_size, sets.size, kept, f"{sets.size:.2f} labels on average")
    for key, most, verdict in (("max-flips", bounds.max_flips, None), ("max-worse", bounds.max_worse, WORSE)):
        if most is not None:
            yield _at_most(key, most, flips, verdict)
    if bounds.max_lint_warnings is not None:
        found = [finding for finding in lint.findings if finding.severity == WARNING]
        said = "; ".join(f"{f.kind}: {' | '.join(f.words)}" for f in found[:5]) + (" …" if found[5:] else "")
        kept = len(found) <= bounds.max_lint_warnings
        yield CiBound("max-lint-warnings", bounds.max_lint_warnings, len(found), kept, said or "none")


def with_accepted(check: CiCheck) -> CiCheck:
    """The check after its answers became the baseline: no bound on flips is broken anymore."""
    bounds = tuple(
        replace(bound, passed=None, said=f"{bound.said}; accepted") if bound.key in OF_BASELINE else bound
        for bound in check.bounds
    )
    return replace(check, bounds=bounds)


def skipped_kept(most: int | None, skipped: Sequence[tuple[str, str]]) -> tuple[CiBound, ...]:
    """The bound on photos that cannot be read, if there is one."""
    if most is None:
        return ()
    said = "; ".join(f"{path}: {why}" for path, why in skipped[:5]) + (" …" if skipped[5:] else "")
    return (CiBound("max-skipped", most, len(skipped), len(skipped) <= most, said or "none"),)


def _at_least(key: str, least: float, estimate: Estimate | None, of: str, among: str) -> CiBound:
    if estimate is None or estimate.value != estimate.value:
        return CiBound(key, least, None, False, "it could not be measured")
    value = estimate.low if of == "low" else estimate.value
    return CiBound(key, least, value, value >= least, f"{said_of(estimate)} {among}")


def _recall(label: str, least: float, recall: LabelRecall | None) -> CiBound:
    key = f"min-recall: {label}"
    if recall is None:
        return CiBound(key, least, None, False, "the truth has no photo that shows it")
    value = recall.recall.value
    return CiBound(key, least, value, value >= least, f"{said_of(recall.recall)} of {recall.photos:,} that show it")


def _at_most(key: str, most: float, flips: Flips | None, verdict: str | None) -> CiBound:
    if flips is None:
        return CiBound(key, most, None, None, "the baseline does not have this label set yet")
    if not flips.compared:
        return CiBound(key, most, None, False, "no photo has an answer on both sides")
    n = len(flips.flips) if verdict is None else flips.count(verdict)
    said = f"{n:,} of {flips.compared:,} photos ({percent(n / flips.compared)})"
    return CiBound(key, most, n / flips.compared, n / flips.compared <= most, said)
