"""Options that several commands share, as decorators, and how their values are read."""

from __future__ import annotations

import gc
import logging
import math
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import click

from zsindex.arguments.filters import KINDS
from zsindex.config import LIBRARY_VARIABLE, absolute, is_cluster, is_url
from zsindex.errors import BadFilter
from zsindex.where import Filter, Where

from .streams import shown

if TYPE_CHECKING:
    from zsindex import LabelSet, Library, ModelSpec

F = TypeVar("F", bound=Callable[..., Any])
# A library's folder, or its URL.
Place: TypeAlias = Path | str


class Real(click.FloatRange):
    """A finite number within bounds. click's own range lets ``nan`` pass, which is neither smaller nor larger than a
    bound.
    """

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class Whole(click.IntRange):
    """A whole number within bounds, which NumPy and SQLite can hold."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if abs(number) >= 2**62:
            self.fail(f"{value!r} is too large", param, ctx)
        return number


class Share(click.ParamType[float]):
    """A part of a whole, or a probability: ``95%`` or ``0.95``."""

    name = "SHARE"

    def __init__(self, least: float = 0, most: float = 1) -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As a number, at most 1."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            self.fail(f"{value!r} is not a share: write 2% or 0.02", param, ctx)
        if not self._least <= share <= self._most:
            self.fail(f"{value!r} is not between {100 * self._least:g}% and {100 * self._most:g}%", param, ctx)
        return share


class FilePath(click.Path):
    """A path that is not empty: an empty one, from an unset variable, say, would mean the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the path is empty; the current folder is .", param, ctx)
        return super().convert(value, param, ctx)


class LibraryPlace(FilePath):
    """A library's folder, or its URL."""

    name = "path"

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if is_url(value) else super().convert(value, param, ctx)


_BEFORE = f"{__name__}.library"


def _remember(ctx: click.Context, param: click.Parameter, value: Place | None) -> None:
    if value is not None:
        ctx.meta[_BEFORE] = value


def nearest(ctx: click.Context, param: click.Parameter, value: Place | None) -> Place | None:
    """The value given after the command, else before it, else in the environment."""
    if ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE:
        return value
    before: Place | None = ctx.meta.get(_BEFORE)
    return value if before is None else before


# For groups of commands. As with git and docker, the option may come before the command; the one nearest to it wins.
library_before = click.option(
    "--library",
    type=LibraryPlace(),
    expose_value=False,
    callback=_remember,
    help="Folder or URL of the library; here or after the subcommand.",
)
library = click.option(
    "--library",
    type=LibraryPlace(),
    envvar=LIBRARY_VARIABLE,
    show_envvar=True,
    is_eager=True,  # what other options name may be stored in it
    callback=nearest,
    help="Folder of the library, or its URL: postgresql://HOST/DATABASE. Default: a folder in your user-data folder.",
)
quiet = click.option("-q", "--quiet", is_flag=True, help="No progress and no notes on stderr.")
strict = click.option("--strict", is_flag=True, help="Exit with 3 if photos were skipped.")
json_flag = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
truncate = click.option("--truncate", is_flag=True, help="Cut texts that are too long for the model.")
top = click.option("--top", type=Whole(min=1), default=20, show_default=True, help="Photos to show.")
sort = click.option(
    "--sort",
    type=click.Choice(["date", "score", "path"]),
    help="Order of the photos that are shown: newest first, best first, or by path.",
)
exact = click.option("--exact", is_flag=True, help="Compare with every photo, even in a very large library.")
one_per = click.option(
    "--one-per",
    type=click.Choice(["burst", "event"]),
    help="Only one photo of each burst or event: of those taken one right after another, or on one occasion; see "
    "zsindex events.",
)
within = click.option(
    "--path", "paths", multiple=True, metavar="PATH", help="Only photos at or below PATH. Repeatable."
)

# --- filters ----------------------------------------------------------------------------------------------------------

# Stands before the value of a filter that has --not before it. No argument of a command line can hold it.
_NOT = "\0"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


class _FilterValue(click.ParamType[Where]):
    """A filter from its value."""

    def __init__(self, kind: str) -> None:
        self.name = self._kind = kind

    def convert(self, value: str | Where, param: click.Parameter | None, ctx: click.Context | None) -> Where:
        if isinstance(value, Where):
            return value
        try:
            text = value.removeprefix(_NOT)
            found = Filter.parse(self._kind, absolute(text) if self._kind == "path" else text)
        except BadFilter as error:
            self.fail(f"{error.why}; for example {_flag(self._kind)} {error.example}", param, ctx)
        return ~found if value.startswith(_NOT) else found


class _FilterJson(click.ParamType[Where]):
    """Filters as JSON."""

    name = "json"

    def convert(self, value: str | Where, param: click.Parameter | None, ctx: click.Context | None) -> Where:
        if isinstance(value, Where):
            return value
        try:
            found = Where.from_json_text(value.removeprefix(_NOT))
        except BadFilter as error:
            self.fail(str(error), param, ctx)
        return ~found if value.startswith(_NOT) else found


def _and_where(ctx: click.Context, more: Where) -> None:
    before: Where | None = ctx.params.get("where")
    ctx.params["where"] = more if before is None else before & more


def _fitting(ctx: click.Context, param: click.Parameter, values: tuple[Where, ...]) -> None:
    ctx.params.setdefault("where", None)
    for one in values:
        _and_where(ctx, one)


def _within(ctx: click.Context, param: click.Parameter, values: tuple[Where, ...]) -> tuple[str, ...]:
    """Paths that photos may lie below, which the command is given; and those that they may not, which are filters."""
    inside = [one for one in values if isinstance(one, Filter)]
    _fitting(ctx, param, tuple(one for one in values if not isinstance(one, Filter)))
    return tuple(one.value for one in inside)


def _within_as_filter(ctx: click.Context, param: click.Parameter, values: tuple[Where, ...]) -> None:
    inside = [one for one in values if isinstance(one, Filter)]
    _fitting(ctx, param, tuple(one for one in values if not isinstance(one, Filter)))
    if inside:
        among: Where = inside[0]
        for one in inside[1:]:
            among |= one
        _and_where(ctx, among)


_NOTHING_TO_NEGATE = "--not: it stands right before a filter; for example --not --camera iPhone"


def _nothing_to_negate(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        raise click.UsageError(_NOTHING_TO_NEGATE, ctx)


class Filtered(click.Command):
    """A command with `filters`, in which ``--not`` may stand before each of them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click has it, with each ``--not`` taken into the value of what it stands before."""
        flags = {*map(_flag, KINDS), "--where"}
        given, left = list[str](), iter(args)
        for arg in left:
            if arg == "--":
                given += [arg, *left]
            elif arg == "--not":
                then = next(left, "--")
                flag, equals, value = then.partition("=")
                if flag not in flags:
                    if then.startswith("--"):
                        raise click.UsageError(_NOTHING_TO_NEGATE, ctx)
                    given += [arg, then]
                elif equals:
                    given.append(f"{flag}={_NOT}{value}")
                else:
                    given += [flag, *(f"{_NOT}{value}" for value in [next(left, None)] if value is not None)]
            else:
                given.append(arg)
        return super().parse_args(ctx, given)


_kinds = [
    click.option(
        _flag(name),
        f"where_{name}",
        type=_FilterValue(name),
        multiple=True,
        metavar=kind.metavar,
        expose_value=False,
        callback=_fitting,
        help=kind.help,
    )
    for name, kind in KINDS.items()
    if name != "path"
]


def _path_option(callback: Callable[..., Any], *, exposed: bool) -> Callable[[F], F]:
    return click.option(
        "--path",
        "paths" if exposed else "where_path",
        type=_FilterValue("path"),
        multiple=True,
        metavar="PATH",
        expose_value=exposed,
        callback=callback,
        help="Only photos at or below PATH, or one of several.",
    )


_json_filter = click.option(
    "--where",
    "where_json",
    type=_FilterJson(),
    multiple=True,
    metavar="JSON",
    expose_value=False,
    callback=_fitting,
    help='Filters with "and", "or" and "not", as of the service; see docs/filters.md.',
)
_not_before_a_filter = click.option(
    "--not",
    is_flag=True,
    expose_value=False,
    callback=_nothing_to_negate,
    help="Before a filter: photos that do not fit it, such as --not --camera iPhone.",
)
# Where a search takes words after it, too.
_not_words = click.option(
    "--not",
    "without",
    multiple=True,
    metavar="WORDS",
    help="Leave out photos that fit WORDS; or before a filter, those that fit it: --not --camera iPhone. Repeatable.",
)


class _Output(FilePath):
    """A file to be written; ``-`` is stdout."""

    def __init__(self) -> None:
        super().__init__(dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        # `Path` turns "./-", a file of that name, into "-".
        return super().convert(absolute(value) if value == "./-" else value, param, ctx)


class _On(click.ParamType[str]):
    """Where work is done."""

    name = "cluster"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_cluster(value):
            self.fail(f"{value!r} is neither ray nor ray://HOST:PORT", param, ctx)
        return value


on = click.option(
    "--on",
    type=_On(),
    metavar="ray|ray://HOST:PORT",
    help="Let a Ray cluster do the work: ray is this machine, or the cluster that RAY_ADDRESS names. Needs pip install "
    "'zsindex[ray]'.",
)


def apart(on: str | None) -> AbstractContextManager[object]:
    """While Ray works: what it prints of its processes goes to stderr. Results alone go to stdout."""
    return nullcontext() if on is None else redirect_stdout(sys.stderr)


@dataclass(frozen=True)
class Folder:
    """A folder that files are to be written to."""

    path: Path


class _OutputOrFolder(_Output):
    """A file to be written, or a folder: one that is there, or whose name ends with a slash."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value and (value.endswith(("/", os.sep)) or os.path.isdir(value)):
            return Folder(Path(absolute(value)))
        return super().convert(value, param, ctx)


output = click.option("-o", "--output", type=_Output(), help="Write to FILE instead of stdout, which is -.")
output_or_folder = click.option(
    "-o",
    "--output",
    type=_OutputOrFolder(),
    metavar="FILE|FOLDER/",
    help="Write to FILE instead of stdout, which is -. parquet: or to a new or empty FOLDER/, in files of a million "
    "photos.",
)

output_or_links = click.option(
    "-o",
    "--output",
    type=_OutputOrFolder(),
    metavar="FILE|FOLDER",
    help="Write to FILE instead of stdout, which is -. links: the FOLDER.",
)


with_corrections = click.option(
    "--with-corrections",
    type=click.Choice(["logistic", "gda", "tip-adapter"]),
    is_flag=False,
    flag_value="logistic",
    metavar="[logistic|gda|tip-adapter]",
    help="Also learn from the corrections of the --label-set (see zsindex correct), by logistic regression that starts "
    "from the words, Gaussian discriminant analysis or Tip-Adapter; with --unknown also what photos of none of the "
    "labels look like.  [logistic if no method is named]",
)
label_set = click.option("--label-set", metavar="NAME", help="A saved label set; NAME@2 is its second version.")


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator made of several; help shows them in this order."""
    return lambda function: reduce(lambda f, option: option(f), reversed(options), function)


# Sets of labels instead of predictions.
coverage = together(
    click.option(
        "--coverage",
        type=Real(0, 0.999999, min_open=True),
        metavar="SHARE",
        help="Give each photo all labels that it may show, so that at least this share of photos is given what it does "
        "show, such as 0.9. Says how far that can be trusted; see docs/methods.md.",
    ),
    click.option(
        "--calibrate",
        metavar="TRUTH",
        help="With --coverage: photos with known content, taken by chance from those like the ones asked about: "
        "folders, keywords, corrections[:LABEL_SET], a folder, or a CSV file with the columns path and label. Default: "
        "the corrections of the --label-set.",
    ),
    click.option(
        "--coverage-score",
        type=click.Choice(["lac", "aps", "raps"]),
        help="With --coverage: how sets are made; see docs/methods.md. Default: lac.",
    ),
    click.option(
        "--coverage-per",
        type=click.Choice(["label", "year", "month", "day", "hour", "camera", "folder"]),
        help="With --coverage: keep it for each label, or for the photos of each year, camera, …, and not only for all "
        "photos together.",
    ),
    click.option(
        "--coverage-adapt",
        is_flag=True,
        help="With --coverage: smaller sets, from scores that are adapted to all photos together.",
    ),
)

# Only photos that fit all of these, for a `Filtered` command; as `where`, and `paths`.
filters = together(_path_option(_within, exposed=True), *_kinds, _json_filter, _not_before_a_filter)
# The same for searches by words, with `without`.
search_filters = together(_path_option(_within, exposed=True), *_kinds, _json_filter, _not_words)
# The same without `paths`, where the command takes them as arguments, or not at all.
_no_paths = (*_kinds, _path_option(_within_as_filter, exposed=False), _json_filter)
filters_beside_paths = together(*_no_paths, _not_before_a_filter)
search_filters_without_paths = together(*_no_paths, _not_words)

icc = click.option(
    "--icc",
    type=click.Choice(["convert", "ignore"]),
    help="Colour profiles: use them to convert photos to sRGB, or ignore them, as open_clip and transformers do. "
    "Default: the library's; convert for a new one.",
)
transparency = click.option(
    "--transparency",
    type=click.Choice(["show", "reference"]),
    help="Transparent pictures: show them on a background, or drop the transparency, as open_clip and transformers do. "
    "Default: the library's; show for a new one.",
)
how_model = together(
    click.option("--pretrained", metavar="TAG|FILE", help="Weights, if --model names only an architecture."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."),
    click.option(
        "--precision",
        type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
        help="Precision to compute in; auto measures which is fastest here. Default: the library's; fp32 for a new "
        "one.",
    ),
    click.option(
        "--decode",
        type=click.Choice(["fast", "exact"]),
        help="How photos are decoded to pixels. Default: the library's.",
    ),
    icc,
    transparency,
)
which_model = together(
    click.option(
        "--model",
        help="nano, ORG/NAME on a hub, ARCHITECTURE/TAG or a folder. Default: the library's; nano for a new one.",
    ),
    how_model,
)
batch_size = click.option(
    "--batch-size", type=Whole(min=1), help="Images encoded and stored at a time.  [default: 32; 128 on CUDA]"
)
how_fast = together(
    batch_size,
    click.option(
        "--workers",
        type=Whole(min=1),
        help="Threads that read and decode.  [default: one per processor core]",
    ),
)
which_labels = together(
    click.option("-l", "--label", "label", multiple=True, metavar="LABEL", help="A label. Repeatable."),
    click.option(
        "--labels",
        "label_file",
        metavar="FILE|-",
        help="Labels from a file or stdin: one per line, CSV with a column label, or JSON or YAML, which can also give "
        "prompts per label. FILE#NAME takes one set of a file that holds several.",
    ),
)


def _templates(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Replace names and files by their templates."""
    from zsindex.classification.templates import BUILT_IN, has_place, resolve

    given: list[str] = []
    for text in value:
        if text.startswith("@"):
            from zsindex.classification.prompts import parse_templates

            content, file, key = read_text(text[1:])
            given.extend(parse_templates(content, source=file, key=key))
        else:
            given.append(text)
    if all(has_place(text) or text in BUILT_IN for text in given):
        return resolve(given)
    from zsindex.errors import LibraryNotFound

    try:
        with open_library(ctx.params.get("library"), quiet=True) as opened:
            return opened.templates.resolve(given)
    except LibraryNotFound:
        return resolve(given)


# For every option that takes templates.
TEMPLATE: dict[str, Any] = {"multiple": True, "metavar": "TEXT|NAME|@FILE", "callback": _templates}
template = click.option(
    "--template",
    **TEMPLATE,
    help="Prompt with {} for the label; the name of a template set (see zsindex templates list); or a file of "
    "templates. Repeatable: several are averaged.  [default: This is a photo of {}.]",
)


def _temperature(ctx: click.Context, param: click.Parameter, value: str | None) -> float | str | None:
    if value is None or value == "fitted":
        return value
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    from zsindex.arguments import bounds

    least, most = bounds.LEAST_TEMPERATURE, bounds.MOST_TEMPERATURE
    if not least <= number <= most:
        raise click.BadParameter(f"{value!r} is neither a number from {least:g} to {most:g} nor fitted")
    return number


temperature = click.option(
    "--temperature",
    metavar="T|fitted",
    callback=_temperature,
    help="Divide cosines by T to get logits; fitted uses the temperature kept by zsindex temperature fit. Default: the "
    "model's own.",
)


def _prior(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, float] | str | None:
    if value is None or value == "estimated":
        return value
    from zsindex.classification.priors import parse
    from zsindex.errors import BadLabelFile, BadPrior

    try:
        if "=" in value and not Path(value).exists():
            return parse(value, source=value)
        text, source, _ = read_text(value)
        return parse(text, source=source)
    except (BadPrior, BadLabelFile) as error:
        raise click.BadParameter(str(error), ctx, param) from error


prior = together(
    click.option(
        "--prior",
        metavar="estimated|FILE|LABEL=SHARE,…",
        callback=_prior,
        help="How the photos are divided among the labels, which scores are weighted by: a share or a number of photos "
        "for each, 0 for what none shows; a FILE of these; or estimated, from the photos asked about and corrections "
        "of the --label-set (see zsindex prior estimate).",
    ),
    click.option(
        "--transport",
        is_flag=True,
        help="With --prior: give each label exactly its share, of the photos that fit best together (OTTER). A wrong "
        "prior then makes wrong answers, and an estimated one may be wrong.",
    ),
)


def import_numpy() -> None:
    """Import numpy from here, rather than from deep inside of other imports.

    CPython allocates its stack of frames in chunks. Where an import crosses the end of one again and again, as numpy's
    type aliases did a dozen modules down, it takes up to 20 ms more of a command's 160.
    """
    import numpy  # noqa: F401


def open_library(path: Place | None, *, create: bool = False, quiet: bool = False, **model: Any) -> Library:
    """Open the library that the options name; unless `quiet`, it says when it loads a model."""
    import_numpy()
    from zsindex import Library

    if not quiet:
        show_notes()
    opened = Library.open(path, create=create, on_load=None if quiet else _announce, **model)
    gc.freeze()  # what was imported so far stays
    gc.enable()
    return opened


def _announce(spec: ModelSpec) -> None:
    _note(f"loading {spec} …")


def _note(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(shown(text), file=sys.stderr)  # above a progress bar, where there is one


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _note(record.getMessage())


def show_notes() -> None:
    """Show messages of loading a model, which may take a while."""
    for name in ("zsindex.models.loading", "zsindex.models.names", "zsindex.distributed.cluster"):
        notes = logging.getLogger(name)
        if not notes.handlers:
            notes.addHandler(_Notes())
            notes.setLevel(logging.INFO)


def label_set_from(
    opened: Library,
    label: tuple[str, ...],
    label_file: str | None,
    template: tuple[str, ...],
    *,
    saved: str | None,
    by: str = "--label-set NAME",
) -> LabelSet:
    """The label set that the options give or name; `by` is how the command takes the name of a saved one."""
    from zsindex import label_set

    found = labels_from(label, label_file, template, saved=saved, by=by)
    if found is None:
        assert saved is not None
        found = opened.labels.get(saved)
        return label_set(found, templates=template, name=found.name) if template else found
    return found


def labels_from(
    label: tuple[str, ...],
    label_file: str | None,
    template: tuple[str, ...],
    *,
    saved: str | None = None,
    by: str | None = "--label-set NAME",
) -> LabelSet | None:
    """The label set that the options give; None if they name a saved one. `by` says how to name one; None if one
    cannot.

    Raises:
        click.UsageError: none, or more than one, of the ways to name labels was used.
    """
    from zsindex import label_set, parse_labels
    from zsindex.classification.prompts import warn_of_alike
    from zsindex.errors import BadLabelFile, NoLabels

    ways = [bool(label), label_file is not None, saved is not None]
    if sum(ways) != 1:
        names = "-l/--label or --labels FILE" if by is None else f"-l/--label, --labels FILE or {by}"
        raise click.UsageError(f"name labels with one of {names}" if not any(ways) else f"use only one of {names}")
    if saved is not None:
        return None
    if label_file is None:
        made = label_set(label, templates=template or None)
    else:
        text, file, key = read_text(label_file)
        try:
            made = parse_labels(text, source=file, key=key, templates=template or None)
        except NoLabels as error:
            raise BadLabelFile("stdin" if file == "-" else file, "it holds no labels") from error
    warn_of_alike(made)
    return made


def _stdin_text() -> str:
    """What comes from stdin; nothing where there is none.

    Raises:
        UnreadableText
    """
    from zsindex.arguments import text_files

    if sys.stdin is None:
        return ""
    try:
        return text_files.decode(text_files.read_from(sys.stdin.buffer))
    except (OSError, ValueError) as error:  # a folder, write-only, or closed by whoever called this
        if isinstance(error, text_files.UnreadableText):
            raise
        raise text_files.UnreadableText(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_text(file: str) -> tuple[str, str, str | None]:
    """Read a file that an option names: ``-`` for stdin, ``FILE``, or ``FILE#KEY``.

    Returns:
        Its text, its name, and the key.

    Raises:
        BadLabelFile: it cannot be read.
    """
    from zsindex.arguments import text_files
    from zsindex.errors import BadLabelFile, BadPath

    if not file:
        raise BadPath(file, "the file name is empty")
    name, key = file, None
    if "#" in file and not Path(file).exists():
        name, _, key = file.rpartition("#")
        if not name:
            raise BadLabelFile(file, "no such file")
    try:
        if file == "-":
            return _stdin_text(), name, key
        return text_files.read(Path(name)), name, key
    except text_files.UnreadableText as error:
        raise BadLabelFile("stdin" if file == "-" else name, str(error)) from error
