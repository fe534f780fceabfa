"""Problems in a label set, found from its vectors and a library's photos, without any truth.

Everything is relative: to the set's other labels, and to chance. docs/methods.md has the measures.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zsindex.classification.scorers import Head
from zsindex.classification.view import View
from zsindex.lab.findings import INFO, WARNING, Finding, LintReport
from zsindex.lab.template_check import check_templates
from zsindex.records import NONE, FloatArray, IdArray, LabelSet

# Labels closer together than this fraction of the usual distance between two labels of the set coincide.
CLOSE = 0.25
# With fewer labels there is no usual distance: then only equal vectors count.
FEW = 3
SAME = 1e-3
# Two labels coincide on photos if, of at least this many photos that one of them wins, the other is second on nearly
# all, with odds between them typically below 3 to 1.
MIN_WON = 5
NEXT_TO_EACH_OTHER = 0.9
TOSS_UP = math.log(3)
# A label is among the best of a photo if it is in the top tenth of the labels.
BEST_PART = 10
EXAMPLES = 3
_SAMPLE = 1000


def lint(view: View, labels: LabelSet, *, too_long: Mapping[str, int | None]) -> LintReport:
    """Check a label set against the photos of a library.

    Args:
        view: the photos; its `embed` must truncate prompts that are too long.
        labels: the set.
        too_long: prompts that the model truncates, each with its number of tokens; None if they could not be counted.
    """
    vectors = view.text_vectors(labels)
    standings = Standings.measure(view, labels, vectors)
    images = first_photos(view)
    findings = _too_long(labels, too_long, view.info.context_length, str(view.info.spec))
    findings += _collisions(labels, vectors, standings, view, images)
    findings += _hubs(labels, standings, view, images)
    findings += _never(labels, standings, view, images)
    of_templates, measures = check_templates(view, labels, images)
    findings += of_templates
    return LintReport(
        label_set="" if labels.name is None else f"{labels.name}@{labels.version}" if labels.version else labels.name,
        model=str(view.info.spec),
        labels=len(labels),
        images=len(images),
        findings=tuple(sorted(findings, key=lambda finding: finding.severity != WARNING)),
        skewness=skewness(standings.among_best),
        templates=tuple(measures),
    )


def first_photos(view: View) -> IdArray:
    """The number of one photo of each image, in the order of `View.unique`: int64 (u,)."""
    rows, back = view.unique
    if isinstance(back, slice):
        return np.arange(len(rows))
    return np.unique(view.rows, return_index=True)[1].astype(np.int64)


@dataclass(frozen=True)
class Standings:
    """How the concepts of a label set rank on u images.

    Attributes:
        answer: int64 (u,), the number of each image's answer.
        first, second: int64 (u,), its two best concepts; `second` is -1 if there is only one concept.
        lead: float32 (u,), the difference of their logits.
        among_best: int64 (c,), images that have the concept among their `k` best.
        k: a tenth of the concepts, at least 1.
        behind: float32 (c,), the smallest distance of a concept's logit behind the best one of an image; inf without
            images.
        closest: int64 (c,), that image.
    """

    answer: IdArray
    first: IdArray
    second: IdArray
    lead: FloatArray
    among_best: IdArray
    k: int
    behind: FloatArray
    closest: IdArray

    @classmethod
    def measure(cls, view: View, labels: LabelSet, vectors: FloatArray) -> Standings:
        """Go over all images once, a block at a time.

        Args:
            vectors: float32 (c, dim), of the concepts.
        """
        info = view.info
        head = Head.zero_shot(
            vectors,
            logit_scale=info.logit_scale,
            logit_bias=info.logit_bias,
            activation=info.activation,
            answer_of=labels.answer_of,
        )
        n, c = len(view.unique[0]), len(vectors)
        k = max(1, c // BEST_PART)
        depth = min(max(k, 2), c)
        found = cls(
            answer=np.empty(n, dtype=np.int64),
            first=np.empty(n, dtype=np.int64),
            second=np.full(n, -1, dtype=np.int64),
            lead=np.zeros(n, dtype=np.float32),
            among_best=np.zeros(c, dtype=np.int64),
            k=k,
            behind=np.full(c, np.inf, dtype=np.float32),
            closest=np.zeros(c, dtype=np.int64),
        )
        for where, block in view.blocks(1024):
            logits = head.logits(block)
            best = _best(logits, depth)
            top = np.take_along_axis(logits, best, axis=1)
            found.first[where] = best[:, 0]
            if depth > 1:
                found.second[where] = best[:, 1]
                found.lead[where] = top[:, 0] - top[:, 1]
            found.among_best[:] += np.bincount(best[:, :k].ravel(), minlength=c)
            behind = top[:, :1] - logits
            nearest = behind.argmin(axis=0)
            least = behind[nearest, np.arange(c)]
            closer = least < found.behind
            found.behind[closer] = least[closer]
            found.closest[closer] = where.start + nearest[closer]
            if labels.is_plain:
                found.answer[where] = best[:, 0]
            else:
                found.answer[where] = head(block).argmax(axis=1)
        return found


def _best(logits: FloatArray, k: int) -> IdArray:
    """Columns of the k largest values of each row, largest first; ties keep the order of the columns."""
    if 4 * k >= logits.shape[1]:
        return np.argsort(-logits, axis=1, kind="stable")[:, :k]
    some = np.sort(np.argpartition(-logits, k - 1, axis=1)[:, :k], axis=1)
    order = np.argsort(-np.take_along_axis(logits, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1)


def skewness(counts: IdArray) -> float:
    """Third standardised moment, E[(x − μ)³] / σ³; 0 if all are equal."""
    centred = counts - counts.mean()
    deviation = float(np.sqrt((centred**2).mean()))
    return float((centred**3).mean()) / deviation**3 if deviation > 0 else 0.0


# --- prompts ----------------------------------------------------------------------------------------------------------


def _too_long(labels: LabelSet, too_long: Mapping[str, int | None], context_length: int, model: str) -> list[Finding]:
    findings = []
    for label, prompts in zip(labels.concepts, labels.concept_prompts, strict=True):
        for prompt in prompts:
            if prompt not in too_long:
                continue
            tokens = too_long[prompt]
            length = (
                f"has {tokens} tokens"
                if tokens is not None
                else "is too long (by how much, only the model's own tokenizer could say, which needs torch)"
            )
            findings.append(
                Finding(
                    "too-long",
                    WARNING,
                    (label, prompt),
                    f"the prompt {length}; {model} reads {context_length}, and cuts off the rest",
                    "shorten it, or split it into several prompts of the label, which are averaged",
                    (),
                    {"context_length": context_length, **({} if tokens is None else {"tokens": tokens})},
                )
            )
    return findings


# --- pairs of labels --------------------------------------------------------------------------------------------------


def usual_distance(vectors: FloatArray) -> float:
    """The median distance between two different label vectors; for more than a thousand, every k-th is taken."""
    some = vectors[:: -(-len(vectors) // _SAMPLE)].astype(np.float64)
    i, j = np.triu_indices(len(some), 1)
    return float(np.median(distances(some, some)[i, j])) if len(i) else 0.0


def distances(a: npt.NDArray[np.floating], b: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Euclidean distances between unit vectors, float64 (len(a), len(b)): ``sqrt(2 − 2 cos)``."""
    return np.sqrt(np.maximum(0.0, 2 - 2 * (a.astype(np.float64) @ b.T.astype(np.float64))))


def close_pairs(vectors: FloatArray, answer_of: Sequence[int]) -> dict[tuple[int, int], float]:
    """Pairs of concepts with different answers whose vectors nearly coincide, with their distance as a fraction of the
    usual one.
    """
    usual = usual_distance(vectors)
    answers = np.asarray(answer_of)
    limit = CLOSE * usual if len(vectors) >= FEW else SAME
    limit = max(limit, SAME)
    found = {}
    for start in range(0, len(vectors), 1024):
        apart = distances(vectors[start : start + 1024], vectors)
        rows, columns = np.nonzero(apart < limit)
        for i, j in zip((rows + start).tolist(), columns.tolist(), strict=True):
            if i < j and answers[i] != answers[j]:
                found[i, j] = float(apart[i - start, j] / usual) if usual > SAME else 0.0
    return found


@dataclass(frozen=True, slots=True)
class CloseConcepts:
    """Two concepts, on the images that either of them wins.

    Attributes:
        won: number of such images.
        together: share of these on which the other one is second.
        lead: median difference of their logits there.
        images: those images, the closest first.
    """

    won: int
    together: float
    lead: float
    images: IdArray


def neighbours(standings: Standings, i: int, j: int) -> CloseConcepts:
    """How two concepts compete on photos."""
    first, second = standings.first, standings.second
    won = (first == i) | (first == j)
    next_to = won & ((second == i) | (second == j))
    images = np.flatnonzero(next_to)
    leads = standings.lead[images]
    return CloseConcepts(
        int(won.sum()),
        len(images) / max(1, int(won.sum())),
        float(np.median(leads)) if len(images) else math.inf,
        images[np.argsort(leads, kind="stable")],
    )


def _pairs_on_photos(standings: Standings, answer_of: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs that might coincide on photos: those that take the first two places often enough."""
    c = len(standings.among_best)
    if c < FEW or not len(standings.first):
        return []
    low, high = np.minimum(standings.first, standings.second), np.maximum(standings.first, standings.second)
    pairs, counts = np.unique(low * c + high, return_counts=True)
    won = np.bincount(standings.first, minlength=c)
    i, j = pairs // c, pairs % c
    enough = (won[i] + won[j] >= MIN_WON) & (counts >= NEXT_TO_EACH_OTHER * (won[i] + won[j]))
    return [(a, b) for a, b in zip(i[enough].tolist(), j[enough].tolist(), strict=True) if answer_of[a] != answer_of[b]]


def _collisions(
    labels: LabelSet, vectors: FloatArray, standings: Standings, view: View, images: IdArray
) -> list[Finding]:
    close = close_pairs(vectors, labels.answer_of)
    findings = []
    for i, j in sorted({*close, *_pairs_on_photos(standings, labels.answer_of)}):
        on_photos = neighbours(standings, i, j)
        toss_up = on_photos.won >= MIN_WON and on_photos.together >= NEXT_TO_EACH_OTHER and on_photos.lead < TOSS_UP
        if (i, j) not in close and not toss_up:
            continue
        said = []
        if (i, j) in close:
            said.append(
                f"the distance of their vectors is {close[i, j]:.0%} of what is usual for two labels of this set"
            )
        if on_photos.won:
            said.append(
                f"of the {on_photos.won} photos that either wins, the other is second on {on_photos.together:.0%}"
                + (f", with odds of typically {_odds(on_photos.lead)}" if len(on_photos.images) else "")
            )
        measures = {"cosine": float(vectors[i] @ vectors[j]), "won": on_photos.won, "together": on_photos.together}
        if (i, j) in close:
            measures["relative_distance"] = close[i, j]
        if len(on_photos.images):
            measures["lead"] = on_photos.lead
        findings.append(
            Finding(
                "collision",
                WARNING,
                (labels.concepts[i], labels.concepts[j]),
                "; ".join(said),
                "leave one out, put both in a group, or make their prompts say what distinguishes them",
                tuple(view.paths[n] for n in images[on_photos.images[:EXAMPLES]]),
                measures,
            )
        )
    return findings


def _odds(lead: float) -> str:
    odds = math.exp(min(lead, 50.0))
    return f"{odds:.1f} to 1" if odds < 100 else "more than 100 to 1"


# --- single labels ----------------------------------------------------------------------------------------------------


def _hubs(labels: LabelSet, standings: Standings, view: View, images: IdArray) -> list[Finding]:
    """Answers that win nearly everything, and concepts that are nearly always among the best."""
    n, findings = len(images), []
    if not n:
        return []
    names = labels.answers
    won = np.bincount(standings.answer, minlength=len(names)) / n
    n_concepts = np.bincount(labels.answer_of, minlength=len(names))
    chance = n_concepts / len(labels.concepts)
    for answer in np.flatnonzero((won > halfway(chance)) & (chance < 1)).tolist():
        mine = np.flatnonzero(standings.answer == answer)
        closest = mine[np.argsort(standings.lead[mine], kind="stable")[:EXAMPLES]]
        findings.append(
            Finding(
                "hub",
                WARNING,
                (names[answer],),
                f"it wins {won[answer]:.0%} of the photos; its fair share is {chance[answer]:.0%}",
                "if most photos do not show it, make its prompts narrower, or remove it"
                if names[answer] != NONE
                else "if these photos should be answered, add labels for what they show, or remove negatives",
                tuple(view.paths[p] for p in images[closest]),
                {"won": float(won[answer]), "chance": float(chance[answer])},
            )
        )
    share = standings.among_best / n
    known = {finding.words[0] for finding in findings}
    by_chance = standings.k / len(labels.concepts)
    if standings.k < 2:
        return findings  # then only the winners are among the best
    for concept in np.flatnonzero(share > halfway(np.array(by_chance))).tolist():
        if labels.answers[labels.answer_of[concept]] in known:
            continue
        losing = np.flatnonzero(standings.first != concept)[:EXAMPLES]
        findings.append(
            Finding(
                "hub",
                WARNING,
                (labels.concepts[concept],),
                f"it is among the best {standings.k} of {len(labels.concepts)} labels for {share[concept]:.0%} of the "
                f"photos; by chance it would be for {by_chance:.0%}",
                "it is near everything, whatever a photo shows: make its prompts more concrete, or remove it",
                tuple(view.paths[p] for p in images[losing]),
                {"among_best": float(share[concept]), "chance": by_chance, "k": standings.k},
            )
        )
    return findings


def halfway(chance: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Halfway between chance and everything."""
    middle: npt.NDArray[np.float64] = (1 + chance) / 2
    return middle


def _never(labels: LabelSet, standings: Standings, view: View, images: IdArray) -> list[Finding]:
    """Answers that win no photo at all, with the photo where they come closest."""
    if not len(images) or len(labels.answers) < 2:
        return []
    won = np.bincount(standings.answer, minlength=len(labels.answers))
    answer_of = np.asarray(labels.answer_of)
    findings = []
    for answer in np.flatnonzero(won == 0).tolist():
        if labels.answers[answer] == NONE:
            continue
        concepts = np.flatnonzero(answer_of == answer)
        best = int(concepts[standings.behind[concepts].argmin()])
        image, behind = int(standings.closest[best]), float(standings.behind[best])
        winner = labels.answers[int(standings.answer[image])]
        findings.append(
            Finding(
                "never-wins",
                INFO,
                (labels.answers[answer],),
                f"it wins no photo; where it comes closest, {winner!r} leads with odds of {_odds(behind)}",
                "if there are photos of it, reconsider its wording; otherwise remove it",
                (view.paths[int(images[image])],),
                {"behind": behind},
            )
        )
    return findings
