"""What is said of photos that cannot be used, and that nothing else is said."""

from __future__ import annotations

import io
import os
import pickle
import random
import re
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from tests import photos
from tests.waiting import WAIT_S
from zsindex.errors import ImageError
from zsindex.photos import containers
from zsindex.photos.decode import decode, prepare
from zsindex.photos.sandbox import Sandbox
from zsindex.records import Decoded, DecodeLimits, DecodeMode, SkipReason

PICTURE = photos.gradient(96, 64)
BROKEN_EXIF = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 40) + bytes(5)
# What exceptions say of themselves, and no file.
NO_SENTENCES = (
    "decoder error",
    "Missing dimensions",
    "StopIteration",
    "not identified by this driver",
    "index out of range",
    "requires a buffer",
    "object at 0x",
    "Traceback",
)


def reason_of(data: bytes, name: str = "") -> ImageError | None:
    try:
        decode(data, mode=DecodeMode.EXACT, input_size=(16, 16), max_pixels=10_000_000, name_hint=name)
    except ImageError as error:
        return error
    return None


def assert_is_a_sentence(detail: str) -> None:
    """It begins with what is the matter in our words, and only then, in parentheses, the codec's follow."""
    ours = detail.partition(" (")[0]
    assert len(ours.split()) >= 4, detail
    assert len(re.findall(r"[a-z]{2,}", ours)) >= 3, detail
    assert detail.isprintable(), detail
    assert len(detail) <= 350
    assert not re.match(r"\w*(Error|Exception)\b", detail)
    assert not any(words in detail for words in NO_SENTENCES), detail


def damaged_files(tmp_path: Path) -> Iterator[tuple[str, bytes]]:
    """Of every kind: cut short, bytes exchanged, bytes left out, above all where headers lie."""
    rng = random.Random(19)
    seeds = {name: write(tmp_path / name).read_bytes() for name, write in photos.KINDS.items()}
    preview = photos.jpeg(tmp_path / "preview.jpg", photos.solid("red"))
    seeds["raw.dng"] = photos.dng(tmp_path / "raw.dng", preview=preview).read_bytes()
    for name, data in seeds.items():
        for _ in range(40):
            changed = bytearray(data)
            for _ in range(rng.choice((1, 3, 30))):
                changed[rng.randrange(rng.choice((min(64, len(data)), min(600, len(data)), len(data))))] = (
                    rng.randrange(256)
                )
            yield name, bytes(changed)
        for _ in range(12):
            yield name, data[: rng.randrange(1, len(data))]
            start = rng.randrange(len(data))
            yield name, data[:start] + data[start + rng.choice((1, 4, 300)) :]
        yield "a.nef", data[: len(data) // 2]


def test_every_reason_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    seen: set[str] = set()
    for name, data in damaged_files(tmp_path):
        error = reason_of(data, name)
        if error is not None:
            assert_is_a_sentence(error.detail)
            seen.add(f"{error.reason} {error.detail.partition(' (')[0]}")
    assert len(seen) > 30  # or nothing was tried


@pytest.mark.parametrize(
    ("number", "words"), [(34887, "34887 (LERC)"), (24068, "24068 (which has no name)"), (52546, "52546 (JPEG XL)")]
)
def test_a_compression_that_pillow_cannot_read_is_named(number: int, words: str) -> None:
    data = bytearray(photos.encoded(PICTURE, "TIFF"))
    start = int.from_bytes(data[4:8], "little")
    for entry in range(int.from_bytes(data[start : start + 2], "little")):
        where = start + 2 + 12 * entry
        if data[where : where + 2] == struct.pack("<H", 259):
            data[where + 8 : where + 10] = struct.pack("<H", number)
    error = reason_of(bytes(data))
    assert error is not None
    assert (error.reason, words in error.detail) == (SkipReason.UNSUPPORTED, True)


def test_a_big_tiff_is_called_so() -> None:
    for mark in (b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0"):
        error = reason_of(mark + bytes(100))
        assert error is not None
        assert (error.reason, "BigTIFF" in error.detail) == (SkipReason.UNSUPPORTED, True)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("keep", [10, 30, -1])
def test_a_tiff_is_cut_short_wherever_its_directory_or_values_end(compression: str, keep: int) -> None:
    error = reason_of(photos.encoded(PICTURE, "TIFF", compression=compression)[:keep])
    assert error is not None
    assert error.reason is SkipReason.TRUNCATED
    assert_is_a_sentence(error.detail)


def test_a_tiff_without_a_size_is_damaged() -> None:
    data = b"II*\0\x08\0\0\0" + bytes(200)
    error = reason_of(data)
    assert error is not None
    assert error.detail == "the TIFF is of a kind that Pillow cannot read, or damaged"


def test_a_png_is_cut_short_only_where_its_end_is_missing() -> None:
    data = photos.encoded(PICTURE, "PNG")
    for keep in (10, 30, len(data) // 2):
        error = reason_of(data[:keep])
        assert error is not None
        assert error.reason is SkipReason.TRUNCATED
    short = b"\0\0\0\1gAMA\1"
    error = reason_of(data[:33] + short + struct.pack(">I", zlib.crc32(short[4:])) + data[33:])
    assert error is not None
    assert error.reason is SkipReason.DECODE_FAILED
    error = reason_of(data[:60] + bytes(len(data) - 60))
    assert error is not None
    assert error.reason is SkipReason.DECODE_FAILED


@pytest.mark.parametrize(
    "mistake",
    [RecursionError("maximum recursion depth exceeded"), OverflowError("too large"), SystemError("tile"), KeyError(7)],
)
def test_what_a_codec_raises_is_a_reason_with_its_name(monkeypatch: pytest.MonkeyPatch, mistake: Exception) -> None:
    def fails(*_: object) -> None:
        raise mistake

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", fails)
    error = reason_of(photos.encoded(PICTURE, "PNG"))
    assert error is not None
    assert error.reason is SkipReason.DECODE_FAILED
    assert "PNG" in error.detail
    assert type(mistake).__name__ in error.detail
    assert_is_a_sentence(error.detail)


# --- what first bytes say ---------------------------------------------------------------------------------------------


def test_containers_are_told_by_their_first_bytes(tmp_path: Path) -> None:
    names = {name: containers.name_of(write(tmp_path / name).read_bytes()) for name, write in photos.KINDS.items()}
    expected = {
        "jpg": "JPEG",
        "mpo": "JPEG",
        "png": "PNG",
        "gif": "GIF",
        "webp": "WebP",
        "bmp": "BMP",
        "dib": "image",
        "tif": "TIFF",
        "avif": "AVIF",
        "heic": "HEIC",
        "jp2": "JPEG 2000",
        "j2k": "JPEG 2000",
        "ppm": "PPM",
        "pgm": "PPM",
        "pbm": "PPM",
    }
    assert names == {name: expected[name.partition(".")[2]] for name in names}


@pytest.mark.parametrize("length", [0, 1, 4, 8, 9, 20, 40])
@pytest.mark.parametrize(
    "start", [b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\xff\xff\xff\xff", b"\xff\xd8\xff\xda\0\x0c\3", b"\x89PNG\r\n\x1a\n"]
)
def test_structures_that_lead_nowhere_are_no_error(start: bytes, length: int) -> None:
    data = (start + b"\xff" * 40)[:length]
    containers.kind_of(data)
    containers.is_full_picture(data)
    containers.tiff_compression(data)
    containers.jpeg_frame(data)
    assert len(list(containers.jpeg_scans(data))) <= 1
    containers.png_without_texts(data)
    containers.is_cut_short(data, "")


# --- and nothing else -------------------------------------------------------------------------------------------------


def _loud() -> dict[str, bytes]:
    """Files that codecs have something to say about, by what that is."""
    tiff = bytearray(photos.encoded(photos.noise(2), "TIFF", compression="tiff_lzw"))
    tiff[200:3000:7] = bytes(len(tiff[200:3000:7]))
    fax = bytearray(photos.encoded(photos.noise(3).convert("1"), "TIFF", compression="group4"))
    fax[200:1000:7] = bytes(len(fax[200:1000:7]))
    samples = bytearray(photos.encoded(PICTURE, "TIFF"))
    where = samples.index(struct.pack("<HHI", 277, 3, 1))
    samples[where + 8 : where + 10] = b"\xff\xff"
    apng = photos.encoded(PICTURE, "PNG", save_all=True, append_images=[photos.solid("red", 96, 64)])
    return {
        "libtiff": bytes(tiff),
        "libtiff of fax": bytes(fax),
        "a warning of damaged EXIF": photos.encoded(PICTURE, "JPEG", exif=BROKEN_EXIF),
        "a line in the log": bytes(samples),
        "a warning of APNG": apng.replace(b"acTL\0\0\0\2", b"acTL\0\0\0\0"),
        "a malformed MPO": photos.encoded(PICTURE, "MPO", save_all=True, append_images=[PICTURE]).replace(
            b"MPF\0", b"MPF\1"
        ),
    }


_PROGRAM = """
import pickle, sys
from pathlib import Path
from zsindex.photos.decode import decode
from zsindex.errors import ImageError
from zsindex.records import DecodeMode
for data in pickle.loads(Path(sys.argv[1]).read_bytes()):
    try:
        decode(data, mode=DecodeMode.EXACT, input_size=(16, 16)).image.convert("RGB")
    except ImageError:
        pass
import io
from PIL import Image
sys.stderr.write("what follows is Pillow by itself\\n")
try:
    Image.open(io.BytesIO(data)).load()
except OSError:
    pass
"""


@pytest.mark.parametrize("options", [[], ["-W", "error"]])
def test_codecs_write_nothing_to_the_terminal(tmp_path: Path, options: list[str]) -> None:
    loud = _loud()
    files = [*loud.values(), loud["libtiff"]]
    (tmp_path / "files").write_bytes(pickle.dumps(files))
    done = subprocess.run(
        [sys.executable, *options, "-c", _PROGRAM, str(tmp_path / "files")],
        capture_output=True,
        encoding="utf-8",
        timeout=WAIT_S,
        check=True,
    )
    said, after = done.stderr.split("what follows is Pillow by itself\n")
    assert (done.stdout, said) == ("", "")
    if sys.platform == "linux":
        assert "LZWDecode" in after  # libtiff has its own handlers back


_MAPPED = """
import mmap, os, sys
with open(os.fsencode(sys.argv[1]) + bytes([0x2f, 0x6c, 0xff]), "w+b") as file:
    file.write(bytes(10))
    file.flush()
    mapped = mmap.mmap(file.fileno(), 10)
from zsindex.photos import decode, quiet
print(len(quiet._libtiff_paths()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of a process")
@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_names_of_what_others_mapped_keep_no_photo_from_being_decoded(tmp_path: Path, locale: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MAPPED, str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        timeout=WAIT_S,
        check=True,
        env={**os.environ, **locale},
    )
    assert int(done.stdout) > 0


@pytest.mark.parametrize("kind", _loud())
def test_warnings_of_codecs_reach_nobody_and_cost_no_photo(kind: str) -> None:
    data = _loud()[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reason_of(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = reason_of(data)
    assert (None if found is None else found.detail) == (None if expected is None else expected.detail)


def test_warnings_of_others_are_theirs() -> None:
    """Also of another thread, while a photo is decoded in this one."""
    go, done, seen = threading.Event(), threading.Event(), []

    def other() -> None:
        assert go.wait(WAIT_S)
        with pytest.warns(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
        seen.append(True)
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    def load(self: ImageFile.ImageFile) -> None:
        go.set()
        assert done.wait(WAIT_S)
        warnings.warn("a codec's", stacklevel=1)

    decoded = _with_load(load, lambda: decode(photos.encoded(PICTURE, "PNG"), mode=DecodeMode.EXACT, input_size=(8, 8)))
    thread.join()
    assert seen == [True]
    assert decoded.image.size == (96, 64)
    with pytest.warns(UserWarning, match="afterwards"):
        warnings.warn("afterwards", stacklevel=1)


def _with_load(before: Callable[[ImageFile.ImageFile], None], action: Callable[[], Decoded]) -> Decoded:
    real = ImageFile.ImageFile.load_prepare

    def load_prepare(self: ImageFile.ImageFile) -> None:
        before(self)
        real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load_prepare", load_prepare)
        return action()


def test_a_photo_in_memory_is_prepared_in_silence() -> None:
    data = photos.encoded(PICTURE, "WEBP", exif=BROKEN_EXIF)
    with Image.open(io.BytesIO(data)) as image, pytest.warns(UserWarning, match="Corrupt EXIF|Truncated"):
        image.getexif()
    with Image.open(io.BytesIO(data)) as image:
        assert prepare(image).size == (96, 64)


# --- uploads ----------------------------------------------------------------------------------------------------------


def test_uploads_are_told_the_same(tmp_path: Path) -> None:
    """They are decoded in another process, which is told no name."""
    jpeg = photos.encoded(photos.noise(4), "JPEG")
    bad = [
        b"no image at all",
        jpeg[:1000],
        photos.encoded(PICTURE, "TIFF")[:100],
        photos.bomb(tmp_path / "bomb.png").read_bytes(),
        photos.photoshop(tmp_path / "a.psd").read_bytes(),
        *_loud().values(),
    ]
    good = [
        jpeg,
        jpeg[:-2],
        photos.encoded(photos.solid("red", 1, 60_000), "PNG"),
        photos.dng(tmp_path / "a.dng").read_bytes(),
    ]
    with Sandbox(DecodeLimits(30, 1 << 30), workers=1, max_pixels=10_000_000) as sandbox:
        for data in [*bad, *good]:
            here = _outcome(partial(decode, data, mode=DecodeMode.EXACT, input_size=(16, 16), max_pixels=10_000_000))
            assert _outcome(partial(sandbox.decode, data, DecodeMode.EXACT, (16, 16))) == here


def _outcome(decoding: Callable[[], Decoded]) -> tuple[object, ...]:
    """What comes of it, to compare."""
    try:
        found = decoding()
    except ImageError as error:
        return error.reason, error.detail
    return found.image.size, found.image.tobytes(), found.format, found.incomplete
