"""zsindex vectors: options, reports, notes and exit codes. What they do is tested in test_exchange.py."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyarrow import parquet
from zsindex.cli import cli

from tests import photos
from tests.fakes import DIM, FakeEncoder
from tests.libraries import unit_vectors
from zsindex.exchange import parts, vectors
from zsindex.models.encoder import Encoder
from zsindex.records import ModelSpec
from zsindex.storage.bulk import SqlBulk

Run = Callable[..., Result]


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[FakeEncoder]:
    """The encoders that were loaded, in order."""
    loaded: list[FakeEncoder] = []

    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        loaded.append(FakeEncoder(name=spec.name, decode=spec.decode))
        return loaded[-1]

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    return loaded


@pytest.fixture
def run(tmp_path: Path, encoders: list[FakeEncoder], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str | Path, code: int = 0) -> Result:
        environment = {"ZSINDEX_LIBRARY": str(tmp_path / "library"), "COLUMNS": "200"}
        result = CliRunner().invoke(cli, [str(a) for a in arguments], env=environment)
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """What `clip-retrieval inference --input_dataset pictures` leaves behind."""
    folder = tmp_path / "given"
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    np.save(folder / "img_emb" / "img_emb_0.npy", unit_vectors(3).astype(np.float16))
    table = pa.table({"image_path": [f"pictures/{i}.jpg" for i in range(3)]})
    parquet.write_table(table, folder / "metadata" / "metadata_0.parquet")
    return folder


def test_import_export_and_back(run: Run, tmp_path: Path, given: Path) -> None:
    first = run("vectors", "import", given, "--model", "nano", "--root", ".")
    again = json.loads(run("vectors", "import", given, "--model", "nano", "--root", ".", "--json").stdout)
    exported = run("vectors", "export", "out", "--dtype", "float16", "--part-size", "2")
    as_json = json.loads(run("vectors", "export", "out", "--overwrite", "--path", "pictures", "--json").stdout)

    assert first.stdout.startswith(
        "3 photos: 3 vectors stored, 0 already there, 3 new paths; 0 of them found on this disk. "
    )
    assert (again["stored"], again["kept"], again["left"], again["interrupted"]) == (0, 3, 0, False)
    assert exported.stdout.startswith(f"3 photos exported to {tmp_path / 'out'} (2 parts, ")
    assert (as_json["rows"], as_json["parts"], as_json["dtype"]) == (3, 1, "float32")
    assert run("classify", "-l", "red", "--format", "paths").stdout.split() == [
        str(tmp_path / "pictures" / f"{i}.jpg") for i in range(3)
    ]


def test_a_photo_that_is_nowhere_is_a_term(run: Run, given: Path) -> None:
    run("vectors", "import", given, "--model", "nano", "--root", ".")
    found = run("similar", "pictures/1.jpg", "--format", "paths").stdout.split()
    assert [Path(path).name for path in found] in (["0.jpg", "2.jpg"], ["2.jpg", "0.jpg"])
    [row] = map(json.loads, run("embed", "pictures/1.jpg").stdout.splitlines())
    assert (row["kind"], len(row["vector"])) == ("image", DIM)


def test_the_model_must_be_named(run: Run, given: Path) -> None:
    assert "say which model made the vectors: --model" in run("vectors", "import", given, code=2).stderr
    assert "--root" in run("vectors", "import", given, "--model", "nano", code=1).stderr


def test_an_import_into_a_library_that_knows_the_model_does_not_load_it(
    run: Run, given: Path, encoders: list[FakeEncoder]
) -> None:
    assert "loading nano" in run("vectors", "import", given, "--model", "nano", "--root", ".").stderr
    assert "loading" not in run("vectors", "import", given, "--model", "nano", "--root", "..").stderr
    assert len(encoders) == 1


def test_what_was_left_out_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for name in ("red", "green"):
        photos.save(tmp_path / "pictures" / f"{name}.png", photos.solid(name))
    run("sync", "pictures")
    run("vectors", "export", "out")
    photos.save(tmp_path / "pictures" / "green.png", photos.solid("blue"))
    shutil.rmtree(tmp_path / "library")
    changed = run("vectors", "import", "out", "--model", "nano")
    run("sync", "pictures", "--model", "second")
    without = run("vectors", "export", "more")

    assert "1 photo left out: content here differs" in changed.stderr
    assert "1 photo left out, not yet encoded by that model" in without.stderr
    unread = json.loads(run("vectors", "import", "out", "--model", "nano", "--no-read", "--json").stdout)
    assert (unread["kept"], unread["changed"]) == (1, 1)


def test_refusals_are_messages(run: Run, given: Path) -> None:
    run("vectors", "import", given, "--model", "nano", "--root", ".")
    assert "Error: cannot export to" in run("vectors", "export", given, "--overwrite", code=1).stderr
    (given / "metadata" / "metadata_0.parquet").unlink()
    refused = run("vectors", "import", given, "--model", "nano", "--root", ".", code=1)
    assert refused.stderr.startswith(f"Error: cannot import {given / 'metadata'}: it holds no .parquet files")


def test_ctrl_c_stops_after_a_batch(run: Run, given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BATCH_ROWS", 1)
    real = SqlBulk.save

    def interrupted(*arguments: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(SqlBulk, "save", interrupted)
    first = run("vectors", "import", given, "--model", "nano", "--root", ".", code=130)
    monkeypatch.setattr(SqlBulk, "save", real)
    again = run("vectors", "import", given, "--model", "nano", "--root", ".", "--json")

    assert "stopped with 2 photos left; run the same command again to continue" in first.stderr
    assert json.loads(again.stdout)["stored"] == 2


def test_ctrl_c_leaves_no_export(run: Run, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "BATCH_ROWS", 1)
    run("vectors", "import", given, "--model", "nano", "--root", ".")
    real = parts.PartWriter.write

    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        real(*arguments)

    monkeypatch.setattr(parts.PartWriter, "write", interrupted)
    assert "stopped; nothing was written" in run("vectors", "export", "out", code=130).stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given", "library"]
