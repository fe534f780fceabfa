"""As much of a photo's file as `zsindex.photos.facts` needs: of JPEG, PNG, TIFF and camera RAW that is like TIFF what
stands before, behind and between the pixels, of others all.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import IO

from zsindex.errors import ImageError
from zsindex.photos import decode
from zsindex.photos.formats import storable
from zsindex.records import SkipReason

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
# What files begin with that have directories as TIFF has them, with 32-bit places: also those of Olympus and Panasonic.
_TIFFS = (b"II*\0", b"MM\0*", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
_PIXELS = b"IDAT"
_SCAN = 0xDA
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
# Read at first. Where it is not enough, as much more as is missing.
_FIRST = 1 << 16
# Larger headers are read as whole files are. Those of cameras have some hundred KB; panoramas, and what has a picture
# in its profile, a few MB.
_LARGEST = 1 << 24
# Of a PNG; encoders make one of every 8 KB at least.
_MOST_CHUNKS = 100_000
_EXIF, _GPS = 34665, 34853
_BYTES_OF_KINDS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


def read(path: str, *, size: int, mtime_ns: int) -> bytes:
    """Read what `zsindex.photos.facts.read` needs of a file.

    Args:
        size, mtime_ns: as they are known; of a file that has changed since nothing is read.

    Raises:
        ImageError: as `zsindex.photos.decode.read_file` has it.
    """
    try:
        with open(path, "rb", opener=decode.open_without_waiting, buffering=0) as file:
            status = os.fstat(file.fileno())
            if (status.st_size, storable(status.st_mtime_ns)) == (size, mtime_ns):
                header = _header(file, size)
                if header is not None:
                    return header
    except OSError as error:
        raise ImageError(decode.reason_of(error, path), error.strerror or str(error), path=path) from error
    content = decode.read_file(path)
    if (content.size, content.mtime_ns) != (size, mtime_ns):
        raise ImageError(SkipReason.CHANGED, "it has changed since the sync looked at it", path=path)
    return content.data


def _header(file: IO[bytes], size: int) -> bytes | None:
    """None for what is to be read as a whole."""
    first = file.read(_FIRST)
    if first.startswith(_JPEG):
        return _jpeg(first, file, size)
    if first.startswith(_PNG):
        return _png(file, size)
    if first.startswith(_TIFFS):
        return _tiff(first, file, size)
    return None


def _jpeg(first: bytes, file: IO[bytes], size: int) -> bytes | None:
    """All before the data of the first scan."""
    data, position = first, 2
    while position + 4 <= min(size, _LARGEST):
        data = _until(data, file, position + 4)
        if len(data) < position + 4 or data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
        elif marker in _WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _SCAN:
            return _until(data, file, position)[:position]
    return None


def _png(file: IO[bytes], size: int) -> bytes | None:
    """All chunks but those of pixels, of which an empty one stands for all."""
    found, kept = [_PNG], 0
    position, had_pixels = len(_PNG), False
    for _ in range(_MOST_CHUNKS):
        if position + 12 > size or kept > _LARGEST:
            break
        head = _at(file, position, 8)
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        if name != _PIXELS:
            kept += length
            found.append(head + _at(file, position + 8, min(length + 4, _LARGEST)))
        elif not had_pixels:
            had_pixels = True
            found.append(bytes(4) + name + struct.pack(">I", zlib.crc32(name)))
        position += 12 + length
    return b"".join(found) if position == size and kept <= _LARGEST else None


def _tiff(first: bytes, file: IO[bytes], size: int) -> bytes | None:
    """All as far as the first directory, and those of EXIF and GPS, reach."""
    order = "<" if first.startswith(b"II") else ">"
    data = first
    pending = [int.from_bytes(first[4:8], "little" if order == "<" else "big")]
    for start in pending:  # grows by two at most
        data = _until(data, file, start + 2)
        if len(data) < start + 2:
            return None
        (count,) = struct.unpack_from(f"{order}H", data, start)
        end = start + 2 + 12 * count + 4
        data = _until(data, file, end)
        if len(data) < end:
            return None
        for entry in range(count):
            tag, kind, values, where = struct.unpack_from(f"{order}HHII", data, start + 2 + 12 * entry)
            if (length := _BYTES_OF_KINDS.get(kind, 0) * values) > 4:
                end = max(end, where + length)
            if tag in (_EXIF, _GPS) and len(pending) < 3:
                pending.append(where)
        if end > min(_LARGEST, size):
            return None
        data = _until(data, file, end)
    return data


def _until(data: bytes, file: IO[bytes], end: int) -> bytes:
    """The beginning of a file at least so far, unless the file ends before that, or it is too much."""
    if end <= len(data) or end > _LARGEST:
        return data
    return data + _at(file, len(data), max(_FIRST, end - len(data)))


def _at(file: IO[bytes], position: int, length: int) -> bytes:
    file.seek(position)
    found = []
    while length > 0 and (part := file.read(length)):
        found.append(part)
        length -= len(part)
    return b"".join(found)
