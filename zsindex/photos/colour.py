"""What colours a decoded picture shows: its profile's, brought into sRGB, and what shines through, on a background."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms

# --- colour profiles --------------------------------------------------------------------------------------------------

# Profiles of printers have up to 4 MB. The largest that are kept are a bound for the memory that the cache takes.
_MOST_PROFILE_BYTES = 8 << 20
_PROFILES_KEPT = 16
# Of 255: the writers of profiles round sRGB's curve and primaries each in their own way. The next profile that is none
# of sRGB's, with its primaries and a gamma of 2.2, is 8 away.
_AS_GOOD_AS_SRGB = 3
# A damaged profile may be a valid one in which all colours are one.
_LEAST_RANGE = 64
# Of devices and working spaces; the others (links between devices, effects, lists of names) describe no picture.
_CLASSES = ("scnr", "mntr", "prtr", "spac")
# By a picture's own colours: what its profile must call them.
_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}

_D65 = (0.3127, 0.3290)
_SRGB_PRIMARIES = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_ADOBE_RGB_PRIMARIES = ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
_ADOBE_RGB_GAMMA = 563 / 256
# By the code points of ITU-T H.273, which HEIC uses; 12 is Display P3, 9 is BT.2020.
_NCLX_PRIMARIES = {
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
# None stands for the curve of sRGB. Those of television are shown so, too; HDR's (16 and 18) are no gamma.
_NCLX_GAMMA = {1: None, 2: None, 4: 2.2, 6: None, 8: 1.0, 13: None, 14: None, 15: None}
_ALMOST = 0.05


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a picture to sRGB, in its own mode where that can be; the picture given is not changed.

    A profile that is sRGB's, damaged, or of other colours than the picture's changes nothing. The rendering intent is
    relative colorimetric with black point compensation: white and black stay what they are.

    Args:
        image: of any mode but those of more than 8 bits.
        profile: see `profile_of`.
    """
    if not profile or image.mode in ("1", "LAB"):
        return image
    if image.mode in ("P", "PA"):
        return _palette_to_srgb(image, profile)
    own = {"L": "L", "LA": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    conversion = _conversion(profile, own)
    if conversion is None:
        return image
    converted: Image.Image
    if own == "L":
        converted = image.getchannel("L").point(conversion)
    else:
        converted = conversion.apply(image if image.mode == own else image.convert(own))
    if image.mode in ("LA", "RGBA"):
        converted.putalpha(image.getchannel("A"))
    converted.info = {key: value for key, value in image.info.items() if key != "icc_profile"}
    return converted


def is_converted(profile: bytes, mode: str) -> bool:
    """Whether `to_srgb` changes colours of the mode ``RGB``, ``CMYK`` or ``L``."""
    return _conversion(profile, mode) is not None


def _palette_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    conversion = _conversion(profile, "RGB")
    if conversion is None:
        return image
    if image.mode == "PA" or image.palette is None or image.palette.mode != "RGB":
        return to_srgb(image.convert("RGBA"), profile)
    colours = bytes(image.getpalette("RGB") or ())
    row = Image.frombytes("RGB", (len(colours) // 3, 1), colours)
    converted = image.copy()
    converted.putpalette(conversion.apply(row).tobytes(), "RGB")
    converted.info.pop("icc_profile", None)
    return converted


@lru_cache(maxsize=_PROFILES_KEPT)
def _conversion(profile: bytes, mode: str) -> Any:
    """From the colours of a profile to sRGB: a transform, whose `apply` may be called from several threads; for ``L`` a
    table of 256 values; None where there is nothing to do, or nothing that can be done.
    """
    if len(profile) > _MOST_PROFILE_BYTES:
        return None
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if opened.profile.xcolor_space.strip() != _SPACES[mode] or opened.profile.device_class not in _CLASSES:
            return None
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        samples = _samples(mode)
        before, after = np.asarray(samples), np.asarray(transform.apply(samples)).astype(np.int16)
    except Exception:  # noqa: BLE001  LittleCMS and its binding raise what comes up; a bad profile counts as none
        return None
    if np.ptp(after) < _LEAST_RANGE:
        return None
    if mode != "CMYK" and np.abs(after - (before[..., None] if mode == "L" else before)).max() <= _AS_GOOD_AS_SRGB:
        return None
    return after[0, :, 1].tolist() if mode == "L" else transform


@lru_cache
def _samples(mode: str) -> Image.Image:
    """Colours of all kinds: for ``L`` each there is, in one row."""
    ramp = np.arange(256, dtype=np.uint8)
    if mode == "L":
        return Image.fromarray(ramp[None])
    bands = len(Image.new(mode, (1, 1)).getbands())
    steps = np.linspace(0, 255, 9 if bands == 3 else 5).astype(np.uint8)
    grid = np.stack(np.meshgrid(*[steps] * bands), axis=-1).reshape(1, -1, bands)
    greys = np.repeat(ramp[None, :, None], bands, axis=2)
    colours = np.concatenate([grid, greys], axis=1)
    return Image.frombytes(mode, (colours.shape[1], 1), colours.tobytes())


def profile_of(image: Image.Image) -> bytes | None:
    """The ICC profile of a picture's colours, or one that says what else its file says of them; None where it says
    nothing, or sRGB.

    An embedded profile counts first. Without one: the ``cHRM`` and ``gAMA`` of a PNG without ``sRGB``, the code points
    of a HEIC, and EXIF's mark of Adobe RGB, which is all that many cameras write.
    """
    embedded = image.info.get("icc_profile")
    if isinstance(embedded, bytes) and embedded:
        return embedded
    try:
        if image.format == "PNG":
            return _of_png(image.info)
        if nclx := image.info.get("nclx_profile"):
            return _of_nclx(nclx)
        # Looked for before EXIF is read, which would take longer than all else here.
        if b"R03\0" in (image.info.get("exif") or b"") and _is_adobe_rgb(image):
            return matrix_profile(_ADOBE_RGB_PRIMARIES, _D65, _ADOBE_RGB_GAMMA)
    except Exception:  # noqa: BLE001  of damaged metadata; they count as none
        return None
    return None


def _of_png(info: dict[str | tuple[int, int], Any]) -> bytes | None:
    gamma, chromaticities = info.get("gamma"), info.get("chromaticity")
    if "srgb" in info or (gamma is None and chromaticities is None):
        return None
    exponent = 2.2 if gamma is None else 1 / gamma
    # What nearly all writers mean by this number is sRGB, whose curve it resembles.
    curve = None if abs(exponent / 2.2 - 1) < _ALMOST else exponent
    white, *primaries = _D65, *_SRGB_PRIMARIES
    if chromaticities is not None:
        given = [(chromaticities[i], chromaticities[i + 1]) for i in range(0, 8, 2)]
        if np.abs(np.subtract(given, [white, *primaries])).max() > _ALMOST / 5:
            white, *primaries = given
        elif curve is None:
            return None
    elif curve is None:
        return None
    return matrix_profile(primaries, white, curve)


def _of_nclx(nclx: dict[str, Any]) -> bytes | None:
    primaries = _NCLX_PRIMARIES.get(nclx.get("color_primaries", 2))
    transfer = nclx.get("transfer_characteristics", 2)
    if transfer not in _NCLX_GAMMA or (primaries is None and _NCLX_GAMMA[transfer] is None):
        return None
    return matrix_profile(primaries or _SRGB_PRIMARIES, _D65, _NCLX_GAMMA[transfer])


def _is_adobe_rgb(image: Image.Image) -> bool:
    exif = image.getexif()
    uncalibrated = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace) == 0xFFFF
    return uncalibrated and str(exif.get_ifd(ExifTags.IFD.Interop).get(1, "")).startswith("R03")


def matrix_profile(primaries: Sequence[tuple[float, float]], white: tuple[float, float], gamma: float | None) -> bytes:
    """Write an ICC profile of a display.

    Args:
        primaries: chromaticities x, y of red, green and blue.
        white: that of white.
        gamma: the exponent of its curve; None for the curve of sRGB.
    """

    def xyz(x: float, y: float) -> Any:
        return np.array([x / y, 1.0, (1 - x - y) / y])

    # Columns are the primaries, scaled so that they add up to white; then white is adapted to that of ICC, D50.
    columns = np.stack([xyz(*one) for one in primaries], axis=1)
    columns = columns * np.linalg.solve(columns, xyz(*white))
    bradford = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
    d50 = np.array([0.9642, 1.0, 0.8249])
    adapted = np.linalg.inv(bradford) @ np.diag((bradford @ d50) / (bradford @ xyz(*white))) @ bradford @ columns

    def fixed(*values: float) -> bytes:
        return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))

    if gamma is None:
        curve = b"para" + struct.pack(">IHH", 0, 3, 0) + fixed(2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    else:
        curve = b"para" + struct.pack(">IHH", 0, 0, 0) + fixed(gamma)
    tags = {name: b"XYZ \0\0\0\0" + fixed(*adapted[:, i]) for i, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= {b"wtpt": b"XYZ \0\0\0\0" + fixed(*d50)} | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, start + len(body), len(data))
        body += data.ljust(-len(data) % 4 + len(data), b"\0")
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"\0\0\0\0", 0x0400_0000, b"mntr", b"RGB ", b"XYZ ")
    header = header.ljust(36, b"\0") + b"acsp"
    return (header.ljust(68, b"\0") + fixed(*d50)).ljust(128, b"\0") + table + body


# --- transparency -----------------------------------------------------------------------------------------------------

# In the order of preference; the first is what the makers of most training data put such pictures on.
_BACKGROUNDS = (255, 48, 128)
# A part of a picture whose brightness is so near to that of the background cannot be told from it; and how much of a
# picture that may be.
_TOO_NEAR = 48
_MOST_HIDDEN = 0.25
_PIXELS_LOOKED_AT = 4_000_000


def on_background(image: Image.Image) -> Image.Image:
    """Put a picture that is transparent somewhere on a background that shows it; any other comes back as it is.

    That is white, unless more than a quarter of what is visible is nearly white; then dark grey, or if the same is true
    of that, middle grey. Where each hides more than a quarter, it is the one that hides least. What is transparent
    altogether is white.

    Returns:
        RGB where there was transparency.
    """
    if not image.has_transparency_data:
        return image
    seen = image.convert("RGBA")
    alpha = seen.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image
    background = Image.new("RGBA", seen.size, (_background(seen.convert("L"), alpha),) * 3 + (255,))
    background.alpha_composite(seen)
    out = background.convert("RGB")
    out.info = {key: value for key, value in image.info.items() if key != "transparency"}
    return out


def _background(brightness: Image.Image, alpha: Image.Image) -> int:
    # Of a large picture not every pixel, for the memory that it would take.
    step = max(1, math.isqrt(brightness.width * brightness.height // _PIXELS_LOOKED_AT))
    values, visibilities = (np.asarray(band)[::step, ::step].ravel() for band in (brightness, alpha))
    weights = np.bincount(values, weights=visibilities, minlength=256)  # by brightness, how much is visible
    visible = float(weights.sum())
    hidden = {grey: float(weights[max(0, grey - _TOO_NEAR) : grey + _TOO_NEAR].sum()) for grey in _BACKGROUNDS}
    fitting = (grey for grey in _BACKGROUNDS if hidden[grey] <= _MOST_HIDDEN * visible)
    return next(fitting, min(_BACKGROUNDS, key=hidden.__getitem__))
