"""Texts and files as nobody should hand them over: mutations of good ones, with a seed.

``python -m tests.hostile KIND COUNT [SEED]`` runs a longer campaign than the tests do.
"""

from __future__ import annotations

import base64
import json
import random
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from zsindex.arguments import text_files
from zsindex.classification.prompts import parse_labels, parse_templates
from zsindex.errors import ZsindexError
from zsindex.exchange import parts, xmp
from zsindex.services.search import Place
from zsindex.web import cursors
from zsindex.web.problems import Problem

DIM = 8
# What formats give a meaning to, and what has ended other programs.
TOKENS = [
    *(b"[", b"]", b"{", b"}", b":", b",", b'"', b"'", b"\\", b"\n", b"\r", b"\t", b"#", b"- ", b"? ", b"| ", b"> "),
    *(b"&a ", b"*a", b"<<: *a", b"!!int ", b"!!float x", b"!!timestamp x", b"!!binary x", b"!!python/name:os.system "),
    *(b"---\n", b"...\n", b"%YAML 9.9\n", b"%TAG ! !\n", b"\\ud800", b"\\U00110000", b"\\x", b"null", b"NaN", b"-0"),
    *(b"1e999", b"9" * 5000, b"[" * 200, b"{" * 200, b"- " * 200, b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"<", b">", b"&", b"&x;", b"<!DOCTYPE x>", b"<![CDATA[", b"]]>", b"<?xml?>", b"<!--", b"xmlns:a=''", b"</"),
    *(b"(", b")", b"True", b"False", b"descr", b"<f2", b"|O", b"\x93NUMPY", b"PAR1", b"sep=;\n", b"labels", b"prompt"),
]


def mutated(data: bytes, random: random.Random) -> bytes:
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


# --- what is fed --------------------------------------------------------------------------------------------------


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


def _labels(data: bytes, suffix: str) -> None:
    text = text_files.decode(data)
    for parse in (parse_labels, parse_templates):
        for key in (None, "groups"):
            with suppress(ZsindexError):
                parse(text, source=f"x.{suffix}", key=key)


def _table(data: bytes) -> None:
    list(text_files.table(text_files.decode(data), required=("path", "label"), optional=("not",)))


def _npy(data: bytes, folder: Path) -> None:
    (folder / "img_emb" / "img_emb_0.npy").write_bytes(data)
    _read_parts(folder)


def _parquet(data: bytes, folder: Path) -> None:
    (folder / "metadata" / "metadata_0.parquet").write_bytes(data)
    _read_parts(folder)


def _manifest(data: bytes, folder: Path) -> None:
    (folder / "zsindex.json").write_bytes(data)
    parts.ExportManifest.read(folder)


def _read_parts(folder: Path) -> None:
    for part in parts.open_parts(folder, dim=DIM, path_column=parts.PATH_COLUMN):
        for _ in parts.read_rows(part, batch_rows=4, path_column=parts.PATH_COLUMN, extra=parts.EXTRA_COLUMNS):
            pass


def _xmp(data: bytes) -> None:
    tags = {xmp.SUBJECT: ["owl", "cat"], xmp.HIERARCHY: ["a|owl"], xmp.TAGS_LIST: ["a/owl"]}
    added = xmp.add(data, tags)
    xmp.texts_in(added.data)
    xmp.remove(added.data, added.added, added.made)


def _cursor(data: bytes) -> None:
    for text in (data.decode("latin-1"), base64.urlsafe_b64encode(data).decode(), _packed(data)):
        with suppress(Problem):
            cursors.SearchCursor.from_text(text, fingerprint="f" * 64, dim=DIM)
        with suppress(Problem):
            cursors.offset_from_text(text, asked="question")


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(data, 1)).decode().rstrip("=")


def make(folder: Path) -> dict[str, tuple[list[bytes], Callable[[bytes], None]]]:
    """For each kind some good inputs, and what reads them.

    Args:
        folder: for files of vectors.
    """
    vectors = np.eye(6, DIM, dtype=np.float32)
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    np.save(folder / "img_emb" / "img_emb_0.npy", vectors)
    columns = {
        "image_path": [f"/a/{n}.jpg" for n in range(6)],
        "width": pa.array([1] * 6, pa.int32()),
        "sha256": ["0" * 64] * 6,
    }
    parquet.write_table(pa.table(columns), folder / "metadata" / "metadata_0.parquet")
    npy = (folder / "img_emb" / "img_emb_0.npy").read_bytes()
    table = (folder / "metadata" / "metadata_0.parquet").read_bytes()
    (folder / "other").mkdir(exist_ok=True)
    for name in ("img_emb", "metadata"):
        (folder / "for parquet" / name).mkdir(parents=True, exist_ok=True)
    np.save(folder / "for parquet" / "img_emb" / "img_emb_0.npy", vectors)
    manifest = parts.ExportManifest("m", "fp32", "fast", "f" * 64, DIM, "float32", 6, 1, "now", "0.1", files={"a": "b"})
    for place in parts.VECTOR_FOLDER, parts.METADATA_FOLDER:
        (folder / "other" / place).mkdir(exist_ok=True)
    manifest.write(folder / "other")
    cursor = cursors.SearchCursor("f" * 64, vectors[0], Place(1, 2, 0.5, 3), ("/a",), None, 10).to_text()
    document = zlib.decompress(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    offset = json.dumps({"k": "key", "q": "question", "n": 7}).encode()
    sidecar = xmp.add(None, {xmp.SUBJECT: ["owl & fox"], xmp.TAGS_LIST: ["a/b"]}).data
    return {
        "json": ([JSON.encode(), b'["owl", "fox"]'], lambda data: _labels(data, "json")),
        "yaml": ([YAML.encode(), b"- owl\n- fox\n"], lambda data: _labels(data, "yaml")),
        "csv": ([TABLE.encode(), TABLE.encode("utf-16")], lambda data: _labels(data, "csv")),
        "lines": ([LINES.encode(), LINES.encode("utf-16-le")], lambda data: _labels(data, "txt")),
        "table": ([b"sep=,\npath,label,not\na.jpg,owl,\nb.jpg,fox,1\n"], _table),
        "npy": ([npy], lambda data: _npy(data, folder)),
        "parquet": ([table], lambda data: _parquet(data, folder / "for parquet")),
        "manifest": (
            [(folder / "other" / "zsindex.json").read_bytes()],
            lambda data: _manifest(data, folder / "other"),
        ),
        "xmp": ([sidecar, b"\xef\xbb\xbf" + sidecar.replace(b"UTF-8", b"utf-8")], _xmp),
        "cursor": ([cursor.encode(), document, offset], _cursor),
    }


# What may be said of a hostile input, and nothing else.
REFUSALS = (ZsindexError, text_files.UnreadableText, xmp.BadPacket)


def campaign(kind: str, count: int, *, seed: int, folder: Path) -> None:
    """Feed mutations; whatever is no refusal is raised, with the input as a note."""
    goods, feed = make(folder)[kind]
    chance = random.Random(f"{kind} {seed}")
    for number in range(count):
        data = mutated(chance.choice(goods), chance)
        started = time.process_time()
        try:
            with suppress(*REFUSALS):
                feed(data)
        except BaseException as error:
            error.add_note(f"{kind}, seed {seed}, number {number}: {data!r}")
            raise
        taken = time.process_time() - started
        assert taken < 2, f"{kind}, seed {seed}, number {number} took {taken:.1f} s: {data!r}"


if __name__ == "__main__":
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as temporary:
        began, (kind, n, *seed) = time.perf_counter(), sys.argv[1:]
        campaign(kind, int(n), seed=int(seed[0]) if seed else 0, folder=Path(temporary))
        print(f"{kind}: {int(n):,} inputs, {time.perf_counter() - began:.0f} s")
