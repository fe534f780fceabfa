"""From a path to bytes, and from bytes to an upright image; a photo that cannot be used is an `ImageError`."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import IO

import numpy as np
from PIL import ExifTags, Image, ImageFile, JpegImagePlugin

from zsindex.config import DEFAULT_MAX_PIXELS
from zsindex.errors import ImageError
from zsindex.formats import RAW_EXTENSIONS, extension, storable
from zsindex.records import Decoded, DecodeMode, FileContent, SkipReason

DEFAULT_MAX_BYTES = 1 << 30


# --- bytes ------------------------------------------------------------------------------------------------------------


def read_file(path: str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> FileContent:
    """Read a file once, as a whole, and hash it.

    Args:
        path: of a regular file, or a link to one. Anything else is refused without waiting for it: a pipe without a
            writer cannot hang the caller.
        max_bytes: larger files are refused.

    Raises:
        ImageError: the reason is EMPTY, TOO_LARGE, CHANGED (size or modification time moved while it was read),
            VANISHED, BROKEN_LINK, PERMISSION, NOT_A_FILE, OUT_OF_MEMORY or IO_ERROR.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            before = os.fstat(file.fileno())
            if not stat.S_ISREG(before.st_mode):
                raise ImageError(SkipReason.NOT_A_FILE, "a pipe, socket or device", path=path)
            if before.st_size == 0:
                raise ImageError(SkipReason.EMPTY, "the file is empty", path=path)
            if before.st_size > max_bytes:
                detail = f"{before.st_size:,} bytes are more than the limit of {max_bytes:,}"
                raise ImageError(SkipReason.TOO_LARGE, detail, path=path)
            data = file.read(before.st_size + 1)  # the byte too many shows that it has grown
            after = os.fstat(file.fileno())
    except OSError as error:
        raise ImageError(_reason(error, path), error.strerror or str(error), path=path) from error
    except MemoryError as error:
        raise ImageError(SkipReason.OUT_OF_MEMORY, "there was not enough memory to read it", path=path) from error
    if len(data) != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ImageError(SkipReason.CHANGED, "it changed while it was read; the next sync reads it again", path=path)
    return FileContent(data, digest(data), before.st_size, storable(before.st_mtime_ns))


def digest(data: bytes) -> bytes:
    """Identify an image by its bytes: their SHA-256."""
    return hashlib.sha256(data).digest()


def _open_without_waiting(path: str, flags: int) -> int:
    # With O_NONBLOCK a pipe opens at once, and fstat then tells what it is. A stat before opening would leave a gap
    # between the two in which the file can be exchanged. Windows has neither the flag nor the problem.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _reason(error: OSError, path: str) -> SkipReason:
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return SkipReason.BROKEN_LINK if os.path.islink(path) else SkipReason.VANISHED
    if error.errno in (errno.EISDIR, errno.ENXIO):  # ENXIO: a socket
        return SkipReason.NOT_A_FILE
    return SkipReason.PERMISSION if isinstance(error, PermissionError) else SkipReason.IO_ERROR


# --- pixels -----------------------------------------------------------------------------------------------------------

# In fast mode both sides stay at least this many times the model's input. The resampling that follows then still
# averages over several pixels, which is what keeps the vectors close; docs/decoding.md has the figures.
_FAST_MARGIN = 2

# The drivers of Pillow that may see a photo. What else it can open stays closed, also to a file that merely calls
# itself a JPEG: EPS starts Ghostscript, and icons or game textures are no photos. MPO comes through the JPEG driver.
_DRIVERS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM", "BMP", "DIB")

_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")

# By EXIF orientation: what turns the stored image upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Where Pillow keeps what may hold an orientation.
_ORIENTATION_KEYS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


def decode(
    data: bytes,
    *,
    mode: DecodeMode,
    input_size: tuple[int, int],
    max_pixels: int = DEFAULT_MAX_PIXELS,
    name_hint: str = "",
) -> Decoded:
    """Decode one photo: the first frame of an animation, the first page of a TIFF, the primary image of a HEIC.

    In EXACT mode the image is, pixel for pixel and in the same mode, ``ImageOps.exif_transpose(Image.open(...))``, so
    that open_clip's preprocessing, which resizes before it converts to RGB, sees what it would have seen. The one
    difference is grey of more than 8 bits; see `prepare`. FAST lets libjpeg scale a large JPEG by 1/2, 1/4 or 1/8 as
    it decodes, to no less than twice the larger side of `input_size` on both sides; other formats are as in EXACT.

    Of camera RAW the embedded preview is taken where it is at least that large, in both modes; else it is developed.

    Args:
        data: the file's bytes.
        mode: how JPEGs are decoded.
        input_size: height and width of the model's input in pixels.
        max_pixels: images with more are refused before any pixel is decoded.
        name_hint: file name or path. Its extension, not the content, tells a TIFF-based RAW from a TIFF.

    Raises:
        ImageError: the reason is EMPTY, NOT_AN_IMAGE, UNSUPPORTED, MISSING_DECODER, TOO_MANY_PIXELS, TRUNCATED,
            OUT_OF_MEMORY or DECODE_FAILED.
    """
    if not data:
        raise ImageError(SkipReason.EMPTY, "the file is empty")
    smallest_side = _FAST_MARGIN * max(input_size)
    may_be_raw = extension(name_hint) in RAW_EXTENSIONS
    with _pillow_limit.at_least(max_pixels), codec_errors(data):
        if may_be_raw and (developed := _decode_raw(data, mode, input_size, max_pixels)) is not None:
            return developed
        image = _open(data)
        if may_be_raw and image.format == "TIFF":
            # Pillow sees the thumbnail of a few thousand pixels that such files begin with.
            raise ImageError(SkipReason.UNSUPPORTED, "a camera RAW that this version of LibRaw cannot read")
        width, height = image.size
        _check_pixels(width, height, max_pixels)
        drafted = None
        if mode is DecodeMode.FAST and isinstance(image, JpegImagePlugin.JpegImageFile):
            drafted = image.draft(None, (smallest_side, smallest_side))
        image.load()
        stored = image if drafted is None else _trim(image, width, height, drafted[1], min(input_size))
        upright = prepare(stored)
    if upright.size != stored.size:
        width, height = height, width
    return Decoded(upright, width, height, image.format or "")


def _trim(
    image: Image.Image, width: int, height: int, box: tuple[int, int, float, float], input_side: int
) -> Image.Image:
    """Cut a scaled JPEG to the size whose shape is most like that of its original, `width` x `height`.

    libjpeg rounds up, so that the last column and row may stand for less than a whole pixel: 3002 x 4000 at a quarter
    is 751 x 1000, of which `box`, 750.5 x 1000, is the picture. Preprocessing then rounds the longer side of the
    model's input to 340 pixels instead of 341, and the centre crop moves by a pixel, which moves vectors further than
    all that scaling does to the pixels. Where rounding down does not help, a pixel of the longer side does; only in
    panoramas beyond 2.5 : 1 may neither.
    """

    def unlike(size: tuple[int, int]) -> tuple[bool, int]:
        longer, expected = (input_side * max(s) // min(s) for s in (size, (width, height)))
        return longer != expected, abs(size[0] * height - size[1] * width)

    shorter = int(min(box[2:]))  # must not become shorter still
    widths = {image.width, int(box[2]), max(int(box[2]) - 1, shorter)}
    heights = {image.height, int(box[3]), max(int(box[3]) - 1, shorter)}
    best = min(((w, h) for w in widths for h in heights), key=unlike)
    return image if best == image.size else image.crop((0, 0, *best))


def prepare(image: Image.Image) -> Image.Image:
    """Do to an image in memory what `decode` does to one from a file; the image given is not changed.

    - The EXIF orientation is applied. EXIF data too damaged to be read counts as none.
    - Grey of more than 8 bits (modes ``I;16*``, ``I`` and ``F``) is scaled to ``L``, where the reference would clip
      everything above 255 to white. 16-bit black and white stay black and white. Of the wider modes, which do not say
      what white is, it is the smallest of 1 (``F`` only), 255 and 65535 that no pixel exceeds, or else the brightest
      pixel; black is 0 or the darkest pixel, if that is below.
    - A palette's transparency, which conversion to RGB ignores with a warning, is left out.

    Raises:
        ImageError: the image was opened lazily, and its pixels cannot be decoded.
    """
    with codec_errors():
        image.load()
    turn = _turn(image)
    if turn is not None:
        image = image.transpose(turn)
        for key in _ORIENTATION_KEYS:  # so that nobody turns it again
            image.info.pop(key, None)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _to_8_bits(image)
    if "transparency" in image.info:
        image = image.copy()
        del image.info["transparency"]
    return image


def pixel_digest(image: Image.Image) -> bytes:
    """Identify an image that has no file by its pixels.

    Returns:
        SHA-256 over mode, size, palette and pixels. It never equals the digest of a file's bytes, and equal pixels in
        another mode have another digest. Metadata does not count, so `prepare` the image first: its orientation would.
    """
    palette = bytes(image.getpalette(None) or ()) if image.mode in ("P", "PA") else b""
    header = f"zsindex pixels\0{image.mode}\0{image.width}\0{image.height}\0{len(palette)}\0"
    return hashlib.sha256(header.encode() + palette + image.tobytes()).digest()


def _turn(image: Image.Image) -> Image.Transpose | None:
    # ImageOps.exif_transpose does the same, but also rewrites the EXIF block of the result, which fails on the damaged
    # ones, and it copies an image that is upright already.
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  struct.error, SyntaxError, ValueError, ...: any of them, and the photo still counts
        return None


def _to_8_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        black, white = 0.0, 65535.0
        scaled = values.astype(np.float32)
    else:
        scaled = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
        brightest = float(scaled.max())
        steps = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        white = next((step for step in steps if brightest <= step), brightest)
        black = min(0.0, float(scaled.min()))
    scaled -= black
    scaled *= 255 / (white - black)
    scaled += 0.5
    return Image.fromarray(scaled.astype(np.uint8))


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        detail = f"{width} x {height} pixels are more than the limit of {max_pixels:,}; ZSINDEX_MAX_PIXELS raises it"
        raise ImageError(SkipReason.TOO_MANY_PIXELS, detail)


# --- opening ----------------------------------------------------------------------------------------------------------


# How Pillow keeps them: what opens a file, and what looks at its first bytes to say whether it would.
_Driver = tuple[Callable[[IO[bytes], str | bytes], ImageFile.ImageFile], Callable[[bytes], bool | str] | None]


def _open(data: bytes) -> ImageFile.ImageFile:
    """Find the driver for the bytes and let it read the header.

    This is the loop of `Image.open` without three things that do harm here. Its own pixel limit is a process-wide
    setting that warns through `warnings`, and neither can be changed for one thread alone. It reports a driver that
    knew the signature but not what follows, a file cut short, as "cannot identify". And pillow-heif would have to be
    registered for the whole process.
    """
    Image.init()
    prefix = data[:16].ljust(16, b"\0")  # as much as drivers look at; some fail on less
    failure: Exception | None = None
    for factory, accept in _drivers():
        try:
            if accept is None or accept(prefix) is True:
                return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:  # "not mine", as Image.open takes it
            failure = error
    if prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS and not _heif_drivers():
        raise ImageError(SkipReason.MISSING_DECODER, "HEIC needs a decoder: pip install 'zsindex[heic]'")
    if failure is not None:
        raise failure
    for name, (_, accept) in Image.OPEN.items():
        if name not in _DRIVERS and accept is not None and accept(prefix):
            raise ImageError(SkipReason.UNSUPPORTED, f"{name} is not among the formats that are read")
    raise ImageError(SkipReason.NOT_AN_IMAGE, "the content is no image, whatever the name says")


def _drivers() -> Iterator[_Driver]:
    for name in _DRIVERS:
        if name in Image.OPEN:
            yield Image.OPEN[name]
    yield from _heif_drivers()


def _heif_drivers() -> tuple[_Driver, ...]:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        return ()
    return ((HeifImageFile, lambda prefix: prefix[4:8] == b"ftyp" and prefix[8:12] in _HEIF_BRANDS),)


def _decode_raw(data: bytes, mode: DecodeMode, input_size: tuple[int, int], max_pixels: int) -> Decoded | None:
    """Decode camera RAW; None where LibRaw says that it is none."""
    try:
        import rawpy
    except ImportError:
        detail = "camera RAW needs a decoder: pip install 'zsindex[raw]'"
        raise ImageError(SkipReason.MISSING_DECODER, detail) from None
    smallest_side = _FAST_MARGIN * max(input_size)
    try:
        raw = rawpy.imread(io.BytesIO(data))
    except rawpy.LibRawFileUnsupportedError:
        return None
    with raw:
        sizes = raw.sizes
        quarter_turn = sizes.flip in (5, 6)  # LibRaw's codes: 3 is upside down, 5 and 6 lie on a side
        width, height = (sizes.height, sizes.width) if quarter_turn else (sizes.width, sizes.height)
        _check_pixels(width, height, max_pixels)
        # The preview is what the photographer saw, and developing takes seconds. LibRaw writes the orientation into it
        # where the camera did not. A damaged preview, like none, leaves the RAW data itself.
        with suppress(ImageError, rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
            preview = raw.extract_thumb().data
            if isinstance(preview, bytes):  # a JPEG; few old cameras have a bitmap, an array here, that is not upright
                decoded = decode(preview, mode=mode, input_size=input_size, max_pixels=max_pixels)
                if min(decoded.width, decoded.height) >= smallest_side:
                    return replace(decoded, width=width, height=height, format="RAW")
        half_size = mode is DecodeMode.FAST and min(width, height) >= 2 * smallest_side
        return Decoded(Image.fromarray(raw.postprocess(use_camera_wb=True, half_size=half_size)), width, height, "RAW")


# --- limits and errors ------------------------------------------------------------------------------------------------


class _PillowLimit:
    """Pillow's own pixel limit, held out of the way while an image is decoded that the caller's limit allows.

    Some drivers check `Image.MAX_IMAGE_PIXELS`, a process-wide setting, again as they load, so that a higher limit of
    ours has no effect unless that one goes up, too. It does so only for callers that ask for more than it allows, and
    is put back when the last of them has finished; decoding in several threads is not serialised by it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._own: int | None = None

    @contextmanager
    def at_least(self, max_pixels: int) -> Iterator[None]:
        with self._lock:
            own = self._own if self._inside else Image.MAX_IMAGE_PIXELS
            raised = own is not None and max_pixels > own
            if raised:
                self._own = own
                self._inside += 1
                Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            if raised:
                with self._lock:
                    self._inside -= 1
                    if self._inside == 0:
                        Image.MAX_IMAGE_PIXELS = self._own


_pillow_limit = _PillowLimit()


@contextmanager
def codec_errors(data: bytes = b"") -> Iterator[None]:
    """Turn whatever a codec raises into an `ImageError`.

    Args:
        data: what it was given, to tell whether that is cut short.
    """
    try:
        yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # From drivers that check for themselves; the warning where the process turns warnings into errors.
        raise ImageError(SkipReason.TOO_MANY_PIXELS, f"{error} ZSINDEX_MAX_PIXELS raises it.") from error
    except MemoryError as error:
        raise ImageError(SkipReason.OUT_OF_MEMORY, "there was not enough memory to decode it") from error
    except Exception as error:
        # Codecs fed with damaged data raise what happens to come up: OSError, ValueError, SyntaxError, struct.error,
        # KeyError, ZeroDivisionError, OverflowError, RuntimeError, LibRaw's own. No list of them would stay complete,
        # and one bad photo must not stop a sync. Only codecs run inside this context.
        words = _words(error)
        reason = SkipReason.TRUNCATED if _is_cut_short(data, words) else SkipReason.DECODE_FAILED
        raise ImageError(reason, words) from error


def _words(error: Exception) -> str:
    first = error.args[0] if error.args else ""
    text = first.decode(errors="replace") if isinstance(first, bytes) else str(error)
    return text.strip() or type(error).__name__


_END_MARKS = {b"GIF8": b";", b"\xff\x4f\xff\x51": b"\xff\xd9"}  # of GIF and of a bare JPEG 2000 codestream


def _is_cut_short(data: bytes, words: str) -> bool:
    """Tell whether a file that failed to decode is shorter than its own header says.

    Most drivers say so. Those of WebP, AVIF, JPEG 2000 and compressed TIFF, and at times that of GIF, report just some
    failure.
    """
    if "truncat" in words.lower() or "unexpected end of file" in words.lower():
        return True
    if data[:4] == b"RIFF":
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return int.from_bytes(data[4:8], "little" if data[:2] == b"II" else "big") >= len(data)
    if data[:4] in _END_MARKS:
        return not data.endswith(_END_MARKS[data[:4]])
    if data[4:8] in (b"ftyp", b"jP  "):
        end = 0
        while end + 8 <= len(data):
            size = int.from_bytes(data[end : end + 4], "big")
            if size == 1:
                size = int.from_bytes(data[end + 8 : end + 16], "big")
            if size < 8:  # 0 means "to the end of the file"; anything else is damage of another kind
                return False
            end += size
        return end > len(data)
    return False
