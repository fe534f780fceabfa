"""Grey of more than 8 bits, and TIFFs that Pillow does not read: what is black, what is white, what is refused."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from tests import photos
from zsindex.config import DEFAULT_MAX_PIXELS
from zsindex.errors import ImageError
from zsindex.photos import depth
from zsindex.photos.decode import decode, prepare
from zsindex.records import AS_SEEN, DecodeMode, SkipReason

HEIGHT, WIDTH = 48, 64
RAMP = np.broadcast_to(np.linspace(0, 1, WIDTH), (HEIGHT, WIDTH))
RGB = np.stack([RAMP, RAMP[:, ::-1], np.broadcast_to(np.linspace(0, 1, HEIGHT)[:, None], (HEIGHT, WIDTH))], axis=-1)
Array = npt.NDArray[Any]


def tiff(values: Array, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, values, **options)
    return out.getvalue()


def shown(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    return decode(data, mode=DecodeMode.EXACT, input_size=(8, 8), max_pixels=max_pixels).image


def assert_shows(image: Image.Image, expected: Array, *, mode: str | None = None, within: int = 1) -> None:
    """`expected` lies between 0 and 1."""
    if mode is not None:
        assert image.mode == mode
    assert np.abs(np.asarray(image, dtype=float) - expected * 255).max() <= within


# --- one value among many ---------------------------------------------------------------------------------------------

OUTLIERS = (256.0, 300.0, 1e6, -9999.0, -3.4028234663852886e38, 3.4e38, np.nan, np.inf, -np.inf)


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0, 3000.0, 1e6])
@pytest.mark.parametrize("outlier", OUTLIERS)
def test_one_outlier_does_not_change_the_rest(white: float, outlier: float) -> None:
    values = (RAMP * white).astype(np.float32)
    values[0, 1] = outlier
    out = np.asarray(prepare(Image.fromarray(values)), dtype=float)
    rest = np.ones_like(out, dtype=bool)
    rest[0, 1] = False
    assert np.abs(out - RAMP * 255)[rest].max() <= 1
    assert out[0, 1] in (0, 255) or 0 <= outlier <= white


@pytest.mark.parametrize("outlier", [256, 100_000, -9999, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("white", [255, 65535, 3000])
def test_one_outlier_among_whole_numbers(white: int, outlier: int) -> None:
    values = np.round(RAMP * white).astype(np.int32)
    values[5, 1] = outlier
    out = np.asarray(prepare(Image.fromarray(values)), dtype=float)
    rest = np.ones_like(out, dtype=bool)
    rest[5, 1] = False
    assert np.abs(out - RAMP * 255)[rest].max() <= 1


@pytest.mark.parametrize("marker", [-9999, -32768, -3.4028234663852886e38, np.nan])
def test_a_third_of_the_picture_may_be_nothing(marker: float) -> None:
    """An elevation model: metres, and the sea without any."""
    values = (500 + RAMP * 1800).astype(np.float32)
    values[:16] = marker
    out = np.asarray(prepare(Image.fromarray(values)), dtype=float)
    assert out[:16].max() == 0
    assert np.ptp(out[16:]) > 180


def test_nodata_is_taken_from_the_file(tmp_path: Path) -> None:
    values = (RAMP * 0.8 + 0.1).astype(np.float32)
    values[:30] = 77.0
    unnamed = shown(tiff(values))
    named = shown(tiff(values, extratags=[(42113, "s", 0, "77", True)]))
    expected = np.where(np.arange(HEIGHT)[:, None] < 30, 0, RAMP * 0.8 + 0.1)
    assert_shows(named, expected)
    assert np.abs(np.asarray(unnamed, dtype=float) - expected * 255).max() > 50


def test_hot_pixels_of_a_sensor_are_cut_off() -> None:
    rng = np.random.default_rng(0)
    values = np.round(RAMP * 4095).astype(np.int32)
    values[rng.integers(0, HEIGHT, 8), rng.integers(0, WIDTH, 8)] = 1_000_000
    assert np.median(np.asarray(prepare(Image.fromarray(values)))) > 100


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 7.0, 5000.0, -3.0, 1e9])
def test_pictures_of_one_value_are_of_one_grey(value: float) -> None:
    for values in (np.full((4, 4), value, np.float32), np.full((4, 4), value).astype(np.int32)):
        low, high = prepare(Image.fromarray(values)).getextrema()
        assert low == high


def test_a_picture_without_any_value_is_black() -> None:
    assert prepare(Image.fromarray(np.full((4, 4), np.nan, np.float32))).getextrema() == (0, 0)


def test_highlights_a_little_above_one_do_not_blacken_the_rest() -> None:
    values = (RAMP * 1.25).astype(np.float32)
    assert_shows(prepare(Image.fromarray(values)), RAMP)


def test_signed_values_are_read_from_their_least_to_their_greatest() -> None:
    for values in ((RAMP * 2 - 1).astype(np.float32), np.round(RAMP * 4000 - 2000).astype(np.int32)):
        assert_shows(prepare(Image.fromarray(values)), RAMP)


def test_unsigned_32_bit_values_do_not_turn_negative() -> None:
    values = np.round(RAMP * (2**32 - 2)).astype(np.uint32)
    assert_shows(shown(tiff(values)), RAMP)


def test_a_dark_16_bit_picture_stays_dark(tmp_path: Path) -> None:
    dark = np.round(RAMP * 200).astype(np.uint16)
    for name in ("a.png", "a.tif"):
        path = photos.save(tmp_path / name, Image.fromarray(dark))
        assert shown(path.read_bytes()).getextrema() == (0, 1)
    pgm = b"P5 64 48 65535\n" + dark.astype(">u2").tobytes()
    assert shown(pgm).getextrema() == (0, 1)


# --- what files declare -----------------------------------------------------------------------------------------------


def packed_tiff(
    values: Array, bits: int, *, byteorder: str = "<", photometric: int = 1, deflate: bool = False
) -> bytes:
    """A TIFF of values of so many bits, one right behind the other, as scanners and cameras write them."""
    rows = []
    for row in values:
        text = "".join(f"{value:0{bits}b}" for value in row.tolist())
        rows.append(int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8), "big"))
    data = b"".join(rows)
    if deflate:
        data = zlib.compress(data)
    ifd = TiffImagePlugin.ImageFileDirectory_v2(ifh=b"II*\0\x08\0\0\0" if byteorder == "<" else b"MM\0*\0\0\0\x08")
    height, width = values.shape
    entries = {256: width, 257: height, 258: bits, 259: 8 if deflate else 1, 262: photometric, 277: 1, 278: height}
    for tag, value in {**entries, 273: 0, 279: len(data)}.items():
        ifd[tag] = value  # of 273, from the end of the directory
    header = b"II*\0\x08\0\0\0" if byteorder == "<" else b"MM\0*\0\0\0\x08"
    return header + ifd.tobytes(8) + data


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_values_of_fewer_bits_than_16_are_as_bright_as_they_say(bits: int, byteorder: str) -> None:
    values = np.round(RAMP * (2**bits - 1)).astype(np.uint16)
    assert_shows(shown(packed_tiff(values, bits, byteorder=byteorder)), RAMP, mode="L")
    assert_shows(shown(packed_tiff(values, bits, byteorder=byteorder, deflate=True)), RAMP)
    assert_shows(shown(packed_tiff(values, bits, byteorder=byteorder, photometric=0)), 1 - RAMP)


@pytest.mark.parametrize("tag", [281, 341])
def test_twelve_bits_in_sixteen_are_told_by_the_greatest_sample_value(tag: int) -> None:
    values = np.round(RAMP * 4095).astype(np.uint16)
    assert_shows(shown(tiff(values, extratags=[(tag, "H", 1, 4095, True)])), RAMP)
    assert_shows(shown(tiff(values)), RAMP / 16)  # the file does not say
    values[0, 0] = 60_000
    assert_shows(shown(tiff(values, extratags=[(tag, "H", 1, 4095, True)])), values / 65535)  # it is not true


def test_the_range_that_a_file_declares_is_black_and_white() -> None:
    tags = [(340, "f", 1, 10.0, True), (341, "f", 1, 30.0, True)]
    assert_shows(shown(tiff((RAMP * 20 + 10).astype(np.float32), extratags=tags)), RAMP)
    assert_shows(shown(tiff((RAMP * 10 + 15).astype(np.float32), extratags=tags)), RAMP / 2 + 0.25)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "int32"])
def test_where_white_is_zero_it_is_white(dtype: str) -> None:
    white = 1 if dtype.startswith("f") else {"uint8": 255}.get(dtype, 65535)
    assert_shows(shown(tiff((RAMP * white).astype(dtype), photometric="miniswhite")), 1 - RAMP)


def test_twelve_bit_jpeg_2000_and_pgm_are_as_bright_as_they_say(tmp_path: Path) -> None:
    values = np.round(RAMP * 4095).astype(np.uint16)
    assert_shows(shown(b"P5 64 48 4095\n" + values.astype(">u2").tobytes()), RAMP)


# --- kinds that Pillow does not read ----------------------------------------------------------------------------------

WHITE = {"uint16": 65535, "int16": 32767, "uint32": 65535, "int32": 65535, "uint64": 65535, "int64": 255, "uint8": 255}


@pytest.mark.parametrize(
    "options", [{}, {"bigtiff": True}, {"byteorder": ">"}, {"compression": "zlib"}, {"tile": (16, 32)}]
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", *WHITE])
def test_grey_and_colour_of_any_kind_of_number(dtype: str, options: dict[str, Any]) -> None:
    white = WHITE.get(dtype, 1)
    byteorder = options.get("byteorder", "=")
    grey, colour = ((one * white).astype(np.dtype(dtype).newbyteorder(byteorder)) for one in (RAMP, RGB))
    assert_shows(shown(tiff(grey, photometric="minisblack", **options)), RAMP, mode="L")
    assert_shows(shown(tiff(colour, photometric="rgb", **options)), RGB, mode="RGB")
    planar = tiff(np.moveaxis(colour, -1, 0), photometric="rgb", planarconfig="separate", **options)
    assert_shows(shown(planar), RGB, mode="RGB")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 3])
def test_the_predictor_of_floating_point(dtype: str, bands: int) -> None:
    """tifffile does not write it without its codecs, so it is done here: bytes by significance, then differences."""
    values = (RGB if bands == 3 else RAMP[..., None]).astype(dtype)
    size = values.dtype.itemsize
    of_rows = values.astype(values.dtype.newbyteorder(">")).reshape(HEIGHT, WIDTH * bands, 1).view(np.uint8)
    by_significance = of_rows.reshape(HEIGHT, WIDTH * bands, size).transpose(0, 2, 1).reshape(HEIGHT, -1, bands)
    differences = np.diff(by_significance, axis=1, prepend=np.zeros((HEIGHT, 1, bands), np.uint8))
    data = zlib.compress(differences.tobytes())
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    entries: dict[int, Any] = {256: WIDTH, 257: HEIGHT, 258: (8 * size,) * bands, 259: 8, 262: 2 if bands == 3 else 1}
    entries |= {273: 0, 277: bands, 278: HEIGHT, 279: len(data), 317: 3, 339: (3,) * bands}
    for tag, value in entries.items():
        ifd[tag] = value
    shape = RGB if bands == 3 else RAMP
    assert_shows(shown(b"II*\0\x08\0\0\0" + ifd.tobytes(8) + data), shape)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int16"])
def test_the_predictor_of_whole_numbers(dtype: str) -> None:
    values = np.round(RGB * 30_000).astype(dtype)
    plain = shown(tiff(values, photometric="rgb"))
    packed = shown(tiff(values, photometric="rgb", compression="zlib", predictor=True))
    assert np.abs(np.asarray(plain, dtype=int) - np.asarray(packed, dtype=int)).max() <= 1


@pytest.mark.parametrize("dtype", ["float32", "uint32", "uint16"])
def test_alpha_of_deep_pictures(dtype: str) -> None:
    white = {"float32": 1, "uint16": 65535, "uint32": 2**32 - 1}[dtype]
    with_alpha = np.concatenate([RGB * 0.99, RAMP[..., None]], axis=-1)
    data = tiff((with_alpha * white).astype(dtype), photometric="rgb", extrasamples=["unassalpha"])
    image = shown(data)
    assert image.mode == "RGBA"
    assert_shows(image.getchannel("A"), RAMP)
    grey = tiff((with_alpha[..., 2:] * white).astype(dtype), photometric="minisblack", extrasamples=["unassalpha"])
    assert shown(grey).mode == "LA"


def test_bands_that_the_file_says_nothing_of() -> None:
    """What GDAL writes of colours: grey with more bands."""
    for bands in (3, 4):
        values = np.concatenate([RGB, RAMP[..., None]], axis=-1)[..., :bands].astype(np.float32)
        assert_shows(shown(tiff(values, photometric="minisblack", planarconfig="contig")), RGB, mode="RGB")
    many = np.stack([RAMP, *[1 - RAMP] * 5], axis=-1)
    assert_shows(shown(tiff((many * 65535).astype("u2"), photometric="minisblack", planarconfig="contig")), RAMP)


def test_orientation_profile_and_size_of_a_deep_tiff() -> None:
    tags = [(274, "H", 1, 6, True), (34675, "B", 4, b"none", True)]
    data = tiff(RGB.astype(np.float32), photometric="rgb", extratags=tags)
    decoded = decode(data, mode=DecodeMode.EXACT, input_size=(8, 8), rendering=AS_SEEN)
    assert (decoded.width, decoded.height, decoded.format) == (HEIGHT, WIDTH, "TIFF")
    assert_shows(decoded.image, np.rot90(RGB, -1))


def test_16_bit_planes_one_after_the_other() -> None:
    """Pillow opens these, and shows noise."""
    data = tiff(np.moveaxis((RGB * 65535).astype("u2"), -1, 0), photometric="rgb", planarconfig="separate")
    assert_shows(shown(data), RGB, mode="RGB")


# --- limits and refusals ----------------------------------------------------------------------------------------------


def reason_of(data: bytes, **options: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        shown(data, **options)
    return caught.value


def test_the_pixel_limit_holds_before_any_value_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = tiff(RGB.astype(np.float64), photometric="rgb")
    assert shown(data, max_pixels=WIDTH * HEIGHT)
    monkeypatch.setattr(depth._Pixels, "read", lambda self: pytest.fail("values were read"))
    assert reason_of(data, max_pixels=WIDTH * HEIGHT - 1).reason is SkipReason.TOO_MANY_PIXELS


def test_a_strip_that_grows_beyond_its_size_is_not_unpacked_whole() -> None:
    data = bytearray(tiff(np.zeros((16, 16), np.float64), compression="zlib", rowsperstrip=16))
    bomb = zlib.compress(bytes(200 << 20), 9)
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as opened:
        page = opened.pages[0]
        offset, count = page.tags[273].valueoffset, page.tags[279].valueoffset
    data[offset : offset + 4] = len(data).to_bytes(4, "little")
    data[count : count + 4] = len(bomb).to_bytes(4, "little")
    import tracemalloc

    tracemalloc.start()
    try:
        assert shown(bytes(data) + bomb).getextrema() == (0, 0)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    finally:
        tracemalloc.stop()


def test_a_tile_far_larger_than_the_picture_is_refused() -> None:
    data = bytearray(tiff(np.zeros((16, 16), np.float64), compression="zlib", tile=(16, 16)))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as opened:
        for tag in (322, 323):  # width and length of tiles, 32 bits each
            at = opened.pages[0].tags[tag].valueoffset
            data[at : at + 4] = (16_000_000).to_bytes(4, "little")
    error = reason_of(bytes(data))
    assert error.reason is SkipReason.UNSUPPORTED
    assert "2,048,000,000 bytes in one compressed strip or tile" in error.detail


def test_what_cannot_be_read_says_of_what_kind_it_is() -> None:
    lzma = tiff(RGB.astype(np.float64), photometric="rgb", compression="lzma")
    assert (reason_of(lzma).reason, reason_of(lzma).detail) == (
        SkipReason.UNSUPPORTED,
        "a TIFF of float64 values compressed with LZMA; Deflate is read",
    )
    numbers = tiff((RGB + 1j).astype(np.complex64), photometric="rgb")
    assert "64-bit" in reason_of(numbers).detail
    inks = tiff(np.zeros((4, 4, 4), np.float32), photometric="separated")
    assert "SEPARATED" in reason_of(inks).detail


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"planarconfig": "separate"}])
def test_cut_short_it_is_cut_short(keep: float, options: dict[str, Any]) -> None:
    values = np.random.default_rng(0).random((HEIGHT, WIDTH, 3))
    values = np.moveaxis(values, -1, 0) if "planarconfig" in options else values
    data = tiff(values, photometric="rgb", **options)
    assert reason_of(data[: int(len(data) * keep)]).reason in (SkipReason.TRUNCATED, SkipReason.DECODE_FAILED)


def test_a_large_picture_is_scaled_in_parts() -> None:
    """A few copies of a block, not of the picture: its values, its 8 bits, and little else."""
    import tracemalloc

    values = np.linspace(0, 1, 4_000_000, dtype=np.float32).reshape(2000, 2000)
    image = Image.fromarray(values)
    tracemalloc.start()
    try:
        prepare(image)
        assert tracemalloc.get_traced_memory()[1] < 2 * values.nbytes + 12 * depth._BLOCK_BYTES / 4
    finally:
        tracemalloc.stop()
