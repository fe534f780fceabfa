"""Good and bad photos for tests. Each function writes one file where it is told to and returns that path."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

ORIENTATION_TAG = 0x0112

# By EXIF orientation: what a camera held that way does to the upright picture as it stores it.
STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


# --- pictures in memory -----------------------------------------------------------------------------------------------


def solid(colour: str | tuple[int, int, int], width: int = 320, height: int = 240) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def gradient(width: int = 320, height: int = 240) -> Image.Image:
    """RGB; red grows to the right, green downwards, blue towards the lower left: no two orientations look alike."""
    across = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    down = np.broadcast_to(np.linspace(0, 255, height)[:, None], (height, width))
    return Image.fromarray(np.stack([across, down, (255 - across + down) / 2], axis=-1).astype(np.uint8))


def noise(seed: int, width: int = 320, height: int = 240) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def grey_ramp(dtype: str, white: float, width: int = 320, height: int = 240) -> Image.Image:
    """Grey of any depth, black at the left edge and `white` at the right."""
    ramp = np.broadcast_to(np.linspace(0, white, width), (height, width)).astype(dtype)
    if dtype == ">u2":  # which Pillow's fromarray does not take
        return Image.frombytes("I;16B", (width, height), ramp.tobytes())
    return Image.fromarray(ramp)


# --- good photos ------------------------------------------------------------------------------------------------------


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    """Write any image in the format that the extension of `path` names."""
    image.save(path, **options)
    return path


def jpeg(path: Path, image: Image.Image | None = None, *, quality: int = 95, **options: Any) -> Path:
    return save(path, image or gradient(), format="JPEG", quality=quality, **options)


def oriented(path: Path, orientation: int, upright: Image.Image | None = None, **options: Any) -> Path:
    """Write a photo as a camera held in another way stores it: turned, with an EXIF orientation (1 to 8)."""
    image = upright or gradient()
    turn = STORED_AS[orientation]
    if turn is not None:
        image = image.transpose(turn)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    return save(path, image, exif=exif, **options)


def broken_exif(path: Path) -> Path:
    """A fine JPEG whose EXIF block names an orientation and then points outside itself."""
    entries = struct.pack("<HHII", ORIENTATION_TAG, 5, 1, 0xFFFFFF) + struct.pack("<HHII", 0x010F, 2, 900, 0xFFFF)
    return jpeg(path, exif=b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries)


def animated(path: Path, *colours: str) -> Path:
    """A GIF, WebP or PNG that shows the colours one after the other; a TIFF with them as pages; an MPO."""
    first, *rest = [solid(colour) for colour in colours]
    return save(path, first, save_all=True, append_images=rest)


def heic(path: Path, image: Image.Image | None = None) -> Path:
    pillow_heif.from_pillow(image or gradient()).save(path, quality=90)
    return path


def dng(path: Path, *, preview: Path | None = None, orientation: int = 1, width: int = 400, height: int = 300) -> Path:
    """A minimal camera RAW: 16-bit Bayer data, white left half and grey right half, perhaps with a JPEG preview."""
    bayer = np.full((height, width), 20_000, "<u2")
    bayer[:, : width // 2] = 60_000
    camera = [
        (0x010F, "ascii", b"Test\0"),
        (0x0110, "ascii", b"Test DNG\0"),
        (ORIENTATION_TAG, "short", [orientation]),
        (0xC612, "byte", b"\1\4\0\0"),  # DNGVersion
        (0xC614, "ascii", b"Test DNG\0"),  # UniqueCameraModel
        (0xC621, "srational", [1, 1, 0, 1, 0, 1, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 1, 1]),  # ColorMatrix1: identity
        (0xC628, "rational", [1, 1, 1, 1, 1, 1]),  # AsShotNeutral
    ]
    file = _TiffWriter()
    sensor = [
        *file.image(bayer.tobytes(), width=width, height=height, bits=[16], photometric=32803),
        (0x828D, "short", [2, 2]),  # CFARepeatPatternDim
        (0x828E, "byte", b"\0\1\1\2"),  # CFAPattern: RGGB
        (0xC61D, "long", [65_535]),  # WhiteLevel
    ]
    if preview is None:
        main = file.directory(camera + sensor)
    else:
        with Image.open(preview) as shown:
            size = {"width": shown.width, "height": shown.height}
        thumbnail = file.image(preview.read_bytes(), bits=[8, 8, 8], photometric=6, compression=7, reduced=1, **size)
        sub_directory = file.directory(sensor)
        main = file.directory([*camera, *thumbnail, (0x014A, "long", [sub_directory])])
    path.write_bytes(file.finish(main))
    return path


# By name: TIFF's number for a type of field, and struct's letter for what it consists of.
_TIFF_TYPES = {
    "byte": (1, "B"),
    "ascii": (2, "B"),
    "short": (3, "H"),
    "long": (4, "I"),
    "rational": (5, "I"),
    "srational": (10, "i"),
}


class _TiffWriter:
    """Just enough of TIFF for `dng`; libraries write pictures, not sensor data."""

    def __init__(self) -> None:
        self._data = bytearray(b"II*\0\0\0\0\0")

    def _append(self, data: bytes) -> int:
        self._data += b"\0" * (len(self._data) % 2)
        offset = len(self._data)
        self._data += data
        return offset

    def image(
        self,
        data: bytes,
        *,
        width: int,
        height: int,
        bits: list[int],
        photometric: int,
        compression: int = 1,
        reduced: int = 0,
    ) -> list[tuple[int, str, Any]]:
        return [
            (0x00FE, "long", [reduced]),
            (0x0100, "long", [width]),
            (0x0101, "long", [height]),
            (0x0102, "short", bits),
            (0x0103, "short", [compression]),
            (0x0106, "short", [photometric]),
            (0x0111, "long", [self._append(data)]),
            (0x0115, "short", [len(bits)]),
            (0x0116, "long", [height]),
            (0x0117, "long", [len(data)]),
        ]

    def directory(self, entries: list[tuple[int, str, Any]]) -> int:
        rows = b""
        for tag, type_name, values in sorted(entries):
            code, letter = _TIFF_TYPES[type_name]
            packed = struct.pack(f"<{len(values)}{letter}", *values)
            count = len(values) // 2 if "rational" in type_name else len(values)
            field = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", self._append(packed))
            rows += struct.pack("<HHI", tag, code, count) + field
        return self._append(struct.pack("<H", len(entries)) + rows + bytes(4))

    def finish(self, main_directory: int) -> bytes:
        self._data[4:8] = struct.pack("<I", main_directory)
        return bytes(self._data)


def _palette(**options: Any) -> Callable[[Path], Path]:
    return lambda path: save(path, gradient().quantize(16), **options)


def _converted(mode: str, **options: Any) -> Callable[[Path], Path]:
    return lambda path: save(path, gradient().convert(mode), **options)


# What real libraries hold: file name to what writes it. The name says container and mode.
KINDS: dict[str, Callable[[Path], Path]] = {
    "rgb.jpg": jpeg,
    "progressive.jpg": lambda path: jpeg(path, progressive=True),
    "grey.jpg": lambda path: jpeg(path, gradient().convert("L")),
    "cmyk.jpg": lambda path: jpeg(path, gradient().convert("CMYK")),  # Pillow writes Adobe's inverted kind
    "stereo.mpo": lambda path: animated(path, "red", "blue"),
    "rgb.png": _converted("RGB"),
    "rgba.png": _converted("RGBA"),
    "grey.png": _converted("L"),
    "grey-transparent.png": _converted("L", transparency=0),
    "grey-alpha.png": _converted("LA"),
    "bilevel.png": _converted("1"),
    "palette.png": _palette(),
    "palette-one-transparent.png": _palette(transparency=3),
    "palette-translucent.png": _palette(transparency=bytes([0, 128]) + bytes([255]) * 14),
    "animated.png": lambda path: animated(path, "red", "blue"),
    "palette.gif": _palette(transparency=2),
    "animated.gif": lambda path: animated(path, "red", "blue"),
    "rgb.webp": _converted("RGB"),
    "rgba.webp": lambda path: save(path, _see_through()),
    "animated.webp": lambda path: animated(path, "red", "blue"),
    "rgb.bmp": _converted("RGB"),
    "rgb.dib": _converted("RGB"),
    "rgb.tif": _converted("RGB"),
    "lzw.tif": _converted("RGB", compression="tiff_lzw"),
    "jpeg.tif": _converted("RGB", compression="jpeg"),
    "fax.tif": _converted("1", compression="group4"),
    "cmyk.tif": _converted("CMYK"),
    "ycbcr.tif": _converted("YCbCr"),
    "pages.tif": lambda path: animated(path, "red", "blue"),
    "rgb.avif": _converted("RGB"),
    "rgba.avif": lambda path: save(path, _see_through()),
    "rgb.heic": heic,
    "rgb.jp2": _converted("RGB"),
    "grey.jp2": _converted("L"),
    "rgb.j2k": _converted("RGB"),
    "rgb.ppm": _converted("RGB"),
    "grey.pgm": _converted("L"),
    "bilevel.pbm": _converted("1"),
}


def _see_through() -> Image.Image:
    image = gradient()
    image.putalpha(image.getchannel("R"))
    return image


# --- bad photos -------------------------------------------------------------------------------------------------------


def truncated(path: Path, *, keep: float = 0.5, kind: str | None = None) -> Path:
    """The first part of a photo; `kind` is one of `KINDS`, by default the one with the extension of `path`."""
    KINDS[kind or f"rgb{path.suffix}"](path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def text(path: Path) -> Path:
    path.write_text("This is a text, whatever its name may say.\n" * 20, encoding="utf-8")
    return path


def bomb(path: Path, width: int = 60_000, height: int = 60_000) -> Path:
    """A PNG of a few bytes whose header promises billions of pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(_png_chunk(k, d) for k, d in [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b"")])
    )
    return path


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def photoshop(path: Path) -> Path:
    """The header of a PSD: an image that Pillow knows and zsindex does not read."""
    path.write_bytes(b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, 100, 100, 8, 3) + bytes(40))
    return path


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """The bytes of a file that never was one."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
