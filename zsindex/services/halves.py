"""How often sets of labels hold what photos show, where each half of the photos with truth calibrates the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from zsindex.classification.options import Question, QuestionOptions
from zsindex.records import LabelSet
from zsindex.services.questions import Questions
from zsindex.session.session import Session

if TYPE_CHECKING:
    from zsindex.lab.ci_report import SetsOfLabels
    from zsindex.lab.truth import Truth


def sets_held(
    session: Session,
    labels: LabelSet,
    truth: Truth,
    coverage: float,
    *,
    names: Mapping[str, Sequence[str]],
    options: QuestionOptions,
) -> SetsOfLabels:
    """Measure sets of labels. The photos are divided in two by the digest of their bytes, so that copies stay together.

    Args:
        names: as `truth.stands_for` takes them.
        options: of the question, beside `coverage` and `calibrate`.

    Raises:
        BadTruth: half of the photos are too few for the coverage.
        BadQuestion: such answers have no sets.
    """
    from zsindex.lab import ci
    from zsindex.lab import truth as truths

    known = truths.stands_for(truth, labels, labels.answers, names, others=False).number
    shows = {
        path: [labels.answers[known[name]] for name in said if known.get(name, -1) >= 0]
        for path, said in truth.labels.items()
    }
    there = session.storage.photos.digests_of([path for path, said in shows.items() if said])
    halves: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    for path, digest in there.items():
        halves[digest[0] % 2][path] = shows[path]
    hits: list[tuple[bool, int]] = []
    for measured, calibrated in (halves, halves[::-1]):
        if not measured:
            continue
        asked = Question(labels, **(options | {"coverage": coverage, "calibrate": calibrated, "sync": False}))
        found = Questions(session).classify(asked)
        rows = {path: row for row, path in enumerate(found.paths)}
        best = found.ranked[0]
        for path, said in measured.items():
            if path in rows:
                given = {found.labels[label] for label in best[rows[path]].tolist() if label >= 0}
                hits.append((given >= set(said), len(given)))
    return ci.sets_of(coverage, hits)
