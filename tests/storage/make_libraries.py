"""Makes the libraries of earlier schemas in `libraries/`, as those versions wrote them: with the migrations up to each
revision, and with rows in SQL, past all code of today.

    python -m tests.storage.make_libraries

Only for a new revision: what is there is evidence, and is not made again.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
import struct
import tempfile
import zlib
from contextlib import closing
from functools import reduce
from operator import xor
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from zsindex.storage.sqlite import schema
from zsindex.storage.sqlite.file import APPLICATION_ID, FILE_NAME, PAGE_SIZE

FOLDER = Path(__file__).parent / "libraries"
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011", "0012", "0013")

DIM = 4
# Red and blue; cosines are whole tenths.
RED, BLUE = (0.6, 0.8, 0.0, 0.0), (0.0, 0.0, 0.8, 0.6)
PATHS = {"/photos/blue.png": BLUE, "/photos/red.png": RED}
TEMPLATE = "This is a photo of {}."
LABEL_SET = {"labels": {name: [TEMPLATE.format(name)] for name in ("red", "blue")}, "templates": [TEMPLATE]}
THEN = "2026-01-02T03:04:05.000006+00:00"
DAY = 20_455  # the same day, counted from 1970
RUN: dict[str, Any] = {"run": {"key": "0123456789abcdef"}, "answers": ["red"]}


def vector(values: tuple[float, ...]) -> bytes:
    """As it is stored."""
    return struct.pack(f"<{DIM}f", *values)


def digest(text: str) -> bytes:
    """Stands for the SHA-256 of a photo's bytes."""
    return hashlib.sha256(text.encode()).digest()


def checksum(first: int, *pieces: bytes) -> int:
    """CRC-32, begun with whose vector it is; see docs/storage.md."""
    found = first
    for piece in pieces:
        found = zlib.crc32(piece, found)
    return found


def seal(*values: object) -> int:
    """CRC-32 of a row's values; see docs/storage.md."""
    found = 0
    for value in values:
        if value is None:
            mark, content = b"n", b""
        elif isinstance(value, str):
            mark, content = b"t", value.encode()
        elif isinstance(value, float):
            mark, content = b"f", struct.pack("<d", value)
        elif isinstance(value, int):
            mark, content = b"i", str(int(value)).encode()
        else:
            assert isinstance(value, bytes)
            mark, content = b"b", value
        found = zlib.crc32(mark + str(len(content)).encode() + b":" + content, found)
    return found


# By table: the kind of its seals, its part, its key, and the columns that are sealed.
SEALED: dict[str, tuple[str, str | None, str, tuple[str, ...]]] = {
    "models": ("model", None, "id", ("id", "fingerprint", "name", "pretrained", "precision", "decode", "icc",
                                     "transparency", "dim", "logit_scale", "logit_bias", "context_length",
                                     "image_height", "image_width", "weights_sha256")),
    "roots": ("root", None, "path", ("path",)),
    "snapshots": ("snapshot", None, "model_id", ("model_id", "file", "watermark", "n_vectors", "generation", "sha256",
                                                 "n_cells")),
    "label_sets": ("label_set", "name", "version", ("name", "version", "body", "saved_at")),
    "template_sets": ("template_set", None, "name", ("name", "body")),
    "corrections": ("correction", "label_set", "batch", ("label_set", "batch", "batch", "digest", "label", "is_not")),
    "decisions": ("decision", None, "batch", ("batch", "batch", "kind", "digest", "other", "path", "other_path",
                                              "created_at")),
    "albums": ("album", None, "name", ("name", "body", "saved_at", "seen", "seen_at")),
    "surveys": ("survey", None, "id", ("id", "kind", "question", "image_ids", "begun_at", "ended_at", "result")),
    "looks": ("look", "survey_id", "number", ("survey_id", "number", "digest", "path", "drawn", "answer",
                                              "answered_at")),
    "thresholds": ("threshold", "label_set", "label", ("label_set", "label", "rate", "chosen", "created_at")),
    "temperatures": ("temperature", None, "model_id", ("model_id", "temperature", "fit")),
    "runs": ("run", None, "key", ("key", "document", "created_at")),
    "sidecars": ("sidecar", None, "path", ("path", "original", "written_sha256", "tags", "written_at")),
}  # fmt: skip


def sealed(found: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """The seals of rows. Corrections and decisions have the ids 1, 2, … like their batches."""
    seals = [
        ("default_model", "", "", seal("3")),
        ("derived", "3/negatives", "k", seal(3, "negatives", "k", '["x"]')),
        ("folder", "", "1", seal("/photos", "blue.png\0red.png", "1,2")),
    ]
    for table, row in found:
        if table in SEALED and row.get("id") != 5:
            kind, part, key, columns = SEALED[table]
            seals.append((kind, "" if part is None else str(row[part]), str(row[key]), seal(*map(row.get, columns))))
    return [("seals", {"kind": kind, "part": part, "key": key, "checksum": value}) for kind, part, key, value in seals]


def rows(revision: str) -> list[tuple[str, dict[str, Any]]]:
    """Tables and rows of a small library of a revision: as much as it could hold."""
    models = [
        {
            "id": ident,
            "fingerprint": f"{ident:064x}",
            "name": name,
            "precision": "fp32",
            "decode": "exact",
            "dim": DIM,
            "logit_scale": 10.0,
            "context_length": 77,
            "image_height": 8,
            "image_width": 8,
            "weights_sha256": "w" * 64,
            "created_at": THEN,
            "generation": 2,
            **({"icc": "convert", "transparency": "show"} if revision >= "0006" else {}),
        }
        for ident, name in ((3, "first"), (5, "second"))
    ]
    images = [
        {"id": n, "digest": digest(path), "width": 4, "height": 3, "format": "PNG"} for n, path in enumerate(PATHS, 1)
    ]
    files = [
        {"folder_id": 1, "name": path.rpartition("/")[2], "size": 10 + n, "mtime_ns": 20 + n, "image_id": n}
        for n, path in enumerate(PATHS, 1)
    ]
    label_set = {"name": "colours", "body": json.dumps(LABEL_SET), "saved_at": THEN}
    snapshot = {"model_id": 3, "file": "gone.faiss", "watermark": 8, "n_vectors": 2, "generation": 2,
                "sha256": "0" * 64, "created_at": THEN}  # fmt: skip
    found: list[tuple[str, dict[str, Any]]] = [
        ("settings", {"key": "default_model", "value": "3"}),
        ("settings", {"key": "files_revision", "value": "4"}),
        *(("models", row) for row in models),
        ("roots", {"path": "/photos", "synced_at": THEN}),
        ("folders", {"path": "/photos"}),
        *(("images", row) for row in images),
        *(("files", row) for row in files),
        ("files", {"folder_id": 1, "name": "bad.png", "size": 1, "mtime_ns": 1, "skip_reason": "truncated",
                   "skip_detail": "cut"}),
        ("files", {"folder_id": 1, "name": "gone.png", "size": 1, "mtime_ns": 1, "image_id": 1, "missing_since": THEN}),
        *(("embeddings", {"seq": 6 + n, "model_id": 3, "image_id": n, "vector": vector(values)})
          for n, values in enumerate(PATHS.values(), 1)),
        ("embeddings", {"seq": 9, "model_id": 5, "image_id": 1, "vector": vector(RED)}),
        *(("prompts", {"model_id": 3, "text": TEMPLATE.format(name), "vector": vector(values), "truncated": False})
          for name, values in (("red", RED), ("blue", BLUE))),
        ("label_sets", label_set | ({"version": 1} if revision >= "0003" else {})),
        ("snapshots", snapshot | ({"n_cells": 0, "verified": "1:2:3:4"} if revision >= "0002" else {})),
    ]  # fmt: skip
    if revision >= "0007":
        for table, row in found:
            if table == "embeddings":
                row["checksum"] = checksum(row["model_id"] << 24 ^ row["image_id"], row["vector"])
            elif table == "prompts":
                row["checksum"] = checksum(row["model_id"] << 1, row["text"].encode(), row["vector"])
    if revision >= "0003":
        found += [
            ("label_sets", label_set | {"version": 2, "body": json.dumps({**LABEL_SET, "templates": []})}),
            ("template_sets", {"name": "mine", "body": json.dumps(["a {}"]), "saved_at": THEN}),
            *(("corrections", {"batch": n, "label_set": "colours", "digest": digest(path), "label": "red",
                               "is_not": n == 2, "created_at": THEN}) for n, path in enumerate(PATHS, 1)),
            ("thresholds", {"label_set": "colours", "label": "red", "rate": 0.25, "chosen": '{"by": "rate"}',
                            "created_at": THEN}),
            ("temperatures", {"model_id": 3, "temperature": 1.5, "fit": '{"n": 3}', "created_at": THEN}),
            ("derived", {"model_id": 3, "kind": "negatives", "key": "k", "body": '["x"]', "created_at": THEN}),
            ("runs", {"key": RUN["run"]["key"], "document": json.dumps(RUN), "created_at": THEN}),
            ("sidecars", {"path": "/photos/red.xmp", "original": b"\x00before", "written_sha256": "s" * 64,
                          "tags": '{"sets": {}}', "written_at": THEN}),
        ]  # fmt: skip
    if revision >= "0004":
        found.append(("jobs", {"id": "job", "kind": "sync", "state": "done", "document": "{}", "created_at": THEN}))
    if revision >= "0005":
        found.append(("incomplete_images", {"image_id": 2, "detail": "half of it is missing"}))
    if revision >= "0008":
        found += [("prompt_uses", {"prompt_id": n, "turn": 3 - n, "day": DAY}) for n in (1, 2)]
    if revision >= "0010":
        facts = {"image_id": 1, "taken_us": 1_563_118_212_000_001, "offset_s": 7200, "taken_from": "exif", "make": "Us",
                 "camera": "One", "lens": None, "focal_length_mm": 35.5, "aperture": 1.8, "exposure_s": 0.004,
                 "iso": 640, "latitude": -33.5, "longitude": 151.25, "altitude_m": None, "orientation": 6,
                 "animated": 0, "rating": 4.0, "keywords": '["owl"]', "caption": "Ö"}  # fmt: skip
        found.append(("image_facts", facts | {"checksum": seal(*facts.values()), "revision": 1}))
        sidecar = {"folder_id": 1, "name": "red.png.xmp", "size": 300, "mtime_ns": 5} | {
            **dict.fromkeys([*facts][1:]), "rating": 5.0, "keywords": '["Birds|Owl"]'}  # fmt: skip
        found.append(("sidecar_facts", sidecar | {"checksum": seal(*sidecar.values()), "revision": 2}))
        found.append(("settings", {"key": "facts_revision", "value": "2"}))
    if revision >= "0011":
        blue, red = PATHS
        decided = {"digest": digest(blue), "path": blue, "created_at": THEN}
        found += [("decisions", {"batch": 1, "kind": "different", "other": digest(red), "other_path": red, **decided}),
                  ("decisions", {"batch": 2, "kind": "keep", **decided})]  # fmt: skip
    if revision >= "0012":
        seen = zlib.compress(json.dumps({digest(red).hex(): red}).encode())
        body = '{"query": "Öl", "options": {"top": 5}, "where": {"year": "2019"}}'
        found += [("albums", {"name": "a", "body": body, "saved_at": THEN, "seen": seen, "seen_at": THEN}),
                  ("albums", {"name": "b", "body": body, "saved_at": THEN})]  # fmt: skip
    if revision >= "0013":
        blue, red = PATHS
        ids = zlib.compress(struct.pack("<2q", 1, 1))
        found += [
            ("surveys", {"id": 1, "kind": "count", "question": '{"label": "Öl"}', "image_ids": ids, "begun_at": THEN}),
            ("surveys", {"id": 2, "kind": "review", "question": "{}", "begun_at": THEN, "ended_at": THEN,
                         "result": '{"found": 1}'}),
            ("looks", {"survey_id": 1, "number": 1, "digest": digest(blue), "path": blue, "drawn": '{"chance": 0.5}',
                       "answer": "yes", "answered_at": THEN}),
            ("looks", {"survey_id": 1, "number": 2, "digest": digest(red), "path": red, "drawn": "{}"}),
        ]  # fmt: skip
    if revision >= "0009":
        for table, row in found:
            if table == "images":
                row["checksum"] = checksum(row["width"] * 65536 ^ row["height"], b"PNG", row["digest"])
            elif table == "files":
                parts = row["size"], row["size"] >> 32, row["mtime_ns"], row["mtime_ns"] >> 32
                numbers = reduce(xor, parts, (row.get("image_id") or 0) * 0x9E3779B1) % 2**32
                row["checksum"] = checksum(numbers, f"{row['name']}//photos".encode())
        found += sealed(found)
    return found


def make(revision: str) -> bytes:
    """The bytes of a `library.db`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, FILE_NAME)
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        config = Config()
        config.set_main_option("script_location", str(schema.SCRIPTS))
        engine = sa.create_engine(f"sqlite:///{file}")
        with engine.begin() as made:
            config.attributes["connection"] = made
            command.upgrade(config, revision)
            for table, row in rows(revision):
                marks = ", ".join("?" * len(row))
                made.exec_driver_sql(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))
            made.exec_driver_sql("DELETE FROM embeddings WHERE model_id = 5")  # their ids are not given again
            made.exec_driver_sql("DELETE FROM models WHERE id = 5")
        engine.dispose()
        with closing(sqlite3.connect(file, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        return file.read_bytes()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for revision in REVISIONS:
        file = FOLDER / f"{revision}.db.gz"
        if not file.exists():
            file.write_bytes(gzip.compress(make(revision), mtime=0))


if __name__ == "__main__":
    main()
