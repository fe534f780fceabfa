"""The file that `zsindex ci` reads, in TOML: label sets, what photos show, and bounds to keep. No I/O."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

from zsindex.arguments import bounds as limits
from zsindex.classification.prompts import normalise
from zsindex.errors import BadCiFile
from zsindex.records import Activation

T = TypeVar("T")
# Where a value stands: names of tables and keys, and numbers in arrays of tables.
Place: TypeAlias = tuple[str | int, ...]

NAME = "zsindex-ci.toml"
SETS, BOUNDS, BASELINE = "label-set", "bounds", "baseline"
# Bounds that need to know what photos show, and those that need something to compare with.
OF_TRUTH = ("min-top1", "min-top1-low", "min-top5", "min-recall", "max-ece", "min-photos")
OF_BASELINE = ("max-flips", "max-worse")
OF_COVERAGE = ("min-coverage", "max-set-size")


@dataclass(frozen=True)
class Bounds:
    """What answers must keep; shares are in [0, 1], and what is None is not asked for.

    Attributes:
        min_top1: least share of photos whose best answer is right; `min_top1_low` of the lower end of its interval.
        min_top5: least share of photos one of whose five best answers is right.
        min_recall: least recall of every label that photos show.
        min_recall_of: least recall of single labels, which some photo must show.
        max_ece: greatest expected calibration error.
        min_coverage: least share of photos whose set of labels holds what they show.
        max_set_size: greatest mean number of labels in a set.
        min_photos: least number of photos that are compared with the truth.
        max_flips: greatest share of photos that answer otherwise than the baseline.
        max_worse: greatest share of photos that were right in the baseline and no longer are.
        max_lint_warnings: greatest number of warnings of `Library.lab.lint`.
    """

    min_top1: float | None = None
    min_top1_low: float | None = None
    min_top5: float | None = None
    min_recall: float | None = None
    min_recall_of: Mapping[str, float] = field(default_factory=dict)
    max_ece: float | None = None
    min_coverage: float | None = None
    max_set_size: float | None = None
    min_photos: int | None = None
    max_flips: float | None = None
    max_worse: float | None = None
    max_lint_warnings: int | None = None


@dataclass(frozen=True)
class Baseline:
    """What answers are compared with.

    Attributes:
        kind: ``git``, the same label set at a revision; ``labels``, a label file; ``saved``, a label set saved in the
            library; or ``answers``, a table of answers.
        value: the revision, the file, or the name.
        templates, model: of ``labels`` and ``saved``. Default: those of the label set.
        rename: names of its answers, mapped to their names now.
    """

    kind: Literal["git", "labels", "saved", "answers"]
    value: str
    templates: tuple[str, ...] | None = None
    model: str | None = None
    rename: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckedSet:
    """A label set and what is asked of it.

    Attributes:
        place: where it stands in the file.
        name: of the label set in reports; unique.
        labels: a label file, perhaps with ``#KEY``; `saved` is the name of a saved set instead.
        templates: instead of its own prompts: templates, names of template sets, or ``@FILE``.
        models: None in it is the library's.
        truth: as `Library.lab.evaluate` takes it; None if it is not known.
        names: names in the truth, mapped to those of the label set.
        coverage: what share of the photos shall be given a set of labels that holds the truth; None for no sets.
    """

    place: Place
    name: str
    labels: str | None
    saved: str | None
    templates: tuple[str, ...] | None
    models: tuple[str | None, ...]
    truth: str | None
    names: Mapping[str, tuple[str, ...]]
    others_are_none: bool
    coverage: float | None
    activation: Activation | None
    temperature: float | None
    baseline: Baseline | None
    bounds: Bounds


@dataclass(frozen=True)
class CiFile:
    """What `zsindex ci` is asked.

    Attributes:
        source: the file's name, for messages.
        photos: files and folders, as written.
        max_skipped: greatest number of photos that cannot be read.
        sets: at least one, with different names.
        lines: the line, from 1, that each table and key begins on.
    """

    source: str
    photos: tuple[str, ...]
    max_skipped: int | None
    sets: tuple[CheckedSet, ...]
    lines: Mapping[Place, int] = field(repr=False)

    def problem(self, place: Place, why: str) -> BadCiFile:
        """The error that something in the file cannot be used."""
        return _problem(self.source, self.lines, place, why)


def parse(text: str, *, source: str) -> CiFile:
    """Read the file.

    Args:
        source: its name, for messages.

    Raises:
        BadCiFile: it is no TOML, a key is unknown or missing, or a value is not of its kind; names key and line.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said, line = str(error), re.search(r"\(at line (\d+), column \d+\)$", str(error))
        why = f"it is no TOML: {said[: line.start()].rstrip() if line else said}"
        raise BadCiFile(source, "", int(line[1]) if line else None, why) from error
    except RecursionError as error:
        raise BadCiFile(source, "", None, "it is no TOML: it is nested too deeply") from error
    lines = _lines(text)
    top = _Table(source, lines, (), document)
    photos = top.texts("photos")
    if not photos:
        raise top.problem("photos", 'name the folders or files that hold the photos: photos = ["photos"]')
    max_skipped = top.whole("max-skipped")
    shared = _Shared.read(top)
    if shared.baseline is not None and shared.baseline.kind != "git":
        raise top.problem(BASELINE, "for all label sets it can only be git; others belong to one label set")
    defaults = _bounds(top)
    tables = top.tables(SETS)
    if not tables:
        raise top.problem(SETS, f"there is no label set to check: begin one with [[{SETS}]]")
    top.done()
    sets = tuple(_set(table, shared, defaults) for table in tables)
    for key in defaults:
        if not any(_missing(key, one.truth, one.baseline, one.coverage) is None for one in sets):
            missing = _missing(key, sets[0].truth, sets[0].baseline, sets[0].coverage)
            raise top.problem(f"{BOUNDS}.{key}", f"no label set can be held to it: none has {missing}")
    names = [one.name for one in sets]
    for number, one in enumerate(sets):
        if one.name in names[:number]:
            why = f"two label sets are called {one.name!r}; give one another name"
            raise tables[number].problem("name", why)
    return CiFile(source, photos, max_skipped, sets, lines)


# --- tables -----------------------------------------------------------------------------------------------------------


class _Table:
    """A table of the file, whose keys are taken one by one; what is left in the end is unknown."""

    def __init__(self, source: str, lines: Mapping[Place, int], place: Place, values: Mapping[str, object]) -> None:
        self._source = source
        self._lines = lines
        self.place = place
        self._left = dict(values)
        self._asked: list[str] = []

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def problem(self, key: str, why: str) -> BadCiFile:
        return _problem(self._source, self._lines, (*self.place, key) if key else self.place, why)

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        for key in self._left:
            near = difflib.get_close_matches(key, self._asked, n=1)
            known = f"did you mean {near[0]}?" if near else f"known here are {', '.join(sorted(self._asked))}"
            raise self.problem(key, f"it is unknown; {known}")

    def _take(self, key: str) -> object:
        self._asked.append(key)
        return self._left.pop(key, None)

    def _as(self, key: str, kind: type[T], what: str) -> T | None:
        value = self._take(key)
        # True is a number in Python, but not in TOML.
        if value is not None and (not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)):
            raise self.problem(key, f"it must be {what}, not {_said(value)}")
        return value if isinstance(value, kind) else None

    def text(self, key: str) -> str | None:
        value = self._as(key, str, "text")
        if value is not None and not value.strip():
            raise self.problem(key, "it is empty")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """One text or several; () for none."""
        value = self._take(key)
        several = [value] if isinstance(value, str) else value
        if several is None:
            return ()
        if not isinstance(several, list) or not several or not all(isinstance(one, str) for one in several):
            raise self.problem(key, f"it must be text or a list of texts, not {_said(value)}")
        if not all(one.strip() for one in several):
            raise self.problem(key, "a text in it is empty")
        return tuple(several)

    def flag(self, key: str) -> bool | None:
        return self._as(key, bool, "true or false")

    def number(self, key: str) -> float | None:
        value = self._take(key)
        if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)):
            return None if value is None else float(value)
        raise self.problem(key, f"it must be a number, not {_said(value)}")

    def whole(self, key: str) -> int | None:
        value = self._as(key, int, "a whole number")
        if value is not None and value < 0:
            raise self.problem(key, f"it must be 0 or more, not {value}")
        return value

    def share(self, key: str) -> float | None:
        """A number in [0, 1], or a text with ``%``."""
        value = self._take(key)
        return None if value is None else self._share(key, value)

    def shares(self, key: str) -> float | dict[str, float] | None:
        """One share, or one for each name."""
        value = self._take(key)
        if isinstance(value, dict):
            return {normalise(name): self._share(f"{key}.{name}", one) for name, one in value.items()}
        return None if value is None else self._share(key, value)

    def _share(self, key: str, value: object) -> float:
        share: float | None = None
        if isinstance(value, str) and value.endswith("%"):
            try:
                share = float(value[:-1]) / 100
            except ValueError:
                share = None
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            share = float(value)
        if share is None:
            raise self.problem(key, f'it must be a share, such as 0.8 or "80%", not {_said(value)}')
        if not 0 <= share <= 1:
            raise self.problem(
                key, f'it must be between 0 and 1, not {_said(value)}; a share of eighty percent is 0.8 or "80%"'
            )
        return share

    def table(self, key: str) -> _Table | None:
        value = self._as(key, dict, "a table")
        return None if value is None else _Table(self._source, self._lines, (*self.place, key), value)

    def tables(self, key: str) -> list[_Table]:
        value = self._take(key)
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.problem(key, f"it must be an array of tables: [[{key}]]")
        return [_Table(self._source, self._lines, (*self.place, key, n), one) for n, one in enumerate(value)]

    def names(self, key: str) -> dict[str, tuple[str, ...]] | None:
        """A table of names, each with one other or several."""
        table = self.table(key)
        return None if table is None else {name: table.texts(name) for name in list(table._left)}

    def checked(self, key: str, value: T | None, check: Callable[[T], object]) -> None:
        """Refuse a value that `check` raises a ValueError for."""
        if value is None:
            return
        try:
            check(value)
        except ValueError as error:
            raise self.problem(key, str(error)) from error


def _said(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _problem(source: str, lines: Mapping[Place, int], place: Place, why: str) -> BadCiFile:
    """The error, with the line of the key; or of what is around it, if it is missing or stands in an inline table."""
    at, names = place, [name for name in place if isinstance(name, str)]
    if names and "." in names[-1]:  # a key within a value
        at = (*place[:-1], *names[-1].split(".", 1))
    while at and at not in lines:
        at = at[:-1]
    # Without names of the tables around it a key of one table cannot be told from that of another, but for the line.
    return BadCiFile(source, ".".join(names), lines.get(at), why)


_HEADER = re.compile(r"^\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"""^\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")


def _lines(text: str) -> dict[Place, int]:
    """The line of each table and key. tomllib does not tell; this reads what people write, one key a line. In texts of
    several lines it may see keys that are none, which does no harm: they are only looked up by keys that there are.
    """
    found: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    at: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            at = ()
            parts = _parts(header[2])
            for n, part in enumerate(parts):
                at = (*at, part)
                if n == len(parts) - 1 and header[1] == "[[":
                    counts[at] = counts.get(at, 0) + 1
                if at in counts:
                    found.setdefault(at, number)
                    at = (*at, counts[at] - 1)
            found.setdefault(at, number)
        elif key := _KEY.match(line):
            for n in range(len(parts := _parts(key[1]))):
                found.setdefault((*at, *parts[: n + 1]), number)
    return found


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(dotted)]


# --- label sets -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shared:
    """What may stand at the top of the file, for all label sets, or in each of them."""

    templates: tuple[str, ...]
    models: tuple[str, ...]
    truth: str | None
    names: Mapping[str, tuple[str, ...]] | None
    others_are_none: bool | None
    coverage: float | None
    baseline: Baseline | None

    @classmethod
    def read(cls, table: _Table) -> _Shared:
        return cls(
            table.texts("templates"),
            table.texts("models"),
            table.text("truth"),
            table.names("map"),
            table.flag("others-are-none"),
            table.share("coverage"),
            None if (found := table.table(BASELINE)) is None else _baseline(found),
        )


def _set(table: _Table, shared: _Shared, defaults: Mapping[str, object]) -> CheckedSet:
    name, labels, saved = table.text("name"), table.text("labels"), table.text("saved")
    if (labels is None) == (saved is None):
        raise table.problem(
            "labels", "name a label file (labels) or a label set saved in the library (saved), one of both"
        )
    own = _Shared.read(table)
    activation, temperature = table.text("activation"), table.number("temperature")
    table.checked("activation", activation, Activation)
    table.checked("temperature", temperature, limits.temperature)
    models = own.models or shared.models
    truth = own.truth or shared.truth
    baseline = own.baseline or shared.baseline
    if baseline is not None and baseline.kind == "answers" and len(models) > 1:
        why = "a table of answers is of one model; give each model a label set of its own, with another name"
        raise table.problem(BASELINE, why)
    kept = _bounds(table)
    coverage = shared.coverage if own.coverage is None else own.coverage
    if coverage is not None and (truth is None or coverage in (0, 1)):
        why = "it must be above 0 and below 1" if truth is not None else "what photos show is not known: set truth"
        raise table.problem("coverage", why)
    for key in kept:
        if (missing := _missing(key, truth, baseline, coverage)) is not None:
            said = {
                "truth": "what photos show is not known: set truth",
                BASELINE: f"there is nothing to compare with: set {BASELINE}",
                "coverage": "there are no sets of labels: set coverage",
            }
            raise table.problem(f"{BOUNDS}.{key}", said[missing])
    table.done()
    # Bounds for all that this label set cannot be held to are for the others.
    usable = {key: value for key, value in defaults.items() if _missing(key, truth, baseline, coverage) is None}
    return CheckedSet(
        place=table.place,
        name=name or saved or _stem(labels or ""),
        labels=labels,
        saved=saved,
        templates=own.templates or shared.templates or None,
        models=models or (None,),
        truth=truth,
        names=own.names if own.names is not None else shared.names or {},
        others_are_none=bool(shared.others_are_none if own.others_are_none is None else own.others_are_none),
        coverage=coverage,
        activation=None if activation is None else Activation(activation),
        temperature=temperature,
        baseline=baseline,
        bounds=_as_bounds({**usable, **kept}),
    )


def _missing(key: str, truth: str | None, baseline: Baseline | None, coverage: float | None) -> str | None:
    """What a label set lacks to be held to a bound."""
    if key in OF_TRUTH and truth is None:
        return "truth"
    if key in OF_COVERAGE and coverage is None:
        return "coverage"
    return BASELINE if key in OF_BASELINE and baseline is None else None


def _stem(file: str) -> str:
    """What a label file is called: ``pets`` of ``labels/pets.txt``, and of ``labels/all.yaml#pets``."""
    path, _, key = file.partition("#")
    return key or re.split(r"[\\/]", path)[-1].rpartition(".")[0] or path


def _baseline(table: _Table) -> Baseline:
    given = {kind: value for kind in ("git", "labels", "saved", "answers") if (value := table.text(kind)) is not None}
    templates, model = table.texts("templates"), table.text("model")
    rename = table.names("rename") or {}
    table.done()
    if len(given) != 1:
        raise table.problem("", "name one of git, labels, saved and answers")
    [(kind, value)] = given.items()
    if kind in ("git", "answers") and (templates or model):
        raise table.problem("templates" if templates else "model", f"it is for labels and saved, not for {kind}")
    if several := [name for name, others in rename.items() if len(others) > 1]:
        raise table.problem("rename", f"{several[0]!r} has more than one new name")
    renamed = {name: others[0] for name, others in rename.items()}
    for known in ("git", "labels", "saved", "answers"):
        if kind == known:
            return Baseline(known, value, templates or None, model, renamed)
    raise AssertionError(kind)


def _bounds(table: _Table) -> dict[str, object]:
    """The bounds that a table names, by key."""
    bounds = table.table(BOUNDS)
    if bounds is None:
        return {}
    shares = ("min-top1", "min-top1-low", "min-top5", "max-ece", "min-coverage", "max-flips", "max-worse")
    found: dict[str, object] = {
        **{key: bounds.share(key) for key in shares},
        **{key: bounds.whole(key) for key in ("min-photos", "max-lint-warnings")},
        "min-recall": bounds.shares("min-recall"),
        "max-set-size": bounds.number("max-set-size"),
    }
    bounds.done()
    return {key: value for key, value in found.items() if value is not None}


def _as_bounds(found: Mapping[str, object]) -> Bounds:
    def share(key: str) -> float | None:
        value = found.get(key)
        return value if isinstance(value, float) else None

    def whole(key: str) -> int | None:
        value = found.get(key)
        return value if isinstance(value, int) else None

    of_labels = found.get("min-recall")
    return Bounds(
        min_top1=share("min-top1"),
        min_top1_low=share("min-top1-low"),
        min_top5=share("min-top5"),
        min_recall=share("min-recall"),
        min_recall_of=of_labels if isinstance(of_labels, dict) else {},
        max_ece=share("max-ece"),
        min_coverage=share("min-coverage"),
        max_set_size=share("max-set-size"),
        min_photos=whole("min-photos"),
        max_flips=share("max-flips"),
        max_worse=share("max-worse"),
        max_lint_warnings=whole("max-lint-warnings"),
    )
