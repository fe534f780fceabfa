"""`read_file` and `decode` on real files: the reference's pixels for good photos, one reason for each bad one."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import sys
import tempfile
import threading
import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from open_clip.transform import image_transform
from PIL import Image, ImageFile, ImageOps, PngImagePlugin

from tests import photos
from tests.unprivileged import reachable_folder, run_unprivileged
from zsindex.errors import ImageError
from zsindex.photos.decode import DEFAULT_MAX_PIXELS, decode, pixel_digest, prepare, read_file
from zsindex.records import Decoded, DecodeMode, SkipReason

INPUT_SIZE = (64, 64)


def decode_file(path: Path, *, mode: DecodeMode = DecodeMode.EXACT, max_pixels: int = DEFAULT_MAX_PIXELS) -> Decoded:
    data = read_file(str(path)).data
    return decode(data, mode=mode, input_size=INPUT_SIZE, max_pixels=max_pixels, name_hint=path.name)


def refusal(action: Callable[[], object]) -> ImageError:
    with pytest.raises(ImageError) as caught:
        action()
    assert caught.value.detail
    return caught.value


def reason_for(path: Path, *, mode: DecodeMode = DecodeMode.EXACT) -> SkipReason:
    return refusal(lambda: decode_file(path, mode=mode)).reason


def pixels(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(image.convert("RGB"), dtype=np.float64)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_file_is_read_with_its_digest_and_stat(tmp_path: Path) -> None:
    path = photos.jpeg(tmp_path / "a.jpg")
    content = read_file(str(path))
    assert content.data == path.read_bytes()
    assert content.digest == hashlib.sha256(content.data).digest()
    assert (content.size, content.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)


def test_an_empty_file_is_empty(tmp_path: Path) -> None:
    path = photos.empty(tmp_path / "a.jpg")
    error = refusal(lambda: read_file(str(path)))
    assert (error.reason, error.path) == (SkipReason.EMPTY, str(path))


def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path) -> None:
    path = photos.text(tmp_path / "a.jpg")
    size = path.stat().st_size
    assert len(read_file(str(path), max_bytes=size).data) == size
    assert refusal(lambda: read_file(str(path), max_bytes=size - 1)).reason is SkipReason.TOO_LARGE


def test_files_that_are_not_there(tmp_path: Path) -> None:
    photos.text(tmp_path / "file")
    (tmp_path / "link.jpg").symlink_to("gone.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    expected = {
        "gone.jpg": SkipReason.VANISHED,
        "file/below.jpg": SkipReason.VANISHED,
        "link.jpg": SkipReason.BROKEN_LINK,
        "loop.jpg": SkipReason.BROKEN_LINK,
        "x" * 300: SkipReason.IO_ERROR,
    }
    for name, reason in expected.items():
        assert refusal(partial(read_file, str(tmp_path / name))).reason is reason


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")  # nobody writes to it: opening it the plain way would hang
    assert refusal(lambda: read_file(str(tmp_path / "folder.jpg"))).reason is SkipReason.NOT_A_FILE
    assert refusal(lambda: read_file(str(tmp_path / "pipe.jpg"))).reason is SkipReason.NOT_A_FILE
    assert refusal(lambda: read_file(os.devnull)).reason is SkipReason.NOT_A_FILE
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/socket.jpg")
        assert refusal(lambda: read_file(f"{short}/socket.jpg")).reason is SkipReason.NOT_A_FILE


def test_a_file_without_permission() -> None:
    program = """
try:
    zsindex.photos.decode.read_file(sys.argv[1])
except zsindex.photos.decode.ImageError as error:
    print(error.reason)
"""
    with reachable_folder() as folder:
        path = photos.text(folder / "a.jpg")
        path.chmod(0)
        assert run_unprivileged(program, str(path)).strip() == SkipReason.PERMISSION


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize(
    "change",
    [_append, lambda path: os.truncate(path, 3), lambda path: os.utime(path, ns=(1, 1))],
    ids=["grows", "shrinks", "touched"],
)
def test_a_file_that_changes_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]
) -> None:
    path = photos.jpeg(tmp_path / "a.jpg")
    _after_the_first_fstat(monkeypatch, lambda: change(path))
    assert refusal(lambda: read_file(str(path))).reason is SkipReason.CHANGED
    read_file(str(path))  # the next attempt finds it at rest


def test_a_file_deleted_while_it_is_read_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = photos.jpeg(tmp_path / "a.jpg")
    data = path.read_bytes()
    _after_the_first_fstat(monkeypatch, path.unlink)
    assert read_file(str(path)).data == data
    assert refusal(lambda: read_file(str(path))).reason is SkipReason.VANISHED


def _after_the_first_fstat(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Let something happen to the file at the one moment that matters: between looking at it and reading it."""
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        monkeypatch.setattr("zsindex.photos.decode.os.fstat", real)
        action()
        return status

    monkeypatch.setattr("zsindex.photos.decode.os.fstat", fstat)


# --- the same pixels as the reference ---------------------------------------------------------------------------------

REFERENCE_TRANSFORMS = {
    resize_mode: image_transform((64, 64), is_train=False, resize_mode=resize_mode)
    for resize_mode in ("shortest", "longest", "squash")
}


def assert_as_reference(path: Path, decoded: Decoded) -> None:
    with warnings.catch_warnings():
        # The reference warns about translucent palettes, whose transparency it then ignores.
        warnings.simplefilter("ignore")
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened)
        expected = {name: transform(upright).numpy() for name, transform in REFERENCE_TRANSFORMS.items()}
    assert (decoded.image.mode, decoded.image.size) == (upright.mode, upright.size)
    assert (decoded.width, decoded.height) == upright.size
    for name, transform in REFERENCE_TRANSFORMS.items():
        np.testing.assert_array_equal(transform(decoded.image).numpy(), expected[name])


@pytest.fixture
def heif_in_pillow() -> None:
    """Lets the reference open HEIC; zsindex itself does not touch Pillow's registry."""
    pillow_heif.register_heif_opener()


@pytest.mark.usefixtures("heif_in_pillow")
@pytest.mark.parametrize("name", photos.KINDS)
def test_exact_is_the_reference_bit_for_bit(tmp_path: Path, name: str) -> None:
    path = photos.KINDS[name](tmp_path / name)
    assert_as_reference(path, decode_file(path))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("orientation", photos.STORED_AS)
def test_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = photos.oriented(tmp_path / f"a{suffix}", orientation)
    decoded = decode_file(path)
    assert_as_reference(path, decoded)
    assert (decoded.width, decoded.height) == (320, 240)
    assert np.abs(pixels(decoded.image) - pixels(photos.gradient())).mean() < 4


def test_orientation_is_applied_where_only_xmp_has_it(tmp_path: Path) -> None:
    stored = photos.gradient().transpose(Image.Transpose.ROTATE_90)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    path = photos.jpeg(tmp_path / "a.jpg", stored, xmp=xmp)
    assert decode_file(path).image.size == (320, 240)


def test_broken_exif_does_not_lose_the_photo(tmp_path: Path) -> None:
    assert decode_file(photos.broken_exif(tmp_path / "a.jpg")).image.size == (320, 240)


@pytest.mark.parametrize("name", ["animated.gif", "animated.webp", "animated.png", "pages.tif", "stereo.mpo"])
def test_of_several_frames_or_pages_the_first_counts(tmp_path: Path, name: str) -> None:
    red, green, blue = pixels(decode_file(photos.KINDS[name](tmp_path / name)).image).mean(axis=(0, 1))
    assert red > 250
    assert max(green, blue) < 5


def test_cmyk_is_not_inverted(tmp_path: Path) -> None:
    path = photos.jpeg(tmp_path / "a.jpg", photos.solid("yellow").convert("CMYK"))
    np.testing.assert_allclose(pixels(decode_file(path).image).mean(axis=(0, 1)), (255, 255, 0), atol=3)


def test_heic_in_memory_needs_no_registration(tmp_path: Path) -> None:
    decoded = decode_file(photos.heic(tmp_path / "a.heic"))
    assert decoded.format == "HEIF"
    assert np.abs(pixels(decoded.image) - pixels(photos.gradient())).mean() < 4


# --- grey of more than 8 bits -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dtype", "white", "mode"),
    [
        ("a.png", "<u2", 65_535, "I;16"),
        ("a.tif", ">u2", 65_535, "I;16B"),
        ("a.pgm", "<u2", 65_535, "I"),
        ("a.jp2", "<u2", 65_535, "I;16"),
        ("a.tif", "i4", 65_535, "I"),
        ("a.tif", "i4", 255, "I"),
        ("a.tif", "i4", 2_000_000, "I"),
        ("a.tif", "f4", 1, "F"),
        ("a.tif", "f4", 255, "F"),
        ("a.tif", "f4", 70_000.5, "F"),
    ],
)
def test_deep_grey_is_scaled_not_clipped(tmp_path: Path, name: str, dtype: str, white: float, mode: str) -> None:
    path = photos.save(tmp_path / name, photos.grey_ramp(dtype, white))
    with Image.open(path) as opened:
        assert opened.mode == mode
    image = decode_file(path).image
    assert image.mode == "L"
    ramp = np.broadcast_to(np.linspace(0, 255, image.width), (image.height, image.width))
    assert np.abs(np.asarray(image, dtype=float) - ramp).max() <= 1


def test_16_bit_black_stays_black_and_8_bit_values_come_back_exactly() -> None:
    eight = np.arange(256, dtype=np.uint16).reshape(16, 16)
    np.testing.assert_array_equal(np.asarray(prepare(Image.fromarray(eight * 257))), eight)
    assert prepare(Image.fromarray(np.full((4, 4), 100, np.uint16))).getextrema() == (0, 0)


def test_values_that_are_no_numbers_or_negative() -> None:
    odd = np.array([[np.nan, np.inf, -np.inf, -1.0, 1.0]], np.float32)
    np.testing.assert_array_equal(np.asarray(prepare(Image.fromarray(odd))), [[0, 0, 0, 0, 255]])
    flat = prepare(Image.fromarray(np.zeros((4, 4), np.float32)))
    assert flat.getextrema() == (0, 0)


# --- fast -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rgb.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg"])
def test_fast_scales_large_jpegs_and_reports_the_original_size(tmp_path: Path, name: str) -> None:
    with Image.open(photos.KINDS[name](tmp_path / name)) as small:
        large = small.resize((1200, 900))
    path = photos.jpeg(tmp_path / f"large-{name}", large)
    fast, exact = decode_file(path, mode=DecodeMode.FAST), decode_file(path)
    assert (fast.width, fast.height) == (exact.width, exact.height) == (1200, 900)
    assert fast.image.size == (300, 225)
    assert fast.image.mode == exact.image.mode
    assert np.abs(pixels(fast.image) - pixels(exact.image.resize((300, 225), Image.Resampling.BOX))).mean() < 4


def test_fast_scales_the_first_picture_of_an_mpo(tmp_path: Path) -> None:
    image = photos.gradient(1200, 900)
    path = photos.save(tmp_path / "a.mpo", image, save_all=True, append_images=[photos.solid("red", 1200, 900)])
    decoded = decode_file(path, mode=DecodeMode.FAST)
    assert decoded.format == "MPO"
    assert decoded.image.size == (300, 225)


@pytest.mark.parametrize("orientation", photos.STORED_AS)
def test_fast_reports_the_size_of_the_upright_original(tmp_path: Path, orientation: int) -> None:
    path = photos.oriented(tmp_path / "a.jpg", orientation, photos.gradient(1200, 900))
    decoded = decode_file(path, mode=DecodeMode.FAST)
    assert (decoded.width, decoded.height, decoded.image.size) == (1200, 900, (300, 225))


@settings(max_examples=100, deadline=None)
@given(
    width=st.integers(1, 1100),
    height=st.integers(1, 1100),
    input_size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
)
def test_fast_never_goes_below_twice_the_input(width: int, height: int, input_size: tuple[int, int]) -> None:
    data = photos.encoded(photos.solid("red", width, height), "JPEG")
    decoded = decode(data, mode=DecodeMode.FAST, input_size=input_size)
    assert (decoded.width, decoded.height) == (width, height)
    scaled = decoded.image.size != (width, height)
    assert not scaled or min(decoded.image.size) >= 2 * max(input_size)


@settings(max_examples=60, deadline=None)
@given(width=st.integers(300, 1500), height=st.integers(300, 1500))
@example(width=751, height=1000)
@example(width=1000, height=751)
def test_fast_leaves_the_size_of_the_resized_image_as_it_was(width: int, height: int) -> None:
    """Else the centre crop would move by a pixel against the reference. Panoramas are the exception."""
    assume(max(width, height) <= 2.5 * min(width, height))
    data = photos.encoded(photos.solid("red", width, height), "JPEG")
    decoded = decode(data, mode=DecodeMode.FAST, input_size=INPUT_SIZE)
    resize = REFERENCE_TRANSFORMS["shortest"].transforms[0]
    assert resize(decoded.image).size == resize(Image.new("L", (width, height))).size


@pytest.mark.usefixtures("heif_in_pillow")
@pytest.mark.parametrize("name", [name for name in photos.KINDS if not name.endswith((".jpg", ".mpo"))])
def test_fast_is_exact_for_every_other_format(tmp_path: Path, name: str) -> None:
    path = photos.KINDS[name](tmp_path / name)
    assert decode_file(path, mode=DecodeMode.FAST).image.tobytes() == decode_file(path).image.tobytes()


# --- camera RAW -------------------------------------------------------------------------------------------------------


def test_raw_with_a_large_preview_shows_the_preview(tmp_path: Path) -> None:
    preview = photos.jpeg(tmp_path / "preview.jpg", photos.solid("red", 320, 240))
    decoded = decode_file(photos.dng(tmp_path / "a.DNG", preview=preview))
    assert (decoded.width, decoded.height, decoded.format) == (400, 300, "RAW")
    assert decoded.image.size == (320, 240)
    assert pixels(decoded.image).mean(axis=(0, 1))[0] > 250


def test_the_preview_of_a_raw_is_turned_upright(tmp_path: Path) -> None:
    preview = photos.jpeg(tmp_path / "preview.jpg", photos.gradient().transpose(Image.Transpose.ROTATE_90))
    path = photos.dng(tmp_path / "a.dng", preview=preview, orientation=6, width=300, height=400)
    decoded = decode_file(path)
    assert (decoded.width, decoded.height) == (400, 300)
    assert np.abs(pixels(decoded.image) - pixels(photos.gradient())).mean() < 4


def _no_preview(_: Path) -> None:
    return None


def _small_preview(path: Path) -> Path:
    return photos.jpeg(path, photos.solid("red", 160, 120))


def _broken_preview(path: Path) -> Path:
    photos.jpeg(path, photos.noise(0))
    os.truncate(path, path.stat().st_size - 200)
    return path


@pytest.mark.parametrize("write_preview", [_no_preview, _small_preview, _broken_preview])
def test_raw_without_a_useful_preview_is_developed(
    tmp_path: Path, write_preview: Callable[[Path], Path | None]
) -> None:
    path = write_preview(tmp_path / "preview.jpg")
    decoded = decode_file(photos.dng(tmp_path / "a.dng", preview=path, orientation=6))
    assert decoded.image.size == (decoded.width, decoded.height) == (300, 400)
    top, bottom = pixels(decoded.image)[50].mean(), pixels(decoded.image)[350].mean()
    assert top > bottom + 50  # the white half, on the left as stored, is on top when the camera was held upright


def test_fast_develops_raw_at_half_size_where_that_is_enough(tmp_path: Path) -> None:
    path = photos.dng(tmp_path / "a.dng", width=800, height=600)
    decoded = decode_file(path, mode=DecodeMode.FAST)
    assert (decoded.width, decoded.height, decoded.image.size) == (800, 600, (400, 300))
    assert decode_file(path).image.size == (800, 600)


def test_raw_obeys_the_pixel_limit(tmp_path: Path) -> None:
    path = photos.dng(tmp_path / "a.dng")
    assert refusal(lambda: decode_file(path, max_pixels=100_000)).reason is SkipReason.TOO_MANY_PIXELS


def test_a_tiff_thumbnail_is_not_taken_for_a_raw_that_cannot_be_read(tmp_path: Path) -> None:
    camera = {254: 1, 271: "NIKON CORPORATION", 330: 8}  # a preview, with the picture in another directory
    for name in ("a.nef", "a.tif", "a.jpg"):
        path = photos.save(tmp_path / name, photos.gradient(), format="TIFF", tiffinfo=camera)
        assert reason_for(path) is SkipReason.UNSUPPORTED


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.nef", "a.dng", "a.cr3", "a.raw", "a"])
def test_the_content_decides_what_a_photo_is_decoded_with(tmp_path: Path, name: str) -> None:
    camera = Image.Exif()
    camera[271], camera[272] = "NIKON CORPORATION", "NIKON Z 6"
    kinds = {
        "JPEG": photos.encoded(photos.gradient(), "JPEG", exif=camera),
        "PNG": photos.encoded(photos.gradient(), "PNG", exif=camera),
        "TIFF": photos.encoded(photos.gradient(), "TIFF"),
        "WEBP": photos.encoded(photos.gradient(), "WEBP", exif=camera),
        "HEIF": photos.heic(tmp_path / "a.heic").read_bytes(),
        "AVIF": photos.encoded(photos.gradient(), "AVIF"),
        "JPEG2000": photos.encoded(photos.gradient(), "JPEG2000"),
        "BMP": photos.encoded(photos.gradient(), "BMP"),
        "GIF": photos.encoded(photos.gradient(), "GIF"),
        "PPM": photos.encoded(photos.gradient(), "PPM"),
        "RAW": photos.dng(tmp_path / "original.dng").read_bytes(),
    }
    for kind, data in kinds.items():
        decoded = decode(data, mode=DecodeMode.EXACT, input_size=INPUT_SIZE, name_hint=name)
        assert (decoded.format, decoded.width) == (kind, 400 if kind == "RAW" else 320)


def test_a_tiff_that_a_camera_wrote_is_read_where_libraw_does_not_know_it(tmp_path: Path) -> None:
    path = photos.save(tmp_path / "a.nef", photos.gradient(), format="TIFF", tiffinfo={271: "NIKON CORPORATION"})
    assert decode_file(path).format == "TIFF"


@pytest.mark.parametrize(
    "start", [b"FUJIFILMCCD-RAW 0201", b"IIRO\x08\0\0\0", b"IIU\0\x18\0\0\0", b"\0MRM\0\0\0\0", b"FOVb"]
)
@pytest.mark.parametrize("name", ["a.jpg", "a.raf"])
def test_camera_raw_is_known_by_its_first_bytes(tmp_path: Path, start: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(start + bytes(1000))
    assert "camera RAW" in refusal(lambda: decode_file(tmp_path / name)).detail


def test_a_text_with_the_name_of_a_raw_is_no_image(tmp_path: Path) -> None:
    assert reason_for(photos.text(tmp_path / "b.raw")) is SkipReason.NOT_AN_IMAGE


@pytest.mark.parametrize(
    ("module", "write", "name"), [("rawpy", photos.dng, "a.dng"), ("pillow_heif", photos.heic, "a.heic")]
)
def test_a_missing_decoder_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, write: Callable[[Path], Path], name: str
) -> None:
    path = write(tmp_path / name)
    monkeypatch.setitem(sys.modules, module, None)
    error = refusal(lambda: decode_file(path))
    assert error.reason is SkipReason.MISSING_DECODER
    assert f"pip install 'zsindex[{'raw' if module == 'rawpy' else 'heic'}]'" in error.detail


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.88])
@pytest.mark.parametrize("mode", DecodeMode)
@pytest.mark.parametrize(
    "kind",
    [
        *("rgb.jpg", "progressive.jpg", "cmyk.jpg", "rgb.png", "palette.gif", "rgb.webp", "rgb.bmp", "rgb.tif"),
        *("lzw.tif", "rgb.avif", "rgb.heic", "rgb.jp2", "rgb.j2k", "rgb.ppm"),
    ],
)
def test_a_photo_cut_short_is_truncated_and_never_grey(
    tmp_path: Path, kind: str, mode: DecodeMode, keep: float
) -> None:
    path = photos.truncated(tmp_path / kind, keep=keep, kind=kind)
    assert reason_for(path, mode=mode) is SkipReason.TRUNCATED


def test_a_large_jpeg_cut_short_is_truncated_in_fast_mode_too(tmp_path: Path) -> None:
    path = photos.jpeg(tmp_path / "a.jpg", photos.noise(0, 1200, 900))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert reason_for(path, mode=DecodeMode.FAST) is SkipReason.TRUNCATED


@pytest.mark.parametrize("kind", ["rgb.png", "palette.gif", "rgb.webp", "rgb.bmp", "rgb.tif", "lzw.tif", "rgb.ppm"])
def test_of_other_formats_nothing_may_be_missing(tmp_path: Path, kind: str) -> None:
    assert reason_for(photos.truncated(tmp_path / kind, keep=0.98, kind=kind)) is SkipReason.TRUNCATED


JPEGS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "optimised": {"optimize": True, "quality": 40},
    "progressive": {"progressive": True},
    "grey": {"mode": "L"},
    "cmyk": {"mode": "CMYK"},
    "without subsampling": {"subsampling": 0},
    "with restarts": {"restart_marker_rows": 1},
}


def _jpeg(kind: str, *, seed: int = 3) -> bytes:
    options = dict(JPEGS[kind])
    return photos.encoded(photos.noise(seed, 160, 240).convert(options.pop("mode", "RGB")), "JPEG", **options)


@pytest.mark.parametrize("mode", DecodeMode)
@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_its_end_mark_is_the_whole_picture(kind: str, mode: DecodeMode) -> None:
    data = _jpeg(kind)
    whole = decode(data, mode=mode, input_size=(16, 16))
    assert whole.incomplete is None
    for cut in (1, 2):
        decoded = decode(data[:-cut], mode=mode, input_size=(16, 16))
        assert decoded.image.tobytes() == whole.image.tobytes()
        assert decoded.incomplete is not None
        assert "end mark" in decoded.incomplete


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_that_lacks_its_last_rows_is_decoded_as_pillow_would(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    data = _jpeg(kind)
    cut_short = data[: int(len(data) * 0.985)]
    decoded = decode(cut_short, mode=DecodeMode.EXACT, input_size=INPUT_SIZE)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with Image.open(io.BytesIO(cut_short)) as opened:
        opened.load()
    assert decoded.image.tobytes() == opened.tobytes()
    with Image.open(io.BytesIO(data)) as opened:
        whole = pixels(opened)
    changed = np.flatnonzero((pixels(decoded.image) != whole).any(axis=(1, 2)))
    n_missing = 240 - changed.min()
    assert 0 < n_missing <= 24
    assert decoded.incomplete is not None
    missing = int(decoded.incomplete.split(": ")[1].split()[0])
    assert 0 <= missing - n_missing <= 1  # a row more where colours are taken from the row below


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.88])
def test_a_jpeg_that_lacks_more_is_skipped(kind: str, keep: float) -> None:
    data = _jpeg(kind)
    data = data[: int(len(data) * keep)]
    error = refusal(lambda: decode(data, mode=DecodeMode.EXACT, input_size=INPUT_SIZE))
    assert error.reason is SkipReason.TRUNCATED


def test_reading_a_jpeg_that_is_cut_short_changes_no_setting_of_pillow() -> None:
    data = _jpeg("baseline")
    decode(data[:-2], mode=DecodeMode.EXACT, input_size=INPUT_SIZE)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_the_preview_of_a_raw_may_lack_nothing(tmp_path: Path) -> None:
    preview = photos.jpeg(tmp_path / "preview.jpg", photos.solid("red", 320, 240))
    preview.write_bytes(preview.read_bytes()[:-2])
    assert decode_file(photos.dng(tmp_path / "a.dng", preview=preview)).image.size == (400, 300)  # developed


def test_a_jpeg_with_passes_without_end_is_refused() -> None:
    data = photos.encoded(photos.gradient(64, 64), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    error = refusal(
        lambda: decode(data[:-2] + data[last:-2] * 1000 + data[-2:], mode=DecodeMode.EXACT, input_size=INPUT_SIZE)
    )
    assert error.reason is SkipReason.DECODE_FAILED
    assert "passes" in error.detail


# --- metadata of any size ---------------------------------------------------------------------------------------------

ORIENTED_XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/>{}</x:xmpmeta>'


def test_a_png_with_megabytes_of_text_is_a_photo_like_any_other() -> None:
    plain, packed = PngImagePlugin.PngInfo(), PngImagePlugin.PngInfo()
    for number in range(70):
        plain.add_text(f"note {number}", "x" * 1_000_000)
    packed.add_text("note", "x" * 2_000_000, zip=True)
    packed.add_itxt("XML:com.adobe.xmp", ORIENTED_XMP.format(" " * 3_000_000), zip=True)
    turned = photos.gradient().transpose(Image.Transpose.ROTATE_90)
    for image, options in (
        (photos.gradient(), {"pnginfo": plain}),
        (turned, {"pnginfo": packed}),
        (photos.gradient(), {"icc_profile": b"a profile" * 300_000}),
    ):
        decoded = decode(photos.encoded(image, "PNG", **options), mode=DecodeMode.EXACT, input_size=INPUT_SIZE)
        assert decoded.image.tobytes() == photos.gradient().tobytes()
        assert decoded.image.info.get("icc_profile") == options.get("icc_profile")


def test_text_that_unpacks_without_end_takes_no_memory() -> None:
    bomb = PngImagePlugin.PngInfo()
    bomb.add_itxt("XML:com.adobe.xmp", " " * (100 << 20), zip=True)
    data = photos.encoded(photos.gradient(), "PNG", pnginfo=bomb)
    assert len(data) < 1 << 20
    tracemalloc.start()
    try:
        assert decode(data, mode=DecodeMode.EXACT, input_size=INPUT_SIZE).image.size == (320, 240)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("format", ["WEBP", "TIFF", "AVIF", "JPEG2000"])
def test_megabytes_of_metadata_in_other_formats(format: str) -> None:
    options: dict[str, Any] = {
        "WEBP": {"xmp": b"x" * 3_000_000, "lossless": True},
        "TIFF": {"tiffinfo": {270: "x" * 3_000_000}},
    }
    data = photos.encoded(photos.gradient(), format, **options.get(format, {"icc_profile": b"x" * 3_000_000}))
    assert decode(data, mode=DecodeMode.EXACT, input_size=INPUT_SIZE).image.size == (320, 240)


def test_no_bytes_are_empty() -> None:
    assert refusal(lambda: decode(b"", mode=DecodeMode.EXACT, input_size=INPUT_SIZE)).reason is SkipReason.EMPTY


@pytest.mark.parametrize("content", [b"\xff", b"GI", b"\0" * 100, b"%PDF-1.7\n", b"<svg/>", b"x" * 15])
def test_what_is_no_image_is_called_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    assert reason_for(tmp_path / "a.jpg") is SkipReason.NOT_AN_IMAGE


def test_a_text_named_jpg_is_no_image(tmp_path: Path) -> None:
    assert reason_for(photos.text(tmp_path / "a.jpg")) is SkipReason.NOT_AN_IMAGE


def test_formats_that_pillow_knows_but_zsindex_does_not_read(tmp_path: Path) -> None:
    error = refusal(lambda: decode_file(photos.photoshop(tmp_path / "a.jpg")))
    assert error.reason is SkipReason.UNSUPPORTED
    assert "PSD" in error.detail
    postscript = tmp_path / "b.jpg"
    postscript.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # must never reach Ghostscript
    assert reason_for(postscript) is SkipReason.UNSUPPORTED


def test_a_damaged_photo_says_so(tmp_path: Path) -> None:
    data = bytearray(photos.save(tmp_path / "a.png", photos.noise(0)).read_bytes())
    data[1000:3000] = bytes(2000)
    (tmp_path / "a.png").write_bytes(data)
    assert reason_for(tmp_path / "a.png") is SkipReason.DECODE_FAILED


def test_running_out_of_memory_is_a_reason_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise MemoryError

    path = photos.jpeg(tmp_path / "a.jpg")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load_prepare", no_memory)
    assert reason_for(path) is SkipReason.OUT_OF_MEMORY


# --- the pixel limit --------------------------------------------------------------------------------------------------


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = photos.bomb(tmp_path / "a.png")
    assert path.stat().st_size < 100
    error = refusal(lambda: decode_file(path))
    assert error.reason is SkipReason.TOO_MANY_PIXELS
    assert "60000 x 60000" in error.detail
    assert "ZSINDEX_MAX_PIXELS" in error.detail


@pytest.mark.parametrize("name", ["rgb.jpg", "rgb.png", "rgb.webp", "palette.gif", "rgb.tif", "rgb.avif", "rgb.heic"])
def test_the_limit_is_exact_and_can_be_raised_beyond_pillows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = photos.KINDS[name](tmp_path / name)
    count = 320 * 240
    assert refusal(lambda: decode_file(path, max_pixels=count - 1)).reason is SkipReason.TOO_MANY_PIXELS

    # As if the photo had three times as many pixels as Pillow opens at all (it refuses more than twice its limit).
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", count // 6)
    assert decode_file(path, max_pixels=count).image.size == (320, 240)
    assert count // 6 == Image.MAX_IMAGE_PIXELS
    assert refusal(lambda: decode_file(path, max_pixels=count // 6)).reason is SkipReason.TOO_MANY_PIXELS


def test_threads_share_the_raised_limit_and_leave_pillows_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = photos.save(tmp_path / "a.tif", photos.noise(0))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    together = threading.Barrier(4)

    def work(_: int) -> list[tuple[int, int]]:
        together.wait()
        return [decode_file(path).image.size for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        assert [size for sizes in pool.map(work, range(4)) for size in sizes] == [(320, 240)] * 80
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_refusals_leave_pillows_limit_as_it_was(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    refusal(lambda: decode_file(photos.bomb(tmp_path / "a.png"), max_pixels=10**9))
    assert before == Image.MAX_IMAGE_PIXELS


# --- images in memory -------------------------------------------------------------------------------------------------


def test_prepare_leaves_the_image_given_alone(tmp_path: Path) -> None:
    with Image.open(photos.oriented(tmp_path / "a.png", 6)) as image:
        assert prepare(image).size == (320, 240)
        assert image.size == (240, 320)
    with Image.open(photos.KINDS["palette-translucent.png"](tmp_path / "p.png")) as image:
        assert "transparency" not in prepare(image).info
        assert "transparency" in image.info


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_what_is_upright_is_not_turned_again(tmp_path: Path, suffix: str) -> None:
    decoded = decode_file(photos.oriented(tmp_path / f"a{suffix}", 6))
    assert prepare(decoded.image).size == (320, 240)
    assert ImageOps.exif_transpose(decoded.image).size == (320, 240)


def test_prepare_reports_a_lazily_opened_image_that_cannot_be_decoded(tmp_path: Path) -> None:
    with Image.open(photos.truncated(tmp_path / "a.jpg")) as image:
        assert refusal(lambda: prepare(image)).reason is SkipReason.TRUNCATED


def test_pixel_digest_tells_pictures_apart() -> None:
    picture = photos.gradient()
    palette = picture.quantize(16)
    other_palette = palette.copy()
    other_palette.putpalette(bytes(reversed(palette.getpalette() or [])))
    distinct = [
        picture,
        picture.convert("L"),
        picture.convert("RGBA"),
        picture.transpose(Image.Transpose.ROTATE_180),
        palette,
        other_palette,
        Image.new("RGB", (4, 6)),
        Image.new("RGB", (6, 4)),
        Image.new("PA", (6, 4)),
        Image.new("1", (6, 4)),
    ]
    digests = [pixel_digest(image) for image in distinct]
    assert len(set(digests)) == len(distinct)
    assert all(len(digest) == 32 for digest in digests)
    assert pixel_digest(picture.copy()) == digests[0]
    assert hashlib.sha256(picture.tobytes()).digest() not in digests


def test_pixel_digest_ignores_metadata(tmp_path: Path) -> None:
    with Image.open(photos.save(tmp_path / "a.png", photos.gradient(), dpi=(300, 300))) as image:
        assert pixel_digest(image) == pixel_digest(photos.gradient())


# --- properties -------------------------------------------------------------------------------------------------------

PICTURE = photos.gradient(48, 32)
SEEDS = [
    photos.encoded(PICTURE, "JPEG"),
    photos.encoded(PICTURE.convert("CMYK"), "JPEG", progressive=True),
    photos.encoded(PICTURE.convert("RGBA"), "PNG"),
    photos.encoded(PICTURE.quantize(16), "GIF"),
    photos.encoded(PICTURE, "WEBP"),
    photos.encoded(PICTURE, "TIFF", compression="tiff_lzw"),
    photos.encoded(PICTURE, "BMP"),
    photos.encoded(PICTURE, "AVIF"),
    photos.encoded(PICTURE, "JPEG2000"),
    photos.encoded(PICTURE, "PPM"),
]


def _decodes_or_refuses(data: bytes, name: str = "") -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for mode in DecodeMode:
            with suppress(ImageError):
                decoded = decode(data, mode=mode, input_size=(8, 8), max_pixels=1_000_000, name_hint=name)
                assert decoded.image.convert("RGB").size == decoded.image.size


@settings(max_examples=200, deadline=None)
@given(data=st.binary(min_size=1, max_size=200), name=st.sampled_from(["", "a.jpg", "a.nef"]))
@example(data=b"\xff\xd8\xff", name="")
@example(data=b"II*\0\x08\0\0\0", name="a.dng")
@example(data=b"\0\0\0\x18ftypheic", name="")
@example(data=b"\0\0\0\x18ftypmif1", name="")
def test_random_bytes_raise_nothing_but_image_errors(data: bytes, name: str) -> None:
    _decodes_or_refuses(data, name)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    seed=st.sampled_from(SEEDS),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=5),
    keep=st.floats(0.05, 1),
)
def test_damaged_photos_raise_nothing_but_image_errors(
    seed: bytes, edits: list[tuple[float, bytes]], keep: float
) -> None:
    data = bytearray(seed)
    for where, what in edits:
        start = int(where * len(data))
        data[start : start + len(what)] = what
    _decodes_or_refuses(bytes(data[: max(1, int(keep * len(data)))]))
