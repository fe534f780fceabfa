"""From a path to bytes, and from bytes to an upright image; a photo that cannot be used is an `ImageError`."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import IO, NamedTuple

from PIL import ExifTags, Image, ImageChops, ImageFile, JpegImagePlugin, TiffImagePlugin

from zsindex.config import DEFAULT_MAX_PIXELS
from zsindex.errors import ImageError
from zsindex.photos import colour, containers, depth
from zsindex.photos.codec_errors import codec_errors, failure_of, pillow_limit
from zsindex.photos.containers import Kind
from zsindex.photos.formats import RAW_EXTENSIONS, extension, storable
from zsindex.photos.quiet import quiet
from zsindex.records import (
    AS_REFERENCE,
    Decoded,
    DecodeMode,
    FileContent,
    IccMode,
    Rendering,
    SkipReason,
    TransparencyMode,
)

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
        with open(path, "rb", opener=open_without_waiting) as file:
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
        raise ImageError(reason_of(error, path), error.strerror or str(error), path=path) from error
    except MemoryError as error:
        raise ImageError(SkipReason.OUT_OF_MEMORY, "there was not enough memory to read it", path=path) from error
    if len(data) != before.st_size or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise ImageError(SkipReason.CHANGED, "it changed while it was read; the next sync reads it again", path=path)
    return FileContent(data, digest(data), before.st_size, storable(before.st_mtime_ns))


def digest(data: bytes) -> bytes:
    """Identify an image by its bytes: their SHA-256."""
    return hashlib.sha256(data).digest()


def open_without_waiting(path: str, flags: int) -> int:
    """Open a file, for `open`: a pipe without a writer cannot hang the caller."""
    # With O_NONBLOCK a pipe opens at once, and fstat then tells what it is. A stat before opening would leave a gap
    # between the two in which the file can be exchanged. Windows has neither the flag nor the problem.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def reason_of(error: OSError, path: str) -> SkipReason:
    """Why a file could not be read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
        return SkipReason.BROKEN_LINK if os.path.islink(path) else SkipReason.VANISHED
    if error.errno in (errno.EISDIR, errno.ENXIO):  # ENXIO: a socket
        return SkipReason.NOT_A_FILE
    return SkipReason.PERMISSION if isinstance(error, PermissionError) else SkipReason.IO_ERROR


# --- pixels -----------------------------------------------------------------------------------------------------------

# In fast mode both sides stay at least this many times the model's input. The resampling that follows then still
# averages over several pixels, which is what keeps the vectors close; docs/decoding.md has the figures.
_FAST_MARGIN = 2
# So do those of a large picture that is reduced before its colours are converted, which takes longer than decoding.
_COLOUR_MARGIN = 4

# The drivers of Pillow that may see a photo. What else it can open stays closed, also to a file that merely calls
# itself a JPEG: EPS starts Ghostscript, and icons or game textures are no photos. MPO comes through the JPEG driver.
_DRIVERS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "JPEG2000", "PPM", "BMP", "DIB")

# Share of the rows of a JPEG that is cut short which must be there; docs/decoding.md has what the others do to vectors.
_LEAST_SHOWN = 0.9
# What a cut is looked for with: see `_completed`.
_FILLERS = (bytes(256), b"\xaa" * 256)
# Passes of a JPEG: each is one over the whole picture, however few bytes it has. Encoders write some ten.
_MOST_SCANS = 500

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
_QUARTER_TURNS = frozenset(turn for number, turn in _TURNS.items() if number > 4)

# Where Pillow keeps what may hold an orientation.
_ORIENTATION_KEYS = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


def decode(
    data: bytes,
    *,
    mode: DecodeMode,
    input_size: tuple[int, int],
    max_pixels: int = DEFAULT_MAX_PIXELS,
    name_hint: str = "",
    rendering: Rendering = AS_REFERENCE,
) -> Decoded:
    """Decode one photo: the first frame of an animation, the first page of a TIFF, the primary image of a HEIC.

    In EXACT mode the image is, pixel for pixel and in the same mode, ``ImageOps.exif_transpose(Image.open(...))``, so
    that open_clip's preprocessing, which resizes before it converts to RGB, sees what it would have seen. What differs
    is grey of more than 8 bits, and colours and transparency as `rendering` says; see `prepare`. FAST lets libjpeg
    scale a large JPEG by 1/2, 1/4 or 1/8 as it decodes, to no less than twice the larger side of `input_size` on both
    sides; other formats are as in EXACT.

    Of camera RAW the embedded preview is taken where it is at least that large, in both modes; else it is developed.

    The content decides what it is decoded with, whatever its name. A JPEG that is cut short at its very end is decoded
    as Pillow does with ``LOAD_TRUNCATED_IMAGES``, and `Decoded.incomplete` says so.

    Args:
        data: the file's bytes.
        mode: how JPEGs are decoded.
        input_size: height and width of the model's input in pixels.
        max_pixels: images with more are refused before any pixel is decoded.
        name_hint: file name or path. Its extension only counts where the content leaves open whether it is camera RAW.
        rendering: what colour profiles and transparency do.

    Raises:
        ImageError: the reason is EMPTY, NOT_AN_IMAGE, UNSUPPORTED, MISSING_DECODER, TOO_MANY_PIXELS, TRUNCATED,
            OUT_OF_MEMORY or DECODE_FAILED.
    """
    if not data:
        raise ImageError(SkipReason.EMPTY, "the file is empty")
    with pillow_limit.at_least(max_pixels), quiet(), codec_errors(data):
        kind, is_named_raw = containers.kind_of(data), extension(name_hint) in RAW_EXTENSIONS
        if kind is Kind.RAW or (is_named_raw and (kind is Kind.MAYBE_RAW or _is_unknown(data, kind))):
            try:
                return _decode_raw(data, mode, input_size, max_pixels, rendering)
            except ImageError as error:
                # A TIFF that no LibRaw reads may still be a picture. Without LibRaw nobody knows.
                if error.reason in (SkipReason.TOO_MANY_PIXELS, SkipReason.MISSING_DECODER, SkipReason.OUT_OF_MEMORY):
                    raise
                if containers.name_of(data) != "TIFF" or not containers.is_full_picture(data):
                    raise
        loaded, incomplete = _load(data, mode, _FAST_MARGIN * max(input_size), max_pixels)
        width, height = loaded.width, loaded.height
        stored = loaded.image
        if loaded.box is not None:
            stored = _trim(stored, width, height, loaded.box, min(input_size))
        upright = prepare(stored, rendering, input_size=input_size)
        if _turn(loaded.image) in _QUARTER_TURNS:
            width, height = height, width
        return Decoded(upright, width, height, loaded.image.format or "", incomplete)


class _Loaded(NamedTuple):
    """An image with its pixels, the size of its original, and what of the image that is if libjpeg has scaled it."""

    image: Image.Image
    width: int
    height: int
    box: tuple[int, int, float, float] | None


def _load(data: bytes, mode: DecodeMode, smallest_side: int, max_pixels: int) -> tuple[_Loaded, str | None]:
    """Open an image and load its pixels; the text says what is missing of one that is cut short."""

    def load(data: bytes) -> _Loaded:
        image = open_header(data)
        width, height = image.size
        _check_pixels(width, height, max_pixels)
        drafted = None
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            _check_scans(data)
            if mode is DecodeMode.FAST:
                drafted = image.draft(None, (smallest_side, smallest_side))
        image.load()
        return _Loaded(image, width, height, None if drafted is None else drafted[1])

    name = containers.name_of(data)
    try:
        return load(data), None
    except ValueError as error:
        if name != "PNG" or "MAX_TEXT" not in str(error):
            raise
    except OSError as error:
        if name != "JPEG" or "truncated" not in str(error):
            raise
        try:
            return _completed(data, load)
        except OSError:
            raise error from None
    lean, profile = containers.png_without_texts(data)
    loaded = load(lean)
    if profile:
        loaded.image.info["icc_profile"] = profile
    return loaded, None


def _completed(data: bytes, load: Callable[[bytes], _Loaded]) -> tuple[_Loaded, str]:
    """Decode a JPEG that is cut short, if nearly all of it is there.

    With an end mark behind what there is libjpeg leaves the rest grey. Pillow does no more than that where
    ``ImageFile.LOAD_TRUNCATED_IMAGES`` is set, but that holds for the whole process. How much is there libjpeg does not
    tell: with something else before the end mark, the picture changes from where the cut is.

    Returns:
        The image, and what is missing.

    Raises:
        ImageError: TRUNCATED: too much is.
    """
    data = data.rstrip(b"\xff")  # the first half of a marker
    loaded = load(data + containers.END_OF_JPEG)
    whole = rows = loaded.image.height
    for filler in _FILLERS:
        changed = ImageChops.difference(loaded.image, load(data + filler + containers.END_OF_JPEG).image).getbbox()
        if changed is not None:
            rows = min(rows, changed[1])
    rows = rows * loaded.height // whole
    _, n_components = containers.jpeg_frame(data)
    scans = list(containers.jpeg_scans(data))
    complete = scans if rows >= _LEAST_SHOWN * loaded.height else scans[:-1]
    if not containers.show_all(complete, n_components):
        detail = f"only {rows:,} of {loaded.height:,} rows are there" if len(scans) == 1 else "it lacks too much detail"
        raise ImageError(SkipReason.TRUNCATED, f"the JPEG is cut short: {detail}")
    if rows == loaded.height:
        return loaded, "the JPEG is cut short: its end mark is missing"
    lack = "are missing" if len(scans) == 1 else "lack detail"
    return loaded, f"the JPEG is cut short: {loaded.height - rows:,} of {loaded.height:,} rows {lack}"


def _reduced(image: Image.Image, input_size: tuple[int, int]) -> Image.Image:
    """Make a picture that is far larger than the model's input smaller, by a whole number."""
    factor = min(image.size) // (_COLOUR_MARGIN * max(input_size))
    if factor < 2:
        return image
    width, height = image.size
    return _trim(image.reduce(factor), width, height, (0, 0, width / factor, height / factor), min(input_size))


def _trim(
    image: Image.Image, width: int, height: int, box: tuple[int, int, float, float], input_side: int
) -> Image.Image:
    """Cut a scaled picture to the size whose shape is most like that of its original, `width` x `height`.

    libjpeg rounds up, and so does Pillow, so that the last column and row may stand for less than a whole pixel: 3002 x
    4000 at a quarter is 751 x 1000, of which `box`, 750.5 x 1000, is the picture. Preprocessing then rounds the longer
    side of the model's input to 340 pixels instead of 341, and the centre crop moves by a pixel, which moves vectors
    further than all that scaling does to the pixels. Where rounding down does not help, a pixel of the longer side
    does; only in panoramas beyond 2.5 : 1 may neither.
    """

    def unlike(size: tuple[int, int]) -> tuple[bool, int]:
        longer, expected = (input_side * max(s) // min(s) for s in (size, (width, height)))
        return longer != expected, abs(size[0] * height - size[1] * width)

    shorter = int(min(box[2:]))  # must not become shorter still
    widths = {image.width, int(box[2]), max(int(box[2]) - 1, shorter)}
    heights = {image.height, int(box[3]), max(int(box[3]) - 1, shorter)}
    best = min(((w, h) for w in widths for h in heights), key=unlike)
    return image if best == image.size else image.crop((0, 0, *best))


def prepare(
    image: Image.Image, rendering: Rendering = AS_REFERENCE, *, input_size: tuple[int, int] | None = None
) -> Image.Image:
    """Do to an image in memory what `decode` does to one from a file; the image given is not changed.

    - The EXIF orientation is applied. EXIF data too damaged to be read counts as none.
    - Grey of more than 8 bits (modes ``I;16*``, ``I`` and ``F``) is scaled to ``L``, where the reference would clip
      everything above 255 to white. 16-bit black and white stay black and white; `zsindex.photos.depth.levels` says
      what is black and white in the wider modes.
    - What is not in sRGB is converted, if the rendering says so. RGB and CMYK are reduced first where they are far
      larger than the model's input.
    - What is transparent is shown on a background, if the rendering says so. Else a palette's transparency, which
      conversion to RGB ignores with a warning, is left out.

    Args:
        input_size: height and width of the model's input; None: nothing is reduced.

    Raises:
        ImageError: the image was opened lazily, and its pixels cannot be decoded.
    """
    with quiet(), codec_errors():
        image.load()
        turn = _turn(image)
        profile = colour.profile_of(image) if rendering.icc is IccMode.CONVERT else None
        if depth.is_deep(image):
            image = depth.to_8_bits(image)
            if image.mode == "LA" and rendering.transparency is TransparencyMode.REFERENCE:
                image = image.getchannel("L")
        elif image.mode == "La":  # which cannot be converted to RGB
            image = image.convert("LA")
        if turn is not None:
            image = image.transpose(turn)
            for key in _ORIENTATION_KEYS:  # so that nobody turns it again
                image.info.pop(key, None)
        if profile is not None:
            if input_size is not None and image.mode in ("RGB", "CMYK") and colour.is_converted(profile, image.mode):
                image = _reduced(image, input_size)
            image = colour.to_srgb(image, profile)
        if rendering.transparency is TransparencyMode.SHOW:
            image = colour.on_background(image)
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


def _check_pixels(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        detail = f"{width} x {height} pixels are more than the limit of {max_pixels:,}; ZSINDEX_MAX_PIXELS raises it"
        raise ImageError(SkipReason.TOO_MANY_PIXELS, detail)


def _check_scans(data: bytes) -> None:
    is_progressive, _ = containers.jpeg_frame(data)
    if (
        is_progressive
        and data.count(b"\xff\xda") > _MOST_SCANS
        and sum(1 for _ in containers.jpeg_scans(data)) > _MOST_SCANS
    ):
        raise ImageError(SkipReason.DECODE_FAILED, f"the JPEG has more than {_MOST_SCANS} passes, made to take forever")


# --- opening ----------------------------------------------------------------------------------------------------------


# How Pillow keeps them: what opens a file, and what looks at its first bytes to say whether it would.
_Driver = tuple[Callable[[IO[bytes], str | bytes], ImageFile.ImageFile], Callable[[bytes], bool | str] | None]


def open_header(data: bytes) -> ImageFile.ImageFile:
    """Find the driver for the bytes and let it read the header.

    This is the loop of `Image.open` without three things that do harm here. Its own pixel limit is a process-wide
    setting that warns through `warnings`, and neither can be changed for one thread alone. It reports a driver that
    knew the signature but not what follows, a file cut short, as "cannot identify". And pillow-heif would have to be
    registered for the whole process.
    """
    Image.init()
    prefix = data[:16].ljust(16, b"\0")  # as much as drivers look at; some fail on less
    name = containers.name_of(data)
    if name == "TIFF":
        _check_compression(data)
    refusal: Exception | None = None
    for factory, accept in _drivers():
        try:
            if accept is None or accept(prefix) is True:
                return factory(io.BytesIO(data), "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:  # "not mine", as Image.open takes it
            refusal = error
    if name == "HEIC" and not _heif_drivers():
        raise ImageError(SkipReason.MISSING_DECODER, "HEIC needs a decoder: pip install 'zsindex[heic]'")
    if refusal is not None:
        raise failure_of(data, refusal, in_header=True) from refusal
    for driver, (_, accept) in Image.OPEN.items():
        if driver not in _DRIVERS and accept is not None and accept(prefix):
            raise ImageError(SkipReason.UNSUPPORTED, f"{driver} is not among the formats that are read")
    if name in ("BigTIFF", "JPEG 2000", "AVIF"):  # which Pillow may have been built without, or reads in part
        raise ImageError(SkipReason.UNSUPPORTED, f"a {name} of a kind that Pillow does not read")
    raise ImageError(SkipReason.NOT_AN_IMAGE, "the content is not an image, whatever the name says")


def _check_compression(data: bytes) -> None:
    number, compression = containers.tiff_compression(data) or (1, "")
    if number not in TiffImagePlugin.COMPRESSION_INFO:
        detail = f"the TIFF is compressed in a way that Pillow cannot read: {number} ({compression})"
        raise ImageError(SkipReason.UNSUPPORTED, detail)


def _is_unknown(data: bytes, kind: Kind) -> bool:
    """Whether no driver would open it. Some camera RAW begins with nothing that tells it from others."""
    prefix = data[:16].ljust(16, b"\0")
    return kind is Kind.UNKNOWN and not any(accept is None or accept(prefix) is True for _, accept in _drivers())


def _drivers() -> Iterator[_Driver]:
    for name in _DRIVERS:
        if name in Image.OPEN:
            factory, accept = Image.OPEN[name]
            yield depth.open_tiff if name == "TIFF" else factory, accept
    yield from _heif_drivers()


def _heif_drivers() -> tuple[_Driver, ...]:
    try:
        from pillow_heif import HeifImageFile
    except ImportError:
        return ()
    return ((HeifImageFile, lambda prefix: prefix[4:8] == b"ftyp" and prefix[8:12] in containers.HEIF_BRANDS),)


def _decode_raw(
    data: bytes, mode: DecodeMode, input_size: tuple[int, int], max_pixels: int, rendering: Rendering
) -> Decoded:
    """Decode camera RAW."""
    try:
        import rawpy
    except ImportError:
        detail = "camera RAW needs a decoder: pip install 'zsindex[raw]'"
        raise ImageError(SkipReason.MISSING_DECODER, detail) from None
    smallest_side = _FAST_MARGIN * max(input_size)
    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            sizes = raw.sizes
            quarter_turn = sizes.flip in (5, 6)  # LibRaw's codes: 3 is upside down, 5 and 6 lie on a side
            width, height = (sizes.height, sizes.width) if quarter_turn else (sizes.width, sizes.height)
            _check_pixels(width, height, max_pixels)
            # The preview is what the photographer saw, and developing takes seconds. LibRaw writes the orientation into
            # it where the camera did not. A damaged preview, like none, leaves the RAW data itself.
            with suppress(ImageError, rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError):
                preview = raw.extract_thumb().data
                if isinstance(preview, bytes):  # a JPEG; few old cameras have a bitmap, an array, that is not upright
                    decoded = decode(
                        preview, mode=mode, input_size=input_size, max_pixels=max_pixels, rendering=rendering
                    )
                    if min(decoded.width, decoded.height) >= smallest_side and decoded.incomplete is None:
                        return replace(decoded, width=width, height=height, format="RAW")
            half_size = mode is DecodeMode.FAST and min(width, height) >= 2 * smallest_side
            developed = raw.postprocess(use_camera_wb=True, half_size=half_size)
            return Decoded(Image.fromarray(developed), width, height, "RAW")
    except rawpy.LibRawFileUnsupportedError as error:
        if containers.kind_of(data) is Kind.UNKNOWN:
            raise ImageError(SkipReason.NOT_AN_IMAGE, "the content is not an image, whatever the name says") from error
        raise ImageError(SkipReason.UNSUPPORTED, "a camera RAW that this version of LibRaw cannot read") from error
    except rawpy.LibRawError as error:
        raise failure_of(data, error, name="camera RAW") from error
