"""`zsindex bench`: the report is whole, nothing of the user's changes, nothing is left behind."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from zsindex.cli import cli

from tests import photos
from tests.fakes import FakeEncoder
from zsindex.bench import measure as bench
from zsindex.bench.bottleneck import Bottleneck
from zsindex.bench.measure import BenchReport, measure
from zsindex.errors import PathNotFound, ZsindexError
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.photos import samples
from zsindex.records import ModelSpec

SECONDS = 0.3


@pytest.fixture(autouse=True)
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[FakeEncoder]:
    loaded: list[FakeEncoder] = []

    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        loaded.append(FakeEncoder(name=spec.name, decode=spec.decode))
        return loaded[-1]

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    monkeypatch.setattr(bench, "LEAST_VECTORS", 1_000)
    return loaded


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary folders go; empty at the end of every test."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("ZSINDEX_LIBRARY", str(tmp_path / "library"))
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for name in ("red", "green", "blue"):
        photos.save(folder / f"{name}.png", photos.solid(name))
    photos.save(folder / "more" / "gradient.jpg", photos.gradient())
    (folder / "bad.jpg").write_bytes(b"no photo")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files, but for the two that SQLite makes beside a database that it reads."""
    found = (file for file in folder.rglob("*") if file.is_file())
    return {str(file): file.read_bytes() for file in found if not file.name.endswith(("-wal", "-shm"))}


def test_the_report_is_complete(pictures: Path, encoders: list[FakeEncoder]) -> None:
    steps: list[str] = []
    report = measure(pictures, seconds=SECONDS, workers=2, progress=steps.append)
    assert (report.model, report.device, report.precision, report.decode) == ("nano", "cpu", "fp32", "exact")
    assert report.runtime == "FakeEncoder"
    assert (report.photos, report.workers, report.cores) == (4, 2, os.cpu_count())
    assert 0 < report.megapixels < 1
    rates = report.rates
    assert min(rates.decode_core, rates.decode, rates.encode, rates.sync, report.prompts, report.scores) > 0
    assert rates.decode_fast is not None
    assert rates.decode_fast > 0
    assert report.search_ms > 0
    assert report.expected_sync == pytest.approx(1 / (1 / rates.decode + 1 / rates.encode))
    assert report.seconds_for_10000 == pytest.approx(10_000 / rates.sync)
    assert report.vectors >= 1_000
    assert isinstance(report.bottleneck, Bottleneck)
    assert report.advice
    assert len(steps) == 5
    assert len(encoders) == 1
    assert len(set(encoders[0].texts)) == len(encoders[0].texts)  # a text that came twice would be no new one


def test_it_becomes_json(pictures: Path) -> None:
    document = json.loads(json.dumps(measure(pictures, seconds=SECONDS).to_dict()))
    assert set(document) == {f.name for f in fields(BenchReport)}
    assert set(document["rates"]) == {"decode_core", "decode", "decode_fast", "encode", "sync"}
    assert document["bottleneck"] in set(Bottleneck)


def test_few_photos_are_synced_as_copies_that_are_new_content(pictures: Path, encoders: list[FakeEncoder]) -> None:
    before = contents(pictures)
    measure([pictures / "red.png", pictures / "more" / "gradient.jpg"], seconds=SECONDS)
    assert contents(pictures) == before
    # Of a sync's batches only the last one is not full: with two contents there would be no full one.
    assert encoders[0].batches.count(32) >= 2


def test_the_library_gives_photos_and_model_and_does_not_change(tmp_path: Path, pictures: Path) -> None:
    folder = tmp_path / "library"
    with Library.open(folder, encoder=FakeEncoder("other")) as opened:
        opened.sync(pictures)
    before = contents(folder)
    report = measure(seconds=SECONDS)
    assert (report.model, report.photos) == ("other", 4)
    assert contents(folder) == before


def test_without_a_library_the_samples_are_measured(tmp_path: Path) -> None:
    assert measure(seconds=SECONDS).photos <= len(samples.NAMES)
    assert not (tmp_path / "library").exists()


def test_options_of_the_model_are_used(pictures: Path) -> None:
    report = measure(pictures, seconds=SECONDS, model="ViT-B-32/tag", decode="fast")
    assert (report.model, report.decode) == ("ViT-B-32/tag", "fast")
    assert report.rates.decode_fast is None


def test_bad_input_says_what_is_wrong(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(PathNotFound, match="nowhere"):
        measure([pictures, tmp_path / "nowhere"], seconds=SECONDS)
    with pytest.raises(ZsindexError, match="no photos"):
        measure(tmp_path / "scratch", seconds=SECONDS)
    with pytest.raises(ZsindexError, match="none of these photos can be read"):
        measure(pictures / "bad.jpg", seconds=SECONDS)
    with pytest.raises(ValueError, match="above 0"):
        measure(pictures, seconds=0)


@pytest.mark.parametrize("at", [1, 5, 20, 30])
def test_it_stops_when_it_is_told_to(pictures: Path, at: int) -> None:
    asked = iter(range(10_000))
    with pytest.raises(KeyboardInterrupt):
        measure(pictures, seconds=SECONDS, should_stop=lambda: next(asked) >= at)


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["bench", *map(str, arguments), "--seconds", str(SECONDS)])
    assert result.exit_code == code, result.output
    return result


def test_the_command_names_every_step_and_ends_with_the_advice(pictures: Path) -> None:
    result = run(pictures)
    names = [line.split("  ")[0] for line in result.stdout.splitlines()[:9]]
    assert names == [
        "model", "photos", "decoding", "encoding", "sync", "prompts", "classify", "search", "10,000 photos"
    ]  # fmt: skip
    assert result.stdout.splitlines()[-1].endswith(".")
    assert "loading nano …\ndecoding …\n" in result.stderr


def test_the_command_prints_json_and_nothing_else(pictures: Path) -> None:
    result = run(pictures, "--json", "--quiet")
    assert json.loads(result.stdout)["photos"] == 4
    assert result.stderr == ""


def test_the_command_refuses_bad_input(tmp_path: Path) -> None:
    assert "no such file or folder" in run(tmp_path / "nowhere", code=1).stderr
    result = CliRunner().invoke(cli, ["bench", "--seconds", "0"])
    assert result.exit_code == 2


def test_ctrl_c_ends_it_with_130(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeEncoder, "encode_images", interrupted)
    assert run(pictures, code=130).stdout == ""
