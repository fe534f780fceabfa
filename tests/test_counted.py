"""Facts in answers: columns beside them, counts by time and place, and keywords as labels and as truth."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from zsindex.cli import cli

from tests.fakes import COLOURS, FakeEncoder
from zsindex.classification.by import By
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.records import ModelSpec

Run = Callable[..., Result]
# Name, colour, time, camera, keywords, whether it says where.
PHOTOS: tuple[tuple[str, str, str, str | None, tuple[str, ...], bool], ...] = (
    ("a/1.jpg", "red", "2019:07:14 15:30:12", "One", ("Red", "fruit|Apple"), True),
    ("a/2.jpg", "red", "2019:07:31 23:59:59", "One", ("red",), False),
    ("a/3.jpg", "green", "2019:08:01 00:00:00", "Two", ("green", "holiday"), False),
    ("b/4.jpg", "blue", "2020:07:01 15:00:00", None, (), False),
    ("b/IMG_20210203_040506.jpg", "blue", "", None, ("blue", "red"), False),
)
PACKET = '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""{}>{}'


def sidecar(photo: Path, keywords: tuple[str, ...]) -> None:
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
    space = ' xmlns:lr="http://ns.adobe.com/lightroom/1.0/"'
    body = f"<lr:hierarchicalSubject><rdf:Bag>{items}</rdf:Bag></lr:hierarchicalSubject></rdf:Description></rdf:RDF>"
    photo.with_suffix(".xmp").write_text(PACKET.format(space, body), encoding="utf-8")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    for name, colour, taken, camera, keywords, with_place in PHOTOS:
        block = Image.Exif()
        if camera:
            block[0x0110] = camera
        if taken:
            block.get_ifd(0x8769)[0x9003] = taken
        if with_place:
            block.get_ifd(0x8825).update({1: "N", 2: (48.0, 30.0, 0.0), 3: "E", 4: (9.0, 0.0, 0.0)})
        path = tmp_path / "album" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), tuple(COLOURS[colour])).save(
            path, exif=block, quality=95, subsampling=0, comment=name
        )
        if keywords:
            sidecar(path, keywords)
    return tmp_path / "album"


@pytest.fixture
def run(tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        return FakeEncoder(name=spec.name, decode=spec.decode)

    def invoke(*arguments: str | Path, code: int = 0) -> Result:
        environment = {"ZSINDEX_LIBRARY": str(tmp_path / "library"), "COLUMNS": "200"}
        result = CliRunner().invoke(cli, [str(a) for a in arguments], env=environment)
        assert result.exit_code == code, result.output
        return result

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    invoke("sync", album, "-q")
    return invoke


def rows(result: Result) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(result.stdout)))


CLASSIFY = ("classify", "-l", "red", "-l", "green", "-l", "blue")


# --- columns ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", [CLASSIFY, ("search", "text:red", "--top", "9"), "similar"])
def test_facts_are_columns_and_place_only_where_it_is_asked_for(run: Run, album: Path, question: Any) -> None:
    words = ("similar", album / "a/2.jpg") if question == "similar" else question
    said = {row["path"]: row for row in rows(run(*words, "--with-facts", "--format", "csv"))}
    one = said[str(album / "a/1.jpg")]
    assert (one["taken"], one["taken_from"], one["camera"]) == ("2019-07-14T15:30:12", "exif", "One")
    assert (one["keywords"], one["width"], one["iso"]) == ("Red;fruit|Apple", "16", "")
    assert said[str(album / "b/IMG_20210203_040506.jpg")]["taken_from"] == "name"
    assert "latitude" not in one
    assert "48.5" not in run(*words, "--with-facts", "--format", "ndjson").stdout
    placed = {row["path"]: row for row in rows(run(*words, "--with-place", "--format", "csv"))}[one["path"]]
    assert (placed["latitude"], placed["longitude"], placed["camera"]) == ("48.5", "9.0", "One")
    lines = [json.loads(line) for line in run(*words, "--with-place", "--format", "ndjson").stdout.splitlines()]
    facts = {line["path"]: line["facts"] for line in lines}[one["path"]]
    assert (facts["latitude"], facts["keywords"], "iso" in facts) == (48.5, ["Red", "fruit|Apple"], False)
    document = json.loads(run(*words, "--with-facts", "--format", "json").stdout)
    found = document["results"] if isinstance(document, dict) else document
    assert {one["path"]: one["facts"]["taken"] for one in found} == {path: row["taken"] for path, row in said.items()}
    for fmt in ("table", "paths"):
        assert "--with-facts is for --format" in run(*words, "--with-facts", "--format", fmt, code=2).stderr


def test_without_facts_rows_are_as_they_were(run: Run) -> None:
    assert list(rows(run(*CLASSIFY, "--format", "csv"))[0]) == ["path", "rank", "label", "score"]
    plain = [{**row} for row in rows(run(*CLASSIFY, "--format", "csv"))]
    more = rows(run(*CLASSIFY, "--format", "csv", "--with-facts"))
    assert [{name: row[name] for name in plain[0]} for row in more] == plain
    wide = rows(run(*CLASSIFY, "--format", "csv", "--wide", "--with-facts", "--with-run"))
    assert list(wide[0])[:5] == ["path", "red", "green", "blue", "taken"]
    assert list(wide[0])[-2:] == ["keywords", "run"]


def test_parquet_has_them_in_their_types(run: Run, tmp_path: Path, album: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for words in (CLASSIFY, (*CLASSIFY, "--wide"), ("search", "text:red")):
        file = tmp_path / "out.parquet"
        run(*words, "--with-place", "--format", "parquet", "-o", file)
        table = parquet.read_table(file)
        assert str(table.schema.field("taken").type) == "timestamp[us]"
        one = next(row for row in table.to_pylist() if row["path"] == str(album / "a/1.jpg"))
        assert (one["taken"].isoformat(), one["camera"]) == ("2019-07-14T15:30:12", "One")
        assert (one["latitude"], one["keywords"], one["iso"]) == (48.5, ["Red", "fruit|Apple"], None)
    run(*CLASSIFY, "--with-facts", "--format", "parquet", "-o", f"{tmp_path / 'parts'}/")
    assert parquet.read_table(tmp_path / "parts").column("camera").to_pylist().count("One") == 6


def test_exported_vectors_have_them_beside_the_paths(run: Run, tmp_path: Path, album: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")

    def exported(*more: str) -> Any:
        run("vectors", "export", tmp_path / "out", "--overwrite", *more)
        return parquet.read_table(tmp_path / "out" / "metadata" / "metadata_0.parquet")

    plain = exported()
    assert plain.column_names == ["image_path", "width", "height", "format", "sha256"]
    table = exported("--with-place")
    assert table.column_names[:6] == [*plain.column_names, "taken"]
    one = next(row for row in table.to_pylist() if row["image_path"] == str(album / "a/1.jpg"))
    assert (one["camera"], one["latitude"], one["width"], one["taken"].year) == ("One", 48.5, 16, 2019)
    assert "latitude" not in exported("--with-facts").column_names
    assert "leave out --on" in run("vectors", "export", tmp_path / "out", "--with-facts", "--on", "ray", code=2).stderr
    report = json.loads(run("vectors", "import", tmp_path / "out", "--model", "nano", "--json").stdout)
    assert (report["rows"], report["kept"]) == (5, 5)


# --- counts -----------------------------------------------------------------------------------------------------------


def counted(run: Run, by: str, *more: str) -> dict[tuple[str | None, str], int]:
    document = json.loads(run(*CLASSIFY, "--by", by, "--format", "json", *more).stdout)
    assert document["by"] == by
    return {(row[by], row["label"]): row["photos"] for row in document["counts"] if row["photos"]}


def test_photos_are_counted_by_time_camera_folder_and_keyword(run: Run, album: Path) -> None:
    assert counted(run, "year") == {
        ("2019", "red"): 2, ("2019", "green"): 1, ("2020", "blue"): 1, ("2021", "blue"): 1
    }  # fmt: skip
    assert counted(run, "month") == {
        ("2019-07", "red"): 2, ("2019-08", "green"): 1, ("2020-07", "blue"): 1, ("2021-02", "blue"): 1
    }  # fmt: skip
    assert counted(run, "day")["2019-07-31", "red"] == 1
    assert counted(run, "hour") == {
        ("00", "green"): 1, ("04", "blue"): 1, ("15", "red"): 1, ("15", "blue"): 1, ("23", "red"): 1
    }  # fmt: skip
    assert counted(run, "camera") == {("One", "red"): 2, ("Two", "green"): 1, (None, "blue"): 2}
    assert counted(run, "folder") == {
        (str(album / "a"), "red"): 2, (str(album / "a"), "green"): 1, (str(album / "b"), "blue"): 2
    }  # fmt: skip
    assert counted(run, "keyword") == {  # Red and red are one
        ("Red", "red"): 2, ("fruit|Apple", "red"): 1, ("green", "green"): 1,
        ("holiday", "green"): 1, ("blue", "blue"): 1, ("Red", "blue"): 1, (None, "blue"): 1
    }  # fmt: skip


def test_expected_counts_stand_beside_where_scores_are_calibrated(run: Run, tmp_path: Path) -> None:
    result = run(*CLASSIFY, "--by", "year", "--format", "csv")
    assert list(rows(result)[0]) == ["year", "label", "photos"]
    assert "scores are not calibrated" in result.stderr
    calibrated = rows(run(*CLASSIFY, "--by", "year", "--format", "csv", "--temperature", "0.5"))
    by_year: dict[str, float] = {}
    for row in calibrated:
        by_year[row["year"]] = by_year.get(row["year"], 0.0) + float(row["expected"])
    assert by_year == pytest.approx({"2019": 3, "2020": 1, "2021": 1}, abs=1e-5)
    with Library.open(tmp_path / "library") as library:
        answer = library.classify(["red", "green", "blue"], temperature=0.5, sync=False)
        found = answer.by("camera")
        scores = answer.scores.astype(np.float64)
        cameras = [photo[3] or "" for photo in sorted(PHOTOS)]
        for k, key in enumerate(found.keys):
            these = [at for at, camera in enumerate(cameras) if camera == key]
            assert found.expected is not None
            assert np.allclose(found.expected[k], scores[these].sum(axis=0), atol=1e-6)
        frame = pytest.importorskip("pandas").DataFrame(found.to_dicts())
        assert found.to_pandas().equals(frame)
        assert frame.groupby("label")["photos"].sum().to_dict() == {"blue": 2, "green": 1, "red": 2}
        with pytest.raises(ValueError, match="count by year, month"):
            answer.by("moon")


def test_a_table_for_people_and_a_plot(run: Run, tmp_path: Path) -> None:
    result = run(*CLASSIFY, "--by", "camera", "--temperature", "0.5")
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == ["camera", "photos", "red", "green", "blue"]
    assert [line[0] for line in lines[2:]] == ["One", "Two", "(unknown)"]
    assert lines[2][:3] == ["One", "2", "2"]
    pytest.importorskip("matplotlib")
    for by, name in ((by, f"{by}.png") for by in By):
        run(*CLASSIFY, "--by", by, "--plot", tmp_path / name, "--temperature", "0.5")
        with Image.open(tmp_path / name) as drawn:
            assert min(drawn.size) > 200
    run(*CLASSIFY, "--by", "year", "--plot", tmp_path / "a.svg")
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


def test_what_does_not_go_together_is_refused(run: Run) -> None:
    assert "--plot shows counts" in run(*CLASSIFY, "--plot", "a.png", code=2).stderr
    assert "must end in .png" in run(*CLASSIFY, "--by", "year", "--plot", "a.txt", code=2).stderr
    assert (
        "--wide says how they are listed" in run(*CLASSIFY, "--by", "year", "--wide", "--format", "csv", code=2).stderr
    )
    assert "--by gives counts" in run(*CLASSIFY, "--by", "year", "--format", "paths", code=2).stderr


def test_photos_with_the_time_of_their_file_are_told(run: Run, album: Path) -> None:
    Image.new("RGB", (16, 16), (0, 0, 255)).save(album / "b" / "plain.jpg")
    run("sync", "-q")
    said = run(*CLASSIFY, "--by", "month").stderr
    assert "1 photo by the time of the file" in said
    assert "by the time of the file" not in run(*CLASSIFY, "--by", "camera").stderr


def test_several_labels_of_a_photo_count_for_each(run: Run) -> None:
    found = counted(run, "year", "--multi-label")
    best = counted(run, "year")
    assert all(found.get(key, 0) <= 3 for key in found)
    assert sum(found.values()) <= sum(best.values()) * 3


# --- keywords ---------------------------------------------------------------------------------------------------------


def test_keywords_become_labels_after_a_look(run: Run, tmp_path: Path) -> None:
    shown = run("labels", "save", "mine", "--from-keywords", "--dry-run", "--min-photos", "1").stdout.splitlines()
    assert shown[0].split() == ["label", "photos", "keywords"]
    assert ["red", "3", "Red,", "red"] in [line.split() for line in shown]
    assert ["Apple", "1", "fruit|Apple"] in [line.split() for line in shown]
    assert run("labels", "list").stdout == ""
    run("labels", "save", "mine", "--from-keywords", "--min-photos", "1", "--exclude", "FRUIT", "--exclude", "hol*")
    assert run("labels", "show", "mine").stdout.split() == ["red", "blue", "green"]
    run("labels", "save", "whole", "--from-keywords", "--min-photos", "1", "--whole", "--most", "4")
    assert "Apple, fruit" in run("labels", "show", "whole").stdout
    assert (
        "no keyword that people gave is on 4 photos"
        in run("labels", "save", "x", "--from-keywords", "--min-photos", "4", code=1).stderr
    )
    assert "leave out --label" in run("labels", "save", "x", "--from-keywords", "-l", "a", code=2).stderr
    assert "are for --from-keywords" in run("labels", "save", "x", "-l", "a", "--dry-run", code=2).stderr


def test_keywords_are_a_truth_with_several_labels(run: Run) -> None:
    words = ("eval", "keywords", "-l", "RED", "-l", "green", "-l", "blue", "--resamples", "0", "--format", "json")
    report = json.loads(run(*words).stdout)["reports"][0]
    # 4.jpg has no keyword. All four others are right, one of them by one of its two.
    assert report["photos"] == 4
    assert report["summary"]["top1"]["value"] == 1.0


def test_what_zsindex_wrote_is_nobodys_keyword(run: Run, album: Path) -> None:
    key = json.loads(run(*CLASSIFY, "--record", "--format", "json").stdout)["run"]["key"]
    run("tags", "write", "--run", key, "--apply")
    (written,) = album.glob("b/4*.xmp")
    assert "blue" in written.read_text(encoding="utf-8")
    run("sync", "-q")
    assert "4 photos" not in run("labels", "save", "x", "--from-keywords", "--dry-run", "--min-photos", "1").stdout
    shown = run("labels", "save", "x", "--from-keywords", "--dry-run", "--min-photos", "1").stdout
    assert ["blue", "1", "blue"] in [line.split() for line in shown.splitlines()]
    assert "zsindex|" not in shown


def test_without_keywords_there_is_no_such_truth(run: Run, album: Path) -> None:
    for path in album.rglob("*.xmp"):
        path.unlink()
    run("sync", "-q")
    assert "no photo has keywords" in run("eval", "keywords", "-l", "red", "-l", "blue", code=1).stderr
