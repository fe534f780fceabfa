"""Which of several templates earn their place, without truth: from what each answers alone, and what the others do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from zsindex.classification.prompts import fill
from zsindex.classification.view import View
from zsindex.lab.findings import INFO, WARNING, Finding, TemplateMeasures
from zsindex.records import FloatArray, LabelSet

# Two templates are alike if their label vectors, relative to their means, have this cosine, and they give the same
# answer to this share of the photos.
ALIKE_COSINE, ALIKE_ANSWERS = 0.98, 0.995
# Below this fraction of what is usual among the templates, a spread or an agreement is out of line.
OUT_OF_LINE_SPREAD, OUT_OF_LINE_AGREEMENT = 0.5, 0.75
# Labels to check, and multiplications for all templates together: a few seconds. Of more, every k-th is taken.
MOST_LABELS = 1000
MOST_PRODUCTS = 2e11
EXAMPLES = 3


def vectors_by_template(view: View, labels: LabelSet) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """One vector per template and label, and which labels have prompts from templates.

    For labels whose prompts were written out, all vectors are the label's own. Of more than `MOST_LABELS` labels, every
    k-th is taken.

    Returns:
        float32 (t, c, dim) and bool (c,).
    """
    chosen = range(0, len(labels), -(-len(labels) // MOST_LABELS))
    whole = view.text_vectors(labels)[: len(labels)]
    prompts = [[fill(template, labels.labels[n]) for n in chosen] for template in labels.templates]
    templated = np.array(
        [all(texts[i] in labels.prompts[n] for texts in prompts) for i, n in enumerate(chosen)], dtype=bool
    )
    vectors = np.empty((len(prompts), len(chosen), view.info.dim), dtype=np.float32)
    vectors[:] = whole[list(chosen)]
    for t, texts in enumerate(prompts):
        wanted = [text for text, is_templated in zip(texts, templated.tolist(), strict=True) if is_templated]
        if wanted:
            vectors[t, templated] = view.embed(wanted)
    return vectors, templated


def check_templates(
    view: View, labels: LabelSet, images: npt.NDArray[np.int64]
) -> tuple[list[Finding], list[TemplateMeasures]]:
    """Compare the templates of a label set with each other; returns nothing for fewer than two templates or labels.

    Args:
        images: numbers of photos, one per image.
    """
    if len(labels.templates) < 2 or len(labels) < 2:
        return [], []
    vectors, templated = vectors_by_template(view, labels)
    if not templated.any():
        return [], []
    products = len(images) * vectors.size
    photos = images[:: max(1, int(np.ceil(products / MOST_PRODUCTS)))]
    alone, margins, others, both = _answers(view, photos, vectors)
    agreement = (alone == others).mean(axis=1) if len(photos) else np.ones(len(vectors))
    changed = (others != both).mean(axis=1) if len(photos) else np.zeros(len(vectors))
    spread = np.sqrt(((vectors - vectors.mean(axis=1, keepdims=True)) ** 2).sum(axis=2).mean(axis=1))
    measures = [
        TemplateMeasures(template, float(a), float(c), float(m), float(s))
        for template, a, c, m, s in zip(labels.templates, agreement, changed, margins, spread, strict=True)
    ]
    show = _Examples(view, photos, alone, others)
    findings = _drowning(measures, show)
    found = {finding.words[0] for finding in findings}
    findings += [finding for finding in _disagreeing(measures, show) if finding.words[0] not in found]
    findings += _alike(labels.templates, vectors, alone)
    return findings, measures


def _answers(
    view: View, photos: npt.NDArray[np.int64], vectors: FloatArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Best labels (t, n) from each template alone, from all others, and from all; and mean margins (t,) alone."""
    total = vectors.sum(axis=0)
    n_templates = len(vectors)
    alone, others = (np.empty((n_templates, len(photos)), dtype=np.int64) for _ in range(2))
    both = np.empty((1, len(photos)), dtype=np.int64)
    margins = np.zeros(n_templates)
    whole = _unit(total)
    for start in range(0, len(photos), 1024):
        part = slice(start, start + 1024)
        block = view.take(photos[part])
        both[0, part] = (block @ whole.T).argmax(axis=1)
        for t in range(n_templates):
            cosines = block @ vectors[t].T
            alone[t, part] = cosines.argmax(axis=1)
            two = -np.partition(-cosines, 1, axis=1)[:, :2]
            margins[t] += float((two[:, 0] - two[:, 1]).sum())
            others[t, part] = (block @ _unit(total - vectors[t]).T).argmax(axis=1)
    return alone, view.info.logit_scale * margins / max(1, len(photos)), others, both


def _unit(rows: FloatArray) -> FloatArray:
    unit: FloatArray = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    return unit


class _Examples:
    """Photos that a template alone answers differently from the others."""

    def __init__(
        self,
        view: View,
        photos: npt.NDArray[np.int64],
        alone: npt.NDArray[np.int64],
        others: npt.NDArray[np.int64],
    ) -> None:
        self._view, self._photos, self._differ = view, photos, alone != others

    def __call__(self, template: int) -> tuple[str, ...]:
        return tuple(self._view.paths[n] for n in self._photos[self._differ[template]][:EXAMPLES])


def _drowning(measures: Sequence[TemplateMeasures], show: _Examples) -> list[Finding]:
    """Templates in which the label hardly matters."""
    usual = float(np.median([m.spread for m in measures])) if len(measures) > 2 else max(m.spread for m in measures)
    return [
        Finding(
            "template-drowns-labels",
            WARNING,
            (m.template,),
            f"with this template the labels lie {usual / max(m.spread, 1e-9):.1f} times as close together as usual: "
            "its own words drown the label",
            "leave it out, or shorten it; a very long one may also be cut off before the label",
            show(n),
            {"spread": m.spread, "usual_spread": usual, "agreement": m.agreement},
        )
        for n, m in enumerate(measures)
        if m.spread < OUT_OF_LINE_SPREAD * usual
    ]


def _disagreeing(measures: Sequence[TemplateMeasures], show: _Examples) -> list[Finding]:
    """Templates that answer unlike all others; with only two, it is impossible to say which is wrong."""
    if len(measures) < 3:
        return []
    usual = float(np.median([m.agreement for m in measures]))
    return [
        Finding(
            "template-disagrees",
            WARNING,
            (m.template,),
            f"alone it answers {m.agreement:.0%} of the photos like the other templates; {usual:.0%} is usual",
            f"look at the photos, and leave it out if it is wrong; {m.changed:.1%} of the answers would change",
            show(n),
            {"agreement": m.agreement, "usual_agreement": usual, "changed": m.changed, "margin": m.margin},
        )
        for n, m in enumerate(measures)
        if m.agreement < OUT_OF_LINE_AGREEMENT * usual
    ]


def _alike(templates: Sequence[str], vectors: FloatArray, alone: npt.NDArray[np.int64]) -> list[Finding]:
    """Templates that do the same as an earlier one, with one finding per group."""
    # Softmax depends only on differences between label vectors.
    centred = _unit((vectors - vectors.mean(axis=1, keepdims=True)).reshape(len(vectors), -1))
    followers: dict[int, list[int]] = {}
    for t in range(len(templates)):
        for first, others in followers.items():
            same = (alone[t] == alone[first]).mean() if alone.shape[1] else 1.0
            if centred[t] @ centred[first] >= ALIKE_COSINE and same >= ALIKE_ANSWERS:
                others.append(t)
                break
        else:
            followers[t] = []
    return [
        Finding(
            "template-adds-nothing",
            INFO,
            tuple(templates[t] for t in (first, *others)),
            f"alone, each gives at least {ALIKE_ANSWERS:.1%} of the photos the same answer as the first of them",
            "one of them is enough: hardly any answer changes, and questions with new labels get faster",
            (),
            {"cosine": min(float(centred[t] @ centred[first]) for t in others), "templates": len(others) + 1},
        )
        for first, others in followers.items()
        if others
    ]
