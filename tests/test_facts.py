"""Facts of a photo: what is written is read back, what lies is left out, and nothing fails."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import subprocess
import time
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests import photos
from zsindex.photos import dates, exif, facts, packets, plain
from zsindex.photos.together import MOST_KEYWORD, together
from zsindex.records import Facts, Place, Taken, TakenFrom

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
AT = datetime(2019, 7, 14, 15, 30, 12)
FORMATS = {"jpg": "JPEG", "tif": "TIFF", "png": "PNG", "webp": "WEBP", "heic": "HEIF", "avif": "AVIF"}


def picture(path: Path, *, width: int = 64, height: int = 48) -> Path:
    image = photos.gradient(width, height)
    return photos.heic(path, image) if path.suffix == ".heic" else photos.save(path, image)


def exiftool(*arguments: str | Path) -> None:
    command = ["exiftool", "-q", "-overwrite_original", "-charset", "utf8", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def read(path: Path) -> Facts:
    return facts.read(path.read_bytes(), path.name)


def exif_block(
    main: dict[int, object] | None = None, inner: dict[int, object] | None = None, gps: dict[int, object] | None = None
) -> bytes:
    """An EXIF block as Pillow writes it, from its byte order on."""
    block = Image.Exif()
    for tag, value in (main or {}).items():
        block[tag] = value
    for number, values in ((0x8769, inner), (0x8825, gps)):
        if values:
            block.get_ifd(number).update(values)
    return block.tobytes().removeprefix(b"Exif\0\0")


def jpeg(block: bytes = b"", **options: object) -> bytes:
    file = io.BytesIO()
    photos.gradient(32, 24).save(file, "JPEG", exif=b"Exif\0\0" + block if block else b"", **options)
    return file.getvalue()


def xmp(body: str) -> bytes:
    """A packet whose description holds the body."""
    names = {
        "dc": "http://purl.org/dc/elements/1.1/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "lr": "http://ns.adobe.com/lightroom/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "digiKam": "http://www.digikam.org/ns/1.0/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    }
    spaces = " ".join(f'xmlns:{prefix}="{uri}"' for prefix, uri in names.items())
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" {spaces}>'
        f'{body}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


# --- each field, in each format ---------------------------------------------------------------------------------------

WRITTEN = (
    "-EXIF:DateTimeOriginal=2019:07:14 15:30:12",
    "-EXIF:SubSecTimeOriginal=250",
    "-EXIF:OffsetTimeOriginal=+02:00",
    "-EXIF:Make=Zürcher Kamerawerke",
    "-EXIF:Model=Z 9",
    "-EXIF:LensModel=35mm f/1.8",
    "-EXIF:FocalLength=35.5",
    "-EXIF:FNumber=1.8",
    "-EXIF:ExposureTime=1/250",
    "-EXIF:ISO=640",
    "-EXIF:GPSLatitude=33.8567844",
    "-EXIF:GPSLatitudeRef=S",
    "-EXIF:GPSLongitude=151.2152967",
    "-EXIF:GPSLongitudeRef=E",
    "-EXIF:GPSAltitude=12.5",
    "-EXIF:GPSAltitudeRef#=1",
    "-XMP-xmp:Rating=4",
    "-XMP-dc:Subject=owl",
    "-XMP-dc:Subject=größe",
    "-XMP-lr:HierarchicalSubject=Animals|Birds|owl",
    "-XMP-dc:Description=Zwei Zeilen,\neine Eule 🦉",
)


@needs_exiftool
@pytest.mark.parametrize("suffix", FORMATS)
def test_what_exiftool_writes_is_read_back(suffix: str, tmp_path: Path) -> None:
    path = picture(tmp_path / f"one.{suffix}")
    exiftool(*WRITTEN, path)
    found = read(path)
    assert found.place is not None
    assert found.place.latitude == pytest.approx(-33.8567844, abs=1e-6)
    assert found.place.longitude == pytest.approx(151.2152967, abs=1e-6)
    assert found.place.altitude_m == -12.5
    assert found.exposure_s == pytest.approx(1 / 250)
    assert found.aperture == pytest.approx(1.8)
    assert replace(found, place=None, exposure_s=None, aperture=None) == Facts(
        taken=Taken(AT.replace(microsecond=250_000), 7200, TakenFrom.EXIF),
        make="Zürcher Kamerawerke",
        camera="Z 9",
        lens="35mm f/1.8",
        focal_length_mm=35.5,
        iso=640,
        width=64,
        height=48,
        orientation=found.orientation,
        format=FORMATS[suffix],
        animated=False,
        rating=4.0,
        keywords=("owl", "größe", "Animals|Birds|owl"),
        caption="Zwei Zeilen,\neine Eule 🦉",
    )
    assert found.orientation in (None, 1)


@needs_exiftool
@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_what_stands_in_iptc(suffix: str, tmp_path: Path) -> None:
    path = picture(tmp_path / f"one.{suffix}")
    utf8 = ["-IPTC:CodedCharacterSet=UTF8"] if suffix == "jpg" else []
    exiftool(*utf8, "-IPTC:Keywords=Eule", "-IPTC:Keywords=Käuzchen", "-IPTC:Caption-Abstract=Im Wald", path)
    found = read(path)
    assert found.keywords == ("Eule", "Käuzchen")
    assert found.caption == "Im Wald"


@needs_exiftool
@pytest.mark.parametrize("suffix", FORMATS)
def test_what_stands_in_xmp_alone(suffix: str, tmp_path: Path) -> None:
    path = picture(tmp_path / f"one.{suffix}")
    exiftool(
        "-XMP-exif:DateTimeOriginal=2019:07:14 15:30:12-07:00",
        "-XMP-exif:GPSLatitude=45.5006667",
        "-XMP-exif:GPSLongitude=-9.1103333",
        "-XMP-exif:GPSAltitude=217",
        "-XMP-exif:FNumber=2.8",
        "-XMP-exif:ExposureTime=1/60",
        "-XMP-exif:ISO=200",
        "-XMP-tiff:Make=Canon",
        "-XMP-tiff:Model=EOS",
        "-XMP-aux:Lens=50mm",
        path,
    )
    found = read(path)
    assert found.taken == Taken(AT, -7 * 3600, TakenFrom.XMP)
    assert found.place is not None
    assert (found.place.latitude, found.place.longitude) == pytest.approx((45.5006667, -9.1103333), abs=1e-6)
    assert found.place.altitude_m == 217
    assert (found.make, found.camera, found.lens, found.iso) == ("Canon", "EOS", "50mm", 200)
    assert (found.aperture, found.exposure_s) == pytest.approx((2.8, 1 / 60))


@needs_exiftool
def test_what_windows_writes(tmp_path: Path) -> None:
    path = picture(tmp_path / "one.jpg")
    exiftool("-EXIF:XPKeywords=Eule;Käuzchen", "-EXIF:XPComment=Im Wald", "-EXIF:Rating=3", path)
    found = read(path)
    assert (found.keywords, found.caption, found.rating) == (("Eule", "Käuzchen"), "Im Wald", 3.0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_orientations(orientation: int, suffix: str, tmp_path: Path) -> None:
    path = photos.oriented(tmp_path / f"one.{suffix}", orientation, photos.gradient(64, 48))
    found = read(path)
    assert (found.width, found.height, found.orientation) == (64, 48, orientation)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_what_is_animated(suffix: str, tmp_path: Path) -> None:
    assert read(photos.animated(tmp_path / f"moving.{suffix}", "red", "blue", "green")).animated is True
    assert read(picture(tmp_path / f"still.{suffix}")).animated is False


def test_pages_are_not_animated(tmp_path: Path) -> None:
    assert read(photos.animated(tmp_path / "pages.tif", "red", "blue")).animated is False


def test_a_png_with_metadata_behind_its_pixels_and_packed(tmp_path: Path) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    data = picture(tmp_path / "one.png").read_bytes()
    end = data.index(b"IEND") - 4
    packet = zlib.compress(xmp("<dc:subject><rdf:Bag><rdf:li>owl</rdf:li></rdf:Bag></dc:subject>"))
    late = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packet)
    block = b"Exif\0\0" + exif_block({0x010F: "Canon"})
    digits = f"\nexif\n{len(block):8}\n{block.hex()}\n".encode()
    late += chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(digits))
    found = facts.read(data[:end] + late + data[end:])
    assert (found.make, found.keywords) == ("Canon", ("owl",))


# --- camera RAW -------------------------------------------------------------------------------------------------------

CAMERA = {0x010F: "Test", 0x0110: "Test One"}
SHOT = {0x9003: "2019:07:14 15:30:12", 0x8827: 800}
OF_CAMERA = ("Test", "Test One", Taken(AT, None, TakenFrom.EXIF), 800)


def of_camera(found: Facts) -> tuple[object, ...]:
    return found.make, found.camera, found.taken, found.iso


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def raws() -> dict[str, bytes]:
    """Files that begin like camera RAW, with metadata where cameras put it."""
    block = exif_block(CAMERA, SHOT)
    little = block.startswith(b"II")
    inner = jpeg(block)
    canon = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
    cmt = box(b"CMT1", exif_block(CAMERA)) + box(b"CMT2", exif_block(SHOT))
    return {
        "nef": block,
        "orf": (b"IIRO" if little else b"MMOR") + block[4:],
        "rw2": b"IIU\0" + block[4:] if little else block,
        "cr3": box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", box(b"uuid", canon + cmt)) + box(b"mdat", b"\0"),
        "raf": (b"FUJIFILMCCD-RAW 0201".ljust(84, b"\0") + struct.pack(">II", 92, len(inner)) + inner),
        "mrw": b"\0MRM"
        + struct.pack(">I", 16 + 8 + len(block))
        + b"\0PRD" + struct.pack(">I", 8) + b"\0" * 8
        + b"\0TTW" + struct.pack(">I", len(block)) + block,
    }  # fmt: skip


@pytest.mark.parametrize("suffix", ["nef", "orf", "rw2", "cr3", "raf", "mrw"])
def test_camera_raw(suffix: str) -> None:
    found = facts.read(raws()[suffix], f"one.{suffix}")
    assert of_camera(found) == OF_CAMERA
    assert found.format == "RAW"


@needs_exiftool
def test_a_dng(tmp_path: Path) -> None:
    path = photos.dng(tmp_path / "one.dng", orientation=6)
    exiftool("-XMP-dc:Subject=owl", "-EXIF:DateTimeOriginal=2019:07:14 15:30:12", path)
    found = read(path)
    assert (found.make, found.camera, found.orientation) == ("Test", "Test DNG", 6)
    assert (found.keywords, found.taken) == (("owl",), Taken(AT, None, TakenFrom.EXIF))


# --- lies -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "0000:00:00 00:00:00",
        "    :  :     :  :  ",
        "2019:02:30 10:00:00",
        "2019:07:14 24:10:00",
        "2019:07:14 12:60:00",
        "1066:10:14 09:00:00",
        "9999:12:31 23:59:59",
        "14.07.2019",
        "2019",
        "",
        "yesterday",
        "２０１９:07:14 99:00:00",
    ],
)
def test_no_times(text: str) -> None:
    assert dates.written(text) is None
    assert facts.read(jpeg(exif_block(inner={0x9003: text}))).taken is None


@pytest.mark.parametrize(
    ("text", "at", "offset_s"),
    [
        ("2019:07:14 15:30:12", AT, None),
        ("2019-07-14T15:30:12Z", AT, 0),
        ("2019-07-14T15:30:12.5+05:30", AT.replace(microsecond=500_000), 19_800),
        ("2019-07-14T15:30:12-03:30", AT, -12_600),
        ("2019-07-14T15:30", AT.replace(second=0), None),
        ("2019/07/14 15:30:12", AT, None),
        ("2019-07-14", datetime(2019, 7, 14), None),
        ("2019:07:14 15:30:12\0\0", AT, None),
        ("2019-07-14T15:30:12+25:00", AT, None),  # no place on earth; the local time may be right
    ],
)
def test_times(text: str, at: datetime, offset_s: int | None) -> None:
    assert dates.written(text) == (at, offset_s)


@pytest.mark.parametrize(
    ("offset", "seconds"), [("+02:00", 7200), ("-09:30", -34_200), ("Z", 0), ("", None), ("CEST", None), ("\0", None)]
)
def test_offsets_and_parts_of_seconds_that_stand_elsewhere(offset: str, seconds: int | None) -> None:
    found = facts.read(jpeg(exif_block(inner={0x9003: "2019:07:14 15:30:12", 0x9291: "07  ", 0x9011: offset})))
    assert found.taken == Taken(AT.replace(microsecond=70_000), seconds, TakenFrom.EXIF)


def test_an_offset_of_another_time_counts_where_there_is_no_better() -> None:
    found = facts.read(jpeg(exif_block(inner={0x9003: "2019:07:14 15:30:12", 0x9010: "+01:00"})))
    assert found.taken == Taken(AT, 3600, TakenFrom.EXIF)


def test_the_time_at_which_it_became_a_file_counts_last() -> None:
    block = exif_block({0x010F: "Canon", 0x0132: "2020:01:01 00:00:00"}, {0x9004: "2019:07:14 15:30:12"})
    assert facts.read(jpeg(block)).taken == Taken(AT, None, TakenFrom.EXIF)
    packet = xmp("<exif:DateTimeOriginal>2018-01-02T03:04:05</exif:DateTimeOriginal>")
    expected = Taken(datetime(2018, 1, 2, 3, 4, 5), None, TakenFrom.XMP)
    assert facts.read(jpeg(block, xmp=packet)).taken == expected
    changed = exif_block({0x010F: "Canon", 0x0131: "An editor 3.0", 0x0132: "2020:01:01 00:00:00"})
    assert facts.read(jpeg(changed)).taken is None


Degrees = tuple[float, float, float]


def gps(latitude: Degrees, north: object, longitude: Degrees, east: object, **more: object) -> bytes:
    values = {1: north, 2: latitude, 3: east, 4: longitude, **{int(tag[1:]): value for tag, value in more.items()}}
    return jpeg(exif_block(gps={tag: value for tag, value in values.items() if value is not None}))


@pytest.mark.parametrize(
    ("north", "east", "signs"),
    [("N", "E", (1, 1)), ("S", "W", (-1, -1)), ("South", "e", (-1, 1))],
)
def test_hemispheres(north: str, east: str, signs: tuple[int, int]) -> None:
    place = facts.read(gps((10.0, 30.0, 36.0), north, (20.0, 6.0, 0.0), east)).place
    assert place is not None
    assert (place.latitude, place.longitude) == pytest.approx((signs[0] * 10.51, signs[1] * 20.1))


@pytest.mark.parametrize(
    ("latitude", "north", "longitude", "east"),
    [
        ((0.0, 0.0, 0.0), "N", (0.0, 0.0, 0.0), "E"),  # a receiver that has found nothing
        ((90.0, 1.0, 0.0), "N", (0.0, 0.0, 0.0), "E"),
        ((10.0, 0.0, 0.0), "N", (181.0, 0.0, 0.0), "E"),
        ((10.0, 99.0, 0.0), "N", (20.0, 0.0, 0.0), "E"),
        ((10.0, 0.0, 0.0), None, (20.0, 0.0, 0.0), "E"),
        ((10.0, 0.0, 0.0), "X", (20.0, 0.0, 0.0), "E"),
        ((10.0, 0.0, 0.0), "N", (20.0, 0.0, 0.0), "N"),
    ],
)
def test_no_places(latitude: Degrees, north: str | None, longitude: Degrees, east: str) -> None:
    assert facts.read(gps(latitude, north, longitude, east)).place is None


@pytest.mark.parametrize(
    ("altitude", "below", "expected"),
    [(8848.0, b"\0", 8848.0), (430.0, b"\1", -430.0), (999_999.0, b"\0", None), (12.0, None, 12.0)],
)
def test_altitudes(altitude: float, below: bytes | None, expected: float | None) -> None:
    data = gps((10.0, 0.0, 0.0), "N", (20.0, 0.0, 0.0), "E", t6=altitude, **({} if below is None else {"t5": below}))
    assert facts.read(data).place == Place(10.0, 20.0, expected)


def test_numbers_that_cannot_be() -> None:
    zeros = exif_block(inner={0x829A: 0.0, 0x829D: 0.0, 0x920A: 0.0, 0x8827: 0})
    found = facts.read(jpeg(zeros))
    assert (found.exposure_s, found.aperture, found.focal_length_mm, found.iso) == (None, None, None, None)
    of_high_iso = exif_block(inner={0x8827: 65535, 0x8832: 204_800})
    assert facts.read(jpeg(of_high_iso)).iso == 204_800
    apex = exif_block(inner={0x9201: 8.0, 0x9202: 4.0})
    found = facts.read(jpeg(apex))
    assert (found.exposure_s, found.aperture) == pytest.approx((1 / 256, 4.0))


def test_values_of_other_types_than_they_should_have() -> None:
    """A date that is a number, a number that is a text, a place of bytes: each is left out, the others are read."""
    entries = [
        (0x010F, 2, b"Canon\0"),
        (0x0112, 2, b"sideways\0"),
        (0x8827, 2, b"fast\0\0"),
        (0x9003, 4, struct.pack("<I", 20190714)),
    ]
    body, values = b"", b""
    start = 8 + 2 + 12 * len(entries) + 4
    for tag, kind, value in entries:
        count = len(value) // (4 if kind == 4 else 1)
        inline = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", start + len(values))
        body += struct.pack("<HHI", tag, kind, count) + inline
        values += value if len(value) > 4 else b""
    found = facts.read(jpeg(b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + body + b"\0\0\0\0" + values))
    assert found == Facts(make="Canon", width=32, height=24, format="JPEG", animated=False)


def pointing(tag: int, where: int) -> bytes:
    """A block of a camera with a pointer, and another one to the next directory."""
    camera = struct.pack("<HHI", 0x010F, 2, 3) + b"Us\0\0"
    return b"II*\0\x08\0\0\0\2\0" + camera + struct.pack("<HHII", tag, 4, 1, where) + struct.pack("<I", where)


@pytest.mark.parametrize("tag", [0x8769, 0x8825, 0x014A])
@pytest.mark.parametrize("where", [0, 8, 26, 0xFFFFFFFF])
def test_directories_that_lead_to_themselves_or_nowhere(tag: int, where: int) -> None:
    found = facts.read(jpeg(pointing(tag, where)))
    assert found == Facts(make="Us", width=32, height=24, format="JPEG", animated=False)
    assert facts.read(pointing(tag, where), "one.nef") == Facts(make="Us", format="RAW")


def test_texts_in_any_encoding() -> None:
    def camera(value: bytes) -> str | None:
        size = 8 + 2 + 12 + 4
        block = b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x0110, 2, len(value), size) + b"\0" * 4 + value
        return facts.read(jpeg(block)).camera

    assert camera("Prüfung µ 800\0".encode()) == "Prüfung µ 800"
    assert camera("Prüfung µ 800\0".encode("latin-1")) == "Prüfung µ 800"
    assert camera(b"One\0 after the end \xff\xfe") == "One"
    assert camera(b"  two \t\x07 words   \0") == "two words"
    assert camera(b"\0" * 20) is None
    assert camera(b"x" * 5000) == "x" * facts.MOST_NAME


def test_what_cameras_write_is_no_caption() -> None:
    for text in (
        "OLYMPUS DIGITAL CAMERA",
        "SONY DSC",
        "samsung digital camera",
        "KONICA MINOLTA DIGITAL CAMERA",
        "          ",
    ):
        assert facts.read(jpeg(exif_block({0x010E: text}))).caption is None
    assert facts.read(jpeg(exif_block({0x010E: "Olympus Digital Camera on a table"}))).caption is not None


def test_megabytes_of_makers_notes() -> None:
    notes = os.urandom(8 << 20)
    block = exif_block(CAMERA, {**SHOT, 0x927C: notes})
    png = io.BytesIO()
    photos.gradient(32, 24).save(png, "PNG", exif=block)
    for data, name in ((png.getvalue(), "one.png"), (block, "one.nef")):
        assert of_camera(facts.read(data, name)) == OF_CAMERA


def test_a_million_numbers_where_one_should_be_are_not_looked_at() -> None:
    """Of each, Pillow would make a Python number."""
    count = 30_000_000
    camera = struct.pack("<HHI", 0x010F, 2, 3) + b"Us\0\0"
    block = b"II*\0\x08\0\0\0\2\0" + camera + struct.pack("<HHII", 0x0112, 3, count, 64) + b"\0" * 100 + b"\6\0" * count
    tracemalloc.start()
    try:
        found = facts.read(block, "one.nef")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == Facts(make="Us", format="RAW")
    assert peak < 4 * len(block)


# --- XMP --------------------------------------------------------------------------------------------------------------


def said_in(packet: bytes) -> dict[str, list[str]]:
    """Nothing, of what is no packet."""
    try:
        return packets.properties(packet)
    except packets.NotXmp:
        return {}


def test_a_packet_in_all_its_forms() -> None:
    body = """
      <dc:subject><rdf:Bag><rdf:li>owl</rdf:li><rdf:li> fox </rdf:li><rdf:li>owl</rdf:li></rdf:Bag></dc:subject>
      <lr:hierarchicalSubject><rdf:Bag><rdf:li>Animals|Birds</rdf:li></rdf:Bag></lr:hierarchicalSubject>
      <digiKam:TagsList><rdf:Seq><rdf:li>Places/Wood</rdf:li></rdf:Seq></digiKam:TagsList>
      <dc:description><rdf:Alt><rdf:li xml:lang="de">Eule</rdf:li><rdf:li xml:lang="x-default">Owl</rdf:li></rdf:Alt>
      </dc:description><xmp:Rating>-1</xmp:Rating><exif:GPSLatitude>33,51.407S</exif:GPSLatitude>
      <exif:GPSLongitude>151,12,55.07E</exif:GPSLongitude><photoshop:DateCreated>2019-07-14T15:30:12</photoshop:DateCreated>
    """
    found = facts.of_packet(xmp(body))
    assert found.keywords == ("owl", "fox", "Animals|Birds", "Places|Wood")
    assert (found.caption, found.rating) == ("Owl", -1.0)
    assert found.place is not None
    assert (found.place.latitude, found.place.longitude) == pytest.approx((-33.856783, 151.215297), abs=1e-6)
    assert found.taken == Taken(AT, None, TakenFrom.XMP)


@pytest.mark.parametrize(("rating", "expected"), [("5", 5.0), ("0", None), ("6", None), ("3.5", 3.5), ("many", None)])
def test_ratings(rating: str, expected: float | None) -> None:
    assert facts.of_packet(xmp(f"<xmp:Rating>{rating}</xmp:Rating>")).rating == expected


def test_a_packet_with_a_document_type_is_refused_unread() -> None:
    bomb = b'<!DOCTYPE a [<!ENTITY a "' + b"x" * 1000 + b'"><!ENTITY b "' + b"&a;" * 1000 + b'">]>'
    packet = xmp("<dc:description>&b;</dc:description>")
    with pytest.raises(packets.NotXmp, match="document type"):
        packets.properties(bomb + packet)
    found = facts.read(jpeg(exif_block(CAMERA), xmp=bomb + packet))
    assert (found.camera, found.caption) == ("Test One", None)


@pytest.mark.parametrize(
    "around",
    [
        lambda packet: b"\0\0" + packet + b"\0" * 40,
        lambda packet: b"rubbish" + packet,
        lambda packet: packet + b" " * 2000,
        lambda packet: packet.replace(b"owl", b"owl \xfc"),
        lambda packet: packet.decode().encode("utf-16"),
    ],
)
def test_packets_that_are_not_quite_whole(around: Callable[[bytes], bytes]) -> None:
    packet = xmp("<dc:subject><rdf:Bag><rdf:li>owl</rdf:li></rdf:Bag></dc:subject>")
    (keyword,) = facts.of_packet(around(packet)).keywords
    assert keyword.startswith("owl")


@pytest.mark.parametrize("packet", [b"", b"<", b"<x/>", b"\xff" * 100, b"<rdf:RDF", b"<a>" * 100_000])
def test_what_is_no_packet(packet: bytes) -> None:
    assert said_in(packet) == {}
    assert facts.read(jpeg(exif_block(CAMERA), xmp=packet[:60_000])).camera == "Test One"


def test_no_more_keywords_and_captions_than_anyone_writes() -> None:
    items = "".join(f"<rdf:li>{'k' * 300}{number}</rdf:li>" for number in range(1000))
    body = f"<dc:subject><rdf:Bag><rdf:li>first</rdf:li>{items}</rdf:Bag></dc:subject>"
    body += f"<dc:description>{'words ' * 10_000}</dc:description>"
    found = facts.of_packet(xmp(body))
    assert found.keywords == ("first", "k" * MOST_KEYWORD)
    assert found.caption is not None
    assert len(found.caption) == facts.MOST_CAPTION


# --- names ------------------------------------------------------------------------------------------------------------

DAY = datetime(2019, 7, 14)


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("IMG_20190714_153012.jpg", AT),
        ("IMG_20190714_153012_HDR.jpg", AT),
        ("VID_20190714_153012.mp4.jpg", AT),
        ("PXL_20190714_153012345.jpg", AT.replace(microsecond=345_000)),
        ("PXL_20190714_153012345.PORTRAIT.jpg", AT.replace(microsecond=345_000)),
        ("20190714_153012.jpg", AT),
        ("20190714153012.jpg", AT),
        ("2019-07-14 15.30.12.jpg", AT),
        ("2019-07-14T15-30-12.png", AT),
        ("2019-07-14_15-30-12.heic", AT),
        ("photo_2019-07-14_15-30-12.jpg", AT),
        ("signal-2019-07-14-153012.jpeg", AT),
        ("signal-2019-07-14-15-30-12-345.jpeg", AT.replace(microsecond=345_000)),
        ("WIN_20190714_15_30_12_Pro.jpg", AT),
        ("Screenshot_20190714-153012.png", AT),
        ("Screenshot_20190714-153012_Chrome.jpg", AT),
        ("Screenshot_2019-07-14-15-30-12-345_com.app.png", AT.replace(microsecond=345_000)),
        ("Screenshot 2019-07-14 at 15.30.12.png", AT),
        ("Screenshot 2019-07-14 at 3.30.12 PM.png", AT),
        ("Screenshot 2019-07-14 at 3.30.12\u202fPM.png", AT),
        ("Screenshot 2019-07-14 at 12.00.01 AM.png", DAY.replace(second=1)),
        ("Screenshot from 2019-07-14 15-30-12.png", AT),
        ("Bildschirmfoto 2019-07-14 um 15.30.12.png", AT),
        ("Capture d’écran 2019-07-14 à 15.30.12.png", AT),
        ("Captura de pantalla 2019-07-14 a las 15.30.12.png", AT),
        ("Schermata 2019-07-14 alle 15.30.12.png", AT),
        ("スクリーンショット 2019-07-14 15.30.12.png", AT),
        ("Skjermbilde 2019-07-14 kl. 15.30.12.png", AT),
        ("WhatsApp Image 2019-07-14 at 15.30.12.jpeg", AT),
        ("WhatsApp Image 2019-07-14 at 15.30.12 (2).jpeg", AT),
        ("IMG-20190714-WA0007.jpg", DAY),
        ("2019.07.14 Hochzeit 023.jpg", DAY),
        ("2019-07-14.jpg", DAY),
        ("P20190714.jpg", DAY),
    ],
)
def test_dates_in_names(name: str, at: datetime) -> None:
    assert dates.named(name) == at


@pytest.mark.parametrize(
    "name",
    [
        "IMG_0714.jpg",
        "DSC20190714001.jpg",
        "120190714_153012.jpg",
        "IMG_20191314_153012.jpg",
        "IMG_20190231_153012.jpg",
        "03-04-2019.jpg",
        "2019.jpg",
        "2019-07.jpg",
        "2019-0714.jpg",
        "1563117012345.jpg",
        "FB_IMG_1563117012345.jpg",
        "",
    ],
)
def test_names_without_dates(name: str) -> None:
    assert dates.named(name) is None


# --- together ---------------------------------------------------------------------------------------------------------

MTIME_NS = 1_700_000_000_123_456_789
OF_EXIF = Taken(AT, 7200, TakenFrom.EXIF)
OF_XMP = Taken(datetime(2018, 1, 1), None, TakenFrom.XMP)
BESIDE = Taken(datetime(2017, 1, 1), None, TakenFrom.XMP)


@pytest.mark.parametrize(
    ("content", "sidecar", "name", "expected"),
    [
        (OF_EXIF, BESIDE, "IMG_20200101_000000.jpg", OF_EXIF),
        (OF_XMP, BESIDE, "IMG_20200101_000000.jpg", BESIDE),
        (OF_XMP, None, "IMG_20200101_000000.jpg", OF_XMP),
        (None, BESIDE, "IMG_20200101_000000.jpg", BESIDE),
        (None, None, "IMG_20200101_000000.jpg", Taken(datetime(2020, 1, 1), None, TakenFrom.NAME)),
    ],
)
def test_which_time_counts(content: Taken | None, sidecar: Taken | None, name: str, expected: Taken) -> None:
    found = together(Facts(taken=content), Facts(taken=sidecar), name, MTIME_NS)
    assert found.taken == expected


@pytest.mark.parametrize(
    ("zone", "at", "offset_s"),
    [
        ("UTC", datetime(2023, 11, 14, 22, 13, 20, 123_456), 0),
        ("Asia/Kolkata", datetime(2023, 11, 15, 3, 43, 20, 123_456), 19_800),
        ("America/St_Johns", datetime(2023, 11, 14, 18, 43, 20, 123_456), -12_600),
    ],
)
def test_the_time_of_the_file_is_local(zone: str, at: datetime, offset_s: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        found = together(Facts(), None, "a.jpg", MTIME_NS)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert found.taken == Taken(at, offset_s, TakenFrom.FILE)


def test_summer_time_is_that_of_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        offsets = [dates.of_file(seconds * 10**9) for seconds in (1_563_111_012, 1_547_476_212)]
    finally:
        monkeypatch.undo()
        time.tzset()
    assert offsets == [(AT, 7200), (datetime(2019, 1, 14, 15, 30, 12), 3600)]


def test_a_time_beyond_all_calendars_is_none() -> None:
    assert together(Facts(), None, "a.jpg", (1 << 63) - 1).taken is not None  # the year 2262
    assert dates.of_file(10**30) is None


def test_what_the_sidecar_adds() -> None:
    content = Facts(camera="One", rating=2.0, caption="of the photo", keywords=("a", "b"), orientation=6)
    sidecar = Facts(camera="Two", lens="35mm", rating=5.0, keywords=("b", "c"), orientation=1, place=Place(1.0, 2.0))
    found = together(content, sidecar, "IMG_20190714_153012.jpg", MTIME_NS)
    assert found == Facts(
        taken=Taken(AT, None, TakenFrom.NAME),
        camera="One",
        lens="35mm",
        place=Place(1.0, 2.0),
        orientation=6,
        rating=5.0,
        keywords=("a", "b", "c"),
        caption="of the photo",
    )


# --- as plain values, and anything ------------------------------------------------------------------------------------

ALL = Facts(
    taken=Taken(AT.replace(microsecond=1), -3600, TakenFrom.NAME),
    make="a",
    camera="b",
    lens="c",
    focal_length_mm=1.5,
    aperture=2.5,
    exposure_s=0.001,
    iso=100,
    place=Place(-1.25, 179.5, None),
    width=3,
    height=4,
    orientation=8,
    format="JPEG",
    animated=True,
    rating=-1.0,
    keywords=("k", "ö|💡"),
    caption="two\nlines",
)


@pytest.mark.parametrize("found", [ALL, Facts(), replace(ALL, place=Place(0.0, 1.0, -3.0))])
def test_plain_values_and_back(found: Facts) -> None:
    assert plain.from_plain(json.loads(json.dumps(plain.to_plain(found)))) == found


@given(st.binary(max_size=400))
def test_any_bytes_in_an_exif_block(block: bytes) -> None:
    for data in (jpeg(b"II*\0\x08\0\0\0" + block), jpeg(block)):
        found = facts.read(data)
        assert (found.width is None) == (found.height is None)
    assert facts.read(b"MM\0*\0\0\0\x08" + block, "one.nef").format in ("RAW", None, "TIFF")


@given(st.binary(max_size=200), st.integers(0, 3000), st.integers(0, 3000))
def test_photos_with_holes(rubbish: bytes, start: int, gap: int) -> None:
    for name, whole in raws().items():
        damaged = whole[:start] + rubbish + whole[start + gap :]
        assert isinstance(facts.read(damaged, f"one.{name}"), Facts)


@given(st.text(max_size=60))
def test_any_name(name: str) -> None:
    at = dates.named(name)
    assert at is None or str(at.year) in name


@given(st.text(max_size=40), st.text(max_size=6), st.text(max_size=8))
def test_any_text_for_a_time(text: str, subseconds: str, offset: str) -> None:
    found = dates.written(text, subseconds, offset)
    assert found is None or f"{found[0].year}" in text


@given(st.floats(), st.floats(), st.floats())
def test_no_place_is_off_the_globe(latitude: float, longitude: float, altitude: float) -> None:
    place = exif.checked_place(latitude, longitude, altitude)
    assert place is None or (abs(place[0]) <= 90 and abs(place[1]) <= 180 and abs(place[2] or 0) <= 60_000)


@given(st.binary(max_size=300))
def test_any_bytes_for_a_packet(data: bytes) -> None:
    for packet in (data, b"<x:xmpmeta>" + data + b"</x:xmpmeta>"):
        assert said_in(packet) == {}
