"""zsindex eval, zsindex temperature fit|show|remove, zsindex templates attribute"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from . import options
from .output import (
    CSV,
    PATHS,
    destination,
    format_option,
    note,
    plural,
    table,
    write_csv,
    write_json,
    write_names,
    write_ndjson,
)

if TYPE_CHECKING:
    from zsindex import LabelSet, Library
    from zsindex.lab.attribution import Attribution
    from zsindex.lab.bootstrap import Estimate
    from zsindex.lab.evaluate import Evaluation
    from zsindex.where import Where

# How measures are shown: in percent, or as they are.
MEASURES = {
    "top1": "top-1 %",
    "top5": "top-5 %",
    "precision": "precision %",
    "recall": "recall %",
    "f1": "F1 %",
    "map": "mAP %",
    "ece": "ECE %",
    "auroc": "AUROC %",
    "fpr95": "FPR95 %",
}
WORST = 10


def _pairs(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, list[str]]:
    """Other names by name."""
    names: dict[str, list[str]] = {}
    for text in value:
        if text.startswith("@"):
            names |= _pairs_of(text[1:])
            continue
        name, equals, other = text.partition("=")
        if not (name and equals and other):
            raise click.BadParameter(f"{text!r} is not of the form NAME=LABEL")
        names.setdefault(name, []).append(other)
    return names


def _pairs_of(file: str) -> dict[str, list[str]]:
    import json

    text, source, _ = options.read_text(file)
    try:
        content = json.loads(text)
        return {str(n): [o] if isinstance(o, str) else [str(one) for one in o] for n, o in dict(content).items()}
    except (ValueError, TypeError, RecursionError) as error:
        raise click.BadParameter(f"{source} is not a JSON mapping of names to labels: {error}") from error


truth = click.argument("truth", default="folders")
names = click.option(
    "--map",
    "names",
    multiple=True,
    metavar="NAME=LABEL|@FILE",
    callback=_pairs,
    help="The label for a NAME in the truth; or a JSON file of such pairs. Repeatable.",
)
others_are_none = click.option(
    "--others-are-none",
    is_flag=True,
    help="Photos whose truth no label names count as none of these. Default: they are left out.",
)
truth_options = options.together(names, others_are_none)
seed = click.option("--seed", type=options.Whole(min=0), default=0, show_default=True, help="Random seed.")


def resampled(default: int) -> Callable[[options.F], options.F]:
    """The option for how many resamples intervals are made of."""
    return click.option(
        "--resamples",
        type=options.Whole(min=0),
        default=default,
        show_default=True,
        help="Bootstrap resamples for the intervals; 0 for no intervals.",
    )


resamples = resampled(1000)


@click.command(cls=options.Filtered)
@truth
@click.option("-l", "--label", "label", multiple=True, metavar="LABEL", help="A label. Repeatable.")
@click.option(
    "--labels", "label_files", multiple=True, metavar="FILE|-", help="Labels from a file. Repeatable, to compare."
)
@click.option("--label-set", "label_sets", multiple=True, metavar="NAME", help="A saved label set. Repeatable.")
@options.template
@click.option(
    "--compare-templates",
    multiple=True,
    metavar="TEXT|NAME|@FILE",
    help="A template or template set that replaces all prompts, for comparison. Repeatable.",
)
@click.option("--model", "models", multiple=True, help="A model of the library. Repeatable, to compare.")
@options.how_model
@truth_options
@options.filters
@click.option("--activation", type=click.Choice(["softmax", "sigmoid"]), help="Default: as the model was trained.")
@options.temperature
@options.prior
@click.option("--unknown", metavar="METHOD[:RATE]", help="Answer '(none of these)', as in zsindex classify.")
@click.option("--thresholds", is_flag=True, help="Give only answers at or above their thresholds.")
@options.with_corrections
@click.option("--smooth", is_flag=True, help="Answer the photos together, as in zsindex classify.")
@click.option(
    "--coverage",
    type=options.Real(0, 0.999999, min_open=True),
    metavar="SHARE",
    help="Also measure sets of labels, as of zsindex classify --coverage: how often they hold what photos show, where "
    "each half of the photos calibrates the other.",
)
@options.truncate
@resamples
@seed
@click.option(
    "--fail-under",
    type=options.Real(0, 1),
    help="Exit with 3 if top-1 (of the first, if several are compared) is below this.",
)
@click.option(
    "--report",
    type=options.FilePath(dir_okay=False, path_type=Path),
    help="Write tables and plots to FILE.html, or plots to FILE.png.",
)
@format_option
@options.output
@options.library
@options.quiet
@click.pass_context
def eval(
    ctx: click.Context,
    /,
    truth: str,
    label: tuple[str, ...],
    label_files: tuple[str, ...],
    label_sets: tuple[str, ...],
    template: tuple[str, ...],
    compare_templates: tuple[str, ...],
    models: tuple[str, ...],
    names: Mapping[str, list[str]],
    others_are_none: bool,
    paths: tuple[str, ...],
    where: Where | None,
    activation: str | None,
    temperature: float | str | None,
    prior: dict[str, float] | str | None,
    transport: bool,
    unknown: str | None,
    thresholds: bool,
    with_corrections: str | None,
    smooth: bool,
    coverage: float | None,
    truncate: bool,
    resamples: int,
    seed: int,
    fail_under: float | None,
    report: Path | None,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Measure how often answers are right, with 95 % intervals.

    TRUTH is one of: folders (a photo shows what its folder is called); a folder (the same, for photos below it);
    keywords (those that people gave the photos, of a hierarchy each level); corrections or corrections:NAME (what
    zsindex correct recorded); or a CSV file with the columns path and label, where a|b means two labels and paths are
    relative to the file.

    Several label sets, template sets or models are compared with the first one, on the same photos.

    \b
    zsindex eval folders --labels kinds.txt --map t-shirt=T-shirt
    zsindex eval truth.csv --label-set pets --compare-templates default --compare-templates openai-80

    Formats: table; json and ndjson hold everything; csv has a line per measure and label; paths lists the photos that
    the first one gets wrong.
    """
    if report is not None and report.suffix.lower() not in (".html", ".htm", ".png"):
        raise click.BadParameter("its name must end in .html or .png", param_hint="--report")
    with options.open_library(library, quiet=quiet, model=models[0] if models else None, **model) as opened:
        sets = _sets(opened, label, label_files, label_sets, template)
        result = opened.lab.evaluate(
            sets[0],
            truth,
            against=sets[1:],
            templates=[_templates_of(text) for text in compare_templates],
            models=models[1:],
            names=names,
            others_are_none=others_are_none,
            paths=paths or None,
            where=where,
            resamples=resamples,
            seed=seed,
            activation=activation,
            temperature=temperature,
            prior=prior,
            transport=transport,
            unknown=unknown,
            thresholds=thresholds,
            with_corrections=with_corrections,
            smooth=smooth,
            coverage=coverage,
            truncate=truncate,
        )
    if report is not None:
        from zsindex.lab import plots

        with destination(report, binary=True) as out:
            out.write(plots.report(result, "png" if report.suffix.lower() == ".png" else "html"))
        note(f"wrote {report}", quiet=quiet)
    with destination(output) as out:
        _write(result, fmt, out)
    _explain(result, quiet=quiet)
    top1 = result.reports[0].summary["top1"].value if "top1" in result.reports[0].summary else 0.0
    if fail_under is not None and top1 < fail_under:
        note(f"top-1 is {top1:.3f}, below {fail_under:g}", quiet=quiet)
        ctx.exit(3)


def _sets(
    opened: Library,
    label: tuple[str, ...],
    label_files: tuple[str, ...],
    label_sets: tuple[str, ...],
    template: tuple[str, ...],
) -> list[LabelSet]:
    """Everything that names labels, in the order: -l, files, saved sets."""
    from dataclasses import replace

    found = [options.label_set_from(opened, label, None, template, saved=None)] if label else []
    for file in label_files:
        chosen = options.label_set_from(opened, (), file, template, saved=None)
        found.append(replace(chosen, name=Path(file).stem) if len(label_files) > 1 else chosen)
    found.extend(options.label_set_from(opened, (), None, template, saved=name) for name in label_sets)
    if not found:
        raise click.UsageError("name labels with -l/--label, --labels FILE or --label-set NAME")
    return found


def _templates_of(text: str) -> str | Sequence[str]:
    """A template, the name of a set, or the templates of a file."""
    if not text.startswith("@"):
        return text
    from zsindex.classification.prompts import parse_templates

    content, file, key = options.read_text(text[1:])
    return parse_templates(content, source=file, key=key)


@click.group()
@options.library_before
def temperature() -> None:
    """Calibrate scores: fit a temperature to photos with known content."""


@temperature.command()
@truth
@options.which_labels
@options.label_set
@options.template
@truth_options
@options.within
@click.option("--activation", type=click.Choice(["softmax", "sigmoid"]), help="Default: as the model was trained.")
@click.option("--folds", type=options.Whole(min=2), default=5, show_default=True, help="Folds of the cross-validation.")
@seed
@click.option("--dry-run", is_flag=True, help="Only show it; do not keep it.")
@options.truncate
@options.json_flag
@options.library
@options.which_model
@options.quiet
def fit(
    truth: str,
    label: tuple[str, ...],
    label_file: str | None,
    label_set: str | None,
    template: tuple[str, ...],
    names: Mapping[str, list[str]],
    others_are_none: bool,
    paths: tuple[str, ...],
    activation: str | None,
    folds: int,
    seed: int,
    dry_run: bool,
    truncate: bool,
    as_json: bool,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Fit the model's temperature to TRUTH (as in zsindex eval), and keep it for classify --temperature fitted.

    The gain is measured on photos held out of the fit.
    """
    with options.open_library(library, quiet=quiet, **model) as opened:
        fitted = opened.temperature.fit(
            options.label_set_from(opened, label, label_file, template, saved=label_set),
            truth,
            names=names,
            others_are_none=others_are_none,
            paths=paths or None,
            activation=activation,
            truncate=truncate,
            folds=folds,
            seed=seed,
            save=not dry_run,
        )
        spec = str(opened.model.spec)
    if as_json:
        write_json(fitted.to_dict(), sys.stdout)
    else:
        click.echo(_temperature_table(fitted.to_dict()))
    if not dry_run:
        note(f"kept for {spec}. Use it: zsindex classify --temperature fitted", quiet=quiet)


@temperature.command()
@options.json_flag
@options.library
@options.which_model
def show(as_json: bool, library: options.Place | None, **model: Any) -> None:
    """Print the model's fitted temperature, and what it was fitted to."""
    from zsindex.errors import NoTemperature

    with options.open_library(library, **model) as opened:
        found = opened.temperature.get()
        if found is None:
            raise NoTemperature(str(opened.model.spec))
    if as_json:
        write_json(found[1], sys.stdout)
    else:
        click.echo(_temperature_table(found[1]))
        labels = found[1]["label_set"] or ", ".join(found[1]["labels"][:5])
        note(f"fitted to {found[1]['truth']}, labels: {labels}")


@temperature.command()
@options.library
@options.which_model
@options.quiet
def remove(library: options.Place | None, quiet: bool, **model: Any) -> None:
    """Remove the model's fitted temperature."""
    with options.open_library(library, quiet=quiet, **model) as opened:
        opened.temperature.remove()
    note("removed", quiet=quiet)


def _temperature_table(fit: Mapping[str, Any]) -> str:
    rows = [
        [name, f"{value:.6g}", f"{found['nll']:.4f}", f"{100 * found['ece']:.1f}"]
        for name, value, found in (
            ("the model's own", fit["own"], fit["before"]),
            (f"fitted to {plural(fit['photos'], 'photo')}", fit["temperature"], fit["after"]),
        )
    ]
    return table(["", "temperature", "NLL, held out", "ECE %, held out"], rows, align=["left", *["right"] * 3])


# --- what templates do: a subcommand of zsindex templates -----------------------------------------------------------


@click.command("attribute")
@click.argument("truth", required=False)
@options.which_labels
@options.label_set
@options.template
@truth_options
@options.within
@click.option("--activation", type=click.Choice(["softmax", "sigmoid"]), help="Default: as the model was trained.")
@resamples
@seed
@click.option("--top", type=options.Whole(min=1), default=10, show_default=True, help="Labels to show per table.")
@options.truncate
@options.json_flag
@options.library
@options.which_model
@options.quiet
def attribute(
    truth: str | None,
    label: tuple[str, ...],
    label_file: str | None,
    label_set: str | None,
    template: tuple[str, ...],
    names: Mapping[str, list[str]],
    others_are_none: bool,
    paths: tuple[str, ...],
    activation: str | None,
    resamples: int,
    seed: int,
    top: int,
    truncate: bool,
    as_json: bool,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Show which template helps or hurts which label, by leaving each out of the average in turn.

    TRUTH is as in zsindex eval. Without it, only the change of answers and margins is known, not whether it is for the
    better.

    \b
    zsindex templates attribute folders --label-set kinds --template openai-7
    """
    with options.open_library(library, quiet=quiet, **model) as opened:
        chosen = options.label_set_from(opened, label, label_file, (), saved=label_set)
        try:
            found = opened.lab.attribute(
                chosen,
                truth,
                template=template or None,
                names=names,
                others_are_none=others_are_none,
                paths=paths or None,
                activation=activation,
                truncate=truncate,
                resamples=resamples,
                seed=seed,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    if as_json:
        write_json(found.to_dict(), sys.stdout)
    else:
        click.echo(_attribution_tables(found, top))
    note(f"{plural(found.photos, 'photo')}, {found.truth or 'without truth'}", quiet=quiet)


def _attribution_tables(found: Attribution, top: int) -> str:
    if found.top1 is None:
        rows = [(e.template, _percent_of(e.agreement), f"{e.margin:+.3f}") for e in found.templates]
        rows.sort(key=lambda row: float(row[2]))
        labels = sorted(found.labels, key=lambda e: (e.agreement, e.template, e.label))[:top]
        changed = [(e.template, e.label, e.photos, _percent_of(e.agreement), f"{e.margin:+.3f}") for e in labels]
        header = ["template", "same answer without it %", "margin with minus without it"]
        return "\n\n".join(
            [
                table(header, rows, align=["left", "right", "right"]),
                "where a template changes the most answers\n"
                + table(
                    ["template", "label", "photos", *header[1:]],
                    changed,
                    align=["left", "left", "right", "right", "right"],
                ),
            ]
        )
    effects = sorted(found.templates, key=lambda e: 0.0 if e.top1 is None else e.top1.value)
    parts = [
        f"top-1 with all templates: {_percent(found.top1)} %",
        table(
            ["template", "top-1 with minus without it, points", "top-1 alone %", "same answer without it %"],
            [
                (e.template, _percent(e.top1, sign=True), _percent_of(e.alone or 0.0), _percent_of(e.agreement))
                for e in effects
            ],
            align=["left", "right", "right", "right"],
        ),
    ]
    for title, sign in (("hurts most", 1), ("helps most", -1)):
        worst = sorted((e for e in found.labels if e.f1), key=lambda e: (sign * (e.f1 or 0.0), e.template, e.label))
        rows_of = [
            (e.template, e.label, e.photos, f"{100 * (e.f1 or 0.0):+.1f}", f"{100 * (e.recall or 0.0):+.1f}")
            for e in worst[:top]
            if sign * (e.f1 or 0.0) < 0
        ]
        header = ["template", "label", "photos", "F1, points", "recall, points"]
        if rows_of:
            parts.append(f"{title}\n" + table(header, rows_of, align=["left", "left", "right", "right", "right"]))
    return "\n\n".join(parts)


def _percent_of(share: float) -> str:
    return f"{100 * share:.1f}"


# --- writing ----------------------------------------------------------------------------------------------------------


def _write(result: Evaluation, fmt: str, out: IO[str]) -> None:
    if fmt == "json":
        write_json(result.to_dict(), out)
    elif fmt == "ndjson":
        write_ndjson(result.to_dict()["reports"], out)
    elif fmt in CSV:
        write_csv(["report", "label", "measure", "value", "low", "high", "photos"], _rows(result), out, fmt=fmt)
    elif fmt in PATHS:
        write_names((result.paths[photo] for photo in result.reports[0].wrong.tolist()), out, fmt=fmt)
    else:
        out.write(_table(result))


def _rows(result: Evaluation) -> Iterator[Sequence[Any]]:
    """A row per measure: overall (no label), differences from the first, and of each label."""
    for report in result.reports:
        for kind, measures in (("", report.summary), ("difference in ", report.differences)):
            for name, estimate in measures.items():
                yield report.name, "", kind + name, *estimate.to_dict().values(), report.photos
        if report.sets is not None:
            yield report.name, "", "coverage", *report.sets.coverage.to_dict().values(), report.sets.photos
            yield report.name, "", "set size", report.sets.size, None, None, report.sets.photos
        for label in report.labels:
            for name, estimate in (("precision", label.precision), ("recall", label.recall), ("f1", label.f1)):
                yield report.name, label.label, name, *estimate.to_dict().values(), label.photos
            if label.average_precision is not None:
                yield report.name, label.label, "map", *label.average_precision.to_dict().values(), label.photos
            if label.label in report.f1_differences:
                difference = report.f1_differences[label.label]
                yield report.name, label.label, "difference in f1", *difference.to_dict().values(), label.photos


def _table(result: Evaluation) -> str:
    first = result.reports[0]
    measures = [name for name in MEASURES if any(name in report.summary for report in result.reports)]
    parts = [
        table(
            ["", *(MEASURES[name] for name in measures)],
            [[report.name, *(_percent(report.summary.get(name)) for name in measures)] for report in result.reports],
            align=["left", *["right"] * len(measures)],
        )
    ]
    if len(result.reports) > 1:
        rows = [
            [
                report.name,
                *(_percent(report.differences.get(name), sign=True) for name in measures),
                report.gained,
                report.lost,
            ]
            for report in result.reports[1:]
        ]
        header = [f"minus {first.name}", *(MEASURES[name] for name in measures), "photos gained", "lost"]
        parts.append(table(header, rows, align=["left", *["right"] * (len(measures) + 2)]))
    held = [(report.name, report.sets) for report in result.reports if report.sets is not None]
    if held:
        header = [f"sets for {100 * held[0][1].asked:g} %", "photos", "held %", "labels in a set"]
        sets = [[name, one.photos, _percent(one.coverage), f"{one.size:.2f}"] for name, one in held]
        parts.append(table(header, sets, align=["left", *["right"] * 3]))
    for report in result.reports:
        title = f"{report.name}: " if len(result.reports) > 1 else ""
        worst = sorted(report.labels, key=lambda label: (label.f1.value, label.label))[:WORST]
        several = [label for label in worst if label.average_precision is not None]
        header = ["label", "photos", "answered", "precision %", "recall %", "F1 %", *(["AP %"] if several else [])]
        label_rows: list[list[Any]] = [
            [
                label.label,
                label.photos,
                label.answered,
                _percent(label.precision),
                _percent(label.recall),
                _percent(label.f1),
                *([_percent(label.average_precision)] if several else []),
            ]
            for label in worst
        ]
        shown = f"the {WORST} worst labels" if len(report.labels) > WORST else "labels, worst first"
        parts.append(f"{title}{shown}\n" + table(header, label_rows, align=["left", *["right"] * (len(header) - 1)]))
        if report.mistakes:
            cells = [(cell.truth, cell.answer, cell.photos) for cell in report.mistakes[:WORST]]
            parts.append(f"{title}most frequent mistakes\n" + table(["shows", "answered", "photos"], cells))
    return "\n\n".join(parts) + "\n"


def _percent(estimate: Estimate | None, *, sign: bool = False) -> str:
    """A share with its interval, in percent."""
    if estimate is None or estimate.value != estimate.value:
        return ""
    plus = "+" if sign else ""
    value = f"{100 * estimate.value:{plus}.1f}"
    if estimate.low != estimate.low:
        return value
    return f"{value} ({100 * estimate.low:{plus}.1f} … {100 * estimate.high:{plus}.1f})"


def _explain(result: Evaluation, *, quiet: bool) -> None:
    def some(texts: Sequence[str]) -> str:
        return ", ".join(texts[:5]) + (" …" if len(texts) > 5 else "")

    if result.unknown_labels:
        said = [f"{name} ({n:,})" for name, n in result.unknown_labels.items()]
        note(f"no label for: {some(said)}; map them with --map NAME=LABEL", quiet=quiet)
    for paths, what in (
        (result.left_out, "left out, with nothing else in the truth"),
        (result.not_held, "of the truth that are not in the library"),
        (result.unanswered, "of the truth without a vector from each model: zsindex sync"),
        (result.without_truth, "without truth"),
    ):
        if paths:
            note(f"{plural(len(paths), 'photo')} {what}: {some(paths)}", quiet=quiet)
    if result.learnt_from:
        note(
            f"of the photos compared, the answers learnt from {len(result.learnt_from):,}, which are answered as they "
            "were corrected: that says nothing about others. Compare with a truth of photos that were not corrected",
            quiet=quiet,
        )
    note(f"{plural(len(result.paths), 'photo')} compared with {result.truth}", quiet=quiet)
