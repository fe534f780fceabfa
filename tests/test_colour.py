"""Colour profiles and transparency: what is converted and shown, what stays as it was to the bit, what is ignored."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps

from tests import photos
from tests.fakes import FakeEncoder
from zsindex import Library
from zsindex.lab.duplicates import appearance_of
from zsindex.models.encoder import Encoder
from zsindex.models.fingerprint import fingerprint
from zsindex.photos import sources, thumbnails
from zsindex.photos.colour import _conversion, matrix_profile
from zsindex.photos.decode import decode, pixel_digest, prepare
from zsindex.photos.sandbox import Here, Sandbox
from zsindex.records import (
    AS_REFERENCE,
    AS_SEEN,
    DecodeLimits,
    DecodeMode,
    IccMode,
    ModelSpec,
    Rendering,
    TransparencyMode,
)

CONVERT = Rendering(icc=IccMode.CONVERT)
SHOW = Rendering(transparency=TransparencyMode.SHOW)


def pixels(image: Image.Image) -> npt.NDArray[np.float64]:
    return np.asarray(image.convert("RGB"), dtype=np.float64)


def shown(data: bytes, rendering: Rendering = AS_SEEN, mode: DecodeMode = DecodeMode.EXACT) -> Image.Image:
    return decode(data, mode=mode, input_size=(32, 32), rendering=rendering).image


# --- profiles, written here byte by byte, as LittleCMS makes only sRGB's and Lab's ------------------------------------


def _profile(space: bytes, tags: dict[bytes, bytes], *, kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    offset, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        padded = data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += padded
    header = bytearray(128)
    header[0:4] = struct.pack(">I", offset + len(body))
    header[8:12] = b"\2\x20\0\0"
    header[12:24] = kind + space + pcs
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">3i", 63190, 65536, 54061)
    return bytes(header) + table + body


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


def rgb_profile(columns: list[tuple[float, float, float]], gamma: float, **options: Any) -> bytes:
    tags = {name: _xyz(*column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), columns, strict=True)}
    tags |= {b"wtpt": _xyz(0.9642, 1, 0.8249)} | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma))
    return _profile(b"RGB ", tags, **options)


# Columns adapted to D50, as the profiles of these names have them.
_SRGB = [(0.4360, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7139)]
PROPHOTO = rgb_profile([(0.7977, 0.2880, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)], 1.8)
ADOBE_RGB = rgb_profile([(0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)], 563 / 256)
DISPLAY_P3 = rgb_profile([(0.5151, 0.2412, -0.0011), (0.2920, 0.6922, 0.0419), (0.1571, 0.0666, 0.7841)], 2.2)
LINEAR = rgb_profile(_SRGB, 1.0)
GREY_18 = _profile(b"GRAY", {b"wtpt": _xyz(0.9642, 1, 0.8249), b"kTRC": _curve(1.8)})
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _cmyk_profile() -> bytes:
    """Two steps of each ink: only black counts, and yellow. L*, a*, b* as 8 bits."""
    grid = [
        (255 * (1 - k), 128, 128 + 100 * y * (1 - k)) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)
    ]
    straight = bytes(range(256))
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut += straight * 4 + bytes(int(v) for node in grid for v in node) + straight * 3
    return _profile(b"CMYK", {b"wtpt": _xyz(0.9642, 1, 0.8249), b"A2B0": lut}, kind=b"prtr", pcs=b"Lab ")


CMYK = _cmyk_profile()
WIDE = {"ProPhoto": PROPHOTO, "Adobe RGB": ADOBE_RGB, "Display P3": DISPLAY_P3, "linear": LINEAR}


def in_colours_of(profile: bytes, image: Image.Image) -> Image.Image:
    """The same picture with other numbers, as a photo editor saves it."""
    # Through 16 bits would be better; the tolerance of the tests is for the rounding.
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.ImageCmsProfile(io.BytesIO(profile)), "RGB", "RGB"
    )
    converted = transform.apply(image)
    converted.info = {}
    return converted


# --- converted --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIC"])
@pytest.mark.parametrize("name", WIDE)
def test_a_photo_in_other_colours_looks_as_in_srgb(name: str, suffix: str) -> None:
    picture = photos.gradient()
    stored = in_colours_of(WIDE[name], picture)
    assert np.abs(pixels(stored) - pixels(picture)).mean() > 3
    if suffix == "HEIC":
        out = io.BytesIO()
        heif = pillow_heif.from_pillow(stored)
        heif.info["icc_profile"] = WIDE[name]
        heif.save(out, quality=100, chroma=444)
        data = out.getvalue()
    else:
        options: dict[str, Any] = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(
            suffix, {}
        )
        options = {"quality": 100, "subsampling": "4:4:4"} if suffix == "AVIF" else options
        data = photos.encoded(stored, suffix, icc_profile=WIDE[name], **options)
    image = shown(data)
    assert np.abs(pixels(image) - pixels(picture)).mean() < (
        1 if suffix in ("PNG", "WEBP", "TIFF") and name != "linear" else 2
    )
    assert "icc_profile" not in image.info
    np.testing.assert_array_equal(pixels(shown(data, AS_REFERENCE)), pixels(shown(data, SHOW)))
    assert np.abs(pixels(shown(data, AS_REFERENCE)) - pixels(picture)).mean() > 3


def test_all_modes_that_can_have_the_profile_are_converted_in_their_own_way() -> None:
    picture = photos.gradient()
    stored = in_colours_of(PROPHOTO, picture)
    wanted = np.asarray(prepare(_with(stored, PROPHOTO), CONVERT))
    with_alpha = stored.copy()
    with_alpha.putalpha(picture.getchannel("R"))
    converted = prepare(_with(with_alpha, PROPHOTO), CONVERT)
    assert converted.mode == "RGBA"
    np.testing.assert_array_equal(np.asarray(converted)[..., :3], wanted)
    np.testing.assert_array_equal(converted.getchannel("A"), picture.getchannel("R"))
    palette = stored.quantize(64)
    converted = prepare(_with(palette, PROPHOTO), CONVERT)
    assert converted.mode == "P"
    direct = prepare(_with(palette.convert("RGB"), PROPHOTO), CONVERT)
    np.testing.assert_array_equal(pixels(converted), pixels(direct))
    ycc = prepare(_with(stored.convert("YCbCr"), PROPHOTO), CONVERT)
    assert np.abs(pixels(ycc) - pixels(picture)).mean() < 3


def _with(image: Image.Image, profile: bytes) -> Image.Image:
    image = image.copy()
    image.info["icc_profile"] = profile
    return image


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_with_a_gamma_of_its_own(mode: str) -> None:
    ramp = photos.grey_ramp("u1", 255).convert(mode)
    converted = prepare(_with(ramp, GREY_18), CONVERT)
    assert converted.mode == mode
    values = np.asarray(converted.getchannel("L"), dtype=float)[0] / 255
    light = (np.asarray(ramp.getchannel("L"), dtype=float)[0] / 255) ** 1.8
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(values - expected).max() * 255 < 2


def test_deep_grey_with_a_gamma_of_its_own(tmp_path: Path) -> None:
    deep = photos.grey_ramp("u2", 65535)
    data = photos.encoded(deep, "PNG", icc_profile=GREY_18)
    eight = prepare(deep)
    np.testing.assert_array_equal(shown(data), prepare(_with(eight, GREY_18), CONVERT))


def test_cmyk_by_its_profile() -> None:
    black, yellow, paper = (Image.new("CMYK", (16, 16), inks) for inks in ((0, 0, 0, 255), (0, 0, 255, 0), (0,) * 4))
    for image, is_light, is_yellow in ((black, False, False), (yellow, True, True), (paper, True, False)):
        red, _, blue = pixels(prepare(_with(image, CMYK), CONVERT)).mean(axis=(0, 1))
        assert bool(red > 200) == is_light
        assert bool(blue < red - 60) == is_yellow
    data = photos.encoded(Image.new("CMYK", (64, 64), (255, 0, 0, 0)), "JPEG", icc_profile=CMYK)
    assert pixels(shown(data)).min() > 240  # cyan does not count in this profile
    assert pixels(shown(data, AS_REFERENCE))[..., 0].max() < 10


def test_fast_decoding_converts_what_it_has_scaled() -> None:
    large = photos.gradient(1200, 900)
    data = photos.encoded(in_colours_of(PROPHOTO, large), "JPEG", icc_profile=PROPHOTO, quality=95)
    fast = shown(data, mode=DecodeMode.FAST)
    assert fast.size == (150, 113) or fast.width < 400
    assert np.abs(pixels(fast) - pixels(large.resize(fast.size, Image.Resampling.BOX))).mean() < 4


@pytest.mark.parametrize("size", [(1201, 903), (903, 1201), (999, 1000), (1103, 601)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_picture_is_reduced_before_its_colours_are_converted(
    tmp_path: Path, size: tuple[int, int], orientation: int
) -> None:
    picture = photos.gradient(*size)
    stored = in_colours_of(PROPHOTO, picture)
    data = photos.oriented(tmp_path / "a.png", orientation, stored, icc_profile=PROPHOTO).read_bytes()
    decoded = decode(data, mode=DecodeMode.EXACT, input_size=(32, 32), rendering=AS_SEEN)
    assert (decoded.width, decoded.height) == size
    assert 4 * 32 <= min(decoded.image.size) < 8 * 32
    # Preprocessing must cut out the same pixels.
    assert 32 * max(decoded.image.size) // min(decoded.image.size) == 32 * max(size) // min(size)
    smaller = pixels(picture.resize(decoded.image.size, Image.Resampling.BOX))
    assert np.abs(pixels(decoded.image) - smaller).mean() < 2


def test_what_is_not_converted_is_not_reduced() -> None:
    picture = photos.gradient(1200, 900)
    for profile in (SRGB, b"damaged"):
        data = photos.encoded(picture, "PNG", icc_profile=profile)
        assert np.array_equal(pixels(shown(data)), pixels(picture))
    ignored = shown(photos.encoded(picture, "PNG", icc_profile=PROPHOTO), AS_REFERENCE)
    assert np.array_equal(pixels(ignored), pixels(picture))


def test_an_orientation_and_a_profile_together(tmp_path: Path) -> None:
    picture = photos.gradient()
    path = photos.oriented(tmp_path / "a.png", 6, in_colours_of(ADOBE_RGB, picture), icc_profile=ADOBE_RGB)
    image = shown(path.read_bytes())
    assert image.size == picture.size
    assert np.abs(pixels(image) - pixels(picture)).mean() < 1


def test_the_preview_of_a_raw_is_converted(tmp_path: Path) -> None:
    picture = photos.gradient()
    preview = photos.jpeg(tmp_path / "p.jpg", in_colours_of(PROPHOTO, picture), icc_profile=PROPHOTO)
    data = photos.dng(tmp_path / "a.dng", preview=preview).read_bytes()
    image = decode(data, mode=DecodeMode.EXACT, input_size=(32, 32), name_hint="a.dng", rendering=AS_SEEN).image
    assert np.abs(pixels(image) - pixels(picture)).mean() < 4


# --- what files say without a profile ---------------------------------------------------------------------------------


def png_with(image: Image.Image, *chunks: tuple[bytes, bytes]) -> bytes:
    data = photos.encoded(image, "PNG")
    packed = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return data[:33] + packed + data[33:]  # behind the header


def _gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def _chromaticities(*values: float) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(v * 100_000) for v in values))


_OF_SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)


def test_the_gamma_and_chromaticities_of_a_png_count() -> None:
    picture = photos.gradient()
    linear = png_with(in_colours_of(LINEAR, picture), _gamma(1))
    assert np.abs(pixels(shown(linear)) - pixels(picture)).mean() < 2
    adobe = png_with(
        in_colours_of(ADOBE_RGB, picture),
        _gamma(256 / 563),
        _chromaticities(0.3127, 0.3290, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06),
    )
    assert np.abs(pixels(shown(adobe)) - pixels(picture)).mean() < 2.5


@pytest.mark.parametrize(
    "chunks",
    [
        [_gamma(0.45455)],
        [_gamma(0.45455), _chromaticities(*_OF_SRGB)],
        [(b"sRGB", b"\0"), _gamma(1)],
        [_chromaticities(*_OF_SRGB)],
        [_gamma(0)],
        [_gamma(0.3), _chromaticities(*[0] * 8)],
    ],
)
def test_a_png_that_says_srgb_or_nonsense_stays_as_it_is(chunks: list[tuple[bytes, bytes]]) -> None:
    picture = photos.gradient()
    np.testing.assert_array_equal(shown(png_with(picture, *chunks)), picture)


def test_the_code_points_of_a_heic_count() -> None:
    picture, out = photos.gradient(), io.BytesIO()
    heif = pillow_heif.from_pillow(in_colours_of(DISPLAY_P3, picture))
    heif.save(out, quality=100, chroma=444, color_primaries=12, transfer_characteristics=13)
    before, after = (np.abs(pixels(shown(out.getvalue(), r)) - pixels(picture)).mean() for r in (AS_REFERENCE, AS_SEEN))
    assert after < before / 2


def test_exif_can_say_adobe_rgb() -> None:
    picture = photos.gradient()
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03"}
    data = photos.encoded(in_colours_of(ADOBE_RGB, picture), "JPEG", exif=exif, quality=100, subsampling=0)
    assert b"R03" in data
    assert np.abs(pixels(shown(data)) - pixels(picture)).mean() < 1.5
    assert np.abs(pixels(shown(data, AS_REFERENCE)) - pixels(picture)).mean() > 3


# --- not converted ----------------------------------------------------------------------------------------------------

SRGB_BY_MANY = {
    "LittleCMS": SRGB,
    "version 4": matrix_profile(((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)), (0.3127, 0.3290), None),
    "a table": _profile(
        b"RGB ",
        {name: _xyz(*column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), _SRGB, strict=True)}
        | {b"wtpt": _xyz(0.9505, 1, 1.0891)}
        | dict.fromkeys(
            (b"rTRC", b"gTRC", b"bTRC"),
            b"curv\0\0\0\0"
            + struct.pack(">I", 1024)
            + b"".join(
                struct.pack(">H", round(65535 * (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4)))
                for v in np.linspace(0, 1, 1024)
            ),
        ),
    ),
}


@pytest.mark.parametrize("profile", SRGB_BY_MANY.values(), ids=SRGB_BY_MANY)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_srgb_is_known_by_its_content_and_changes_nothing(mode: str, profile: bytes) -> None:
    picture = photos.gradient()
    image = picture.quantize(32) if mode == "P" else picture.convert(mode)
    data = photos.encoded(image, "PNG", icc_profile=profile)
    assert shown(data).tobytes() == image.tobytes()
    assert shown(data).mode == mode


BROKEN = {
    "empty": b"",
    "text": b"no profile" * 30,
    "cut short": PROPHOTO[:200],
    "zeros": bytes(3000),
    "header alone": PROPHOTO[:128] + struct.pack(">I", 0),
    "too many tags": PROPHOTO[:128] + struct.pack(">I", 2**31) + PROPHOTO[132:],
    "tags outside": PROPHOTO[:140] + b"\xff" * 8 + PROPHOTO[148:],
    "of grey": GREY_18,
    "of CMYK": CMYK,
    "a link": rgb_profile(_SRGB, 1.0, kind=b"link"),
    "names": rgb_profile(_SRGB, 1.0, kind=b"nmcl"),
    "all colours are one": rgb_profile([(0, 0, 0)] * 3, 1.0),
    "huge": PROPHOTO + bytes(9 << 20),
}


@pytest.mark.parametrize("profile", BROKEN.values(), ids=BROKEN)
def test_profiles_that_are_broken_or_do_not_fit_change_nothing(profile: bytes) -> None:
    picture = photos.gradient()
    np.testing.assert_array_equal(prepare(_with(picture, profile), AS_SEEN), picture)
    if len(profile) < 1000:
        data = photos.encoded(picture, "JPEG", icc_profile=profile)
        np.testing.assert_array_equal(shown(data), shown(data, AS_REFERENCE))


@pytest.mark.parametrize("seed", range(40))
def test_damaged_profiles_never_fail_a_photo(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for profile, mode in ((PROPHOTO, "RGB"), (GREY_18, "L"), (CMYK, "CMYK")):
        data = bytearray(profile)
        for at in rng.integers(0, len(data), 12):
            data[at] = rng.integers(0, 256)
        image = photos.gradient(40, 30).convert(mode)
        assert prepare(_with(image, bytes(data)), AS_SEEN).size == image.size


@pytest.mark.parametrize("mode", ["1", "LAB", "HSV", "I;16", "F", "I", "RGBX", "La", "RGBa", "PA", "CMYK", "YCbCr"])
def test_every_mode_in_memory_with_any_profile(mode: str) -> None:
    for profile in (PROPHOTO, GREY_18, CMYK, SRGB):
        image = Image.new(mode, (8, 6))
        image.info["icc_profile"] = profile
        for rendering in (AS_REFERENCE, CONVERT, SHOW, AS_SEEN):
            assert prepare(image, rendering).convert("RGB").size == (8, 6)
        assert image.info["icc_profile"] == profile


def test_threads_share_a_transform() -> None:
    stored = _with(in_colours_of(PROPHOTO, photos.noise(0)), PROPHOTO)
    alone = prepare(stored, CONVERT).tobytes()
    _conversion.cache_clear()
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: prepare(stored, CONVERT).tobytes(), range(64))) == {alone}


def test_a_transform_is_built_once_for_a_profile() -> None:
    _conversion.cache_clear()
    for _ in range(5):
        prepare(_with(photos.gradient(), PROPHOTO), CONVERT)
        prepare(_with(photos.gradient(), SRGB), CONVERT)
    assert (_conversion.cache_info().misses, _conversion.cache_info().hits) == (2, 8)


@pytest.mark.parametrize("name", [name for name in photos.KINDS if not name.endswith(".heic")])
def test_ordinary_pictures_are_the_references_bit_for_bit(tmp_path: Path, name: str) -> None:
    path = photos.KINDS[name](tmp_path / name)
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened)
    for rendering in (AS_REFERENCE, CONVERT, *([] if upright.has_transparency_data else [AS_SEEN])):
        image = shown(path.read_bytes(), rendering)
        assert (image.mode, image.tobytes()) == (upright.mode, upright.tobytes())


# --- transparency -----------------------------------------------------------------------------------------------------


def logo(colour: tuple[int, int, int] | str, under: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """A disc on nothing; `under` is the colour that the transparent pixels hide."""
    image = Image.new("RGBA", (64, 64), (*under, 0))
    y, x = np.mgrid[:64, :64]
    mask = Image.fromarray((((x - 32) ** 2 + (y - 32) ** 2 < 400) * 255).astype(np.uint8))
    image.paste(Image.new("RGBA", (64, 64), colour), mask=mask)
    return image


def contrast(image: Image.Image) -> float:
    grey = np.asarray(image.convert("L"), dtype=float)
    return float(np.ptp(grey))


@pytest.mark.parametrize(
    "colour", ["black", "white", "navy", "#e0e0e0", "#808080", "yellow", "#ffffe0", "red", "#202020"]
)
def test_a_logo_on_nothing_can_be_seen(colour: str) -> None:
    image = logo(colour)
    assert contrast(prepare(image, SHOW)) >= 40
    if colour == "black":
        assert contrast(prepare(image)) == 0  # what the reference sees: a black picture
        assert prepare(image, SHOW).getpixel((0, 0)) == (255, 255, 255)
    if colour == "white":
        assert max(prepare(image, SHOW).getpixel((0, 0))) < 64


def test_what_two_backgrounds_would_hide_is_on_a_third() -> None:
    image = Image.new("RGBA", (60, 20), (0, 0, 0, 0))
    image.paste("white", (5, 5, 25, 15))
    image.paste("black", (35, 5, 55, 15))
    at = [prepare(image, SHOW).convert("L").getpixel(place) for place in ((0, 0), (10, 10), (40, 10))]
    assert min(abs(at[0] - at[1]), abs(at[0] - at[2])) > 60


def test_what_is_hidden_below_nothing_stays_hidden() -> None:
    for under in ((0, 0, 0), (255, 255, 255), (200, 30, 90)):
        assert prepare(logo("black", under), SHOW).tobytes() == prepare(logo("black"), SHOW).tobytes()


def test_a_picture_that_is_transparent_altogether_is_white() -> None:
    for mode, colour in (("RGBA", (7, 8, 9, 0)), ("LA", (5, 0)), ("PA", (0, 0))):
        assert prepare(Image.new(mode, (8, 8), colour), SHOW).getextrema() == ((255, 255),) * 3


def _by_key(mode: str) -> Callable[[], bytes]:
    def make() -> bytes:
        image = Image.new(mode, (64, 64), "white")
        image.paste("black" if mode != "1" else 0, (20, 20, 44, 44))
        return photos.encoded(
            image, "PNG", transparency=(255, 255, 255) if mode == "RGB" else 255 if mode == "L" else 1
        )

    return make


def _palette(transparency: int | bytes, suffix: str = "PNG") -> Callable[[], bytes]:
    def make() -> bytes:
        image = Image.new("P", (64, 64), 1)
        image.putpalette([0, 0, 0, 0, 0, 0, 255, 0, 0])
        image.paste(0, (20, 20, 44, 44))
        return photos.encoded(image, suffix, transparency=transparency)

    return make


def _deep_key() -> bytes:
    values = np.full((64, 64), 60_000, np.uint16)
    values[20:44, 20:44] = 100
    return photos.encoded(Image.fromarray(values), "PNG", transparency=60_000)


def _rgb_16_key() -> bytes:
    """A PNG of 16 bits a channel, white being transparent; Pillow writes none."""
    values = np.full((64, 64, 3), 0xFF00, ">u2")
    values[20:44, 20:44] = 0x0100
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 64, 64, 16, 2, 0, 0, 0)),
        (b"tRNS", struct.pack(">3H", *[0xFF00] * 3)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    packed = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def _file(image: Image.Image, suffix: str, **options: Any) -> Callable[[], bytes]:
    return lambda: photos.encoded(image, suffix, **options)


def _heic() -> bytes:
    out = io.BytesIO()
    pillow_heif.from_pillow(logo("black")).save(out, quality=100)
    return out.getvalue()


SEE_THROUGH = {
    "RGBA.png": _file(logo("black"), "PNG"),
    "LA.png": _file(logo("black").convert("LA"), "PNG"),
    "RGB key.png": _by_key("RGB"),
    "L key.png": _by_key("L"),
    "1 key.png": _by_key("1"),
    "palette index.png": _palette(1),
    "palette bytes.png": _palette(bytes([255, 0, 255])),
    "palette.gif": _palette(1, "GIF"),
    "RGBA.webp": _file(logo("black"), "WEBP", lossless=True),
    "RGBA.avif": _file(logo("black"), "AVIF"),
    "RGBA.heic": _heic,
    "RGBA.tif": _file(logo("black"), "TIFF"),
    "LA.tif": _file(logo("black").convert("LA"), "TIFF"),
    "RGBA.jp2": _file(logo("black"), "JPEG2000"),
    "16-bit key.png": _deep_key,
    "16-bit RGB key.png": _rgb_16_key,
}


@pytest.mark.parametrize("make", SEE_THROUGH.values(), ids=SEE_THROUGH)
def test_every_kind_of_transparency_is_shown(make: Callable[[], bytes]) -> None:
    data = make()
    image = shown(data, SHOW)
    assert image.mode == "RGB"
    assert not image.has_transparency_data
    assert min(image.getpixel((1, 1))) > 240
    assert max(image.getpixel((32, 32))) < 16


def test_premultiplied_modes() -> None:
    image = logo("black")
    for mode in ("RGBa", "La"):
        source = image.convert("RGBA").convert("RGBa") if mode == "RGBa" else image.convert("LA").convert("La")
        assert source.mode == mode
        assert prepare(source, SHOW).tobytes() == prepare(image, SHOW).tobytes()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_alpha_that_hides_nothing_changes_nothing(mode: str) -> None:
    picture = photos.gradient()
    image = picture.quantize(16).convert("PA") if mode == "PA" else picture.convert(mode)
    assert prepare(image, AS_SEEN).mode == mode
    assert prepare(image, AS_SEEN).tobytes() == image.tobytes()
    unused = picture.quantize(16)
    unused.info["transparency"] = 200
    assert prepare(unused, AS_SEEN).tobytes() == unused.tobytes()


def test_profile_and_transparency_together() -> None:
    image = in_colours_of(PROPHOTO, Image.new("RGB", (64, 64), (200, 40, 40)))
    image.putalpha(logo("black").getchannel("A"))
    out = prepare(_with(image, PROPHOTO), AS_SEEN)
    assert out.getpixel((0, 0)) == (255, 255, 255)
    assert np.abs(np.subtract(out.getpixel((32, 32)), (200, 40, 40))).max() <= 3


# --- everywhere an image becomes pixels -------------------------------------------------------------------------------


def test_pictures_in_memory_are_known_by_what_the_model_sees() -> None:
    stored = _with(in_colours_of(PROPHOTO, photos.gradient()), PROPHOTO)
    seen = sources.read(stored, rendering=AS_SEEN)
    assert seen.digest == pixel_digest(prepare(stored, AS_SEEN))
    assert seen.digest != sources.read(stored).digest
    assert sources.read(stored).digest == pixel_digest(stored)  # as ever


def test_the_sandbox_renders(tmp_path: Path) -> None:
    data = photos.encoded(in_colours_of(PROPHOTO, photos.gradient()), "JPEG", icc_profile=PROPHOTO)
    with Sandbox(DecodeLimits(60, 1 << 30), workers=1, max_pixels=10**6) as sandbox:
        for rendering in (AS_REFERENCE, AS_SEEN):
            image = sandbox.decode(data, DecodeMode.EXACT, (32, 32), rendering).image
            assert image.tobytes() == shown(data, rendering).tobytes()


def test_thumbnails_and_looks_are_in_srgb() -> None:
    picture = photos.gradient()
    data = photos.encoded(in_colours_of(PROPHOTO, picture), "PNG", icc_profile=PROPHOTO)
    made = Image.open(io.BytesIO(thumbnails.render(data, 256, name="a.png", decoder=Here(10**6))))
    assert "icc_profile" not in made.info
    assert np.abs(pixels(made) - pixels(picture.resize(made.size, Image.Resampling.LANCZOS))).mean() < 3
    white = thumbnails.render(photos.encoded(logo("white"), "PNG"), 64, name="a.png", decoder=Here(10**6))
    assert contrast(Image.open(io.BytesIO(white))) > 100
    assert appearance_of(shown(data)).thumbnail.shape == appearance_of(picture).thumbnail.shape


# --- a property of the model ------------------------------------------------------------------------------------------


def test_what_the_references_do_has_the_fingerprint_that_it_always_had() -> None:
    identity = {"architecture": "a", "weights": "w", "preprocessing": {}, "tokenizer": "t"}
    spec = ModelSpec("x")
    assert fingerprint(identity, spec) == "7578bd285497ec75ce7c4eec33f0ce1f0ed1cd5fe9ab6329f91993316b8f20c6"
    others = [
        ModelSpec("x", icc=IccMode.CONVERT),
        ModelSpec("x", transparency=TransparencyMode.SHOW),
        ModelSpec("x", icc=IccMode.CONVERT, transparency=TransparencyMode.SHOW),
        ModelSpec("x", decode=DecodeMode.FAST),
    ]
    assert len({fingerprint(identity, one) for one in [spec, *others]}) == 5


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[FakeEncoder]:
    """Fake models, loaded as the library asks for them."""
    loaded: list[FakeEncoder] = []

    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        loaded.append(FakeEncoder(spec.name, decode=spec.decode, icc=spec.icc, transparency=spec.transparency))
        return loaded[-1]

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    return loaded


def test_a_new_library_sees_photos_as_people_do_and_others_as_they_were_made(
    tmp_path: Path, loads: list[FakeEncoder]
) -> None:
    red = in_colours_of(PROPHOTO, photos.solid("red"))
    path = photos.save(tmp_path / "photos.png", red, icc_profile=PROPHOTO)
    with Library.open(tmp_path / "new") as new:
        assert (new.spec.icc, new.spec.transparency) == (IccMode.CONVERT, TransparencyMode.SHOW)
        new.sync(path)
        (converted,) = new.embed_images([str(path)])
        assert loads[-1].image_count == 1
        np.testing.assert_allclose(converted, new.embed_images([photos.solid("red")])[0], atol=0.02)
    with Library.open(tmp_path / "old", icc="ignore", transparency="reference") as old:
        old.sync(path)
        (ignored,) = old.embed_images([str(path)])
        assert float(ignored @ converted) < 0.99
        in_memory = Image.open(path)
        np.testing.assert_allclose(old.embed_images([in_memory])[0], ignored, atol=1e-6)
    with Library.open(tmp_path / "old") as again:
        assert (again.spec.icc, again.spec.transparency) == (IccMode.IGNORE, TransparencyMode.REFERENCE)
        np.testing.assert_array_equal(again.embed_images([str(path)])[0], ignored)
        before = len(loads)
        assert again.embed_images([str(path)]).shape == (1, 8)
        assert len(loads) == before  # known, and found without the model
        again.use_model("nano", icc="convert")
        again.sync()
        np.testing.assert_array_equal(again.embed_images([str(path)])[0], converted)
        assert [(m.icc, m.transparency, m.default) for m in again.models()] == [
            ("ignore", "reference", False),
            ("convert", "reference", True),
        ]
        with again.with_model("nano", icc="ignore") as beside:
            np.testing.assert_array_equal(beside.embed_images([str(path)])[0], ignored)


def test_an_unknown_way_is_refused(tmp_path: Path) -> None:
    for options in ({"icc": "perhaps"}, {"transparency": "white"}):
        with pytest.raises(ValueError, match="is not a valid"):
            Library.open(tmp_path / "library", **options)  # type: ignore[arg-type]
