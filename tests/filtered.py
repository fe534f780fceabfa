"""A library of small photos with facts, to filter."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests import photos
from tests.fakes import COLOURS

SIDECAR = (
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
    ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"'
    ' xmlns:lr="http://ns.adobe.com/lightroom/1.0/"{rating}>{keywords}</rdf:Description></rdf:RDF>'
)


def xmp(rating: int | None = None, keywords: Sequence[str] = ()) -> str:
    """A packet, or the content of a sidecar."""
    items = "".join(f"<rdf:li>{word}</rdf:li>" for word in keywords)
    bag = f"<lr:hierarchicalSubject><rdf:Bag>{items}</rdf:Bag></lr:hierarchicalSubject>" if items else ""
    return SIDECAR.format(rating="" if rating is None else f' xmp:Rating="{rating}"', keywords=bag)


def photo(
    path: Path,
    colour: tuple[int, int, int],
    *,
    taken: str | None = None,
    camera: tuple[str, str] | None = None,
    lens: str | None = None,
    place: tuple[float, float] | None = None,
    size: tuple[int, int] = (64, 48),
    rating: int | None = None,
    keywords: Sequence[str] = (),
) -> Path:
    """A photo of one colour that says all that of itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    block = photos.Image.Exif()
    if camera is not None:
        block[0x010F], block[0x0110] = camera
    exif: dict[int, Any] = {}
    if taken is not None:
        exif[0x9003] = taken
    if lens is not None:
        exif[0xA434] = lens
    block.get_ifd(0x8769).update(exif)
    if place is not None:
        latitude, longitude = place
        block.get_ifd(0x8825).update(
            {
                1: "N" if latitude >= 0 else "S",
                2: (abs(latitude), 0.0, 0.0),
                3: "E" if longitude >= 0 else "W",
                4: (abs(longitude), 0.0, 0.0),
            }
        )
    return photos.save(path, photos.solid(colour, *size), exif=block, xmp=xmp(rating, keywords).encode())


def album(folder: Path) -> Path:
    """Photos of many days, cameras and places; one with a copy that another sidecar lies beside."""
    cameras = [("Apple", "iPhone 12"), ("Canon", "Canon EOS 5D"), None]
    places = [(48.0, 11.0), (-17.0, 179.5), None]
    colours = list(COLOURS.values())
    for n in range(18):
        photo(
            folder / f"{2017 + n % 4}" / f"photo {n:02}.jpg",
            tuple(min(255, max(0, c + 3 * n if c < 128 else c - 3 * n)) for c in colours[n % len(colours)]),  # type: ignore[arg-type]
            taken=None if n % 7 == 6 else f"{2017 + n % 4}:{1 + n % 12:02}:{10 + n:02} {(5 * n) % 24:02}:30:00",
            camera=cameras[n % 3],
            lens="EF50mm f/1.8" if n % 3 == 1 else None,
            place=places[(n // 2) % 3],
            size=(48, 64) if n % 5 == 0 else (64, 48),
            rating=n % 6 if n % 4 else None,
            keywords=[["Tiere|Vögel"], ["夏"], []][n % 3],
        )
    copy = folder / "copies" / "IMG_20150203_040506.jpg"
    copy.parent.mkdir()
    shutil.copyfile(folder / "2017" / "photo 00.jpg", copy)
    copy.with_suffix(".xmp").write_text(xmp(5, ["kept"]), encoding="utf-8")
    return folder
