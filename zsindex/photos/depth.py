"""Pictures of more than 8 bits: which of their values are black and white, and TIFFs that Pillow does not read.

Pillow hands out grey of more than 8 bits in the modes ``I;16*``, ``I`` and ``F``. It knows no other floating point than
32-bit grey, no 32-bit colours, and no bands but one, three or four; tifffile reads what such files say of themselves.
"""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from zsindex.errors import ImageError
from zsindex.photos import containers
from zsindex.records import SkipReason

if TYPE_CHECKING:
    from tifffile import TiffPage

Values = npt.NDArray[Any]
Scales = tuple[tuple[float, float], ...]

# --- black and white --------------------------------------------------------------------------------------------------

# Values that stand for "nothing was measured here" by custom, where they are the least or the greatest.
_MARKERS = frozenset({-9999, -99999, -32767, -32768, -2147483647, -2147483648, 2147483647, 4294967295})
# So do those of such size: the largest numbers of 32 bits, and what netCDF and others use.
_NO_NUMBER = 1e30
# This part of the values, at either end, may be outliers: hot pixels, marks. Of more than a few values one may.
_OUTLIERS = 1 / 200
_A_FEW = 8
# Where they make a range, they are only left out if they lie further out than this part of it.
_FAR = 0.25
# What counts as white where nearly no value exceeds it, and how bright nearly the brightest must be for that: of values
# far below, little or nothing would be seen.
_FLOAT_SCALES = ((1.0, 1 / 64), (255.0, 16.0), (65535.0, 16384.0))
_WHOLE_SCALES = ((255.0, 4.0), (65535.0, 16384.0))
_SIGNED_SCALES = {1: ((127.0, 2.0),), 2: ((255.0, 4.0), (32767.0, 8192.0))}  # by their bytes
# How many values are looked at to tell, and how many bytes of them are in work at once.
_SAMPLES = 1 << 20
_BLOCK_BYTES = 1 << 24

_GDAL_NODATA, _MAX_SAMPLE_VALUE, _S_MIN_SAMPLE_VALUE, _S_MAX_SAMPLE_VALUE = 42113, 281, 340, 341


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file says of its values.

    Attributes:
        bits: of each, where they are whole numbers from 0 on of at most 16 bits.
        lowest, highest: the values of black and white; None: it does not say.
        nodata: the value that stands for none.
        white_is_zero: whether the greatest value is black.
        full_range: whether white is 65535, whatever the brightest value is.
    """

    bits: int = 16
    lowest: float | None = None
    highest: float | None = None
    nodata: float | None = None
    white_is_zero: bool = False
    full_range: bool = False


def is_deep(image: Image.Image) -> bool:
    """Whether an image is grey of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def to_8_bits(image: Image.Image) -> Image.Image:
    """Scale grey of more than 8 bits to ``L``, as `levels` says; to ``LA`` where one of its values is transparent."""
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        declared = Declared(full_range=image.format in ("PPM", "PNG"))  # whose drivers scale to 16 bits
    else:
        declared = _declared_by(tags)
        if image.mode == "I" and tags.get(258) == (32,) and tags.get(339, (1,)) == (1,):
            values = values.view(np.uint32)
        elif image.mode == "I" and tags.get(258) == (16,) and tags.get(339) == (2,):
            values = values.astype(np.int16)
    found = levels(lambda: _rows_of(values), values.size, declared)
    out = np.empty(values.shape, dtype=np.uint8)
    for start, block in zip(_starts(values), _rows_of(values), strict=True):
        out[start : start + len(block)] = scaled(block, found, declared.nodata)
    grey = Image.fromarray(out)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(values == key, np.uint8(0), np.uint8(255))))
    return grey


def levels(blocks: Callable[[], Iterable[Values]], size: int, declared: Declared) -> tuple[float, float]:
    """The values of black and white.

    - Of unsigned values up to 16 bits: 0 and the largest there can be.
    - What the file declares, if nearly all values lie there.
    - 0 and the smallest of 1 (floating point only), 255 and 65535 that nearly no value exceeds, where nearly none is
      negative and nearly the brightest would be seen; of signed values of 16 bits 32767, and of 8 bits 127.
    - Else the least and the greatest value, but for outliers that lie far out; 0 is black, too, if the least value is
      nearer to it than to the greatest by far.

    What is no number, or stands for none, does not count.

    Args:
        blocks: gives all values, of one dtype, in parts of any shape; called more than once.
        size: how many there are.
        declared: what their file says.

    Returns:
        Black first. They are never equal; black is greater where the file says that white is zero.
    """
    first = next(iter(blocks()))
    if first.dtype in (np.uint8, np.uint16):
        black, white = 0.0, float(2 ** min(declared.bits, 8 * first.dtype.itemsize) - 1)
        if declared.highest is not None and _spans_bits(declared.highest) and declared.highest < white:
            # Statistics, says TIFF; but what equals the largest value of 12 bits, say, is how writers name their depth.
            exceeded = any(float(block.max(initial=0)) > declared.highest for block in blocks())
            white = white if exceeded else declared.highest
    elif declared.full_range:
        black, white = 0.0, 65535.0
    else:
        scales: Scales = _FLOAT_SCALES if first.dtype.kind == "f" else _WHOLE_SCALES
        if first.dtype.kind == "i":
            scales = _SIGNED_SCALES.get(first.dtype.itemsize, scales)
        black, white = _range_of(blocks, size, declared, scales)
    return (white, black) if declared.white_is_zero else (black, white)


def _spans_bits(value: float) -> bool:
    return value > 255 and math.log2(value + 1).is_integer()


def _range_of(
    blocks: Callable[[], Iterable[Values]],
    size: int,
    declared: Declared,
    scales: Scales,
) -> tuple[float, float]:
    nothing = {declared.nodata} - {None}
    while True:
        ordered, least, greatest = _seen(blocks(), size, nothing)
        markers = {least, greatest} & _MARKERS
        if not markers:
            break
        nothing |= markers
    if not len(ordered):
        return 0.0, 1.0
    outliers = max(1, int(len(ordered) * _OUTLIERS)) if len(ordered) > _A_FEW else 0
    low, high = float(ordered[outliers]), float(ordered[-1 - outliers])
    if (
        declared.lowest is not None
        and declared.highest is not None
        and declared.lowest <= low <= high <= declared.highest
        and declared.lowest < declared.highest
    ):
        return declared.lowest, declared.highest
    if low >= 0:
        for scale, visible in scales:
            if visible <= high <= scale:
                return 0.0, scale
    reach = _FAR * (high - low)
    low = least if low - least <= reach else low
    high = greatest if greatest - high <= reach else high
    black = 0.0 if 0 <= low <= high / 4 or (low == high > 0) else low
    return (black, high) if high > black else (black, black + 1.0)


def _seen(blocks: Iterable[Values], size: int, nothing: set[Any]) -> tuple[Values, float, float]:
    """A sample of the values that stand for something, ascending, and the least and the greatest of all of them."""
    samples, least, greatest = [], math.inf, -math.inf
    for block in blocks:
        flat = block.ravel()
        flat = flat[_counts(flat, nothing)]
        if len(flat):
            least, greatest = min(least, float(flat.min())), max(greatest, float(flat.max()))
            step = max(1, size // _SAMPLES)
            while math.gcd(step, block.shape[-1]) > 1 and step > 1:  # or it would only see some columns
                step += 1
            samples.append(flat[::step].astype(np.float64))
    return np.sort(np.concatenate(samples or [np.empty(0)])), least, greatest


def _counts(values: Values, nothing: Iterable[float]) -> npt.NDArray[np.bool_]:
    """Which values stand for something."""
    counts = np.ones(values.shape, dtype=np.bool_)
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            counts = np.abs(values) < _NO_NUMBER  # also false for what is no number
            if values.dtype == np.float16:
                counts = np.isfinite(values)
    for value in nothing:
        with np.errstate(over="ignore"):
            counts &= values != (values.dtype.type(value) if values.dtype.kind == "f" else value)
    return counts


def scaled(values: Values, black_and_white: tuple[float, float], nodata: float | None = None) -> npt.NDArray[np.uint8]:
    """Values between black and white as 0 to 255, rounded; what lies outside is cut off, and what is no number is 0."""
    black, white = black_and_white
    out: npt.NDArray[Any] = values.astype(np.float32 if values.dtype == np.uint16 else np.float64)
    if values.dtype.kind == "f" or nodata is not None:
        out[~_counts(values, () if nodata is None else (nodata,))] = black
    np.subtract(out, black, out=out)
    np.multiply(out, 255 / (white - black), out=out)
    np.add(out, 0.5, out=out)
    np.clip(out, 0, 255.5, out=out)
    return out.astype(np.uint8)


def _starts(values: Values) -> range:
    rows = max(1, _BLOCK_BYTES // max(1, values[:1].nbytes))
    return range(0, len(values), rows)


def _rows_of(values: Values) -> Iterator[Values]:
    """Some rows at a time, so that what is made of them needs little memory."""
    starts = _starts(values)
    for start in starts:
        yield values[start : start + starts.step]


def _declared_by(tags: Any) -> Declared:
    """From TIFF's tags by number."""

    def number(tag: int) -> float | None:
        value = tags.get(tag)
        try:
            return float(value[0] if isinstance(value, tuple) else value)
        except (TypeError, ValueError, IndexError):
            return None

    highest = number(_S_MAX_SAMPLE_VALUE)
    return Declared(
        bits=int(number(258) or 16),
        lowest=number(_S_MIN_SAMPLE_VALUE),
        highest=number(_MAX_SAMPLE_VALUE) if highest is None else highest,
        nodata=number(_GDAL_NODATA),
        white_is_zero=number(262) == 0,
    )


# --- TIFFs that Pillow does not read ----------------------------------------------------------------------------------

_WIDTH, _HEIGHT = 256, 257
_UNCOMPRESSED, _DEFLATE = 1, (8, 32946)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_ASSOCIATED, _UNASSOCIATED = 1, 2  # alpha that colours were multiplied with, and one that they were not
_HORIZONTAL, _FLOATING = 2, 3
# Of a strip or tile, which can be far larger than the picture, and of nothing in the file.
_MOST_UNPACKED_BYTES = 1 << 29

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # what it has to say of damaged files goes nowhere


def open_tiff(file: IO[bytes], name: str | bytes) -> ImageFile.ImageFile:
    """Open a TIFF: with Pillow, or where that does not read the kind with `DeepTiff`.

    Raises:
        ImageError: UNSUPPORTED: neither reads it.
        what Pillow raises: it is damaged.
    """
    try:
        image = TiffImagePlugin.TiffImageFile(file, name)
    except (SyntaxError, IndexError, TypeError, KeyError, ValueError, OSError):
        file.seek(0)
        if containers.is_cut_short(file.read(), ""):
            raise
        file.seek(0)
        try:
            return DeepTiff(file, name)
        except (SyntaxError, OSError):  # it is damaged, and Pillow says how
            pass
        raise
    if image.tag_v2.get(284) == 2 and set(image.tag_v2.get(258, ())) == {16} and image.tag_v2.get(259) == _UNCOMPRESSED:
        # Of bands one after the other Pillow takes each byte of 16-bit values for a value.
        file.seek(0)
        return DeepTiff(file, name)
    return image


class DeepTiff(ImageFile.ImageFile):
    """The first page of a TIFF whose values are of a kind that Pillow does not read, as 8 bits.

    Whole and floating-point numbers of any size; grey, RGB, and either with alpha; chunky and planar; strips and tiles;
    uncompressed or Deflate, with predictors. Of three or four bands that the file says nothing of, the first three are
    taken for RGB; of more, the first one for grey.
    """

    format = "TIFF"
    format_description = "TIFF of other than 8-bit values"

    def _open(self) -> None:
        import tifffile

        assert self.fp is not None
        try:
            opened = tifffile.TiffFile(self.fp)
            page = opened.pages[0]
            if not isinstance(page, tifffile.TiffPage) or not (_WIDTH in page.tags and _HEIGHT in page.tags):
                raise SyntaxError("no page")
            self._pixels: _Pixels | None = _Pixels(page, opened.byteorder, self.fp)
        except (ImageError, SyntaxError):
            raise
        except Exception as error:  # of damaged files, whatever comes up
            raise SyntaxError(str(error)) from error
        self._size = (page.imagewidth, page.imagelength)
        self._mode = self._pixels.mode
        orientation = self._pixels.tags.get(int(ExifTags.Base.Orientation))
        self._orientation = orientation if isinstance(orientation, int) else 1
        profile = self._pixels.tags.get(34675)
        if isinstance(profile, bytes):
            self.info["icc_profile"] = profile

    def getexif(self) -> Image.Exif:
        """Its orientation."""
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = self._orientation
        return exif

    def load(self) -> Any:
        """Read the pixels."""
        if self._pixels is not None:
            self.im = self._pixels.read().im
            self._pixels = None
        return Image.Image.load(self)


class _Pixels:
    """Where the values of a page lie, and what they mean.

    Attributes:
        mode: of the picture.
        tags: by number.
    """

    def __init__(self, page: TiffPage, byteorder: str, file: IO[bytes]) -> None:
        import tifffile

        self.tags = {tag.code: tag.value for tag in page.tags}
        self._page = page
        self._file = file
        self._bits = int(page.bitspersample)
        self._packed = self._bits < 16 and self._bits != 8
        extra = self.tags.get(338, ())
        extra = [int(kind) for kind in (extra if isinstance(extra, (tuple, list)) else (extra,))]
        self._bands = int(page.samplesperpixel)
        photometric, compression = int(page.photometric), int(page.compression)
        if page.dtype is None or page.dtype.kind not in "?uif" or self._bits not in {8, 16, 32, 64, *range(1, 16)}:
            raise _unsupported(f"of {self._bits}-bit values, of a kind that is not read")
        if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
            raise _unsupported(f"with {tifffile.PHOTOMETRIC(photometric).name} colours of {page.dtype}")
        if compression != _UNCOMPRESSED and compression not in _DEFLATE:
            raise _unsupported(
                f"of {page.dtype} values compressed with {tifffile.COMPRESSION(compression).name}; Deflate is read"
            )
        if int(page.fillorder) != 1 or page.predictor not in (1, _HORIZONTAL, _FLOATING) or page.imagedepth != 1:
            raise _unsupported("with values in an unusual order")
        self._dtype = np.dtype("u1") if self._packed else np.dtype(page.dtype).newbyteorder(byteorder)  # type: ignore[arg-type]
        grey = self._bands < 3 or (photometric != _RGB and (self._bands > 4 or extra[:1] in ([1], [2])))
        self._colours = 1 if grey else 3
        alpha = extra[0] if extra and photometric == (_RGB if not grey else photometric) else 0
        self._alpha = alpha if alpha in (_ASSOCIATED, _UNASSOCIATED) and self._bands > self._colours else 0
        modes = {0: ("L", "RGB"), _ASSOCIATED: ("La", "RGBa"), _UNASSOCIATED: ("LA", "RGBA")}
        self.mode = modes[self._alpha][not grey]
        self._declared = _declared_by(self.tags)

    def read(self) -> Image.Image:
        """The picture. Values are read twice, a strip or tile at a time: once to see their range.

        Raises:
            ImageError: TRUNCATED, or DECODE_FAILED.
        """
        page, colours = self._page, self._colours
        height, width = int(page.imagelength), int(page.imagewidth)
        found = levels(lambda: self._values(colour=True), height * width * colours, self._declared)
        of_alpha = self._levels_of_alpha() if self._alpha else found
        picture = np.zeros((height, width, colours + bool(self._alpha)), dtype=np.uint8)
        for y, x, band, values in self._segments():
            for i in range(values.shape[2]):
                number = band + i
                if number < picture.shape[2]:
                    is_colour = number < colours
                    part = scaled(
                        values[:, :, i],
                        found if is_colour else of_alpha,
                        self._declared.nodata if is_colour else None,
                    )
                    picture[y : y + values.shape[0], x : x + values.shape[1], number] = part
        return Image.frombytes(self.mode, (width, height), picture.tobytes())

    def _levels_of_alpha(self) -> tuple[float, float]:
        kind = self._dtype.kind
        if kind != "f":
            bits = self._bits - (kind == "i")
            return 0.0, float(2**bits - 1)
        most = max(float(np.nanmax(part, initial=0)) for part in self._values(colour=False))
        return 0.0, next((scale for scale, _ in _FLOAT_SCALES if most <= scale), most)

    def _values(self, *, colour: bool) -> Iterator[Values]:
        for _, _, band, values in self._segments():
            chosen = range(self._colours) if colour else (self._colours,)
            for i in chosen:
                if band <= i < band + values.shape[2]:
                    yield from _rows_of(values[:, :, i - band])

    def _segments(self) -> Iterator[tuple[int, int, int, Values]]:
        """Strips or tiles: row, column, first band, and values of shape (rows, columns, bands)."""
        page = self._page
        height, width = int(page.imagelength), int(page.imagewidth)
        if page.is_tiled:
            rows, columns = int(page.tilelength), int(page.tilewidth)
        else:
            rows, columns = min(int(page.rowsperstrip) or height, height), width
        planar = int(page.planarconfig) == 2
        bands = 1 if planar else self._bands
        down, across = math.ceil(height / rows), math.ceil(width / columns)
        row_bytes = math.ceil(columns * bands * self._bits / 8)
        places = [
            (y * rows, x * columns, band)
            for band in range(self._bands if planar else 1)
            for y in range(down)
            for x in range(across)
        ]
        for (y, x, band), offset, count in zip(places, page.dataoffsets, page.databytecounts, strict=False):
            needed = min(rows, height - y)
            if count == 0:  # sparse: nothing was stored
                continue
            self._file.seek(offset)
            data = self._file.read(min(count, rows * row_bytes) if int(page.compression) == _UNCOMPRESSED else count)
            if int(page.compression) in _DEFLATE:
                if needed * row_bytes > _MOST_UNPACKED_BYTES:
                    raise _unsupported(f"with {needed * row_bytes:,} bytes in one compressed strip or tile")
                data = zlib.decompressobj().decompress(data, needed * row_bytes)
            if len(data) < needed * row_bytes:
                raise ImageError(SkipReason.TRUNCATED, "the file ends before its pixels do")
            values = self._unpacked(
                np.frombuffer(data, np.uint8, needed * row_bytes).reshape(needed, -1), columns, bands
            )
            yield y, x, band, values[:, : width - x]

    def _unpacked(self, raw: npt.NDArray[np.uint8], columns: int, bands: int) -> Values:
        """Values, (rows, columns, bands), from bytes of rows."""
        rows, predictor = len(raw), self._page.predictor
        if self._packed:
            bits = np.unpackbits(raw, axis=1)[:, : columns * bands * self._bits]
            weights = (1 << np.arange(self._bits)[::-1]).astype(np.uint16)
            values: Values = bits.reshape(rows, columns, bands, self._bits) @ weights
            return (
                np.cumsum(values, axis=1, dtype=np.uint16) % (1 << self._bits) if predictor == _HORIZONTAL else values
            )
        size = self._dtype.itemsize
        if predictor == _FLOATING:
            # The bytes of a row lie by significance, the highest first, and each is the difference to the one before.
            plain = np.cumsum(raw.reshape(rows, columns * size, bands), axis=1, dtype=np.uint8)
            turned = np.ascontiguousarray(plain.reshape(rows, size, columns * bands).transpose(0, 2, 1))
            return turned.view(self._dtype.newbyteorder(">"))[..., 0].reshape(rows, columns, bands)
        values = raw.reshape(-1).view(self._dtype).reshape(rows, columns, bands)
        if predictor == _HORIZONTAL:
            whole = np.dtype(f"u{size}")
            native = values.view(whole.newbyteorder(self._dtype.byteorder)).astype(whole)
            values = np.cumsum(native, axis=1, dtype=whole).view(self._dtype.newbyteorder("="))
        return values


def _unsupported(kind: str) -> ImageError:
    return ImageError(SkipReason.UNSUPPORTED, f"a TIFF {kind}")
