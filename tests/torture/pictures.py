"""Hostile photos: mutated and made-up files, through the processes that decode for a sync and for the service.

Every format that is read is mutated, of every kind that encoders write. A file may be refused; what may not be is that
its decoder crashes, takes longer or more memory than it may, or that the next good photo is decoded otherwise.
"""

from __future__ import annotations

import io
import random
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image, features

from tests import photos
from tests.torture.campaign import Campaign, Case
from zsindex.errors import ImageError
from zsindex.photos import decode
from zsindex.photos.sandbox import Sandbox
from zsindex.photos.scaling import Fitting
from zsindex.records import AS_REFERENCE, AS_SEEN, DecodeLimits, DecodeMode, SkipReason

MOST_PIXELS = 4_000_000
# What a decoder takes before it has seen a photo, with all codecs that it may import.
OWN_BYTES = 160 << 20
INPUT = (32, 32)
FITTING = Fitting(*INPUT, "bicubic", "shortest")

# So many are being decoded before it is asked what became of the first one.
_AHEAD = 48
# After so many files each decoder is asked for a good photo, and how much memory it has had.
_PROBE_EVERY = 50
# One of so many files is made up instead of mutated.
_MADE_UP_EVERY = 40

Make = Callable[[random.Random], bytes]


# --- good files, of all kinds -----------------------------------------------------------------------------------------


def _good(folder: Path) -> dict[str, list[bytes]]:
    """By format: small pictures in all the ways that it has to keep them."""
    colours = photos.gradient(40, 28)
    grey, alpha, cmyk = colours.convert("L"), colours.convert("RGBA"), colours.convert("CMYK")
    alpha.putalpha(grey)
    palette = colours.quantize(30)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    frames = [photos.solid(colour, 40, 28) for colour in ("red", "blue", "green")]
    exif, icc = Image.Exif(), Image.open(io.BytesIO(_with_profile(colours))).info["icc_profile"]
    exif[0x0112], exif[0x010E] = 6, "a picture"
    exif.get_ifd(0x8769)[0xA001] = 65535

    def save(image: Image.Image, format: str, **options: Any) -> bytes:
        return photos.encoded(image.copy(), format, **options)  # Pillow leaves options of one save for the next

    def several(image: Image.Image, format: str, **options: Any) -> bytes:
        return save(image, format, save_all=True, append_images=[frame.copy() for frame in frames], **options)

    found = {
        "jpeg": [
            save(colours, "JPEG", exif=exif.tobytes()),
            save(colours, "JPEG", progressive=True, subsampling=2, icc_profile=icc, comment=b"words"),
            save(grey, "JPEG", optimize=True),
            save(cmyk, "JPEG", quality=40),
            save(colours, "JPEG", restart_marker_blocks=1, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"),
            several(colours, "MPO"),
        ],
        "png": [
            save(colours, "PNG", exif=exif.tobytes(), icc_profile=icc),
            save(palette, "PNG", transparency=3),
            save(alpha, "PNG"),
            save(deep, "PNG"),
            save(colours.convert("1"), "PNG"),
            several(colours, "PNG"),
            save(grey.convert("LA"), "PNG"),
        ],
        "webp": [
            save(colours, "WEBP", exif=exif.tobytes(), icc_profile=icc),
            save(alpha, "WEBP", lossless=True),
            several(colours, "WEBP"),
        ],
        "tiff": [
            save(colours, "TIFF"),
            *(save(colours, "TIFF", compression=how) for how in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")),
            save(colours.convert("1"), "TIFF", compression="group4"),
            save(deep, "TIFF", compression="tiff_lzw"),
            save(Image.fromarray(np.asarray(grey).astype(np.float32)), "TIFF"),
            save(cmyk, "TIFF", icc_profile=icc),
            save(alpha, "TIFF", exif=exif),
            several(colours, "TIFF"),
            save(colours, "TIFF", big_tiff=True),
        ],
        "gif": [save(palette, "GIF", transparency=2), several(frames[0], "GIF"), save(grey, "GIF")],
        "bmp": [save(colours, "BMP"), save(palette, "BMP"), save(colours.convert("1"), "BMP"), save(alpha, "BMP")],
        "ppm": [save(colours, "PPM"), save(grey, "PPM"), save(deep, "PPM"), b"P3\n2 2\n255\n" + b"1 2 3 " * 4],
    }
    if features.check("avif"):
        found["avif"] = [
            save(colours, "AVIF", exif=exif.tobytes(), speed=10),
            save(alpha, "AVIF", quality=100, speed=10),
            several(frames[0], "AVIF", speed=10),
        ]
    if features.check("jpg_2000"):
        found["jpeg2000"] = [save(colours, "JPEG2000"), save(alpha, "JPEG2000", irreversible=True, no_jp2=True)]
    if _has("pillow_heif"):
        found["heic"] = [photos.heic(folder / "a.heic", colours).read_bytes()]
    if _has("rawpy"):
        preview = photos.jpeg(folder / "preview.jpg", photos.gradient(96, 72))
        found["dng"] = [
            photos.dng(folder / "a.dng", width=48, height=32).read_bytes(),
            photos.dng(folder / "b.dng", preview=preview, width=48, height=32).read_bytes(),
        ]
    return found


def _has(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def _with_profile(image: Image.Image) -> bytes:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return photos.encoded(image, "PNG", icc_profile=profile)


# --- mutations --------------------------------------------------------------------------------------------------------

_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
# What formats give a meaning to.
_TOKENS = (
    *(b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xdb", b"\xff\xdd"),
    *(
        b"\xff\xe0",
        b"\xff\xe1",
        b"\xff\xe2",
        b"\xff\xee",
        b"\xff\xfe",
        b"Exif\0\0",
        b"ICC_PROFILE\0",
        b"MPF\0",
        b"II*\0",
    ),
    *(b"MM\0*", b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL", b"fcTL", b"fdAT"),
    *(b"IEND", b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"EXIF", b"NETSCAPE2.0", b"!\xf9\x04", b","),
    *(b"ftyp", b"meta", b"iloc", b"iprp", b"ipco", b"ispe", b"av1C", b"hvcC", b"mdat", b"idat", b"irot", b"grid"),
    *(b"\0" * 16, b"\xff" * 16, b"P6\n", b"P7\n", b"Pf\n", b"P4\n"),
)


def mutated(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, removed, doubled, moved, put in, or taken from another file."""
    out = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6, 20))):
        # Headers decide more than pixels; but what begins like no format is not looked at any further.
        at = chance.randrange(min(len(out), chance.choice((60, 300, len(out)))) or 1) if out else 0
        at = max(at, min(len(out) - 1, chance.choice((0, 12, 12, 12, 12)))) if out else 0
        to = at + chance.choice((1, 2, 4, 8, 16, 64, 256))
        how = chance.choice((0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 7, 8))
        if how == 0 and out:
            out[at] ^= 1 << chance.randrange(8)
        elif how == 1 and out:
            out[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif how in (2, 3):
            kind = chance.choice((">H", "<H", ">I", "<I"))
            value = chance.choice(_NUMBERS) if how == 2 else chance.randrange(1 << 32)
            out[at : at + struct.calcsize(kind)] = struct.pack(kind, value % (1 << 8 * struct.calcsize(kind)))
        elif how == 4:
            del out[at:to]
        elif how == 5:
            out[at:at] = out[at:to] * chance.choice((1, 2, 100))
        elif how == 6:
            out[at:at] = chance.choice(_TOKENS)
        elif how == 7 and other:
            start = chance.randrange(len(other))
            out[at:to] = other[start : start + chance.choice((4, 16, 64, 1024))]
        elif how == 8:
            del out[max(at, len(out) // 4) :]
    return bytes(out)


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the checksums that they should, so that a decoder looks at what is in them."""
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        (length,) = struct.unpack_from(">I", out, at)
        end = at + 8 + length
        if end + 4 > len(out):
            break
        struct.pack_into(">I", out, end, zlib.crc32(out[at + 4 : end]))
        at = end + 4
    return bytes(out)


def repacked(data: bytes, chance: random.Random) -> bytes:
    """A good PNG whose chunks, or what is compressed in one of them, are mutated, and compressed again."""
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    place = chance.randrange(len(chunks))
    kind, body = chunks[place]
    if kind == b"IDAT":
        body = zlib.compress(mutated(zlib.decompress(body), b"", chance), 1)
    elif kind == b"iCCP":
        name, packed = body.split(b"\0", 1)
        body = name + b"\0\0" + zlib.compress(mutated(zlib.decompress(packed[1:]), b"", chance), 1)
    else:
        body = mutated(body, b"", chance)
    chunks[place] = kind, body
    return data[:8] + b"".join(_chunk(*chunk) for chunk in chunks)


# --- made up ----------------------------------------------------------------------------------------------------------


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *before: bytes, pixels: bytes = b"", depth: int = 8, colour: int = 0) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(pixels, 9))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + body + _chunk(b"IEND", b"")


def thin(chance: random.Random) -> bytes:
    """One pixel wide, and as long as may be."""
    longer = chance.choice((1_000, 30_000, 65_500, 500_000, MOST_PIXELS))
    size = (longer, 1) if chance.random() < 0.5 else (1, longer)
    kinds = (
        ["PNG", "TIFF", "BMP"] + (["JPEG", "GIF"] if longer <= 65_500 else []) + (["WEBP"] if longer < 16_384 else [])
    )
    kind = chance.choice(kinds)
    return photos.encoded(Image.new("L" if kind in ("GIF", "TIFF") else "RGB", size, 90), kind)


def huge(chance: random.Random) -> bytes:
    """Far more pixels than there are, or than may be, in a few bytes."""
    side = chance.choice((1_999, 2_000, 2_001, 20_000, 65_535, 2**31 - 1))
    kind = chance.randrange(6)
    if kind == 0:
        return _png(side, side, depth=chance.choice((1, 8, 16)), colour=chance.choice((0, 2, 3, 6)))
    if kind == 1:  # all of it is there: zeros compress well
        side = min(side, 2_000)
        return _png(side, side, pixels=bytes((side + 1) * side))
    if kind == 2:
        return (
            b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(99)
        )
    if kind == 3:
        short = side & 0xFFFF
        return (
            b"GIF89a"
            + struct.pack("<HHBBB", short, short, 0xF7, 0, 0)
            + bytes(768)
            + b","
            + struct.pack("<HHHHB", 0, 0, short, short, 0)
            + b"\x08\xff"
            + b"\0" * 300
            + b"\0;"
        )
    if kind == 4:
        return b"P6\n%d %d\n255\n" % (side, side) + bytes(1000)
    data = bytearray(photos.encoded(photos.solid("red", 16, 16), "JPEG"))
    at = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, at + 5, side & 0xFFFF, side & 0xFFFF)
    return bytes(data)


def frames(chance: random.Random) -> bytes:
    """Thousands of frames or pages."""
    n = chance.choice((100, 1_000, 5_000))
    kind = chance.randrange(4)
    if kind == 0:
        one = photos.encoded(photos.solid("red", 4, 4).convert("P"), "GIF")
        return one[:-1] + one[one.index(b",") : -1] * n + b";"
    if kind == 1:
        control = _chunk(b"acTL", struct.pack(">II", n, 0))
        frame = _chunk(b"fcTL", struct.pack(">IIIIIHHBB", 0, 4, 4, 0, 0, 1, 1, 0, 0))
        rest = (_chunk(b"fcTL", struct.pack(">IIIIIHHBB", i, 4, 4, 0, 0, 1, 1, 0, 0)) for i in range(1, n))
        return _png(4, 4, control, frame, *rest, pixels=bytes(20))
    if kind == 2:  # pages of a TIFF, one behind the other, the last of which may lead back to the first
        tags = (
            (256, 3, 1, 4),
            (257, 3, 1, 4),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (273, 4, 1, 8),
            (279, 4, 1, 16),
        )
        page = struct.pack("<H", len(tags)) + b"".join(
            struct.pack("<HHIHH" if t[1] == 3 else "<HHII", *t, *([0] if t[1] == 3 else [])) for t in tags
        )
        size = len(page) + 4
        at = 24
        out = b"II*\0" + struct.pack("<I", at) + bytes(16)
        last = chance.choice((0, at))
        return out + b"".join(page + struct.pack("<I", at + (i + 1) * size if i < n - 1 else last) for i in range(n))
    picture = photos.solid("red", 2, 2)
    return photos.encoded(picture, "WEBP", save_all=True, append_images=[photos.solid("blue", 2, 2)] * min(n, 300))


def metadata(chance: random.Random) -> bytes:
    """Metadata without end, or that blows up, or leads in circles."""
    jpeg = photos.encoded(photos.solid("red", 16, 16), "JPEG")
    kind = chance.randrange(8)
    if kind == 0:
        marker = chance.choice((0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE))
        what = chance.choice(
            (b"", b"Exif\0\0", b"ICC_PROFILE\0\x01\xff", b"http://ns.adobe.com/xap/1.0/\0", b"MPF\0MM\0*")
        )
        one = bytes((0xFF, marker)) + struct.pack(">H", 2 + len(what) + 200) + what + bytes(200)
        return jpeg[:2] + one * chance.choice((10, 1_000, 20_000)) + jpeg[2:]
    if kind == 1:
        text = _chunk(b"tEXt", b"key\0" + b"a" * 500)
        return _png(4, 4, *[text] * chance.choice((100, 10_000)), pixels=bytes(20))
    if kind == 2:
        bomb = zlib.compress(bytes(chance.choice((1 << 20, 64 << 20))), 9)
        what = chance.choice((b"zTXt", b"iCCP", b"iTXt"))
        body = b"key\0\1\0\0\0" + bomb if what == b"iTXt" else b"key\0\0" + bomb
        return _png(4, 4, *[_chunk(what, body)] * chance.choice((1, 3, 40)), pixels=bytes(20))
    if kind == 3:  # a directory that is its own next and its own child
        entry = struct.pack("<HHII", chance.choice((0x8769, 0x8825, 0xA005, 0x014A)), 4, 1, 8)
        n = chance.choice((1, 100, 4_000))
        body = b"II*\0" + struct.pack("<IH", 8, n) + entry * n + struct.pack("<I", 8)
        body = b"Exif\0\0" + body
        return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]
    if kind == 4:  # values of four thousand million bytes each
        n = chance.choice((10, 3_000))
        tags = b"".join(struct.pack("<HHII", 40_000 + i, chance.choice((2, 5, 7, 12)), 2**32 - 1, 8) for i in range(n))
        return b"II*\0" + struct.pack("<IH", 8, n) + tags + struct.pack("<I", 0)
    if kind == 5:
        lines = b"#" + b"x" * 100 + b"\n"
        return b"P6\n" + lines * chance.choice((10, 2_000)) + b"4 4\n255\n" + bytes(48)
    if kind == 6:
        extension = b"!\xfe" + (b"\xff" + b"x" * 255) * chance.choice((10, 20_000)) + b"\0"
        gif = photos.encoded(photos.solid("red", 4, 4).convert("P"), "GIF")
        at = gif.index(b",")
        return gif[:at] + extension + gif[at:]
    # passes without end, each of which goes over the whole picture
    whole = photos.encoded(photos.gradient(chance.choice((64, 1_000)), 64), "JPEG", progressive=True)
    at = whole.rindex(b"\xff\xda")
    return whole[:at] + whole[at:-2] * chance.choice((100, 2_000)) + b"\xff\xd9"


MADE_UP: dict[str, Make] = {"thin": thin, "huge": huge, "frames": frames, "metadata": metadata}


# --- the campaign -----------------------------------------------------------------------------------------------------


class Pictures(Campaign):
    """Files through the processes that decode.

    Attributes:
        limits: of decoding one.
    """

    limits: ClassVar = DecodeLimits(seconds=20, memory_bytes=256 << 20)
    name = "pictures"
    about = "mutated and made-up photos, through the processes that decode"
    in_ci = 2_000

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self._seed = seed
        self._good = _good(work)
        self._kinds = list(self._good)
        self._probe = photos.encoded(photos.noise(1, 48, 40), "PNG")
        self._expected = decode.decode(self._probe, mode=DecodeMode.EXACT, input_size=INPUT).image.tobytes()
        self._sandbox = Sandbox(self.limits, workers=2, max_pixels=MOST_PIXELS)
        self._running: dict[int, Future[list[str]]] = {}
        self._next = 0
        self._became: Counter[str] = Counter()
        self._longest, self._most_bytes = (0.0, -1), 0

    def missing(self) -> str | None:
        return None if sys.platform == "linux" else "needs limits of memory that hold"

    def kind_of(self, number: int) -> str:
        if number % _MADE_UP_EVERY == _MADE_UP_EVERY - 1:
            return list(MADE_UP)[number // _MADE_UP_EVERY % len(MADE_UP)]
        return self._kinds[number % len(self._kinds)]

    def file(self, number: int) -> bytes:
        """The file of a case. It depends on the seed and the number alone."""
        chance = random.Random(f"{self._seed} {number}")
        kind = self.kind_of(number)
        if kind in MADE_UP:
            return MADE_UP[kind](chance)
        good = chance.choice(self._good[kind])
        if kind == "png" and chance.random() < 0.6:
            return repacked(good, chance)
        data = mutated(good, chance.choice(self._good[kind]), chance)
        return with_checksums(data) if kind == "png" and chance.random() < 0.9 else data

    def cases(self) -> Iterator[Case]:
        with self._sandbox, ThreadPoolExecutor(2) as pool:
            try:
                for number in count():
                    yield Case(self.kind_of(number), str(number), partial(self._outcome, pool, number))
            finally:
                for future in self._running.values():
                    future.cancel()

    def _outcome(self, pool: ThreadPoolExecutor, number: int) -> list[str]:
        """What went wrong; meanwhile the next ones are decoded."""
        self._next = max(self._next, number)
        while self._next <= number + _AHEAD:
            self._running[self._next] = pool.submit(self._try, self._next)
            self._next += 1
        return self._running.pop(number).result()

    def _try(self, number: int) -> list[str]:
        data = self.file(number)
        chance = random.Random(number)
        mode = chance.choice((DecodeMode.EXACT, DecodeMode.FAST))
        rendering = chance.choice((AS_SEEN, AS_REFERENCE))
        fitting = chance.choice((None, FITTING))
        wrong, begun = [], time.monotonic()
        try:
            found = self._sandbox.decode(data, mode, INPUT, rendering, name=f"{number}.jpg", fitting=fitting)
            became = "decoded"
            if found.width * found.height > MOST_PIXELS or min(found.image.size) < 1:
                wrong.append(f"a picture of {found.width} x {found.height} pixels came out")
        except ImageError as error:
            became = str(error.reason)
            if "crashed" in error.detail or "killed" in error.detail or "again and again" in error.detail:
                wrong.append(error.detail)
            if error.reason is SkipReason.TOO_SLOW:
                wrong.append(error.detail)
        except Exception as error:  # noqa: BLE001
            became = "error"
            wrong.append(f"{type(error).__name__} came out: {error}")
        took = time.monotonic() - begun
        self._became[became] += 1
        self._longest = max(self._longest, (took, number))
        if number % _PROBE_EVERY == 0 or wrong or became == SkipReason.OUT_OF_MEMORY:
            wrong += self._probed()
        return wrong

    def _probed(self) -> list[str]:
        """What is wrong with a good photo after that, and with how much memory decoders have had."""
        wrong = []
        for worker in list(self._sandbox._all):
            peak = _peak_bytes(worker._process._number)
            self._most_bytes = max(self._most_bytes, peak)
            if peak > self.limits.memory_bytes + OWN_BYTES:
                wrong.append(f"a decoder has had {peak >> 20:,} MB of memory")
        try:
            if self._sandbox.decode(self._probe, DecodeMode.EXACT, INPUT).image.tobytes() != self._expected:
                wrong.append("after it, a good photo is decoded otherwise")
        except Exception as error:  # noqa: BLE001
            wrong.append(f"after it, a good photo is refused: {error}")
        return wrong

    def notes(self) -> Sequence[str]:
        became = ", ".join(f"{reason} {n:,}" for reason, n in self._became.most_common())
        seconds, number = self._longest
        return (
            f"formats: {', '.join(self._kinds)}",
            f"what became of them: {became}",
            f"longest: {seconds:.2f} s (case {number}); most memory of a decoder: {self._most_bytes >> 20:,} MB",
        )


def _peak_bytes(process: int) -> int:
    """The most memory that a process has had at a time; 0 if it is not there any more."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:")), 0)
