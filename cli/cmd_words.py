"""zsindex labels lint|diff|suggest"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from . import options
from .output import (
    CSV,
    PATHS,
    destination,
    format_option,
    formats,
    note,
    plural,
    table,
    write_csv,
    write_json,
    write_lines,
    write_names,
    write_ndjson,
)
from .progress import Reporter, stop_on_interrupt

if TYPE_CHECKING:
    from zsindex import LabelSet
    from zsindex.lab.diff import Diff
    from zsindex.lab.findings import LintReport
    from zsindex.lab.suggest import Suggestions

MOST_OF_A_KIND = 20
MOST_FLOWS = 20

for_documents = formats(
    "table", "json", "ndjson", *CSV, help="table for people; csv-excel for spreadsheets; the others for programs."
)


# --- lint -------------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("name", required=False)
@options.which_labels
@options.template
@options.within
@click.option("--strict", is_flag=True, help="Exit with 3 if there are warnings.")
@for_documents
@options.output
@options.library
@options.which_model
@options.quiet
@click.pass_context
def lint(
    ctx: click.Context,
    /,
    name: str | None,
    label: tuple[str, ...],
    label_file: str | None,
    template: tuple[str, ...],
    paths: tuple[str, ...],
    strict: bool,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Find problems in a label set: the saved set NAME, or labels that the options give.

    Looks for labels that coincide or that win no photos or nearly all of them, prompts that the model truncates, and
    templates that add nothing or disagree with all others. Needs no truth, only the photos of the library.
    """
    with options.open_library(library, quiet=quiet, **model) as opened:
        chosen = options.label_set_from(opened, label, label_file, template, saved=name, by="NAME")
        report = opened.lab.lint(chosen, paths=paths or None)
    with destination(output) as out:
        _write_lint(report, fmt, out)
    infos = len(report.findings) - report.warnings
    note(
        f"{plural(report.labels, 'label')} on {plural(report.images, 'image')}: {plural(report.warnings, 'warning')}, "
        f"{plural(infos, 'remark')}",
        quiet=quiet,
    )
    if strict and report.warnings:
        ctx.exit(3)


def _write_lint(report: LintReport, fmt: str, out: IO[str]) -> None:
    if fmt == "json":
        write_json(report.to_dict(), out)
    elif fmt == "ndjson":
        write_ndjson((finding.to_dict() for finding in report.findings), out)
    elif fmt in CSV:
        header = ["severity", "kind", "words", "message", "advice", "photos"]
        rows = (
            [f.severity, f.kind, " | ".join(f.words), f.message, f.advice, " | ".join(f.photos)]
            for f in report.findings
        )
        write_csv(header, rows, out, fmt=fmt)
    else:
        shown: Counter[str] = Counter()
        for finding in report.findings:
            shown[finding.kind] += 1
            if shown[finding.kind] > MOST_OF_A_KIND:
                continue
            about = (finding.message, f"→ {finding.advice}", *finding.photos)
            write_lines([f"{finding.severity}: {finding.kind}: {' | '.join(finding.words)}"], out)
            write_lines((f"    {line}" for line in about), out)
        for kind, n in shown.items():
            if n > MOST_OF_A_KIND:
                out.write(f"… and {n - MOST_OF_A_KIND:,} more of {kind}: --format json lists them all\n")


# --- diff -------------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("before")
@click.argument("after", required=False)
@click.option("--template-before", **options.TEMPLATE, help="Templates for BEFORE, instead of its prompts. Repeatable.")
@click.option("--template-after", **options.TEMPLATE, help="Templates for AFTER. Repeatable.")
@click.option("--model-before", metavar="MODEL", help="A model in the library, for BEFORE. Default: the library's.")
@click.option("--model-after", metavar="MODEL", help="The same, for AFTER.")
@click.option("--rename", multiple=True, metavar="OLD=NEW", help="The answer OLD is called NEW in AFTER. Repeatable.")
@click.option("--top", type=options.Whole(min=0), default=20, show_default=True, help="Photos to show in the table.")
@click.option(
    "--fail-above",
    type=options.Share(),
    help="Exit with 3 if a larger share of photos flips: 2% or 0.02.",
)
@options.within
@options.truncate
@format_option
@options.output
@options.library
@options.quiet
@click.pass_context
def diff(
    ctx: click.Context,
    /,
    before: str,
    after: str | None,
    template_before: tuple[str, ...],
    template_after: tuple[str, ...],
    model_before: str | None,
    model_after: str | None,
    rename: tuple[str, ...],
    top: int,
    fail_above: float | None,
    paths: tuple[str, ...],
    truncate: bool,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
) -> None:
    """Show which photos get a different answer from the label set AFTER than from BEFORE, largest changes first.

    Both are saved sets (NAME or NAME@VERSION) or label files (@FILE). Without AFTER, templates or models are compared
    on the same labels.

    \b
    zsindex labels diff pets@1 pets@2 --fail-above 2%
    zsindex labels diff pets --template-after openai-7
    """
    if after is None and not (template_before or template_after or model_before or model_after):
        raise click.UsageError("name a second label set; or compare --template-before/-after or --model-before/-after")
    renamed = renames(rename)
    with options.open_library(library, quiet=quiet) as opened:
        try:
            result = opened.lab.diff(
                named(before),
                None if after is None else named(after),
                template_before=template_before or None,
                template_after=template_after or None,
                model_before=model_before,
                model_after=model_after,
                renamed=renamed,
                truncate=truncate,
                paths=paths or None,
            )
        except ValueError as error:
            raise click.UsageError(str(error)) from error
    with destination(output) as out:
        _write_diff(result, fmt, out, top=top)
    note(summary(result), quiet=quiet)
    for names, side in ((result.only_before, "before"), (result.only_after, "after")):
        if names:
            note(f"only {side}: {', '.join(names[:5])}{' …' if len(names) > 5 else ''} ({len(names)})", quiet=quiet)
    if result.uncompared:
        note(f"{plural(result.uncompared, 'photo')} with a vector on one side only", quiet=quiet)
    if fail_above is not None and result.share > fail_above:
        ctx.exit(3)


def renames(pairs: Sequence[str]) -> dict[str, str]:
    """New names by old ones, of --rename OLD=NEW."""
    renamed = {}
    for pair in pairs:
        old, is_pair, new = pair.partition("=")
        if not is_pair:
            raise click.UsageError(f"--rename takes OLD=NEW, not {pair!r}")
        renamed[old] = new
    return renamed


def named(text: str) -> str | LabelSet:
    """A saved set by its name, or the labels of a file."""
    if not text.startswith("@"):
        return text
    from zsindex import parse_labels

    content, file, key = options.read_text(text[1:])
    return parse_labels(content, source=file, key=key)


def summary(result: Diff) -> str:
    """One line about a comparison."""
    moved = float(result.moved.mean()) if len(result) else 0.0
    return (
        f"{result.before} → {result.after}: {len(result.flipped):,} of {plural(len(result), 'photo')} flip "
        f"({result.share:.1%}); scores move by {moved:.3f} on average"
    )


def _write_diff(result: Diff, fmt: str, out: IO[str], *, top: int) -> None:
    if fmt == "json":
        write_json(result.to_dict(), out)
    elif fmt == "ndjson":
        write_ndjson((flip._asdict() for flip in result.flips), out)
    elif fmt in CSV:
        header = ["path", "before", "after", "score_before", "score_after", "moved"]
        write_csv(header, result.flips, out, fmt=fmt)
    elif fmt in PATHS:
        write_names((flip.path for flip in result.flips), out, fmt=fmt)
    else:
        write_flows(result, out)
        rows = [
            (f"{f.moved:.3f}", f.before, f"{f.score_before:.3f}", f.after, f"{f.score_after:.3f}", f.path)
            for f in result.flips[:top]
        ]
        if rows:
            header, align = ["moved", "before", "", "after", "", "path"], ["right", "left", "right"] + ["left"] * 3
            out.write("\n" + table(header, rows, align=align) + "\n")


def write_flows(result: Diff, out: IO[str]) -> None:
    """How many photos went from which answer to which, as a table."""
    flows = [(flow.before, flow.after, f"{flow.photos:,}") for flow in result.flows[:MOST_FLOWS]]
    if not flows:
        return
    out.write(table(["before", "after", "photos"], flows, align=["left", "left", "right"]) + "\n")
    if len(result.flows) > MOST_FLOWS:
        out.write(f"… and {len(result.flows) - MOST_FLOWS:,} smaller flows\n")


# --- suggest ----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("name", required=False)
@options.which_labels
@options.template
@click.option(
    "--vocabulary",
    required=True,
    metavar="FILE|NAME",
    help="Words to choose from: a file with one per line; basic, which is built in; wordnet, the common nouns of "
    "Debian's wordnet-base; wordnet: (with the colon), all nouns for what can be seen; or wordnet:all, abstract nouns "
    "as well.",
)
@click.option(
    "--word-template", metavar="TEXT", help="Template that words are put into.  [default: This is a photo of {}.]"
)
@click.option(
    "--share",
    type=options.Share(),
    default="10%",
    show_default=True,
    help="Share of photos that count as not fitted: 10% or 0.1.",
)
@click.option(
    "--by",
    type=click.Choice(["cosine", "margin"]),
    default="cosine",
    show_default=True,
    help="How fit is measured: cosine of the nearest label, or margin between the two nearest.",
)
@click.option(
    "--groups", type=options.Whole(min=1), help="Number of groups.  [default: depends on the number of photos]"
)
@click.option("--names", type=options.Whole(min=1), default=5, show_default=True, help="Words per group.")
@click.option("--examples", type=options.Whole(min=0), default=5, show_default=True, help="Photos per group.")
@options.within
@options.truncate
@for_documents
@options.output
@options.library
@options.which_model
@options.quiet
@click.pass_context
def suggest(
    ctx: click.Context,
    /,
    name: str | None,
    label: tuple[str, ...],
    label_file: str | None,
    template: tuple[str, ...],
    vocabulary: str,
    word_template: str | None,
    share: float,
    by: str,
    groups: int | None,
    names: int,
    examples: int,
    paths: tuple[str, ...],
    truncate: bool,
    fmt: str,
    output: Path | None,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Propose labels for what a label set misses: groups of photos that no label fits, with words that do.

    The words are encoded once and kept. Ctrl-C stops after a batch; run the same command again to continue.
    """
    from zsindex.classification.templates import DEFAULT_TEMPLATE

    with options.open_library(library, quiet=quiet, **model) as opened:
        chosen = options.label_set_from(opened, label, label_file, template, saved=name, by="NAME")
        with Reporter(quiet=quiet) as progress, stop_on_interrupt() as should_stop:
            try:
                found = opened.lab.suggest(
                    chosen,
                    vocabulary,
                    word_template=word_template or DEFAULT_TEMPLATE,
                    share=share,
                    by=by,
                    groups=groups,
                    names=names,
                    examples=examples,
                    truncate=truncate,
                    paths=paths or None,
                    progress=progress,
                    should_stop=should_stop,
                )
            except ValueError as error:
                raise click.UsageError(str(error)) from error
    if found.interrupted:
        note(f"stopped with {plural(found.left, 'word')} left; run the same command again to continue", quiet=quiet)
        ctx.exit(130)
    with destination(output) as out:
        _write_suggestions(found, fmt, out)
    note(
        f"{plural(found.unfit, 'image')} of {found.images:,} with a {by} of at most {found.bound:.3f}, compared with "
        f"{plural(found.vocabulary, 'word')}",
        quiet=quiet,
    )


def _write_suggestions(found: Suggestions, fmt: str, out: IO[str]) -> None:
    document = found.to_dict()
    if fmt == "json":
        write_json(document, out)
    elif fmt == "ndjson":
        write_ndjson(document["groups"], out)
    elif fmt in CSV:
        header = ["group", "images", "label", "rank", "word", "lift", "fits_better"]
        rows = (
            [number, group.images, group.label, rank, proposed.word, proposed.lift, proposed.fits_better]
            for number, group in enumerate(found.groups, 1)
            for rank, proposed in enumerate(group.names, 1)
        )
        write_csv(header, rows, out, fmt=fmt)
    else:
        for number, group in enumerate(found.groups, 1):
            out.write(f"{number}. {plural(group.images, 'image')}, nearest label {group.label!r}\n")
            for proposed in group.names:
                better = f"fits {proposed.fits_better:.0%} of them better than any label"
                write_lines([f"    {proposed.word}  ({better})"], out)
            write_lines((f"    {path}" for path in group.photos), out)
