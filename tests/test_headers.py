"""Facts read from as much of a file as is needed are those of the whole file."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests import photos
from zsindex.errors import ImageError
from zsindex.photos import facts, headers
from zsindex.records import SkipReason

PACKET = (
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    b' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"/></rdf:RDF>'
)
NOISE = Image.effect_noise((700, 500), 90).convert("RGB")


def exif() -> Image.Exif:
    block = Image.Exif()
    block[0x0110] = "One"
    block.get_ifd(0x8769).update({0x9003: "2019:07:14 15:30:12", 0x927C: b"note" * 5000})
    block.get_ifd(0x8825).update({1: "N", 2: (48.0, 30.0, 0.0), 3: "E", 4: (9.0, 0.0, 0.0)})
    return block


def header_of(path: Path) -> bytes:
    status = path.stat()
    return headers.read(str(path), size=status.st_size, mtime_ns=status.st_mtime_ns)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_metadata_behind(path: Path) -> Path:
    """A PNG with its metadata where exiftool puts it."""
    out = io.BytesIO()
    NOISE.save(out, "PNG")
    whole = out.getvalue()
    behind = png_chunk(b"eXIf", exif().tobytes()[6:]) + png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + PACKET)
    path.write_bytes(whole[:-12] + behind + whole[-12:])
    return path


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "behind.png", "large.tif"])
def test_a_header_is_enough_and_less_than_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "behind.png":
        with_metadata_behind(path)
    elif name == "large.tif":  # the directory lies behind the pixels
        NOISE.resize((1500, 1500)).save(path, exif=exif(), compression=None)
    else:
        NOISE.save(path, exif=exif(), xmp=PACKET, quality=100)
    whole, header = path.read_bytes(), header_of(path)
    found = facts.read(header, name)
    assert found == facts.read(whole, name)
    assert (found.camera, found.width) == ("One", 1500 if name == "large.tif" else 700)
    if not name.endswith(".tif"):  # of which Pillow writes no place
        assert found.place is not None
    if name in ("a.jpg", "a.webp", "behind.png"):  # it writes no packet into the others
        assert found.rating == 4
    if name in ("a.jpg", "a.png", "behind.png"):
        assert len(header) < len(whole) // 5


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_of_damaged_files_a_header_says_what_the_file_says(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    form = data.draw(st.sampled_from(["JPEG", "PNG", "TIFF"]))
    out = io.BytesIO()
    NOISE.resize((300, 200)).save(out, form, exif=exif())
    content = bytearray(out.getvalue())
    for _ in range(data.draw(st.integers(0, 4))):
        place = data.draw(st.integers(0, min(len(content), 2000) - 1))
        content[place] = data.draw(st.integers(0, 255))
    path = folder / "damaged"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    found, whole = facts.read(header_of(path)), facts.read(path.read_bytes())
    assert found == whole


def test_what_has_changed_is_not_read(tmp_path: Path) -> None:
    path = photos.jpeg(tmp_path / "a.jpg")
    status = path.stat()
    for size, mtime_ns in ((status.st_size + 1, status.st_mtime_ns), (status.st_size, status.st_mtime_ns + 1)):
        with pytest.raises(ImageError) as raised:
            headers.read(str(path), size=size, mtime_ns=mtime_ns)
        assert raised.value.reason is SkipReason.CHANGED
    path.unlink()
    with pytest.raises(ImageError) as raised:
        headers.read(str(path), size=status.st_size, mtime_ns=status.st_mtime_ns)
    assert raised.value.reason is SkipReason.VANISHED
    os.mkfifo(path)
    with pytest.raises(ImageError) as raised:
        headers.read(str(path), size=0, mtime_ns=path.stat().st_mtime_ns)
    assert raised.value.reason is SkipReason.NOT_A_FILE
