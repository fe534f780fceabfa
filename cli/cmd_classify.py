"""zsindex classify"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import counted, options
from . import with_facts as facts
from .output import CSV, PATHS, destination, export_option, note, plural, require_file
from .progress import Reporter, stop_on_interrupt

if TYPE_CHECKING:
    from zsindex import Classification
    from zsindex.classification.coverage import Coverage
    from zsindex.classification.learned import Learned
    from zsindex.classification.options import Per
    from zsindex.classification.priors import UsedPrior
    from zsindex.classification.results import Smoothing
    from zsindex.records import IdArray
    from zsindex.where import Where

# Labels whose share is shown.
SHOWN_SHARES = 5
# Changes by smoothing that are listed one by one.
SHOWN_FLIPS = 10
# Promises of sets that are listed one by one, and names of those that share one.
SHOWN_PROMISES = 20
SHOWN_NAMES = 5


@click.command(cls=options.Filtered)
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@options.which_labels
@options.label_set
@options.template
@click.option(
    "--top",
    type=options.Whole(min=1),
    help="Labels per photo, at most.  [default: 3; with --multi-label, all that fit]",
)
@click.option("--min-score", type=options.Real(0, 1), default=0.0, help="Leave out predictions below this score.")
@click.option("--only", multiple=True, metavar="LABEL", help="Only photos whose best label is LABEL. Repeatable.")
@click.option(
    "--activation",
    type=click.Choice(["softmax", "sigmoid"]),
    help="Score all labels together (softmax) or each on its own (sigmoid). Default: as the model was trained.",
)
@click.option(
    "--unknown",
    metavar="METHOD[:RATE]",
    help="Answer '(none of these)' for photos that show none of the labels. mcm:0.1 does so for a tenth of the "
    "library, mcm:score=X for photos less known than X; neglabel and negrefine need neither, and neglabel@wordnet or "
    "neglabel@FILE compares with other words. Also softmax, zscore and margin; see docs/methods.md.",
)
@click.option(
    "--thresholds",
    is_flag=True,
    help="Give only answers at or above their thresholds (see zsindex thresholds); '(none of these)' if there are "
    "none.",
)
@click.option(
    "--multi-label",
    is_flag=True,
    help="Give every label that fits: each on its own for models trained that way, otherwise within its group of the "
    "label set. A label fits from 0.5 up, or with --thresholds from its threshold up.",
)
@options.with_corrections
@options.temperature
@options.prior
@click.option(
    "--smooth",
    is_flag=True,
    help="Answer the photos together: similar photos pull each other towards the same label. Shows what that changes.",
)
@options.one_per
@options.coverage
@click.option("--no-sync", is_flag=True, help="Refuse a PATH that is not in the library instead of adding it.")
@options.filters_beside_paths
@options.sort
@click.option("--limit", type=options.Whole(min=0), metavar="N", help="Show the first N photos of that order.")
@click.option("--offset", type=options.Whole(min=0), default=0, metavar="N", help="Leave out the first N photos.")
@options.on
@click.option("--record", is_flag=True, help="Keep the question and the answer; see zsindex runs.")
@options.truncate
@export_option
@click.option("--wide", is_flag=True, help="csv and parquet: one row per photo, with a column per answer.")
@click.option(
    "--with-run", is_flag=True, help="csv and ndjson: name the run in every row; json and parquet always name it."
)
@facts.option
@options.output_or_folder
@click.option(
    "--by",
    type=click.Choice(counted.BY),
    help="Instead of photos, how many there are of each label: by the photos' local time (hour: of the day), their "
    "camera, folder or keywords. With --temperature, also how many are to be expected.",
)
@click.option(
    "--plot",
    type=options.FilePath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --by: draw the counts into FILE.png, .svg or .pdf.",
)
@options.strict
@options.library
@options.which_model
@options.how_fast
@options.quiet
@click.pass_context
def classify(
    ctx: click.Context,
    /,
    paths: tuple[str, ...],
    label: tuple[str, ...],
    label_file: str | None,
    label_set: str | None,
    template: tuple[str, ...],
    top: int | None,
    min_score: float,
    only: tuple[str, ...],
    activation: str | None,
    unknown: str | None,
    thresholds: bool,
    multi_label: bool,
    with_corrections: str | None,
    temperature: float | str | None,
    prior: dict[str, float] | str | None,
    transport: bool,
    smooth: bool,
    one_per: Per | None,
    coverage: float | None,
    calibrate: str | None,
    coverage_score: str | None,
    coverage_per: str | None,
    coverage_adapt: bool,
    no_sync: bool,
    where: Where | None,
    sort: str | None,
    limit: int | None,
    offset: int,
    on: str | None,
    record: bool,
    truncate: bool,
    fmt: str,
    wide: bool,
    with_run: bool,
    with_facts: bool,
    with_place: bool,
    output: Path | options.Folder | None,
    by: str | None,
    plot: Path | None,
    strict: bool,
    library: options.Place | None,
    quiet: bool,
    **model: Any,
) -> None:
    """Score photos against labels: the whole library, or files and folders.

    Photos at PATH that are not yet in the library are added first.
    """
    options.import_numpy()
    from zsindex.classification.options import Question
    from zsindex.config import absolute
    from zsindex.photos.formats import printable

    from .answers import write

    require_file(fmt, output)
    if isinstance(output, options.Folder) and fmt != "parquet":
        raise click.UsageError("a folder takes parts of --format parquet; for other formats name a file with --output")
    if wide and on is not None:
        raise click.UsageError(
            "--wide and --on exclude each other: all scores of all photos are computed in one process"
        )
    if wide and fmt not in (*CSV, "parquet"):
        raise click.UsageError("--wide is for --format csv and parquet")
    if wide and coverage is not None:
        raise click.UsageError("--wide and --coverage exclude each other: it has the scores of all labels, and no sets")
    if with_run and fmt in ("table", *PATHS):
        raise click.UsageError("--with-run is for --format csv and ndjson")
    asked = facts.Asked(fmt, with_facts, with_place)
    listing = {
        "--sort": sort,
        "--limit": limit is not None,
        "--offset": offset,
        "--wide": wide,
        "--with-run": with_run,
        "--with-facts": with_facts,
        "--with-place": with_place,
    }
    counted.check(fmt, plot, by, listing)
    question = Question(
        options.labels_from(label, label_file, template, saved=label_set),
        label_set=label_set,
        template=template if label_set is not None and template else None,
        top=top,
        paths=paths or None,
        where=where,
        activation=activation,
        unknown=unknown,
        thresholds=thresholds,
        multi_label=multi_label,
        with_corrections=with_corrections,
        temperature=temperature,
        prior=prior,
        transport=transport,
        smooth=smooth,
        one_per=one_per,
        coverage=coverage,
        calibrate=calibrate,
        coverage_score=coverage_score,
        coverage_per=coverage_per,
        coverage_adapt=coverage_adapt,
        truncate=truncate,
        sync=not no_sync,
        record=record,
    )
    with options.open_library(library, create=bool(paths) and not no_sync, quiet=quiet, **model) as opened:
        with Reporter(quiet=quiet) as progress, stop_on_interrupt() as should_stop, options.apart(on):
            result = opened.classify(question, on=on, progress=progress, should_stop=should_stop)
        stopped = should_stop()
        skipped = opened.photos.skipped(paths or None)
        named = {printable(absolute(path)) for path in paths}
        nothing = not result.paths and where is None
        empty = [path for path in paths if nothing and not opened.photos.skipped([path])]
        if min_score or only:
            strange = [name for name in only if name not in result.labels]
            if strange:
                raise click.UsageError(f"--only names labels that are not in the label set: {', '.join(strange)}")
            result = result.filtered(min_score=min_score, only=only or None)
            if record and not opened.read_only:
                opened.runs.record(result)
        total, sizes = len(result), result.counts
        result = result if sort is None else opened.photos.in_order(result, sort)
        if limit is not None or offset:
            result = result.reordered(range(total)[offset : None if limit is None else offset + limit])
        columns = asked.of(opened, result.paths)
        counts = None if by is None else result.by(by)
        if counts is not None:
            assert not isinstance(output, options.Folder)  # which takes parquet alone
            counted.write(counts, fmt, output, plot)
        elif isinstance(output, options.Folder):
            result.to_parquet_parts(output.path, wide=wide, facts=columns)
        else:
            with destination(output, binary=fmt == "parquet") as out:
                if columns is None:
                    write(result, fmt, out, wide=wide, with_run=with_run)
                else:
                    facts.write_answers(result, columns, fmt, out, wide=wide, with_run=with_run)
        to_encode = f"zsindex sync {opened.spec.arguments}"
        if record and opened.read_only:
            note("the library is read-only: the run was not recorded", quiet=quiet)
    if result.coverage is not None:
        _explain_coverage(result.coverage, sizes, quiet=quiet)
    if result.learned is not None:
        assert label_set is not None
        _explain_learned(result.learned, label_set, quiet=quiet)
    for one in skipped:
        if one.path in named:
            note(f"skipped {one.path}: {one.detail or one.reason}", quiet=quiet)
    for path in empty:
        note(f"no photo at {path}", quiet=quiet)
    n_skipped = sum(one.path not in named for one in skipped)
    if counts is not None:
        counted.explain(counts, quiet=quiet)
    if not total and where is not None:
        note("no photo fits the filters", quiet=quiet)
    _explain(result, total, n_skipped=n_skipped, to_encode=to_encode, quiet=quiet)
    if stopped:
        note("stopped before all photos were added; run the same command again to continue", quiet=quiet)
        ctx.exit(130)
    if strict and (skipped or result.unanswered):
        ctx.exit(3)


def _explain(result: Classification, total: int, *, n_skipped: int, to_encode: str, quiet: bool) -> None:
    from zsindex.records import NONE

    run = result.run
    if result.encoded:
        note(f"encoded {plural(result.encoded, 'photo')} that were new to the library", quiet=quiet)
    if len(result.labels) == 1 and run.activation == "softmax":
        note(
            "only one label: with softmax every photo scores 1; add a second label, or use --activation sigmoid",
            quiet=quiet,
        )
    if result.unanswered:
        n = plural(len(result.unanswered), "photo")
        note(f"{n} not yet encoded by {run.model}: {to_encode}", quiet=quiet)
    if result.prior is not None:
        _explain_prior(result.prior, quiet=quiet)
    if result.smoothing is not None:
        _explain_smoothing(result.smoothing, quiet=quiet)
    if n_skipped:
        note(f"{plural(n_skipped, 'photo')} skipped: zsindex status --skipped", quiet=quiet)
    n_labels = len(result.labels) - (NONE in result.labels)
    shown = "" if len(result) == total else f"{len(result):,} of "
    note(f"{shown}{plural(total, 'photo')} by {plural(n_labels, 'label')}, run {run.key}", quiet=quiet)


def _explain_learned(learned: Learned, label_set: str, *, quiet: bool) -> None:
    if learned.unknown_labels:
        names = ", ".join(f"{label} ({n})" for label, n in learned.unknown_labels.items())
        note(f"corrections kept but not used, because {label_set} has no such label: {names}", quiet=quiet)
    if learned.without_vector:
        n = plural(learned.without_vector, "corrected photo")
        note(f"{n} without a vector from this model: not used", quiet=quiet)
    if learned.interval is None or learned.gain is None or learned.without is None or learned.accuracy is None:
        note(
            f"no corrections to learn from; add some: zsindex correct PATH LABEL --label-set {shlex.quote(label_set)}",
            quiet=quiet,
        )
        return
    low, high = learned.interval
    note(
        f"{plural(learned.used, 'correction')} by {learned.method}: {learned.without:.1%} right with words alone, "
        f"{learned.accuracy:.1%} with the other corrections, gain {100 * learned.gain:+.1f} points (95 %: "
        f"{100 * low:+.1f} to {100 * high:+.1f})",
        quiet=quiet,
    )
    if not learned.weight:
        note("words alone do best: the answers are the same as without corrections", quiet=quiet)
    if learned.doubts:
        note(
            f"too little to trust yet: {'; '.join(learned.doubts)}. To see what to label next: zsindex next",
            quiet=quiet,
        )


def _explain_coverage(coverage: Coverage, sizes: IdArray, *, quiet: bool) -> None:
    """Say what sets of labels promise, and what speaks against it."""
    each = "" if coverage.per is None else f", each {coverage.per} for itself"
    note(
        f"coverage {_percent(coverage.coverage)}{each}: calibrated with {plural(coverage.photos, 'photo')} from "
        f"{coverage.source}, {coverage.right:.1%} of them right by the best label",
        quiet=quiet,
    )
    for promise in coverage.promises[:SHOWN_PROMISES]:
        whose = "" if coverage.per is None else f"{_names(promise.names)}, {plural(promise.photos, 'photo')}: "
        note(
            f"  {whose}the sets of {promise.low:.1%} to {promise.high:.1%} of photos to come hold what they show, with "
            "95 % probability",
            quiet=quiet,
        )
    if len(coverage.promises) > SHOWN_PROMISES:
        note(f"  and {len(coverage.promises) - SHOWN_PROMISES:,} more; --format json lists all", quiet=quiet)
    if len(sizes):
        n_single = int((sizes == 1).sum())
        note(f"sets of {sizes.mean():.2f} labels on average, {n_single:,} of one label alone", quiet=quiet)
    if coverage.left_out:
        n = plural(coverage.left_out, "photo")
        note(f"{n} with known content left out, which no label stands for: nothing is promised of such", quiet=quiet)
    if coverage.learnt_from:
        n = plural(coverage.learnt_from, "photo")
        note(f"{n} with known content left out, which the answers learnt from", quiet=quiet)
    for doubt in coverage.doubts:
        note(f"do not trust it yet: {doubt}", quiet=quiet)


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(name or "unknown" for name in names[:SHOWN_NAMES])
    return shown + (f" and {len(names) - SHOWN_NAMES:,} more together" if len(names) > SHOWN_NAMES else "")


def _explain_prior(prior: UsedPrior, *, quiet: bool) -> None:
    largest = sorted(prior.shares.items(), key=lambda one: -one[1])
    shown = ", ".join(f"{label} {share:.1%}" for label, share in largest[:SHOWN_SHARES])
    more = f" and {len(largest) - SHOWN_SHARES:,} more" if len(largest) > SHOWN_SHARES else ""
    how = "" if prior.method is None else f" estimated by {prior.method} with {plural(prior.known, 'correction')}"
    note(f"prior{how}: {shown}{more}", quiet=quiet)


def _explain_smoothing(smoothing: Smoothing, *, quiet: bool) -> None:
    n = len(smoothing.flips)
    note(f"smoothing gave {n:,} of {plural(smoothing.photos, 'photo')} another label", quiet=quiet)
    for flip in smoothing.flips[:SHOWN_FLIPS]:
        note(f"  {flip.before} {flip.before_score:.3f} → {flip.after} {flip.after_score:.3f}  {flip.path}", quiet=quiet)
    if n > SHOWN_FLIPS:
        note(f"  and {n - SHOWN_FLIPS:,} more; --format json lists all", quiet=quiet)
