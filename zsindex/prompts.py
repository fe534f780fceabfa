"""Labels, templates and label files: everything that turns a user's words into the texts a tokenizer sees. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from zsindex.errors import BadLabelFile, BadTemplate, DuplicateLabels, EmptyLabel, NoLabels
from zsindex.records import LabelSet

DEFAULT_TEMPLATE = "This is a photo of {}."
PLACEHOLDERS = ("{}", "{label}", "{c}")

_PLACEHOLDER = re.compile("|".join(re.escape(placeholder) for placeholder in PLACEHOLDERS))

LabelsLike: TypeAlias = "LabelSet | Sequence[str] | Mapping[str, str | Sequence[str] | None]"


def normalise(text: str) -> str:
    """NFC, without surrounding white space: the form under which texts are compared and cached."""
    return unicodedata.normalize("NFC", text).strip()


def fill(template: str, label: str) -> str:
    """Put a label into a template.

    Plain replacement in one pass rather than `str.format`, so that other braces in templates, and any in labels, stay.

    Raises:
        BadTemplate: there is no placeholder.
    """
    if not _PLACEHOLDER.search(template):
        raise BadTemplate(template)
    return normalise(_PLACEHOLDER.sub(lambda _: label, template))


def prompts_for(labels: Sequence[str], templates: str | Sequence[str] = DEFAULT_TEMPLATE) -> list[str]:
    """The prompts of labels, label by label: ``len(labels) · len(templates)`` texts.

    Raises:
        BadTemplate: a template has no placeholder.
    """
    templates = [templates] if isinstance(templates, str) else templates
    return [fill(template, normalise(label)) for label in labels for template in templates]


def label_set(labels: LabelsLike, *, templates: str | Sequence[str] | None = None, name: str | None = None) -> LabelSet:
    """Build a label set.

    Args:
        labels: names in order; or a mapping from names to written-out prompts, where a name without any (none, or only
            blank ones) gets the templates like a plain one. Placeholders in written prompts stand for the name. Of a
            `LabelSet` everything is kept, unless templates are given: they replace its prompts.
        templates: each with a place for the label, one of ``{}``, ``{label}``, ``{c}``. Default: `DEFAULT_TEMPLATE`.
        name: of a saved set.

    Raises:
        NoLabels, EmptyLabel, DuplicateLabels, BadTemplate
    """
    if isinstance(labels, LabelSet):
        if templates is None:
            return labels
        name = name or labels.name
        labels = labels.labels
    if isinstance(labels, str):
        labels = [labels]
    written: Mapping[str, Any] = labels if isinstance(labels, Mapping) else {}
    templates = (templates,) if isinstance(templates, str) else tuple(templates or (DEFAULT_TEMPLATE,))
    names = [normalise(label) for label in labels]
    if not names:
        raise NoLabels()
    for position, label in enumerate(names, start=1):
        if not label:
            raise EmptyLabel(position)
    doubled = [label for label, n in Counter(names).items() if n > 1]
    if doubled:
        raise DuplicateLabels(doubled)
    prompts = []
    any_from_template = False
    for given, label in zip(labels, names, strict=True):
        own = written.get(given) or ()
        texts = [text for text in ([own] if isinstance(own, str) else own) if normalise(text)]
        if texts:
            filled = (fill(t, label) if _PLACEHOLDER.search(t) else normalise(t) for t in texts)
            prompts.append(tuple(dict.fromkeys(filled)))
        else:
            any_from_template = True
            prompts.append(tuple(dict.fromkeys(prompts_for([label], templates))))
    return LabelSet(tuple(names), tuple(prompts), templates if any_from_template else (), name)


def digest(labels: LabelSet) -> str:
    """Hex SHA-256 of what a label set means: its labels and final prompts, in order."""
    meaning = json.dumps([labels.labels, labels.prompts], ensure_ascii=False)
    return hashlib.sha256(meaning.encode()).hexdigest()


# --- files ------------------------------------------------------------------------------------------------------------


def parse_labels(
    text: str, *, source: str, templates: str | Sequence[str] | None = None, name: str | None = None
) -> LabelSet:
    """Read a label file.

    Plain lines: one label each; blank lines and lines that begin with ``#`` are passed over. JSON or YAML: a list of
    labels; a mapping from labels to prompts; or a mapping with the keys ``labels`` (either of the two) and, optionally,
    ``templates``.

    Args:
        text: the content.
        source: the file's name; its extension ``.json``, ``.yaml`` or ``.yml`` decides the format, and where it has
            another one (or the text comes from a pipe) a leading ``[`` or ``{`` means JSON.
        templates: override those of the file.

    Raises:
        BadLabelFile: not in this form; the message names the place.
        NoLabels, EmptyLabel, DuplicateLabels, BadTemplate: from the content.
    """
    text = text.removeprefix("\ufeff")
    suffix = source.lower().rpartition(".")[2]
    if suffix in ("yaml", "yml"):
        content = _parse_yaml(text, source)
    elif suffix == "json" or text.lstrip()[:1] in ("[", "{"):
        content = _parse_json(text, source)
    else:
        lines = (line.strip() for line in text.splitlines())
        return label_set([line for line in lines if line and not line.startswith("#")], templates=templates, name=name)
    if isinstance(content, Mapping) and isinstance(content.get("labels"), (list, Mapping)):
        strangers = [str(key) for key in content if key not in ("labels", "templates")]
        if strangers:
            raise BadLabelFile(
                source, f'beside "labels" there is only room for "templates", not {", ".join(strangers)}'
            )
        templates = templates or _texts(content.get("templates"), source, 'in "templates"')
        content = content["labels"]
    return label_set(_checked(content, source), templates=templates, name=name)


def _parse_json(text: str, source: str) -> Any:
    def reject_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        doubled = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
        if doubled:
            raise DuplicateLabels(doubled)
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=reject_doubles)
    except json.JSONDecodeError as error:
        raise BadLabelFile(source, f"line {error.lineno}, column {error.colno}: {error.msg}") from error


def _parse_yaml(text: str, source: str) -> Any:
    import yaml

    class Texts(yaml.SafeLoader):  # type: ignore[misc]
        """Takes every value as the words that were written: a label `no` is no truth value, and `007` is not 7."""

        yaml_implicit_resolvers = {"": [("tag:yaml.org,2002:null", re.compile("$"))]}  # noqa: RUF012

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            mapping = super().construct_mapping(node, deep=deep)
            keys = Counter(self.construct_object(key, deep=True) for key, _ in node.value)
            if doubled := [str(key) for key, n in keys.items() if n > 1]:
                raise DuplicateLabels(doubled)
            return mapping

    try:
        return yaml.load(text, Texts)
    except yaml.YAMLError as error:
        raise BadLabelFile(source, " ".join(str(error).split())) from error


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
    # A whole number has one spelling in JSON, so it stands for the text; of true and 1.50 nobody knows how they were
    # meant to be written.
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise BadLabelFile(source, f"{what} must be a text, not {json.dumps(value, default=str)}; put it in quotes")


def to_document(labels: LabelSet) -> dict[str, Any]:
    """A label set as plain data, in the form that `parse_labels` reads; final prompts are kept, whatever made them."""
    return {
        "labels": {label: list(prompts) for label, prompts in zip(labels.labels, labels.prompts, strict=True)},
        "templates": list(labels.templates),
    }


def from_document(document: Mapping[str, Any], *, name: str) -> LabelSet:
    """The label set that `to_document` wrote."""
    labels: Mapping[str, Sequence[str]] = document["labels"]
    return LabelSet(
        tuple(labels), tuple(tuple(prompts) for prompts in labels.values()), tuple(document["templates"]), name
    )
