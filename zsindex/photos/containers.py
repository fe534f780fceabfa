"""What the bytes of a photo say of themselves: which kind they are, and how far they go. No codec is asked."""

from __future__ import annotations

import re
import struct
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1")

_PNG_START = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*")
_BIG_TIFF = (b"II+\0", b"MM\0+")
_NAMES = (
    (0, (b"\xff\xd8\xff",), "JPEG"),
    (0, (_PNG_START,), "PNG"),
    (0, (b"GIF87a", b"GIF89a"), "GIF"),
    (8, (b"WEBP",), "WebP"),
    (0, _TIFF, "TIFF"),
    (0, _BIG_TIFF, "BigTIFF"),
    (4, (b"ftypavif", b"ftypavis"), "AVIF"),
    (4, tuple(b"ftyp" + brand for brand in HEIF_BRANDS), "HEIC"),
    (0, (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), "JPEG 2000"),
    (0, (b"BM",), "BMP"),
    (0, tuple(b"P%d" % kind for kind in range(1, 8)), "PPM"),
)


def name_of(data: bytes) -> str:
    """What a file begins like, in words: ``JPEG``, ``TIFF``; ``image`` for all that is none of the usual ones."""
    for start, marks, name in _NAMES:
        if data.startswith(marks, start):
            return name
    return "image"


# --- camera RAW -------------------------------------------------------------------------------------------------------

# What files begin with that are camera RAW and nothing else, and where.
_RAW_MARKS = (
    (0, b"FUJIFILMCCD-RAW"),
    (0, b"IIRO"),  # Olympus
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"IIU\0"),  # Panasonic, Leica
    (0, b"\0MRM"),  # Minolta
    (0, b"FOVb"),  # Sigma
    (4, b"ftypcrx "),  # Canon
    (6, b"HEAPCCDR"),
    (8, b"CR\x02"),
)


class Kind(Enum):
    """How a file is to be opened."""

    RAW = auto()  # it is camera RAW
    MAYBE_RAW = auto()  # a TIFF that a camera wrote; what it is called decides
    PICTURE = auto()  # it begins like a format that is no camera RAW
    UNKNOWN = auto()


def kind_of(data: bytes) -> Kind:
    """Look at the first bytes, and in a TIFF at its first directory."""
    if any(data.startswith(mark, start) for start, mark in _RAW_MARKS):
        return Kind.RAW
    if not data.startswith(_TIFF):
        return Kind.UNKNOWN if name_of(data) == "image" else Kind.PICTURE
    tags = tiff_tags(data)
    if (
        _DNG_VERSION in tags
        or tags.get(_PHOTOMETRIC) in _SENSOR_DATA
        or tags.get(_COMPRESSION) in _RAW_COMPRESSIONS
        or (_is_preview(tags) and _SUB_DIRECTORIES in tags and _MAKE in tags)
    ):
        return Kind.RAW
    return Kind.MAYBE_RAW if _MAKE in tags or _SUB_DIRECTORIES in tags else Kind.PICTURE


def is_full_picture(data: bytes) -> bool:
    """Whether the first directory of a TIFF is the picture, rather than a preview of one, or data of a sensor."""
    tags = tiff_tags(data)
    return not (
        _is_preview(tags)
        or _SUB_DIRECTORIES in tags
        or data.startswith(b"CR\x02", 8)
        or tags.get(_PHOTOMETRIC) in _SENSOR_DATA
        or tags.get(_COMPRESSION) in _RAW_COMPRESSIONS
    )


# --- TIFF -------------------------------------------------------------------------------------------------------------

_NEW_SUBFILE_TYPE, _BITS, _COMPRESSION, _PHOTOMETRIC, _MAKE, _SAMPLES, _SUB_DIRECTORIES, _FORMAT, _DNG_VERSION = (
    *(254, 258, 259, 262, 271, 277, 330, 339, 50706),
)
_SENSOR_DATA = (32803, 34892)  # colour filter array, linear RAW
_RAW_COMPRESSIONS = (32767, 32769, 32770, 34713, 65000, 65535)  # of Sony, Epson, Samsung, Nikon, Kodak, Pentax
_MOST_ENTRIES = 4096
_BYTES_OF_KINDS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}

_COMPRESSIONS = {
    1: "none",
    2: "CCITT 1D",
    3: "fax group 3",
    4: "fax group 4",
    5: "LZW",
    6: "old JPEG",
    7: "JPEG",
    8: "Deflate",
    32766: "NeXT",
    32773: "PackBits",
    32809: "ThunderScan",
    32946: "Deflate",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34712: "JPEG 2000",
    34887: "LERC",
    34892: "lossy JPEG of DNG",
    34925: "LZMA",
    34926: "Zstandard, old",
    34927: "WebP, old",
    34933: "PNG",
    34934: "JPEG XR",
    50000: "Zstandard",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}


def tiff_tags(data: bytes) -> dict[int, int]:
    """The first value of each tag of the first directory of a classic TIFF, where it is a short or long number that
    stands in the directory itself; of other tags where that lies. Empty for damaged ones.
    """
    if not data.startswith(_TIFF):
        return {}
    order = "<" if data[:2] == b"II" else ">"
    tags = {}
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        for entry in range(min(count, _MOST_ENTRIES)):
            tag, kind, values = struct.unpack_from(f"{order}HHI", data, start + 2 + 12 * entry)
            where = start + 10 + 12 * entry
            (tags[tag],) = struct.unpack_from(order + ("H" if kind == 3 and values <= 2 else "I"), data, where)
    except struct.error:
        return tags
    return tags


def _end_of_tags(data: bytes) -> int:
    """Where the first directory of a classic TIFF ends, and with it the values that do not stand in it."""
    order = "<" if data[:2] == b"II" else ">"
    start = int.from_bytes(data[4:8], "little" if order == "<" else "big")
    end: int = start + 2
    try:
        (count,) = struct.unpack_from(f"{order}H", data, start)
        end = start + 2 + 12 * count + 4
        for entry in range(min(count, _MOST_ENTRIES)):
            _, kind, values, where = struct.unpack_from(f"{order}HHII", data, start + 2 + 12 * entry)
            if (size := _BYTES_OF_KINDS.get(kind, 0) * values) > 4:
                end = max(end, where + size)
    except struct.error:
        return max(end, len(data) + 1)
    return end


def _is_preview(tags: dict[int, int]) -> bool:
    return bool(tags.get(_NEW_SUBFILE_TYPE, 0) & 1)


def tiff_compression(data: bytes) -> tuple[int, str] | None:
    """The number of a TIFF's compression, and its name if it has a known one."""
    number = tiff_tags(data).get(_COMPRESSION)
    return None if number is None else (number, _COMPRESSIONS.get(number, "which has no name"))


# --- JPEG -------------------------------------------------------------------------------------------------------------

END_OF_JPEG = b"\xff\xd9"
_START_OF_SCAN = 0xDA
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_NO_LENGTH = (0x01, *range(0xD0, 0xD8))
# A marker in the data of a scan: a zero after 0xFF means the byte itself, and these marks only restart it.
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class Scan:
    """One of a JPEG's passes over the picture: which coefficients of which components it brings, and whether down to
    their last bit.
    """

    components: tuple[int, ...]
    first: int
    last: int
    is_exact: bool


def jpeg_scans(data: bytes) -> Iterator[Scan]:
    """The scans of a JPEG in their order, the one that a file is cut in included."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            position += 1
            continue
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker == END_OF_JPEG[1]:
            return
        if marker in _NO_LENGTH:
            position += 2
            continue
        length = int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _START_OF_SCAN and position + 2 + length <= len(data):
            header = data[position + 4 : position + 2 + length]
            count = header[0] if header else 0
            if len(header) < 1 + 2 * count + 3:
                return
            first, last, bits = header[1 + 2 * count : 4 + 2 * count]
            yield Scan(tuple(header[1 : 1 + 2 * count : 2]), first, last, bits & 15 == 0)
            found = _NEXT_MARKER.search(data, position + 2 + length)
            position = found.end() - 2 if found else len(data)
        else:
            position += 2 + length


def jpeg_frame(data: bytes) -> tuple[bool, int]:
    """Whether a JPEG comes in several passes, each over the whole picture; and how many components it has, 0 where
    nothing says so.
    """
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker in _PROGRESSIVE, data[position + 9]
        if marker == 0xFF:
            position += 1
        elif marker in _NO_LENGTH:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return False, 0


def show_all(scans: Sequence[Scan], n_components: int) -> bool:
    """Whether these scans bring every bit of every coefficient of every component."""
    brought: defaultdict[int, set[int]] = defaultdict(set)
    for scan in scans:
        if scan.is_exact:
            for component in scan.components:
                brought[component].update(range(scan.first, min(scan.last, 63) + 1))
    return len(brought) >= n_components > 0 and all(len(coefficients) == 64 for coefficients in brought.values())


# --- metadata of camera RAW -------------------------------------------------------------------------------------------

_CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
# Boxes at one level. Files have a dozen.
_MOST_BOXES = 1000


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box, where what is in it begins, and where it ends."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        size, kind, header = int.from_bytes(data[start : start + 4], "big"), data[start + 4 : start + 8], 8
        if size == 1:
            size, header = int.from_bytes(data[start + 8 : start + 16], "big"), 16
        stop = end if size == 0 else start + size
        if stop > end or stop < start + header:
            return
        yield kind, start + header, stop
        start = stop


def cr3_metadata(data: bytes) -> dict[str, bytes]:
    """The blocks of EXIF in one of Canon's newer RAW files, ``CMT1`` to ``CMT4``, and its packet of XMP as ``xmp``."""
    found: dict[str, bytes] = {}
    for kind, start, end in _boxes(data, 0, len(data)):
        if kind == b"uuid" and data.startswith(_XMP_BOX, start):
            found["xmp"] = data[start + 16 : end]
        elif kind == b"moov":
            for inner, begin, stop in _boxes(data, start, end):
                if inner == b"uuid" and data.startswith(_CANON, begin):
                    for name, first, last in _boxes(data, begin + 16, stop):
                        if name in (b"CMT1", b"CMT2", b"CMT3", b"CMT4"):
                            found[name.decode()] = data[first:last]
    return found


def mrw_metadata(data: bytes) -> bytes:
    """The block of EXIF in one of Minolta's RAW files; empty if there is none."""
    position, end = 8, min(len(data), 8 + int.from_bytes(data[4:8], "big"))
    while position + 8 <= end:
        length = int.from_bytes(data[position + 4 : position + 8], "big")
        if data.startswith(b"\0TTW", position):
            return data[position + 8 : position + 8 + length]
        position += 8 + length
    return b""


# --- PNG --------------------------------------------------------------------------------------------------------------

# Of a text or a colour profile, unpacked. What is longer is left out.
_MOST_UNPACKED = 16 << 20
# Encoders make one of every 8 KB, and a few besides.
_MOST_CHUNKS = 1_000_000
_XMP = b"XML:com.adobe.xmp\0"
# As ImageMagick writes them: three lines of a heading, then hexadecimal digits.
_EXIF_PROFILES = (b"Raw profile type exif\0", b"Raw profile type APP1\0")


def png_without_texts(data: bytes) -> tuple[bytes, bytes]:
    """A PNG without its texts, which may be longer than Pillow reads, and without its colour profile.

    What may say how the picture is to be turned stays: XMP, unpacked, since Pillow limits only what is packed, and EXIF
    in its own chunk.

    Returns:
        The PNG, and the colour profile, empty if there is none.
    """
    kept, profile = [_PNG_START], b""
    position = len(_PNG_START)
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        name = data[position + 4 : position + 8]
        end = position + 12 + length
        body = data[position + 8 : position + 8 + length]
        if name == b"iCCP":
            profile = _unpacked(body[body.find(b"\0") + 2 :])
        elif name == b"iTXt" and body.startswith(_XMP) and len(body) > len(_XMP) + 2:
            packed = body[len(_XMP)]
            language, _, rest = body[len(_XMP) + 2 :].partition(b"\0")
            title, _, text = rest.partition(b"\0")
            text = _unpacked(text) if packed else text
            if len(text) < _MOST_UNPACKED:
                plain = _XMP + b"\0\0" + language + b"\0" + title + b"\0" + text
                checksum = zlib.crc32(name + plain)
                kept.append(struct.pack(">I", len(plain)) + name + plain + struct.pack(">I", checksum))
        elif name not in (b"tEXt", b"zTXt", b"iTXt"):
            kept.append(data[position:end])
        position = end
    return b"".join(kept), profile


def png_metadata(data: bytes) -> tuple[bytes, bytes]:
    """The EXIF block and the packet of XMP of a PNG, before its pixels or behind them, where many programs put them;
    empty for none.
    """
    block, hexadecimal, packet = b"", b"", b""
    position = len(_PNG_START)
    for _ in range(_MOST_CHUNKS):
        if position + 8 > len(data):
            break
        length = int.from_bytes(data[position : position + 4], "big")
        name, start = data[position + 4 : position + 8], position + 8
        position = start + length + 4
        if name == b"eXIf":
            block = data[start : start + length]
        elif name == b"iTXt" and not packet and data.startswith(_XMP, start):
            _, _, rest = data[start + len(_XMP) + 2 : start + length].partition(b"\0")
            _, _, text = rest.partition(b"\0")
            packet = _unpacked(text) if data[start + len(_XMP)] else text
        elif name == b"zTXt" and not hexadecimal and data.startswith(_EXIF_PROFILES, start):
            hexadecimal = _unpacked(data[data.index(b"\0", start) + 2 : start + length])
        elif name == b"tEXt" and data.startswith(_EXIF_PROFILES, start):
            hexadecimal = data[data.index(b"\0", start) + 1 : start + length]
    if hexadecimal and not block:
        with suppress(ValueError):
            block = bytes.fromhex("".join(hexadecimal.decode("ascii", "replace").split("\n")[3:]))
    return block, packet


def _unpacked(packed: bytes) -> bytes:
    try:
        unpacked = zlib.decompressobj().decompress(packed, _MOST_UNPACKED + 1)
    except zlib.error:
        return b""
    return unpacked if len(unpacked) <= _MOST_UNPACKED else b""


def _lacks_png_end(data: bytes) -> bool:
    """Whether a PNG ends before the part that ends it, and all parts up to there have names that parts can have."""
    position = len(_PNG_START)
    while position + 8 <= len(data):
        name = data[position + 4 : position + 8]
        if name == b"IEND" or not name.isalpha():
            return False
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return True


# --- cut short --------------------------------------------------------------------------------------------------------

_END_MARKS = {b"GIF8": b";", b"\xff\x4f\xff\x51": b"\xff\xd9"}  # of GIF and of a bare JPEG 2000 codestream


def is_cut_short(data: bytes, words: str) -> bool:
    """Tell whether a file that failed to decode is shorter than its own header says.

    Most drivers say so. Those of WebP, AVIF, JPEG 2000 and compressed TIFF, and at times that of GIF, report just some
    failure.

    Args:
        words: the codec's own.
    """
    if data.startswith(_PNG_START):
        # Of a part that is too short for what it is Pillow says "truncated", too.
        return _lacks_png_end(data) or ("truncat" in words.lower() and "chunk" not in words)
    if "truncat" in words.lower() or "unexpected end of file" in words.lower():
        return True
    if data[:4] == b"RIFF":
        return 8 + int.from_bytes(data[4:8], "little") > len(data)
    if data[:4] in _TIFF:
        return _end_of_tags(data) > len(data)
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
