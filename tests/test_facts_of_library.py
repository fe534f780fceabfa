"""Facts on their way from a photo into the library, through the processes that decode."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import delete
from zsindex.cli import cli

from tests import photos
from tests.fakes import FakeEncoder
from tests.storage import postgres_server
from zsindex import config
from zsindex.errors import ImageError
from zsindex.index.snapshots import FACTS_NAME
from zsindex.ingest import encoding
from zsindex.library import Library
from zsindex.photos import decode, facts, headers, packets
from zsindex.photos.decoder_process import MOST_LINE
from zsindex.photos.sandbox import Here, Sandbox
from zsindex.photos.together import MOST_KEYWORD, MOST_KEYWORDS
from zsindex.records import (
    DecodeLimits,
    DecodeMode,
    Facts,
    FileContent,
    Progress,
    SkipReason,
    Taken,
    TakenFrom,
)
from zsindex.storage import tables
from zsindex.storage.sqlite.storage import SqliteStorage

LIMITS = DecodeLimits(60, 3584 << 20)
TOLD = Facts(
    taken=Taken(datetime(2019, 7, 14, 15, 30, 12), 7200, TakenFrom.EXIF),
    make="Us",
    camera="One",
    iso=640,
    width=240,
    height=320,
    orientation=6,
    format="JPEG",
    animated=False,
    caption="An owl",
)


def told(path: Path) -> Path:
    """A photo that says what `TOLD` has."""
    block = photos.Image.Exif()
    for tag, value in {0x010F: "Us", 0x0110: "One", 0x0112: 6, 0x010E: "An owl"}.items():
        block[tag] = value
    block.get_ifd(0x8769).update({0x9003: "2019:07:14 15:30:12", 0x9011: "+02:00", 0x8827: 640})
    return photos.jpeg(path, exif=block)


def most(path: Path) -> Path:
    """A photo with as many keywords and as long a caption as are kept, of letters that take twelve bytes in JSON."""
    items = "".join(f"<rdf:li>{'💡' * 190}{number:09}</rdf:li>" for number in range(200))
    packet = (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        f' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>'
        f"<dc:description>{'💡' * 9000}</dc:description></rdf:Description></rdf:RDF>"
    )
    return photos.save(path, photos.gradient(), xmp=packet.encode())


def test_what_decodes_reads_them_as_well_whatever_it_is(tmp_path: Path) -> None:
    one, many = told(tmp_path / "one.jpg"), most(tmp_path / "many.webp")
    with Sandbox(LIMITS, workers=1, max_pixels=10**6) as box, Here(10**6) as here:
        for path in (one, many, photos.broken_exif(tmp_path / "broken.jpg")):
            data = path.read_bytes()
            found = [decoder.decode(data, DecodeMode.EXACT, (8, 8), name=path.name).facts for decoder in (box, here)]
            assert found == [facts.read(data)] * 2
    assert facts.read(one.read_bytes()) == TOLD
    kept = facts.read(many.read_bytes())
    assert sum(map(len, kept.keywords)) > MOST_KEYWORDS - MOST_KEYWORD
    assert len(kept.caption or "") == facts.MOST_CAPTION
    assert 12 * (MOST_KEYWORDS + facts.MOST_CAPTION + 4 * facts.MOST_NAME) < MOST_LINE // 2


@pytest.mark.parametrize("bounded", ["on", "off"])
def test_a_sync_keeps_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bounded: str) -> None:
    monkeypatch.setenv(config.LIMITS_VARIABLE, bounded)
    album = tmp_path / "album"
    album.mkdir()
    paths = [told(album / "one.jpg"), most(album / "many.webp"), photos.broken_exif(album / "broken.jpg")]
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        assert library.sync(album).added == 3
        storage = library._session.storage
        ids = storage.photos.images_of([decode.digest(path.read_bytes()) for path in paths])
        found = storage.photos.facts_of(ids.values())
        for path in paths:
            data = path.read_bytes()
            assert found[ids[decode.digest(data)]] == facts.read(data)
        assert library.check().ok


SIDECAR = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF>"""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An empty library on a server; what this machine keeps of it lies beside."""
    server = postgres_server.running()
    monkeypatch.setenv("ZSINDEX_CACHE", str(tmp_path / "cache"))
    url = server.clean_library()
    yield url
    server.give_back(url)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    told(folder / "one.jpg")
    return folder


@pytest.mark.parametrize("synced", [True, False])
@pytest.mark.parametrize("sidecar", ["one.jpg.xmp", "one.xmp"])
def test_a_photo_with_its_sidecar(tmp_path: Path, album: Path, synced: bool, sidecar: str) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        if synced:
            library.sync(album)
        assert library.facts(album / "one.jpg") == TOLD
        (album / sidecar).write_text(SIDECAR, encoding="utf-8")
        assert library.facts(str(album / "one.jpg")) == replace(TOLD, rating=4.0)
        (album / sidecar).write_text("no XMP", encoding="utf-8")
        assert library.facts(album / "one.jpg") == TOLD


def test_a_photo_that_has_changed_since_the_sync_is_read_anew(tmp_path: Path, album: Path) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        photos.jpeg(album / "one.jpg", photos.gradient(30, 20))
        assert library.facts(album / "one.jpg").camera is None
        (album / "one.jpg").unlink()
        with pytest.raises(ImageError, match="No such file"):
            library.facts(album / "one.jpg")


def test_what_was_read_at_the_sync_is_not_read_again(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        monkeypatch.setattr(facts, "read", lambda *_: pytest.fail("it was read"))
        monkeypatch.setattr(library._session, "_decoder", None)
        assert library.facts(album / "one.jpg") == TOLD


def test_a_name_and_the_file_say_when_where_nothing_else_does(tmp_path: Path, album: Path) -> None:
    named, other = photos.jpeg(album / "IMG_20180102_030405.jpg"), photos.jpeg(album / "other.jpg")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        assert library.facts(named).taken == Taken(datetime(2018, 1, 2, 3, 4, 5), None, TakenFrom.NAME)
        taken = library.facts(other).taken
    assert taken is not None
    assert taken.source is TakenFrom.FILE


# --- sidecars at a sync -----------------------------------------------------------------------------------------------


def stars(folder: Path, name: str, rating: int = 4) -> Path:
    sidecar = folder / name
    sidecar.write_text(SIDECAR.replace('"4"', f'"{rating}"'), encoding="utf-8")
    return sidecar


def ratings(library: Library) -> dict[str, float | None]:
    """By name, as the table of facts has them."""
    table = library._session.facts.table()
    found = {Path(path).name: float(table.rating[row]) for row, path in enumerate(table.paths)}
    return {name: None if math.isnan(rating) else rating for name, rating in found.items()}


def test_a_sync_reads_sidecars_that_came_changed_or_went_and_no_photo(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told(album / "two.jpg")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        stars(album, "none.xmp")  # of no photo
        assert library.sync(album).sidecars == 0
        assert ratings(library) == {"one.jpg": None, "two.jpg": None}
        monkeypatch.setattr(encoding, "encode_files", lambda *_, **__: pytest.fail("a photo was read"))
        files, vectors = library._session.storage.reads.files_revision(), library.classify(["owl", "fox"]).scores
        stars(album, "one.jpg.xmp")
        stars(album, "two.XMP", 2)
        assert library.sync(dry_run=True).sidecars == 2
        assert ratings(library) == {"one.jpg": None, "two.jpg": None}
        report = library.sync()
        assert (report.sidecars, report.unchanged, report.to_read) == (2, 2, 0)
        assert ratings(library) == {"one.jpg": 4, "two.jpg": 2}
        assert library.sync().sidecars == 0
        stars(album, "one.jpg.xmp", 55)  # which no rating is
        (album / "two.XMP").unlink()
        assert library.sync().sidecars == 2
        assert ratings(library) == {"one.jpg": None, "two.jpg": None}
        assert library._session.storage.reads.files_revision() == files
        assert np.array_equal(library.classify(["owl", "fox"]).scores, vectors)
        assert library.check().ok


# Names in German, Greek, Japanese, Arabic and Hindi; in summer and winter, in the hour that the clocks leave out in
# Europe, and in the one that they have twice.
SHOTS = (
    ("Größe", "2019:07:14 15:30:12", "+02:00", 7200),
    ("Κουκουβάγια", "2019:12:14 15:30:12", "+01:00", 3600),
    ("梟", "2020:03:29 02:30:00", "-03:30", -12_600),
    ("بومة", "2001:01:01 00:00:00", "+14:00", 50_400),
    ("उल्लू", "2019:10:27 02:30:00", "+05:45", 20_700),
)
INTO_PHOTO = (
    "-codedcharacterset=utf8",
    *("-EXIF:DateTimeOriginal={at}", "-EXIF:OffsetTimeOriginal={offset}", "-EXIF:Model={word} 1", "-XMP-xmp:Rating=4"),
    *("-EXIF:GPSLatitude=33.5", "-EXIF:GPSLatitudeRef=S", "-EXIF:GPSLongitude=151.25", "-EXIF:GPSLongitudeRef=E"),
    *("-IPTC:Keywords={word}", "-IPTC:Keywords=owl"),
)
INTO_SIDECAR = (
    *("-XMP-exif:DateTimeOriginal={at}{offset}", "-XMP-tiff:Model={word} 1", "-XMP-xmp:Rating=4"),
    *("-XMP-exif:GPSLatitude=-33.5", "-XMP-exif:GPSLongitude=151.25"),
    *("-XMP-dc:Subject={word}", "-XMP-dc:Subject=owl"),
)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize(("fields", "source"), [(INTO_PHOTO, TakenFrom.EXIF), (INTO_SIDECAR, TakenFrom.XMP)])
def test_what_exiftool_writes_comes_out_of_the_library(
    tmp_path: Path, album: Path, fields: tuple[str, ...], source: TakenFrom
) -> None:
    paths = []
    for number, (word, at, offset, _) in enumerate(SHOTS):
        paths.append(photos.jpeg(album / f"{word}.jpg", photos.gradient(20 + number, 20)))
        target = paths[-1] if source is TakenFrom.EXIF else paths[-1].with_suffix(".xmp")
        written = [field.format(at=at, offset=offset, word=word) for field in fields]
        subprocess.run(["exiftool", "-q", "-overwrite_original", *written, target], check=True, capture_output=True)
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        columns = library.photos.facts_columns([str(path) for path in paths], place=True)
        for row, (path, (word, at, _, offset_s)) in enumerate(zip(paths, SHOTS, strict=True)):
            taken = Taken(datetime.strptime(at, "%Y:%m:%d %H:%M:%S"), offset_s, source)
            said = {name: values[row] for name, values in columns.items()}
            assert (said["taken"], said["offset_s"], said["taken_from"]) == (taken.at.isoformat(), offset_s, source)
            assert (said["camera"], said["rating"], said["keywords"]) == (f"{word} 1", 4, [word, "owl"])
            assert (said["latitude"], said["longitude"]) == pytest.approx((-33.5, 151.25))
            found = library.facts(path)
            assert (found.taken, found.camera, found.keywords) == (taken, f"{word} 1", (word, "owl"))


def test_photos_that_are_named_one_by_one_have_sidecars_too(tmp_path: Path, album: Path) -> None:
    told(album / "two.jpg")
    stars(album, "one.xmp", 1)
    stars(album, "two.jpg.xmp", 2)
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        assert library.sync(album / "two.jpg").sidecars == 1
        assert ratings(library) == {"two.jpg": 2}
        assert library.sync(album).sidecars == 1
        (album / "one.xmp").unlink()
        (album / "two.jpg.xmp").unlink()
        assert library.sync(album / "two.jpg").sidecars == 1
        assert ratings(library) == {"one.jpg": 1, "two.jpg": None}


@pytest.mark.parametrize("content", [b"", b"no XMP", b"<" * 1000, b"\xff\xfe\0", b"x" * (packets.MAX_BYTES + 1)])
def test_sidecars_that_say_nothing_are_looked_at_once(tmp_path: Path, album: Path, content: bytes) -> None:
    (album / "one.jpg.xmp").write_bytes(content)
    stars(album, "one.xmp")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        assert library.sync(album).sidecars == 2
        assert ratings(library) == {"one.jpg": 4}
        assert library.sync().sidecars == 0


def test_a_sidecar_that_cannot_be_read_now_is_read_by_the_next_sync(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sidecar = stars(album, "one.xmp")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        with monkeypatch.context() as patch:

            def read_file(path: str, *, max_bytes: int = 1 << 30) -> FileContent:
                if path == str(sidecar):
                    raise ImageError(SkipReason.VANISHED, "gone", path=path)
                return decode.read_file(path, max_bytes=max_bytes)

            patch.setattr("zsindex.ingest.sync.decode", SimpleNamespace(read_file=read_file))
            assert library.sync(album).sidecars == 0
        assert ratings(library) == {"one.jpg": None}
        assert library.sync().sidecars == 1
        assert ratings(library) == {"one.jpg": 4}


def test_a_sync_that_is_stopped_among_sidecars_goes_on_with_the_rest(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsindex.ingest.sync.SIDECARS_AT_A_TIME", 2)
    for number in range(5):
        told(album / f"{number}.jpg")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        for number in range(5):
            stars(album, f"{number}.xmp")
        seen: list[Progress] = []
        report = library.sync(progress=seen.append, should_stop=lambda: any(p.stage == "sidecars" for p in seen))
        assert (report.interrupted, report.sidecars) == (True, 2)
        seen.clear()
        assert library.sync(progress=seen.append).sidecars == 3
        assert [(p.done, p.total) for p in seen if p.stage == "sidecars"] == [(2, 3), (3, 3)]
        assert sum(rating == 4 for rating in ratings(library).values()) == 5


# --- photos that were stored before facts were kept -------------------------------------------------------------------


def forgotten(library: Library) -> None:
    """As if the photos had been encoded before facts were kept."""
    state = library._session.storage
    assert isinstance(state, SqliteStorage)
    with state.database.write("forget") as connection:
        connection.execute(delete(tables.image_facts))
    library._session.facts.forget()
    (library.path / "index" / FACTS_NAME).unlink(missing_ok=True)


def cameras(library: Library) -> dict[str, str | None]:
    table = library._session.facts.table()
    return {
        Path(path).name: None if (code := table.camera.codes[row]) < 0 else table.camera.texts[code]
        for row, path in enumerate(table.paths)
    }


@pytest.mark.parametrize("bounded", ["on", "off"])
def test_a_sync_fills_up_what_was_stored_without_facts_from_headers_once(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch, bounded: str
) -> None:
    monkeypatch.setenv(config.LIMITS_VARIABLE, bounded)
    told(album / "copy.jpg")
    photos.jpeg(album / "other.jpg", photos.gradient(900, 700), quality=100)
    read: list[str] = []
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        before = cameras(library)
        forgotten(library)
        assert cameras(library) == {"copy.jpg": None, "one.jpg": None, "other.jpg": None}
        assert library.sync(dry_run=True).facts_read == 2
        whole = decode.read_file
        monkeypatch.setattr(decode, "read_file", lambda path, **_: read.append(path) or whole(path))
        monkeypatch.setattr(encoding, "encode_files", lambda *_, **__: pytest.fail("a photo was encoded"))
        seen: list[Progress] = []
        report = library.sync(progress=seen.append)
        assert (report.facts_read, report.unchanged, report.to_read) == (2, 3, 0)
        assert [(p.done, p.total) for p in seen if p.stage == "facts"] == [(0, 2), (2, 2), (2, 2)]
        assert (cameras(library), read) == (before, [])
        assert before == {"copy.jpg": "One", "one.jpg": "One", "other.jpg": None}
        assert library.sync().facts_read == 0
        assert library._session.facts.table().was_read.all()
        assert library.check().ok


def test_a_question_does_not_wait_for_that(tmp_path: Path, album: Path) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        forgotten(library)
        library.classify(["owl", "fox"], paths=album)
        assert not library._session.facts.table().was_read.any()


def test_filling_up_goes_on_where_it_was_stopped(tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsindex.ingest.sync.FACTS_AT_A_TIME", 2)
    for number in range(4):
        photos.jpeg(album / f"{number}.jpg", photos.gradient(20 + number, 20))
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        forgotten(library)
        seen: list[Progress] = []
        report = library.sync(progress=seen.append, should_stop=lambda: any(p.done == 2 for p in seen))
        assert (report.interrupted, report.facts_read) == (True, 2)
        assert library._session.facts.table().was_read.sum() == 2
        report = library.sync()
        assert (report.interrupted, report.facts_read) == (False, 3)
        assert library._session.facts.table().was_read.all()


@pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))
def test_of_several_syncs_on_a_server_one_fills_up(url: str, tmp_path: Path, album: Path) -> None:
    from zsindex.storage.postgres.storage import PostgresStorage

    with ExitStack() as stack:
        one, other = (stack.enter_context(Library.open(url, encoder=FakeEncoder())) for _ in range(2))
        one.sync(album)
        storage = one._session.storage
        assert isinstance(storage, PostgresStorage)
        with storage.database.write("forget") as connection:
            connection.execute(delete(tables.image_facts))
        with other._session.storage.facts_lock.hold("read the facts of photos"):
            report = one.sync()
            assert (report.facts_read, report.facts_elsewhere) == (0, True)
        with ThreadPoolExecutor(2) as pool:
            reports = list(pool.map(lambda library: library.sync(), (one, other)))
        assert sum(report.facts_read for report in reports) == 1
        assert one._session.facts.table().was_read.all()
        assert other._session.facts.table().was_read.all()


def test_what_cannot_be_read_when_filling_up_is_not_asked_again_until_it_is_asked_for(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Facts:
        raise ImageError(SkipReason.TOO_SLOW, "too slow")

    gone = photos.jpeg(album / "gone.jpg", photos.gradient(30, 20))
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        forgotten(library)
        gone.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(Sandbox, "read_facts", fails)
            assert library.sync().facts_read == 1
            patch.setattr(headers, "read", lambda *_, **__: pytest.fail("it was read again"))
            assert library.sync().facts_read == 0
        assert cameras(library) == {"one.jpg": None}
        assert library.sync(retry_skipped=True).facts_read == 1
        assert cameras(library) == {"one.jpg": "One"}
        assert library.sync(retry_skipped=True).facts_read == 0


def test_a_file_that_changes_while_it_is_filled_up_is_left_to_the_next_sync(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
        forgotten(library)
        with monkeypatch.context() as patch:
            read = headers.read

            def changed(path: str, *, size: int, mtime_ns: int) -> bytes:
                photos.jpeg(album / "one.jpg", photos.gradient(50, 20))
                return read(path, size=size, mtime_ns=mtime_ns)

            patch.setattr(headers, "read", changed)
            assert library.sync().facts_read == 0
        report = library.sync()
        assert (report.encoded, report.facts_read) == (1, 0)
        assert library._session.facts.table().was_read.all()


def test_facts_are_kept_beside_the_index_and_made_anew_where_they_are_damaged(
    tmp_path: Path, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "library"
    stars(album, "one.xmp")
    with Library.open(place, encoder=FakeEncoder()) as library:
        library.sync(album)
        assert ratings(library) == {"one.jpg": 4}
    file = place / "index" / FACTS_NAME
    whole = file.read_bytes()
    with monkeypatch.context() as patch, Library.open(place) as library:
        patch.setattr(type(library._session.storage.photos), "facts_table", lambda *_: pytest.fail("it was made anew"))
        assert ratings(library) == {"one.jpg": 4}
    for damaged in (b"", whole[: len(whole) // 2], whole[:600] + b"\1" + whole[601:], b"PK\3\4" + bytes(100)):
        file.write_bytes(damaged)
        with Library.open(place) as library:
            assert ratings(library) == {"one.jpg": 4}
        assert file.read_bytes() == whole
    try:
        with monkeypatch.context() as patch, Library.open(place, read_only=True) as library:
            patch.setenv("TZ", "Asia/Tokyo")
            time.tzset()
            assert ratings(library) == {"one.jpg": 4}
    finally:
        time.tzset()
    assert file.read_bytes() == whole


def test_the_command(tmp_path: Path, album: Path) -> None:
    def run(*arguments: str | Path, code: int = 0) -> Result:
        result = CliRunner().invoke(
            cli, [str(a) for a in arguments], env={"ZSINDEX_LIBRARY": str(tmp_path / "library")}
        )
        assert result.exit_code == code, result.output
        return result

    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(album)
    lines = dict(line.split(maxsplit=1) for line in run("facts", album / "one.jpg").stdout.splitlines())
    assert lines["taken"] == "2019-07-14 15:30:12 +02:00, from EXIF"
    assert (lines["camera"], lines["exposure"], lines["size"]) == ("Us One", "ISO 640", "240 x 320")
    assert "place" not in lines
    document = json.loads(run("facts", album / "one.jpg", "--json").stdout)
    assert document["taken"] == {"at": "2019-07-14T15:30:12", "offset_s": 7200, "source": "exif"}
    assert document == json.loads(json.dumps(TOLD.to_dict()))
    assert "No such file" in run("facts", album / "none.jpg", code=1).stderr
