"""Labels, templates and label files: everything that turns a user's words into the texts a tokenizer sees. No I/O."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeAlias

from zsindex.arguments import text_files
from zsindex.arguments.several import several
from zsindex.arguments.text_files import UnreadableText
from zsindex.classification.templates import DEFAULT_TEMPLATE, has_place, put, resolve
from zsindex.errors import (
    BadGroups,
    BadLabelFile,
    BadTemplate,
    BadText,
    DuplicateLabels,
    EmptyLabel,
    NoLabels,
    ZsindexWarning,
)
from zsindex.photos.formats import is_encodable
from zsindex.records import NONE, LabelSet

__all__ = [
    "LabelsAlike",
    "LabelsLike",
    "WordsUnfamiliar",
    "checked",
    "digest",
    "fill",
    "from_document",
    "label_set",
    "lines_of",
    "normalise",
    "parse_labels",
    "parse_templates",
    "prompts_for",
    "to_document",
    "warn_of_alike",
    "warn_of_unfamiliar",
]


class WordsUnfamiliar(ZsindexWarning):
    """Words are in a script that the model has hardly been trained on; its answers about them mean little."""


class LabelsAlike(ZsindexWarning):
    """Two labels of a set are the same word in two spellings: photos are split between them."""


# A string is one label, see `zsindex.arguments.several`.
LabelsLike: TypeAlias = "LabelSet | str | Sequence[str] | Mapping[str, str | Sequence[str] | None]"


def normalise(text: str) -> str:
    """NFC, without surrounding white space: the form in which texts are compared and cached.

    Raises:
        BadText
    """
    return unicodedata.normalize("NFC", checked(text)).strip()


def lines_of(text: str) -> list[str]:
    """Split at CR, LF and CRLF only. `str.splitlines` also splits at U+2028 and others, which a label may contain."""
    return re.split("\r\n|\r|\n", text)


def checked(text: str, what: str = "what was given") -> str:
    """Return a text if it is valid: tokenizers and databases do not accept lone surrogates, and some stop at NUL.

    Raises:
        BadText: it is not valid; `what` says where it was given.
        TypeError: it is not a string.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} is not text but {type(text).__name__}")
    if "\0" in text or not (text.isascii() or is_encodable(text)):
        raise BadText(text, what)
    return text


def fill(template: str, label: str) -> str:
    """Put a label into a template.

    Raises:
        BadTemplate: it has no placeholder.
    """
    if not has_place(template):
        raise BadTemplate(template)
    return normalise(put(label, template))


def prompts_for(labels: str | Iterable[str], templates: str | Sequence[str] = DEFAULT_TEMPLATE) -> list[str]:
    """The prompts of labels, label by label: ``len(labels) · len(templates)`` texts.

    Args:
        labels: one or more names.
        templates: with a place for the label, or names of built-in template sets.

    Raises:
        BadTemplate: a template has no placeholder and is not the name of a set.
    """
    filled_in = resolve(templates)
    return [fill(template, normalise(label)) for label in several(labels) for template in filled_in]


def label_set(
    labels: LabelsLike,
    *,
    templates: str | Sequence[str] | None = None,
    groups: Mapping[str, str | Sequence[str]] | None = None,
    negatives: str | Sequence[str] | Mapping[str, str | Sequence[str] | None] = (),
    name: str | None = None,
    literal: bool = False,
) -> LabelSet:
    """Build a label set.

    Args:
        labels: names in order; or a mapping from names to written-out prompts, where a name without prompts (none, or
            only blank ones) uses the templates like a plain name. Placeholders in written prompts stand for the name. A
            `LabelSet` is kept as it is, unless templates are given, which replace its prompts.
        templates: each with a place for the label, one of ``{}``, ``{label}``, ``{c}``; or names of built-in template
            sets, see `zsindex.classification.templates.BUILT_IN`. Default: `DEFAULT_TEMPLATE`.
        groups: names with the labels that together count as one answer.
        negatives: other things that photos may show and that are not answers; in the form of `labels`.
        name: of a saved set.
        literal: written prompts are final: what looks like a placeholder in them is plain text.

    Raises:
        NoLabels, EmptyLabel, DuplicateLabels, BadTemplate
        BadGroups: a group names something that is not a label, a label is in two groups, a group has the name of a
            label outside it, or a label is also a negative.
    """
    was_made, others_are_literal, templates_given = False, literal, templates is not None
    if isinstance(labels, LabelSet):
        if templates is None and groups is None and not negatives:
            return labels if name in (None, labels.name) else replace(labels, name=name, version=None)
        name = name or labels.name
        groups = dict(labels.groups) if groups is None else groups
        if templates is None:
            if not negatives:
                negatives = dict(zip(labels.negatives, labels.negative_prompts, strict=True))
                others_are_literal = True
            templates, was_made, literal = labels.templates, bool(labels.templates), True
            labels = dict(zip(labels.labels, labels.prompts, strict=True))
        else:
            negatives = negatives or labels.negatives
            labels = labels.labels
    templates = resolve(templates or (DEFAULT_TEMPLATE,))
    names, prompts, any_from_template = _with_prompts(
        labels, templates, literal=literal, templates_given=templates_given
    )
    if not names:
        raise NoLabels()
    others, other_prompts, any_more = _with_prompts(
        negatives, templates, literal=others_are_literal, templates_given=templates_given
    )
    grouped = tuple(
        (normalise(group), tuple(normalise(label) for label in several(members)))
        for group, members in (groups or {}).items()
    )
    _check_groups(names, grouped, others)
    return LabelSet(
        names,
        prompts,
        templates if was_made or any_from_template or any_more else (),
        name,
        groups=grouped,
        negatives=others,
        negative_prompts=other_prompts,
    )


def warn_of_alike(labels: LabelSet) -> None:
    """Warn about labels that people would take for the same word: they differ only in case, width or spacing.

    For input from people; in a service it would only end up in the log.
    """
    by_word: dict[str, list[str]] = {}
    for label in labels.labels:
        word = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
        by_word.setdefault(word, []).append(label)
    if alike := [" and ".join(map(repr, same)) for same in by_word.values() if same[1:]]:
        more = f" and {len(alike) - 5} more" if alike[5:] else ""
        message = f"labels that differ only in case or spacing: {'; '.join(alike[:5])}{more}"
        warnings.warn(message, LabelsAlike, stacklevel=3)


def warn_of_unfamiliar(words: Sequence[str], model: str) -> None:
    """Warn about words in scripts that the model has hardly been trained on."""
    if words:
        more = f" and {len(words) - 5} more" if words[5:] else ""
        message = (
            f"{model} has hardly been trained on the script of {', '.join(words[:5])}{more}: its tokenizer knows at "
            "most single letters or bytes of it, so scores of such words mean little. Use the model's language, or a "
            "multilingual model."
        )
        warnings.warn(message, WordsUnfamiliar, stacklevel=4)


def _with_prompts(
    labels: str | Iterable[str] | Mapping[str, str | Sequence[str] | None],
    templates: Sequence[str],
    *,
    literal: bool,
    templates_given: bool,
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], bool]:
    """Names, their prompts, and whether any came from the templates: those of a name without prompts; or, with
    `templates_given`, written ones that equal what the templates yield.
    """
    written: Mapping[str, Any] = labels if isinstance(labels, Mapping) else {}
    given_names = several(labels)
    names = tuple(normalise(label) for label in given_names)
    for position, label in enumerate(names, start=1):
        if not label:
            raise EmptyLabel(position)
    doubled = [label for label, n in Counter(names).items() if n > 1]
    if doubled:
        raise DuplicateLabels(doubled)
    prompts = []
    any_from_template = False
    for given, label in zip(given_names, names, strict=True):
        own = written.get(given) or ()
        texts = [text for text in several(own) if normalise(text)]
        if texts:
            filled = (normalise(t) if literal or not has_place(t) else fill(t, label) for t in texts)
            prompts.append(tuple(dict.fromkeys(filled)))
            if templates_given and not any_from_template and prompts[-1][0] == fill(templates[0], label):
                any_from_template = prompts[-1] == tuple(dict.fromkeys(prompts_for([label], templates)))
        else:
            any_from_template = True
            prompts.append(tuple(dict.fromkeys(prompts_for([label], templates))))
    return names, tuple(prompts), any_from_template


def _check_groups(
    labels: tuple[str, ...], groups: tuple[tuple[str, tuple[str, ...]], ...], negatives: tuple[str, ...]
) -> None:
    if NONE in (*labels, *(group for group, _ in groups)):
        raise BadGroups(f"{NONE!r} is reserved for photos that show none of the labels")
    if both := [label for label in negatives if label in labels]:
        raise BadGroups(f"{', '.join(both)}: a label cannot also be a negative")
    home: dict[str, str] = {}
    for group, members in groups:
        if not group or not members:
            raise BadGroups("a group needs a name and at least one label")
        if group in labels and group not in members:
            raise BadGroups(f"{group!r} is both a group and a label outside that group")
        for label in members:
            if label not in labels:
                raise BadGroups(f"the group {group!r} names {label!r}, which is not one of the labels")
            if home.setdefault(label, group) != group:
                raise BadGroups(f"{label!r} is in two groups, {home[label]!r} and {group!r}")
    if doubled := [group for group, n in Counter(group for group, _ in groups).items() if n > 1]:
        raise BadGroups(f"two groups have the same name: {', '.join(doubled)}")


def digest(labels: LabelSet) -> str:
    """Hex SHA-256 of what a label set means: its labels and final prompts in order, its groups and its negatives."""
    meaning: list[Any] = [labels.labels, labels.prompts]
    if not labels.is_plain:
        meaning += [labels.groups, labels.negatives, labels.negative_prompts]
    return hashlib.sha256(json.dumps(meaning, ensure_ascii=False).encode()).hexdigest()


# --- files ------------------------------------------------------------------------------------------------------------


_KEYS = ("labels", "templates", "groups", "negatives", "literal")
_MOST_CHARACTERS = 2**26
_MOST_DIGITS = 100
# Label files are nested four deep.
_MOST_LEVELS = 100
# Values that aliases repeat, all together. Seven lists of nine aliases each stand for five million.
_MOST_REPEATED = 100_000
_MOST_SHOWN = 200
_YAML_TAG = "tag:yaml.org,2002:"


def parse_labels(
    text: str,
    *,
    source: str,
    key: str | None = None,
    templates: str | Sequence[str] | None = None,
    name: str | None = None,
) -> LabelSet:
    """Read a label file.

    Plain lines: one label each; blank lines and lines that begin with ``#`` are skipped. JSON or YAML: a list of
    labels; a mapping from labels to prompts, like CuPL's files; or a mapping with the keys ``labels`` (either of the
    two) and, optionally, ``templates``, ``groups`` (names with lists of labels), ``negatives`` (like ``labels``) and
    ``literal``: true if what looks like a placeholder in the prompts of labels and negatives is plain text. CSV: a
    table with the column ``label`` (or ``name``, ``class``, ``category``) and, optionally, ``prompt``, with a row for
    each prompt of a label, and ``group``. In CLIP_benchmark's class-name files, which hold many data sets, `key`
    selects one; repeated class names are numbered there.

    Args:
        text: the content.
        source: the file's name; its extension ``.json``, ``.yaml``, ``.yml``, ``.csv`` or ``.tsv`` decides the format;
            with any other extension (or text from a pipe), a leading ``[`` or ``{`` means JSON, and a first line that
            names several columns, ``label`` among them, a table.
        key: the set to read, from a file that holds several.
        templates: override the file's own.

    Raises:
        BadLabelFile: the text is not in one of these forms; names the place.
        NoLabels, EmptyLabel, DuplicateLabels, BadGroups, BadTemplate: from the content.
    """
    _require_size(text, source)
    suffix = source.lower().rpartition(".")[2]
    is_table = {"csv": _is_table, "tsv": _is_table, "json": None, "yaml": None, "yml": None}.get(suffix, _names_columns)
    if key is None and is_table is not None and is_table(text):
        rows, of_groups = _parse_table(text, source)
        return label_set(rows, templates=templates, groups=of_groups, name=name)
    content = _parse(text, source)
    if content is None:
        if key is not None:
            raise BadLabelFile(source, f"a file of plain lines holds a single set of labels, none called {key!r}")
        lines = (line.strip() for line in lines_of(text.removeprefix("\ufeff")))
        return label_set([line for line in lines if line and not line.startswith("#")], templates=templates, name=name)
    if key is not None:
        chosen = _chosen(content, key, source)
        if not isinstance(chosen, list):
            content = chosen
        else:
            numbered = _numbered([_text(label, source, f"label number {n}") for n, label in enumerate(chosen, 1)])
            filled = {
                label: prompts_for([class_name], templates or DEFAULT_TEMPLATE)
                for label, class_name in numbered.items()
                if label != class_name
            }
            labels = {label: filled.get(label) for label in numbered}
            return label_set(labels, templates=templates, name=name, literal=True)
    elif _is_clip_benchmark(content):
        raise BadLabelFile(
            source, f"it holds the class names of {len(content)} data sets; choose one: {source}#{next(iter(content))}"
        )
    groups: dict[str, list[str]] = {}
    negatives: list[str] | dict[str, list[str]] = []
    literal = False
    if isinstance(content, Mapping) and isinstance(content.get("labels"), (list, Mapping)):
        strangers = [str(key) for key in content if key not in _KEYS]
        if strangers:
            raise BadLabelFile(
                source,
                f'besides "labels" only these keys are allowed: {", ".join(map(json.dumps, _KEYS[1:]))}; '
                f"found {', '.join(strangers)}",
            )
        templates = templates or _texts(content.get("templates"), source, 'in "templates"')
        groups = _groups(content.get("groups"), source)
        negatives = _checked(content.get("negatives") or [], source)
        literal = _truth(content.get("literal"), source)
        content = content["labels"]
    return label_set(
        _checked(content, source), templates=templates, groups=groups, negatives=negatives, name=name, literal=literal
    )


# Columns of label files that are tables, and other names for them, as found in data sets' own lists of classes.
_COLUMNS = ("label", "prompt", "group")
_COLUMN_NAMES = {
    **dict.fromkeys(("labels", "name", "class", "classname", "class_name", "class name", "category"), "label"),
    **dict.fromkeys(("prompts", "description"), "prompt"),
    "groups": "group",
}


def _first_lines(text: str) -> list[str]:
    """The first two that are not blank."""
    return list(islice((line.strip().casefold() for line in lines_of(text.removeprefix("\ufeff")) if line.strip()), 2))


def _is_table(text: str) -> bool:
    """Whether the first line names columns, as opposed to a single column of labels without a header."""
    first = next(iter(_first_lines(text)), "")
    return any(delimiter in first for delimiter in text_files.DELIMITERS) or first in {*_COLUMNS, *_COLUMN_NAMES}


def _names_columns(text: str) -> bool:
    """Whether a text that need not be a table begins with the names of several columns, that of labels among them."""
    first, *others = _first_lines(text) or [""]
    called = [name for name in (*_COLUMNS, *_COLUMN_NAMES) if _COLUMN_NAMES.get(name, name) == "label"]
    cells = [[cell.strip(' "') for cell in first.split(delimiter)] for delimiter in text_files.DELIMITERS]
    return bool(others) and any(len(row) > 1 and not set(called).isdisjoint(row) for row in cells)


def _parse_table(text: str, source: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Labels with their written prompts, and groups with their labels."""
    labels: dict[str, list[str]] = {}
    group_of: dict[str, str] = {}
    bare: list[str] = []
    try:
        for line, row in text_files.table(text, required=_COLUMNS[:1], optional=_COLUMNS[1:], names=_COLUMN_NAMES):
            label, prompt, group = (normalise(row[column]) for column in _COLUMNS)
            if not label:
                raise BadLabelFile(source, f"line {line}: the label is empty")
            if not prompt:
                bare.append(label)
            labels.setdefault(label, []).extend([prompt] if prompt else [])
            if group and group_of.setdefault(label, group) != group:
                raise BadGroups(f"{label!r} is in two groups, {group_of[label]!r} and {group!r}")
    except UnreadableText as error:
        raise BadLabelFile(source, str(error)) from error
    # A repeated label adds a prompt; without one it is a mistake, as in every other kind of file.
    if doubled := [label for label, n in Counter(bare).items() if n > 1 or labels[label]]:
        raise DuplicateLabels(doubled)
    groups: dict[str, list[str]] = {}
    for label, group in group_of.items():
        groups.setdefault(group, []).append(label)
    return labels, groups


def parse_templates(text: str, *, source: str, key: str | None = None) -> tuple[str, ...]:
    """Read a file of templates: plain lines; a JSON or YAML list; or, with `key`, CLIP_benchmark's mapping from data
    sets to lists.

    Raises:
        BadLabelFile: the text is not in one of these forms.
        BadTemplate: a template has no place for the label.
    """
    _require_size(text, source)
    content = _parse(text, source)
    if content is None:
        lines = (line.strip() for line in lines_of(text.removeprefix("\ufeff")))
        content = [line for line in lines if line and not line.startswith("#")]
    if key is not None:
        content = _chosen(content, key, source)
    elif isinstance(content, Mapping):
        known = ", ".join(map(str, content))
        raise BadLabelFile(source, f"it holds several template sets; choose one with {source}#NAME: {known}")
    templates = _texts(content, source, "of the templates")
    if not templates:
        raise BadLabelFile(source, "it holds no templates")
    for template in templates:
        if not has_place(template):
            raise BadTemplate(template)
    return tuple(dict.fromkeys(templates))


def _require_size(text: str, source: str) -> None:
    if len(text) > _MOST_CHARACTERS:
        raise BadLabelFile(source, f"it has more than {_MOST_CHARACTERS:,} characters; divide it into several files")


def _parse(text: str, source: str) -> Any:
    """The content of a JSON or YAML file; None for plain lines."""
    text = text.removeprefix("\ufeff")
    suffix = source.lower().rpartition(".")[2]
    if suffix in ("yaml", "yml"):
        content = _parse_yaml(text, source)
        return "" if content is None else content
    if suffix == "json" or text.lstrip()[:1] in ("[", "{"):
        return _parse_json(text, source)
    return None


def _chosen(content: Any, key: str, source: str) -> Any:
    if not isinstance(content, Mapping) or key not in content:
        known = ", ".join(map(str, content)) if isinstance(content, Mapping) else "no named sets"
        raise BadLabelFile(source, f"it has no set called {key!r}; it has {known}")
    return content[key]


def _is_clip_benchmark(content: Any) -> bool:
    """Class names of data sets look like descriptions of labels, but descriptions are sentences, and there are few per
    label.
    """
    return (
        isinstance(content, Mapping)
        and "imagenet1k" in content
        and all(isinstance(names, list) and len(names) > 1 for names in content.values())
    )


def _numbered(class_names: Sequence[str]) -> dict[str, str]:
    """Labels with the class names that they stand for: repeated and blank class names get a number."""
    labels: dict[str, str] = {}
    for position, class_name in enumerate(class_names, start=1):
        label = base = normalise(class_name) or f"class {position}"
        n = 1
        while label in labels:
            n += 1
            label = f"{base} ({n})"
        labels[label] = normalise(class_name)
    return labels


def _groups(value: Any, source: str) -> dict[str, list[str]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise BadLabelFile(source, '"groups" must be a mapping from names to lists of labels')
    return {_text(group, source, "a group"): _texts(labels, source, f"of {group!r}") for group, labels in value.items()}


def _truth(value: Any, source: str) -> bool:
    # In YAML every value is read as the word that was written.
    if value is not None and value not in (True, False, "true", "false"):
        raise BadLabelFile(source, f'"literal" must be true or false, not {_shown(value)}')
    return value in (True, "true")


def _parse_json(text: str, source: str) -> Any:
    def reject_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        doubled = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
        if doubled:
            raise DuplicateLabels(doubled)
        return dict(pairs)

    def whole(digits: str) -> int:
        if len(digits) > _MOST_DIGITS:
            line = text.count("\n", 0, text.index(digits)) + 1
            raise BadLabelFile(source, f"line {line}: a number of {len(digits):,} digits; put it in quotes")
        return int(digits)

    try:
        return json.loads(text, object_pairs_hook=reject_doubles, parse_int=whole)
    except json.JSONDecodeError as error:
        raise BadLabelFile(source, f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    except RecursionError:
        raise BadLabelFile(source, "it is nested too deeply; it must be a list or a mapping of labels") from None


@dataclass
class _YamlLevel:
    """A YAML list or mapping that has not ended yet.

    Attributes:
        content: so far.
        anchor: its name, if it has one.
        size: values in it, with those that aliases repeat.
        keys: of a mapping, in order, also those that repeat.
        has_key: whether the last of them still lacks its value.
    """

    content: list[Any] | dict[Any, Any]
    anchor: str | None
    size: int = 1
    keys: list[Any] = field(default_factory=list)
    has_key: bool = False


def _parse_yaml(text: str, source: str) -> Any:
    """Reads every value as it was written: a label `no` is not a boolean, and `007` is not 7.

    Made from the parser's events, which come without recursion: composing and constructing a document takes a few
    hundred bytes to any depth, and lets aliases of aliases stand for billions of values.
    """
    import yaml

    levels: list[_YamlLevel] = []
    anchors: dict[str, tuple[Any, int] | None] = {}  # None while it has not ended
    documents: list[Any] = []
    repeated, line = 0, 1

    def bad(why: str) -> BadLabelFile:
        return BadLabelFile(source, f"line {line}: {why}")

    def put(value: Any, size: int) -> None:
        if not levels:
            documents.append(value)
            return
        level = levels[-1]
        level.size += size
        if isinstance(level.content, list):
            level.content.append(value)
        elif level.has_key:
            level.content[level.keys[-1]] = value
            level.has_key = False
        elif isinstance(value, (list, dict)):
            raise bad("a list or mapping cannot be a label")
        else:
            level.keys.append(value)
            level.has_key = True

    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent):
                if event.anchor not in anchors:
                    raise bad(f"nothing has the name &{event.anchor} that *{event.anchor} refers to")
                known = anchors[event.anchor]
                if known is None:
                    raise bad(f"*{event.anchor} is part of what it refers to; write out what is meant")
                repeated += known[1]
                if repeated > _MOST_REPEATED:
                    raise bad(f"its aliases stand for more than {_MOST_REPEATED:,} values; write out what is meant")
                put(*known)
            elif isinstance(event, yaml.ScalarEvent):
                if event.tag not in (None, "!", f"{_YAML_TAG}str", f"{_YAML_TAG}null"):
                    raise bad(f"the tag {_shown_tag(event.tag)} has no meaning here; leave it out")
                plain = event.implicit[0] and not event.value
                value = None if plain or event.tag == f"{_YAML_TAG}null" else event.value
                if event.anchor is not None:
                    anchors[event.anchor] = value, 1
                put(value, 1)
            elif isinstance(event, yaml.CollectionStartEvent):
                is_list = isinstance(event, yaml.SequenceStartEvent)
                if event.tag not in (None, "!", f"{_YAML_TAG}{'seq' if is_list else 'map'}"):
                    raise bad(f"the tag {_shown_tag(event.tag)} has no meaning here; leave it out")
                if len(levels) == _MOST_LEVELS:
                    raise bad("it is nested too deeply; it must be a list or a mapping of labels")
                if event.anchor is not None:
                    anchors[event.anchor] = None
                levels.append(_YamlLevel([] if is_list else {}, event.anchor))
            elif isinstance(event, yaml.CollectionEndEvent):
                level = levels.pop()
                if doubled := [str(key) for key, n in Counter(level.keys).items() if n > 1]:
                    raise DuplicateLabels(doubled)
                if level.anchor is not None:
                    anchors[level.anchor] = level.content, level.size
                put(level.content, level.size)
            elif isinstance(event, yaml.DocumentStartEvent) and documents:
                raise bad("a second document begins; one file holds one set of labels")
    except yaml.YAMLError as error:
        raise BadLabelFile(source, " ".join(str(error).split())) from error
    except ValueError as error:  # its scanner does not check the number of an escaped character
        raise bad(f"it cannot be read as YAML after this line ({error})") from error
    return documents[0] if documents else None


def _shown_tag(tag: str) -> str:
    return tag.replace(_YAML_TAG, "!!")


def _checked(content: Any, source: str) -> list[str] | dict[str, list[str]]:
    if isinstance(content, list):
        return [_text(label, source, f"label number {n}") for n, label in enumerate(content, start=1)]
    if isinstance(content, Mapping):
        return {
            _text(label, source, "a label"): _texts(prompts, source, f"of {label!r}")
            for label, prompts in content.items()
        }
    raise BadLabelFile(source, "expected a list of labels, or a mapping from labels to prompts")


def _texts(value: Any, source: str, where: str) -> list[str]:
    """A text, a list of texts or nothing, as a list."""
    values = value if isinstance(value, list) else [] if value is None else [value]
    return [_text(v, source, f"text number {n} {where}") for n, v in enumerate(values, start=1)]


def _text(value: Any, source: str, what: str) -> str:
    # An integer has only one spelling in JSON, so it can stand for the text; true and 1.50 could have been meant in
    # several.
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        try:
            return checked(str(value), what)
        except BadText as error:
            raise BadLabelFile(source, str(error)) from error
    raise BadLabelFile(source, f"{what} must be text, not {_shown(value)}; put it in quotes")


def _shown(value: Any) -> str:
    """A value as JSON, shortened: it may be the rest of a file."""
    try:
        text = json.dumps(value, default=str)
    except RecursionError:
        return "something nested"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def to_document(labels: LabelSet) -> dict[str, Any]:
    """A label set as plain data, in the form that `parse_labels` reads; prompts are kept in final form, however they
    were made.
    """
    document: dict[str, Any] = {
        "labels": {label: list(prompts) for label, prompts in zip(labels.labels, labels.prompts, strict=True)},
        "templates": list(labels.templates),
    }
    if labels.groups:
        document["groups"] = {group: list(members) for group, members in labels.groups}
    if labels.negatives:
        negatives = zip(labels.negatives, labels.negative_prompts, strict=True)
        document["negatives"] = {label: list(prompts) for label, prompts in negatives}
    if any(has_place(text) for prompts in labels.concept_prompts for text in prompts):
        document["literal"] = True  # or they would be filled in again
    return document


def from_document(document: Mapping[str, Any], *, name: str, version: int | None = None) -> LabelSet:
    """The label set that `to_document` wrote."""
    labels: Mapping[str, Sequence[str]] = document["labels"]
    negatives: Mapping[str, Sequence[str]] = document.get("negatives", {})
    return LabelSet(
        tuple(labels),
        tuple(tuple(prompts) for prompts in labels.values()),
        tuple(document["templates"]),
        name,
        groups=tuple((group, tuple(members)) for group, members in document.get("groups", {}).items()),
        negatives=tuple(negatives),
        negative_prompts=tuple(tuple(prompts) for prompts in negatives.values()),
        version=version,
    )
