"""Reports of evaluations for people: plots, and a self-contained page with tables.

The only module that imports matplotlib, and only when a plot is asked for.
"""

from __future__ import annotations

import base64
import html
import io
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from zsindex.errors import ExtraMissing
from zsindex.lab.evaluate import Evaluation, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from zsindex.classification.by import Counts
    from zsindex.lab.bootstrap import Estimate
    from zsindex.records import FloatArray, IdArray

MINE, OTHER, GREY = "#1f6f8b", "#d1495b", "#8a8a8a"
COLOURS = (MINE, OTHER, "#edae49", "#66a182", "#2e4057", "#9d6ac2", "#c98474", "#4d8fd1")
DPI = 130
# Of groups of points, as the page has them: told apart also by who sees few colours, and by their shapes. More groups
# than a legend is read of are one.
APART = ("#0072b2", "#d55e00", "#00835f", "#b0467f", "#806600", "#5b4a9e", "#1b8fb8", "#8c2f00")
SHAPES = ("o", "s", "^", "D", "P", "v", "X")
MOST_GROUPS = 24
MOST_LETTERS = 40
# Points that are drawn one by one, each in the shape of its group; more are dots, in colours alone.
MOST_DRAWN = 20_000
# Labels of a confusion matrix that is still legible.
MOST_LABELS = 30
NAMES = {
    "top1": "top-1",
    "top5": "top-5",
    "precision": "precision, mean over labels",
    "recall": "recall, mean over labels",
    "f1": "F1, mean over labels",
    "map": "mean average precision",
    "ece": "expected calibration error",
    "auroc": "AUROC, some label against none",
    "fpr95": "false positives at 95 % recall",
}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.2em; margin-top: 2em; }
table { border-collapse: collapse; margin: 1em 0; } caption { text-align: left; font-weight: 600; padding: .3em 0; }
th, td { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } .text td { text-align: left; }
small { color: #666; } img { max-width: 100%; } .wide { overflow-x: auto; }
"""


def report(result: Evaluation, kind: str) -> bytes:
    """An evaluation as a picture (``png``), or as a page with tables and pictures (``html``).

    Raises:
        ExtraMissing: matplotlib is not installed.
    """
    with _fonts("a report has plots"):
        return _png(overview(result)) if kind == "png" else _page(result).encode()


@contextmanager
def _fonts(why: str) -> Iterator[None]:
    """Fonts for any script, while something is drawn.

    Raises:
        ExtraMissing: matplotlib is not installed.
    """
    try:
        from matplotlib import font_manager, rc_context
    except ImportError as error:
        raise ExtraMissing("matplotlib", extra="plots", why=why) from error
    # Labels may be in any script: after the usual font, use whatever is installed that covers more.
    more = [f for f in font_manager.get_font_names() if f.startswith(("Noto Sans CJK JP", "IPAexGothic", "Hiragino"))]
    with rc_context({"font.family": ["DejaVu Sans", *sorted(more)[:1]]}), warnings.catch_warnings():
        # If no font covers a script, its letters become boxes; the tables of a page still show them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def counts(counted: Counts, kind: str) -> bytes:
    """Photos of each answer by something: columns over time, bars for all else; a picture (``png``, ``svg``, ``pdf``).

    Raises:
        ExtraMissing: matplotlib is not installed.
    """
    with _fonts("counts are drawn with it"):
        return _saved(_counted(counted), kind)


def scatter(points: FloatArray, names: Sequence[str], of: IdArray, title: str, kind: str) -> bytes:
    """Points of a map, each group of them in a colour of its own; a picture (``png``, ``svg``, ``pdf``).

    Args:
        points: float32 (n, 2).
        names: of the groups.
        of: int64 (n,): the group of each; -1 for none.

    Raises:
        ExtraMissing: matplotlib is not installed.
    """
    with _fonts("a map is drawn with it"):
        return _saved(_scattered(points, names, of, title), kind)


def overview(result: Evaluation) -> Figure:
    """All plots in one figure: measures of every report; reliability and confusion of the first."""
    first = result.reports[0]
    has_confusion = bool(first.confusions)
    n = len(_confused(first)) if has_confusion else 0
    heights = [_measures_height(result), 4.2, *([_confusion_size(n)] if has_confusion else [])]
    figure = _figure(8.5, sum(heights) + 0.6 * len(heights))
    axes = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    _draw_measures(axes[0], result)
    _draw_reliability(axes[1], first)
    if has_confusion:
        _draw_confusion(axes[2], first)
    return figure


def measures(result: Evaluation) -> Figure:
    """Every measure of every report, with its interval."""
    figure = _figure(8.5, _measures_height(result))
    _draw_measures(figure.subplots(), result)
    return figure


def reliability(one: Report) -> Figure:
    """How often answers are right against how confident they are."""
    figure = _figure(5.2, 4.6)
    _draw_reliability(figure.subplots(), one)
    return figure


def confusion(one: Report) -> Figure:
    """Answers against what photos show."""
    size = _confusion_size(len(_confused(one)))
    figure = _figure(size + 1.5, size)
    _draw_confusion(figure.subplots(), one)
    return figure


def _counted(counted: Counts) -> Figure:
    """The answers with the most photos, each in its colour, the others together in grey; expected counts as points."""
    totals = counted.counts.sum(axis=0)
    order = np.argsort(-totals, kind="stable")
    shown, rest = order[: len(COLOURS)], order[len(COLOURS) :]
    parts = [(counted.labels[c], COLOURS[i], [c]) for i, c in enumerate(shown.tolist())]
    if len(rest):
        parts.append(("all others", GREY, rest.tolist()))
    n = len(counted.keys)
    upright = counted.by.is_time
    figure = _figure(min(max(6.0, 0.28 * n + 2), 40), 4.5) if upright else _figure(8.5, min(max(2.5, 0.28 * n + 1), 60))
    axes, at, width = figure.subplots(), np.arange(n), 0.8 / len(parts)
    draw = axes.bar if upright else axes.barh
    for i, (name, colour, which) in enumerate(parts):
        place = at + (i + 0.5) * width - 0.4
        draw(place, counted.counts[:, which].sum(axis=1), width, color=colour, label=name)
        if counted.expected is not None:
            expected = counted.expected[:, which].sum(axis=1)
            x, y = (place, expected) if upright else (expected, place)
            axes.plot(x, y, "o", color="#222", markersize=2.5, label="expected" if i == 0 else None)
    names = [key or "unknown" for key in counted.keys]
    if upright:
        axes.set_xticks(at, names, rotation=90 if n > 8 else 0)
        axes.set_ylabel("photos")
    else:
        axes.set_yticks(at, names)
        axes.invert_yaxis()
        axes.set_xlabel("photos")
    axes.legend(fontsize="small", frameon=False)
    axes.set_title(f"photos by {counted.by}")
    return figure


def _scattered(points: FloatArray, names: Sequence[str], of: IdArray, title: str) -> Figure:
    """The groups with the most points, each in its colour and shape; all others in grey, below them."""
    from matplotlib.lines import Line2D

    sizes = np.bincount(of[of >= 0], minlength=len(names))
    order = np.argsort(-sizes, kind="stable")[: int(np.count_nonzero(sizes))]
    n = len(points)
    most = MOST_GROUPS if n <= MOST_DRAWN else len(APART)
    shown, rest = order[:most], order[most:]
    shapes = SHAPES if n <= MOST_DRAWN else SHAPES[:1]
    looks = [(APART[i % len(APART)], shapes[i % len(shapes)]) for i in range(len(shown))]
    rank = np.full(len(names) + 1, -1)
    rank[shown] = np.arange(len(shown))
    ranks = rank[of]  # the last one is that of -1
    size = float(np.clip(2e4 / max(n, 1), 1.0, 22.0))
    figure = _figure(9.5, 7.0)
    axes = figure.subplots()

    def draw(which: IdArray, colours: str | list[str], shape: str) -> None:
        x, y = points[which].T
        # One by one, a hundred thousand would make a drawing of 20 MB.
        axes.scatter(x, y, s=size, c=colours, marker=shape, linewidths=0, rasterized=n > MOST_DRAWN)

    draw(np.flatnonzero(ranks < 0), GREY, "o")
    # In no order, or the last group would lie on all others.
    mixed = np.random.default_rng(0).permutation(np.flatnonzero(ranks >= 0))
    for shape in shapes:
        here = mixed[np.array([looks[k][1] == shape for k in ranks[mixed].tolist()], dtype=bool)]
        draw(here, [looks[k][0] for k in ranks[here].tolist()], shape)
    axes.set_aspect("equal")
    axes.invert_yaxis()  # as on the page
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, loc="left", parse_math=False)
    told = [(*look, names[k], sizes[k]) for look, k in zip(looks, shown.tolist(), strict=True)]
    if len(rest):
        told.append((GREY, "o", f"{len(rest):,} others", sizes[rest].sum()))
    if len(names) and (of < 0).any():
        told.append((GREY, "o", "none", np.count_nonzero(of < 0)))
    if told:
        handles = [Line2D([], [], color=colour, marker=shape, linestyle="", markersize=6) for colour, shape, *_ in told]
        legend = figure.legend(
            handles, [""] * len(told), loc="outside right upper", fontsize="small", frameon=False, handletextpad=0.2
        )
        for text, (_, _, name, count) in zip(legend.get_texts(), told, strict=True):
            text.set_parse_math(False)  # a label may have a dollar sign; set here, as one may begin with an underscore
            text.set_text(f"{_short(name)}  {count:,}")
    return figure


def _short(name: str) -> str:
    """A name that leaves room for the picture; of a path the end tells it from others."""
    return name if len(name) <= MOST_LETTERS else f"…{name[1 - MOST_LETTERS :]}"


# --- drawing ----------------------------------------------------------------------------------------------------------


def _figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def _shown_measures(result: Evaluation) -> list[str]:
    return [name for name in NAMES if any(name in one.summary for one in result.reports)]


def _measures_height(result: Evaluation) -> float:
    return 0.9 + len(_shown_measures(result)) * (0.22 * len(result.reports) + 0.16)


def _draw_measures(axes: Axes, result: Evaluation) -> None:
    names, n = _shown_measures(result), len(result.reports)
    colours = [MINE, OTHER, "#edae49", "#66a182", "#2e4057", GREY]
    for i, one in enumerate(result.reports):
        rows = [(at, one.summary[name]) for at, name in enumerate(names) if name in one.summary]
        y = np.array([at for at, _ in rows]) + 0.7 * ((i + 0.5) / n - 0.5)
        x = np.array([100 * e.value for _, e in rows])
        low, high = (np.array([100 * end for end in ends]) for ends in zip(*(_ends(e) for _, e in rows), strict=True))
        colour = colours[i % len(colours)]
        # Drawn separately: for a biased measure such as the calibration error, the interval need not contain the value.
        axes.hlines(y, low, high, color=colour, linewidth=1.4)
        axes.plot(x, y, "o", color=colour, ms=4, label=one.name)
        ends = np.maximum(x, high)
        for value, at, end in zip(x, y, ends, strict=True):
            axes.annotate(
                f"{value:.1f}", (end, at), (5, 0), textcoords="offset points", va="center", fontsize=7, color="#444"
            )
    axes.set_yticks(range(len(names)), [NAMES[name] for name in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.set_xlim(0, 110)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("percent, with 95 % intervals")
    axes.grid(axis="x", color="#eee")
    axes.set_axisbelow(True)
    axes.set_title(f"{len(result.paths):,} photos compared with {result.truth}", fontsize=10, loc="left")
    if n > 1:
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)


def _ends(estimate: Estimate) -> tuple[float, float]:
    """Ends of the interval; the value itself if there is none."""
    if math.isnan(estimate.low):
        return estimate.value, estimate.value
    return estimate.low, estimate.high


def _draw_reliability(axes: Axes, one: Report) -> None:
    bins = one.reliability
    width = bins[0].high - bins[0].low if bins else 1
    axes.bar([b.low for b in bins], [b.accuracy for b in bins], width, align="edge", color=MINE, edgecolor="white")
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    axes.plot([b.confidence for b in bins], [b.accuracy for b in bins], "o", color=OTHER, ms=3)
    for b in bins:
        axes.annotate(
            f"{b.photos}", (b.low + width / 2, b.accuracy), (0, 3), textcoords="offset points", ha="center", fontsize=6
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.06)
    axes.set_xlabel("confidence: score of the best answer")
    axes.set_ylabel("share answered right")
    axes.set_title(
        f"Reliability of {one.name}: calibration error {100 * one.summary['ece'].value:.1f} %\n"
        "below the dashed line: more confident than right; numbers are photos",
        fontsize=9,
        loc="left",
    )


def _confused(one: Report) -> list[str]:
    """All labels; if there are too many, those with the most mistakes, in order."""
    labels = [label.label for label in one.labels]
    if len(labels) <= MOST_LABELS:
        return labels
    wrong = dict.fromkeys(labels, 0)
    for cell in one.mistakes:
        for label in (cell.truth, cell.answer):
            if label in wrong:
                wrong[label] += cell.photos
    worst = sorted(labels, key=lambda label: -wrong[label])[:MOST_LABELS]
    return [label for label in labels if label in worst]


def _confusion_size(n: int) -> float:
    return max(3.5, 1.6 + 0.26 * n)


def _draw_confusion(axes: Axes, one: Report) -> None:
    labels = _confused(one)
    counts = one.matrix(labels)
    photos = {label.label: label.photos for label in one.labels}
    shares = counts / np.maximum([photos[label] for label in labels], 1)[:, None]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if shares[row, column] > 0.5 else "#333"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=6, color=colour)
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=7)
    axes.set_xlabel("answered")
    axes.set_ylabel("shows")
    some = f"; the {len(labels)} most confused of {len(one.labels)} labels" if len(labels) < len(one.labels) else ""
    axes.set_title(f"Confusion of {one.name}: photos{some}", fontsize=9, loc="left")


def _png(figure: Figure) -> bytes:
    return _saved(figure, "png")


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind)
    return buffer.getvalue()


# --- the page ---------------------------------------------------------------------------------------------------------


def _page(result: Evaluation) -> str:
    shown = _shown_measures(result)
    first = result.reports[0]
    parts = [
        f"<h1>{len(result.paths):,} photos compared with {html.escape(result.truth)}</h1>",
        _left_out(result),
        _table(
            "Measures in percent, with 95 % intervals",
            ["", *(NAMES[name] for name in shown)],
            [[one.name, *(_percent(one.summary.get(name)) for name in shown)] for one in result.reports],
        ),
    ]
    if len(result.reports) > 1:
        rows = [[one.name, *(_percent(one.differences.get(n), sign=True) for n in shown)] for one in result.reports[1:]]
        parts.append(
            _table(f"Differences from {first.name}, on the same photos", ["", *(NAMES[n] for n in shown)], rows)
        )
    parts.append(_image(measures(result), "measures"))
    for one in result.reports:
        parts.append(f"<h2>{html.escape(one.name)}</h2>")
        about = [f"model {one.about.get('model')}", f"run {one.about.get('run')}"]
        parts.append(f"<p><small>{html.escape(', '.join(about))}</small></p>")
        parts.append(_image(reliability(one), "reliability"))
        if one.confusions:
            parts.append(_image(confusion(one), "confusion"))
        if one.mistakes:
            rows = [[cell.truth, cell.answer, str(cell.photos)] for cell in one.mistakes[:20]]
            parts.append(_table("Most frequent mistakes", ["shows", "answered", "photos"], rows))
        parts.append(
            _table(
                "Labels, in percent",
                ["", "photos", "answered", "precision", "recall", "F1", "average precision"],
                [
                    [
                        label.label,
                        str(label.photos),
                        str(label.answered),
                        *(_percent(e) for e in (label.precision, label.recall, label.f1, label.average_precision)),
                    ]
                    for label in one.labels
                ],
            )
        )
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>zsindex eval</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _left_out(result: Evaluation) -> str:
    said = [
        (len(result.left_out), "whose truth no label names"),
        (len(result.not_held), "that are not in the library"),
        (len(result.unanswered), "without a vector"),
        (len(result.without_truth), "of the library without truth"),
    ]
    lines = [f"{n:,} photos {what}" for n, what in said if n]
    if result.unknown_labels:
        lines.append("no label for " + ", ".join(f"{name} ({n:,})" for name, n in result.unknown_labels.items()))
    return f"<p>Left out: {html.escape('; '.join(lines))}.</p>" if lines else ""


def _table(caption: str, header: Iterable[str], rows: Sequence[Iterable[str]]) -> str:
    def line(tag: str, cells: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "\n".join(line("td", row) for row in rows)
    return (
        f'<div class="wide"><table><caption>{html.escape(caption)}</caption>\n<thead>{line("th", header)}</thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def _percent(estimate: Estimate | None, *, sign: bool = False) -> str:
    if estimate is None or math.isnan(estimate.value):
        return ""
    plus = "+" if sign else ""
    interval = (
        "" if math.isnan(estimate.low) else f" ({100 * estimate.low:{plus}.1f} … {100 * estimate.high:{plus}.1f})"
    )
    return f"{100 * estimate.value:{plus}.1f}{interval}"


def _image(figure: Figure, what: str) -> str:
    return f'<p><img alt="{what}" src="data:image/png;base64,{base64.b64encode(_png(figure)).decode()}"></p>'
