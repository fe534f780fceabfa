"""Plots of what the other benchmarks measured, from the JSON that they write.

    python benchmarks/versus.py --json versus.json && python benchmarks/growth.py --json growth.json
    python benchmarks/plots.py versus.json growth.json [--to docs/benchmarks]

Needs matplotlib, which comes with the development extra. One idea per plot.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Document = dict[str, Any]

MINE, THEIRS = "#1f6f8b", "#b9b9b9"
SIZE_INCHES, DPI = (7.0, 3.8), 110
OUTPUT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"
NEW, AGAIN, LARGE = "first label set, all photos new", "second label set, same photos", "12-megapixel JPEGs, all new"
LOG_MARGIN = 3  # on a logarithmic axis, room for the numbers beside the bars


def label_sets(document: Document) -> Figure:
    """Seconds of the first and of the second label set; logarithmic, because that is the point."""
    rows = [row for row in document["rows"] if row["model"] != "nano" and row["seconds"]]
    first = {row["who"]: row for row in rows if row["task"] == NEW}
    second = {row["who"]: row for row in rows if row["task"] == AGAIN}
    names = [name for name in first if name in second]
    n_photos = first[names[0]]["count"]
    figure, axes = new(f"20 labels over {n_photos:,} photos, {first[names[0]]['model']}: seconds per label set")
    positions = range(len(names))
    for offset, (rows_of, which, opacity) in enumerate(((first, "1st", 1.0), (second, "2nd", 0.55))):
        values = [rows_of[name]["seconds"] for name in names]
        where = [position + 0.38 * (offset - 0.5) for position in positions]
        colours = [MINE if name.startswith("zsindex") else THEIRS for name in names]
        bars = axes.barh(where, values, height=0.36, color=colours, alpha=opacity, edgecolor="white")
        axes.bar_label(bars, labels=[f"{which}: {seconds(value)}" for value in values], padding=3, fontsize=8)
    named(axes, names)
    axes.set_xscale("log")
    left, right = axes.get_xlim()
    axes.set_xlim(left / LOG_MARGIN, right * LOG_MARGIN)
    axes.set_xlabel("seconds (logarithmic). 1st: photos new; 2nd: other labels")
    return figure


def throughput(task: str, title: str) -> Callable[[Document], Figure]:
    """Photos per second of a task, for every contestant and the first model."""

    def draw(document: Document) -> Figure:
        rows = [row for row in document["rows"] if row["task"] == task and row["model"] != "nano" and row["seconds"]]
        rates: dict[str, float] = {}
        for row in rows:  # of large photos each contestant is listed once against each way to decode
            rates.setdefault(row["who"].partition(", against")[0], row["count"] / row["seconds"])
        figure, axes = new(f"{title}, {rows[0]['count']:,} photos, {rows[0]['model']}")
        colours = [MINE if name.startswith("zsindex") else THEIRS for name in rates]
        bars = axes.barh(range(len(rates)), list(rates.values()), height=0.65, color=colours)
        axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
        named(axes, list(rates))
        axes.set_xlim(right=max(rates.values()) * 1.12)
        axes.set_xlabel("photos per second")
        return figure

    return draw


def growth(quantity: str, title: str, unit: str, *, from_zero: bool) -> Callable[[Document], Figure]:
    """A quantity of each stage over the number of photos."""

    def draw(document: Document) -> Figure:
        figure, axes = new(f"{title} ({document['model']})")
        stages = list(dict.fromkeys(row["stage"] for row in document["rows"]))
        for stage, marker in zip(stages, "os^Dv", strict=False):
            rows = [row for row in document["rows"] if row["stage"] == stage]
            axes.plot([row["size"] for row in rows], [row[quantity] for row in rows], marker=marker, label=stage)
        axes.set_xscale("log")
        if from_zero:
            axes.set_ylim(bottom=0)
        else:
            axes.set_yscale("log")
        axes.set_xlabel("photos in the library (logarithmic)")
        axes.set_ylabel(unit)
        axes.grid(visible=True, color="#e5e5e5")
        axes.legend(frameon=False, fontsize=8)
        return figure

    return draw


# By benchmark: the file's name, the task that it needs, and what draws it.
PLOTS: dict[str, dict[str, tuple[str | None, Callable[[Document], Figure]]]] = {
    "versus": {
        "label-sets.png": (AGAIN, label_sets),
        "new-photos.png": (NEW, throughput(NEW, "New photos, classified by 20 labels")),
        "large-photos.png": (LARGE, throughput(LARGE, "New 12-megapixel JPEGs")),
    },
    "growth": {
        "growth-time.png": (None, growth("seconds", "Time of each stage", "seconds (logarithmic)", from_zero=False)),
        "growth-memory.png": (None, growth("peak_mb", "Greatest memory of the process", "MB", from_zero=True)),
    },
}


def new(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE_INCHES, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=10, loc="left")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def named(axes: Axes, names: Sequence[str]) -> None:
    """Names of horizontal bars, the first one on top."""
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()


def seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{value:.2g} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--to", type=Path, default=OUTPUT, metavar="FOLDER")
    arguments = parser.parse_args()
    mpl.rcParams["font.family"] = "DejaVu Sans"  # comes with matplotlib: the same picture everywhere
    arguments.to.mkdir(parents=True, exist_ok=True)
    for file in arguments.results:
        document = json.loads(file.read_text(encoding="utf-8"))
        tasks = {row.get("task") for row in document["rows"]}
        for name, (task, draw) in PLOTS[document["benchmark"]].items():
            if task is not None and task not in tasks:  # a run of some tasks only
                continue
            draw(document).savefig(arguments.to / name, metadata={"Software": None})
            print(arguments.to / name)


if __name__ == "__main__":
    main()
