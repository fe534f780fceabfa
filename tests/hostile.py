"""Texts and files as nobody should hand them over, what reads them, and whether what comes of it is as it must be.

Mutations of good ones, and others that are made up piece by piece, from a seed. `tests/torture/texts.py` goes on with
it for hours.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import random
import re
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias
from unittest import mock
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from tests.test_xmp import OTHERS
from zsindex import config
from zsindex.arguments import text_files
from zsindex.classification import prompts
from zsindex.errors import BadGroups, BadTemplate, DuplicateLabels, EmptyLabel, NoLabels, ZsindexError
from zsindex.exchange import parts, xmp
from zsindex.lab import corrections, truth, vocabulary
from zsindex.services.search import Place
from zsindex.web import cursors
from zsindex.web import serve as serving
from zsindex.web.problems import Problem

DIM = 8
# What a reading may take.
CPU_S = 2.0
# A refusal is for people.
MOST_SAID = 5_000
# These quote what they mean of a label set, wherever it came from; all others name the file.
QUOTING = (NoLabels, EmptyLabel, DuplicateLabels, BadGroups, BadTemplate)
# What formats give a meaning to, and what has ended other programs.
TOKENS = [
    *(b"[", b"]", b"{", b"}", b":", b",", b'"', b"'", b"\\", b"\n", b"\r", b"\t", b"#", b"- ", b"? ", b"| ", b"> "),
    *(b"&a ", b"*a", b"<<: *a", b"!!int ", b"!!float x", b"!!timestamp x", b"!!binary x", b"!!python/name:os.system "),
    *(b"---\n", b"...\n", b"%YAML 9.9\n", b"%TAG ! !\n", b"\\ud800", b"\\U00110000", b"\\x", b"null", b"NaN", b"-0"),
    *(b"1e999", b"9" * 5000, b"[" * 200, b"{" * 200, b"- " * 200, b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"<", b">", b"&", b"&x;", b"<!DOCTYPE x>", b"<![CDATA[", b"]]>", b"<?xml?>", b"<!--", b"xmlns:a=''", b"</"),
    *(b"(", b")", b"True", b"False", b"descr", b"<f2", b"|O", b"\x93NUMPY", b"PAR1", b"sep=;\n", b"labels", b"prompt"),
]

Chance: TypeAlias = random.Random
# What comes of a reading: equal for the same bytes.
Facts: TypeAlias = object


@dataclass(frozen=True)
class Kind:
    """Files of one kind.

    Attributes:
        goods: some that are read.
        read: reads one. What it returns is the same for the same bytes; a refusal is raised.
        names: of what stands in every refusal, one.
        make: makes one up; None where mutations say it all.
        check: what else is wrong about the bytes and what came of reading them.
    """

    goods: Sequence[bytes]
    read: Callable[[bytes], Facts]
    names: Sequence[str]
    make: Callable[[Chance], bytes] | None = None
    check: Callable[[bytes], Sequence[str]] | None = None


def mutated(data: bytes, random: Chance) -> bytes:
    """Some bytes changed, removed, doubled, moved or put in."""
    out = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        at = random.randrange(len(out) + 1)
        to = min(len(out), at + random.choice((1, 1, 2, 4, 16, 64)))
        how = random.randrange(7)
        if how == 0 and at < len(out):
            out[at] ^= 1 << random.randrange(8)
        elif how == 1 and at < len(out):
            out[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        elif how == 2:
            del out[at:to]
        elif how == 3:
            out[at:at] = out[at:to] * random.choice((1, 2, 50))
        elif how == 4:
            out[at:at] = random.choice(TOKENS)
        elif how == 5:
            out[at:to] = random.choice(TOKENS)
        else:
            del out[random.choice((at, to)) :]
    return bytes(out)


def any_of(kind: Kind, chance: Chance, *, mutations: float = 0.6) -> bytes:
    """A hostile input of a kind; so many of them are mutations of good ones."""
    if kind.make is None or chance.random() < mutations:
        return mutated(chance.choice(kind.goods), chance)
    made = kind.make(chance)
    return mutated(made, chance) if chance.random() < 0.3 * mutations else made


# --- what is made up ----------------------------------------------------------------------------------------------


WORDS = ["owl", "fox", "a {}", "{label} {c}", "", " ", "labels", "groups", "birds", "\u00e4", "e\u0301", "\u732b" * 40]
WORDS += ["null", "no", "007", "1.50", "~", "=", "<<", "@x", "- x", "a: b", "x#y", "\u2028", "\ufeffx", "\U0001f989"]
WORDS += ["{", "}}", "{0}", "{x!r}", "%s", "\x07", "\x1b[31m", "\u202eowl", "x" * 3000, "a,b", "a;b", 'say "x"', "|"]
NUMBERS: list[object] = [0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**30, 1.5, 1e308, -0.0, True, False, None]
NUMBERS += [float("nan"), float("inf")]


def _scalar(chance: Chance) -> object:
    return chance.choice(NUMBERS) if chance.random() < 0.2 else chance.choice(WORDS)


def value(chance: Chance, depth: int = 0) -> object:
    how = chance.random()
    if depth > 3 or how < 0.4:
        return _scalar(chance)
    n = chance.choice((0, 1, 2, 3, 6))
    if how < 0.7:
        return [value(chance, depth + 1) for _ in range(n)]
    return {str(_scalar(chance)): value(chance, depth + 1) for _ in range(n)}


def _label_document(chance: Chance) -> object:
    """Like a label file: some of its keys hold what they should, others anything."""
    names = chance.sample(WORDS, chance.randrange(1, 6))
    labels: object = names if chance.random() < 0.4 else {name: value(chance, 3) for name in names}
    if chance.random() < 0.3:
        return labels
    document: dict[str, object] = {"labels": labels}
    for key in ("templates", "groups", "negatives", "literal", "other"):
        if chance.random() < 0.3:
            document[key] = value(chance, 2)
    if chance.random() < 0.3:
        document["groups"] = {chance.choice(WORDS): chance.sample(names, chance.randrange(len(names) + 1))}
    return document


def _json(chance: Chance) -> bytes:
    return json.dumps(_label_document(chance), ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def _yaml(chance: Chance) -> bytes:
    def text_of(value: object, indent: str) -> str:
        if isinstance(value, dict | list) and chance.random() < 0.3:
            return f" {json.dumps(value)}\n"
        anchor = chance.choice((" &a", " *a", " !!str", " !!map", " !x")) if chance.random() < 0.05 else ""
        if isinstance(value, dict):
            inner = "".join(f"{indent}{key_of(key)}:{text_of(v, indent + '  ')}" for key, v in value.items())
            return f"{anchor}\n{inner}"
        if isinstance(value, list):
            return f"{anchor}\n" + "".join(f"{indent}-{text_of(v, indent + '  ')}" for v in value)
        how = chance.randrange(5)
        if how == 0:
            return f"{anchor} {json.dumps(value)}\n"
        if how == 1:
            return f"{anchor} {chance.choice('|>')}{chance.choice(['', '-', '+', '2', '9'])}\n{indent}{value}\n"
        if how == 2:
            return f"{anchor} '{value}' # said\n"
        return f"{anchor} {value}\n"

    def key_of(key: str) -> str:
        return chance.choice((key, json.dumps(key), f"'{key}'", f"? {key}\n"))

    head = chance.choice(("", "---", "%YAML 1.1\n---", "# x\n---", "--- !!map"))
    return (head + text_of(_label_document(chance), "")).encode("utf-8", "replace")


def _rows(chance: Chance, columns: Sequence[str]) -> bytes:
    out = io.StringIO()
    if chance.random() < 0.1:
        out.write(f"sep={chance.choice(',;|')}\n")
    quoting = chance.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    writer = csv.writer(
        out, delimiter=chance.choice(",;\t"), quoting=quoting, lineterminator=chance.choice(("\n", "\r\n"))
    )
    head = [*columns, *chance.choices((*columns, *WORDS), k=chance.choice((0, 0, 1, 2)))]
    chance.shuffle(head)
    writer.writerow(head[: chance.choice((len(head), len(head), 1))])
    for _ in range(chance.choice((0, 1, 3, 9))):
        writer.writerow([str(_scalar(chance)) for _ in range(chance.choice((len(head), len(head), 1, 9)))])
    return out.getvalue().encode(chance.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32")), "replace")


def _lines(chance: Chance) -> bytes:
    end = chance.choice(("\n", "\r", "\r\n", "\n\n"))
    text = end.join(str(_scalar(chance)) for _ in range(chance.choice((1, 3, 30))))
    return text.encode(chance.choice(("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1")), "replace")


def _npy(chance: Chance) -> bytes:
    shape = chance.choice([(6, DIM), (6, DIM + 1), (DIM,), (), (0, DIM), (6, 0), (2, 3, DIM), (1, DIM)])
    dtype = chance.choice(["<f4", "<f4", "<f2", ">f4", "<f8", "<i4", "|u1", "<c8", "|S3", "<U2", "|b1"])
    array = np.asarray(np.random.default_rng(chance.randrange(2**31)).standard_normal(shape) * 9).astype(dtype)
    if array.dtype.kind == "f" and array.size and chance.random() < 0.4:
        array.flat[chance.randrange(array.size)] = chance.choice((np.nan, np.inf, -np.inf, 0.0, 6e4))
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asfortranarray(array) if chance.random() < 0.1 else array)
    return out.getvalue()


def _parquet(chance: Chance) -> bytes:
    n = chance.choice((6, 6, 6, 5, 0))
    texts = [str(_scalar(chance)) for _ in range(n)]
    columns: dict[str, object] = {
        "image_path": chance.choice(
            (
                pa.array([f"/a/{k}.jpg" for k in range(n)]),
                pa.array(texts),
                pa.array(texts).dictionary_encode(),
                pa.array([text.encode() for text in texts]),
                pa.array([None] * n, pa.string()),
                pa.array(range(n)),
                pa.array([[text] for text in texts], pa.list_(pa.string())),
                pa.nulls(n),
            )
        ),
        "width": pa.array([chance.choice((1, -1, 2**40, None)) for _ in range(n)], pa.int64()),
        "sha256": pa.array([chance.choice(("0" * 64, "x", None)) for _ in range(n)], pa.string()),
        "format": pa.array(texts, chance.choice((pa.string(), pa.large_string()))),
        "height": pa.array([1.5] * n),
    }
    for name in chance.sample(sorted(columns), chance.randrange(3)):
        del columns[name]
    out = io.BytesIO()
    table = pa.table(columns or {"x": pa.nulls(n)})
    parquet.write_table(
        table,
        out,
        compression=chance.choice(("NONE", "SNAPPY", "GZIP", "ZSTD")),
        row_group_size=chance.choice((1, 4, 100)),
        use_dictionary=chance.random() < 0.5,
    )
    return out.getvalue()


def _document(good: dict[str, object]) -> Callable[[Chance], bytes]:
    """Makes JSON documents of which some values are anything."""

    def make(chance: Chance) -> bytes:
        document = dict(good)
        for key in chance.sample([*good, "more"], k=chance.choice((1, 1, 2))):
            document[key] = value(chance)
        if chance.random() < 0.2:
            del document[chance.choice(list(good))]
        return json.dumps(document).encode()

    return make


# Namespaces as others write them, and prefixes that mean something else.
_SPACES = {"x": "adobe:ns:meta/", "rdf": xmp.RDF, "dc": "http://purl.org/dc/elements/1.1/", "mine": "urn:mine"}
_SPACES |= {"lr": "http://ns.adobe.com/lightroom/1.0/", "digiKam": "http://www.digikam.org/ns/1.0/"}


def _xmp(chance: Chance) -> bytes:
    """A well-formed document, much like a sidecar."""
    # A program may call the namespaces as it likes, and other namespaces by their names.
    prefix = {space: chance.choice((name, name, name, f"n{at}")) for at, (name, space) in enumerate(_SPACES.items())}
    gap = chance.choice(("", "\n", "\n  ", " ", "\t"))

    def tag(name: str) -> str:
        before, _, local = name.partition(":")
        return f"{prefix[_SPACES[before]]}:{local}"

    def text() -> str:
        word = "".join(c for c in str(_scalar(chance))[:60] if c.isprintable())
        how = chance.randrange(6)
        if how == 0:
            return "<![CDATA[" + word.replace("]]>", "") + "]]>"
        if how == 1:
            return f"<!-- {word.replace('-', '')} -->{escape(word)}"
        if how == 2:
            return f"&#{chance.choice((9, 10, 13, 65, 0x732B, 0x1F989))};{escape(word)}&lt;&amp;"
        if how == 3:
            return f"<?note {word.replace('?>', '')}?>"
        return escape(word)

    def attributes() -> str:
        found = {
            chance.choice(("rdf:about", "mine:note", "dc:format", "mine:x")): str(_scalar(chance))[:40]
            for _ in range(chance.choice((0, 1, 2)))
        }
        shown = {name: "".join(c for c in value if c.isprintable()) for name, value in found.items()}
        return "".join(
            f"{chance.choice((' ', gap + ' '))}{tag(name)}={quoteattr(value)}" for name, value in shown.items()
        )

    def element(name: str, inner: str) -> str:
        if not inner and chance.random() < 0.5:
            return f"<{tag(name)}{attributes()}/>"
        return f"<{tag(name)}{attributes()}>{inner}</{tag(name)}>"

    def items() -> str:
        return "".join(gap + f"<{tag('rdf:li')}>{text()}</{tag('rdf:li')}>" for _ in range(chance.choice((0, 1, 3))))

    def property_() -> str:
        name = chance.choice(("dc:subject", "lr:hierarchicalSubject", "digiKam:TagsList", "mine:note", "dc:title"))
        kind = chance.choice(("rdf:Bag", "rdf:Seq", "rdf:Bag", "rdf:Alt"))
        inner = gap + f"<{tag(kind)}>{items()}{gap}</{tag(kind)}>" + gap if chance.random() < 0.85 else text()
        return gap + f"<{tag(name)}>{inner}</{tag(name)}>"

    inner = "".join(
        gap + element("rdf:Description", "".join(property_() for _ in range(chance.choice((0, 1, 2, 3)))) + gap)
        for _ in range(chance.choice((0, 1, 1, 2)))
    )
    bare = chance.random() < 0.2
    spaces = "".join(f" xmlns:{prefix[space]}={quoteattr(space)}" for space in _SPACES.values())
    rdf = f"<{tag('rdf:RDF')}{spaces if bare else ''}>{inner}{gap}</{tag('rdf:RDF')}>"
    root = rdf if bare else f"<{tag('x:xmpmeta')}{spaces}>{gap}{rdf}{gap}</{tag('x:xmpmeta')}>"
    encoding = chance.choice(("utf-8", "utf-8", "utf-8", "iso-8859-1", "us-ascii", "windows-1252"))
    head = f'<?xml version="1.0" encoding="{encoding}"?>\n' if encoding != "utf-8" or chance.random() < 0.5 else ""
    packet = chance.random() < 0.5
    before = '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>\n' if packet else chance.choice(("", "<!-- x -->\n"))
    after = (
        f'{gap}{" " * chance.randrange(99)}\n<?xpacket end="w"?>' if packet else chance.choice(("", "\n", "\n<!--y-->"))
    )
    whole = head + before + root + after
    if chance.random() < 0.2:
        whole = whole.replace("\r\n", "\n").replace("\n", "\r\n")
    mark = b"\xef\xbb\xbf" if encoding == "utf-8" and chance.random() < 0.1 else b""
    return mark + whole.encode(encoding, "xmlcharrefreplace")


# --- what reads ---------------------------------------------------------------------------------------------------


JSON = json.dumps(
    {"labels": {"owl": ["a {}", "hoot"], "fox": None, "7": []}, "groups": {"birds": ["owl"]}, "literal": False}
)
YAML = """\
# birds
templates: &t ['a {}', "the {}"]
labels:
  owl: &a
    - hoot
    - the {}
  fox: *a
  "\\u00e4 b": |
    text
groups:
  birds: [owl, fox]
negatives: {cat: , dog: 'x'}
"""
TABLE = 'label;prompt;group\nowl;"a ""{}""";birds\nowl;the {};birds\nfox;;\n'
LINES = "# birds\nowl\nred fox\n\n bear \n"
TAGS = {xmp.SUBJECT: ["owl", "cat"], xmp.HIERARCHY: ["a|owl"], xmp.TAGS_LIST: ["a/owl"]}


class _All:
    """Several readings of the same bytes: what each returned, or refused, whereby all are judged."""

    def __init__(self, name: str) -> None:
        self.found: list[Facts] = []
        self._name = name

    def read(self, read: Callable[[], Facts]) -> None:
        try:
            self.found.append(read())
        except ZsindexError as error:
            self.found.append(f"{type(error).__name__}: {error}")
            if wrong := _badly_said(error, [self._name]):
                self.found.append(Wrong(wrong))


@dataclass(frozen=True)
class Wrong:
    """Something wrong among facts."""

    what: str


def _badly_said(error: Exception, names: Sequence[str]) -> str | None:
    """What is wrong with the words of a refusal."""
    said = str(error)
    if not said.strip():
        return f"{type(error).__name__} says nothing"
    if len(said) > MOST_SAID:
        return f"{type(error).__name__} says {len(said):,} characters: {said[:200]!r}…"
    if re.search(r"Traceback| object at 0x|<class '", said):
        return f"{type(error).__name__} speaks of Python: {said[:200]!r}"
    if names and not isinstance(error, QUOTING) and not any(name in said for name in names):
        return f"{type(error).__name__} does not say which file: {said[:200]!r}"
    return None


def _labels(data: bytes, name: str) -> Facts:
    text, both = _decoded(data), _All(name)
    for parse in (prompts.parse_labels, prompts.parse_templates):
        for key in (None, "groups"):
            both.read(lambda parse=parse, key=key: parse(text, source=name, key=key))  # type: ignore[misc]
    return both.found


def _decoded(data: bytes) -> str:
    return text_files.decode(data)


def _truth(data: bytes) -> Facts:
    return truth.from_csv(_decoded(data), source="truth.csv", folder="/photos")


def _corrections(data: bytes) -> Facts:
    return corrections.parse_csv(_decoded(data), source="said.csv")


def _read_parts(folder: Path) -> Facts:
    found = []
    for part in parts.open_parts(folder, dim=DIM, path_column=parts.PATH_COLUMN):
        for rows in parts.read_rows(part, batch_rows=4, path_column=parts.PATH_COLUMN, extra=parts.EXTRA_COLUMNS):
            found.append((rows.start, rows.paths, rows.vectors.tobytes(), repr(rows.extra)))
            if not (np.abs(np.linalg.norm(rows.vectors, axis=1) - 1) < 1e-5).all():
                found.append(Wrong("a vector that is not of length 1"))  # type: ignore[arg-type]
    return found


def _written(file: Path, read: Callable[[], Facts]) -> Callable[[bytes], Facts]:
    """Reads what is written into a file first."""

    def act(data: bytes) -> Facts:
        file.write_bytes(data)
        file.chmod(0o600)
        return read()

    return act


def _retagged(data: bytes) -> Facts:
    added = xmp.add(data, TAGS)
    return astuple(added), xmp.texts_in(added.data), xmp.remove(added.data, added.added, added.made)


def content_of(data: bytes) -> list[tuple[object, ...]] | None:
    """What XML says, by a parser of its own; None where it is not well-formed. White space alone says nothing."""
    found: list[tuple[object, ...]] = []

    def text(said: str) -> None:
        if found and found[-1][0] == "text":
            found[-1] = ("text", f"{found[-1][1]}{said}")
        else:
            found.append(("text", said))

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = lambda name, attributes: found.append(("begin", name, sorted(attributes.items())))
    parser.EndElementHandler = lambda name: found.append(("end", name))
    parser.CharacterDataHandler = text
    parser.CommentHandler = lambda said: found.append(("comment", said))
    parser.ProcessingInstructionHandler = lambda target, said: found.append(("instruction", target, said))
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError):
        return None
    return [one for one in found if one[0] != "text" or str(one[1]).strip()]


def _xmp_is_kept(data: bytes) -> list[str]:
    """Adding leaves all that was there, and taking away what was added leads back to it."""
    try:
        added = xmp.add(data, TAGS)
    except xmp.BadPacket:
        return []
    before, tagged = content_of(data), content_of(added.data)
    if tagged is None:
        return ["no XML any more with what was added"]
    wrong = []
    there = xmp.texts_in(added.data)
    if any(text not in there[name] for name, texts in TAGS.items() for text in texts):
        wrong.append("what was added is not there")
    rest, _ = xmp.remove(added.data, added.added, added.made)
    if content_of(rest) != before:
        wrong.append("not what it was, with what was added taken away again")
    if _around(data) != _around(added.data):
        wrong.append("what stands around the outermost element has changed")
    return wrong


def _around(data: bytes) -> tuple[bytes, bytes]:
    """What stands before the outermost element, and what after it."""
    depth, places = 0, [0, 0]

    def step(by: int) -> None:
        nonlocal depth
        if not depth or not depth + by:
            places[by < 0] = parser.CurrentByteIndex
        depth += by

    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda *_: step(1)
    parser.EndElementHandler = lambda *_: step(-1)
    parser.Parse(data, True)
    return data[: places[0]], data[places[1] :]


def _cursor(data: bytes) -> Facts:
    found: list[Facts] = []
    for text in (data.decode("latin-1"), base64.urlsafe_b64encode(data).decode(), _packed(data)):
        for read in (
            lambda text=text: cursors.SearchCursor.from_text(text, fingerprint="f" * 64, dim=DIM).to_text(),  # type: ignore[misc]
            lambda text=text: cursors.OffsetCursor.from_text(text, asked="question").to_text(),  # type: ignore[misc]
            lambda text=text: cursors.AnswerName.from_text(text).to_text(),  # type: ignore[misc]
        ):
            try:
                found.append(read())
            except Problem as refused:
                found.append((refused.slug, refused.detail))
                if refused.status not in (410, 422):
                    found.append(Wrong(f"a cursor gives {refused.status}"))
    return found


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(data, 1)).decode().rstrip("=")


VARIABLES: dict[str, Callable[[], Facts]] = {
    config.LIBRARY_VARIABLE: config.library_place,
    config.CACHE_VARIABLE: config.models_folder,
    **{
        limit.variable: partial(getattr, limit, "value")
        for limit in vars(config).values()
        if isinstance(limit, config.Limit)
    },
    **dict.fromkeys((config.LIMITS_VARIABLE, config.SECONDS_VARIABLE, config.MEMORY_VARIABLE), config.decode_limits),
    config.MAX_PIXELS_VARIABLE: lambda: config.max_pixels(config.DEFAULT_MAX_PIXELS),
}


def _settings(data: bytes) -> Facts:
    value = os.fsdecode(data.replace(b"\0", b""))
    found: list[Facts] = []
    for name, read in VARIABLES.items():
        with mock.patch.dict(os.environ, {name: value}):
            one = _All(name)
            one.read(read)
            found += one.found
    return found


def make(folder: Path) -> dict[str, Kind]:
    """The kinds, by name.

    Args:
        folder: for files of them.
    """
    vectors = np.eye(6, DIM, dtype=np.float32)
    for place in ("npy", "parquet", "manifest"):
        for name in (parts.VECTOR_FOLDER, parts.METADATA_FOLDER):
            (folder / place / name).mkdir(parents=True, exist_ok=True)
    columns = {
        "image_path": [f"/a/{n}.jpg" for n in range(6)],
        "width": pa.array([1] * 6, pa.int32()),
        "sha256": ["0" * 64] * 6,
    }
    for place in ("npy", "parquet"):
        np.save(folder / place / "img_emb" / "img_emb_0.npy", vectors)
        parquet.write_table(pa.table(columns), folder / place / "metadata" / "metadata_0.parquet")
    npy = folder / "npy" / "img_emb" / "img_emb_0.npy"
    table = folder / "parquet" / "metadata" / "metadata_0.parquet"
    manifest = parts.ExportManifest("m", "fp32", "fast", "f" * 64, DIM, "float32", 6, 1, "now", "0.1", files={"a": "b"})
    manifest.write(folder / "manifest")
    manifest_file = folder / "manifest" / parts.MANIFEST_FILE
    cursor = cursors.SearchCursor("f" * 64, vectors[0], Place(1, 2, 0.5, 3), ("/a",), None, 10).to_text()
    document = zlib.decompress(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    offset = {"k": "key", "q": "question", "n": 7}
    sidecar = xmp.add(None, {xmp.SUBJECT: ["owl & fox"], xmp.TAGS_LIST: ["a/b"]}).data
    words, tokens = folder / "words.txt", folder / "tokens"
    return {
        "json": Kind([JSON.encode(), b'["owl", "fox"]'], lambda data: _labels(data, "x.json"), ["x.json"], _json),
        "yaml": Kind([YAML.encode(), b"- owl\n- fox\n"], lambda data: _labels(data, "x.yaml"), ["x.yaml"], _yaml),
        "csv": Kind(
            [TABLE.encode(), TABLE.encode("utf-16")],
            lambda data: _labels(data, "x.csv"),
            ["x.csv"],
            lambda chance: _rows(chance, ("label", "prompt", "group")),
        ),
        "tsv": Kind(
            [TABLE.replace(";", "\t").encode()],
            lambda data: _labels(data, "x.tsv"),
            ["x.tsv"],
            lambda chance: _rows(chance, ("class", "description")),
        ),
        "lines": Kind(
            [LINES.encode(), LINES.encode("utf-16-le")], lambda data: _labels(data, "x.txt"), ["x.txt"], _lines
        ),
        "truth": Kind(
            [b"sep=,\npath,label\na.jpg,owl\nb.jpg,fox|owl\n"],
            _truth,
            ["truth.csv"],
            lambda chance: _rows(chance, ("path", "label")),
        ),
        "corrections": Kind(
            [b"sep=,\npath,label,not\na.jpg,owl,\nb.jpg,fox,1\n"],
            _corrections,
            ["said.csv"],
            lambda chance: _rows(chance, ("path", "label", "not")),
        ),
        "words": Kind([LINES.encode()], _written(words, lambda: vocabulary.words(str(words))), [str(words)], _lines),
        "tokens": Kind(
            [b"read 0123456789abcdef0123 # me\n\nwrite fedcba98765432100123\n"],
            _written(tokens, lambda: serving.read_tokens(tokens)),
            [str(tokens)],
            _lines,
        ),
        "settings": Kind([b"512", b"/srv/library", b"off", b"~/x"], _settings, list(VARIABLES), _lines),
        "npy": Kind(
            [npy.read_bytes()], _written(npy, lambda: _read_parts(folder / "npy")), [str(folder / "npy")], _npy
        ),
        "parquet": Kind(
            [table.read_bytes()],
            _written(table, lambda: _read_parts(folder / "parquet")),
            [str(folder / "parquet")],
            _parquet,
        ),
        "manifest": Kind(
            [manifest_file.read_bytes()],
            _written(manifest_file, lambda: parts.ExportManifest.read(folder / "manifest")),
            [str(manifest_file)],
            _document(json.loads(manifest_file.read_bytes())),
        ),
        "xmp": Kind(
            [sidecar, b"\xef\xbb\xbf" + sidecar.replace(b"UTF-8", b"utf-8"), OTHERS], _retagged, [], _xmp, _xmp_is_kept
        ),
        "cursor": Kind([cursor.encode(), document, json.dumps(offset).encode()], _cursor, [], _document(dict(offset))),
    }


# What may be said of a hostile input, and nothing else. Those of the second line become part of a ZsindexError, or a
# line of a report, where the name of the file is known.
REFUSALS = (ZsindexError,)
HALF_SAID = (text_files.UnreadableText, xmp.BadPacket)


def judged(kind: Kind, data: bytes) -> tuple[str, list[str]]:
    """Whether an input was read or refused; and what is wrong about that, each in a sentence."""
    wrong: list[str] = []
    seen: list[Facts] = []
    came = "read"
    for _ in range(2):
        started = time.process_time()
        try:
            seen.append(kind.read(data))
        except (*REFUSALS, *HALF_SAID) as error:
            came = "refused"
            seen.append((type(error).__name__, str(error)))
            if said := _badly_said(error, () if isinstance(error, HALF_SAID) else kind.names):
                wrong.append(said)
        except Exception as error:  # noqa: BLE001
            return "raised", [f"{type(error).__name__} comes out: {str(error)[:300]}"]
        if (taken := time.process_time() - started) > CPU_S:
            wrong.append(f"it took {taken:.1f} s")
    if seen[0] != seen[1]:
        wrong.append(f"read again it is another: {str(seen[0])[:200]} and {str(seen[1])[:200]}")
    wrong += [one.what for one in seen[0] if isinstance(one, Wrong)] if isinstance(seen[0], list) else []
    if kind.check is not None:
        wrong += kind.check(data)
    return came, list(dict.fromkeys(wrong))
