"""Small photos of one colour, and the library folders that tests fill with them."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from zsindex.records import Candidate


def photo(path: Path, colour: str | tuple[int, int, int] = "red", *, mark: int = 0) -> Path:
    """Write a photo of one colour, with its folders. Another mark makes other bytes, and hardly another vector."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (16, 12), colour)
    image.putpixel((0, 0), (mark >> 16 & 255, mark >> 8 & 255, mark & 255))
    image.save(path)
    return path


def damaged(path: Path, *, mark: int = 0) -> Path:
    """Write a file that promises a photo and holds none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no photo, whatever the name says %d" % mark)
    return path


def candidate(path: Path) -> Candidate:
    """A file as the scan reports it; all zeros where it is not there."""
    if not path.exists():
        return Candidate(str(path.parent), path.name, 0, 0)
    status = path.stat()
    return Candidate(str(path.parent), path.name, status.st_size, status.st_mtime_ns)
