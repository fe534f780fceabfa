"""Facts on their way from a photo into the library, through the processes that decode."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from tests import photos
from tests.fakes import FakeEncoder
from zsindex import config
from zsindex.library import Library
from zsindex.photos import decode, facts
from zsindex.photos.decoder_process import MOST_LINE
from zsindex.photos.sandbox import Here, Sandbox
from zsindex.records import DecodeLimits, DecodeMode, Facts, Taken, TakenFrom

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
    assert sum(map(len, kept.keywords)) > facts.MOST_KEYWORDS - facts.MOST_KEYWORD
    assert len(kept.caption or "") == facts.MOST_CAPTION
    assert 12 * (facts.MOST_KEYWORDS + facts.MOST_CAPTION + 4 * facts.MOST_NAME) < MOST_LINE // 2


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
