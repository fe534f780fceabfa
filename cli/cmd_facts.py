"""zsindex facts"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from . import options
from .output import print_pairs, write_json

if TYPE_CHECKING:
    from zsindex.records import Facts, Place, Taken


@click.command()
@click.argument("photo")
@options.library
@options.json_flag
def facts(photo: str, library: options.Place | None, as_json: bool) -> None:
    """Show when, where and with what PHOTO was taken, its rating, keywords and caption.

    From its metadata, sidecars beside it (photo.jpg.xmp, photo.xmp), and for the time also its name and that of
    the file. What is missing is not said there, or cannot be right.
    """
    with options.open_library(library) as opened:
        found = opened.facts(photo)
    if as_json:
        write_json(found.to_dict(), sys.stdout)
    else:
        print_pairs(dict(_pairs(found)))


def _pairs(found: Facts) -> list[tuple[str, str]]:
    """Names and texts of what there is."""
    exposure = [
        f"{found.focal_length_mm:g} mm" if found.focal_length_mm else "",
        f"f/{found.aperture:.3g}" if found.aperture else "",
        _seconds(found.exposure_s) if found.exposure_s else "",
        f"ISO {found.iso}" if found.iso else "",
    ]
    size = f"{found.width} x {found.height}" if found.width and found.height else ""
    pairs = [
        ("taken", _time(found.taken) if found.taken else ""),
        ("camera", _camera(found)),
        ("lens", found.lens or ""),
        ("exposure", ", ".join(filter(None, exposure))),
        ("place", _place(found.place) if found.place else ""),
        ("size", size),
        ("orientation", str(found.orientation or "")),
        ("format", f"{found.format}{', animated' * bool(found.animated)}" if found.format else ""),
        ("rating", f"{found.rating:g}" if found.rating is not None else ""),
        ("keywords", ", ".join(found.keywords)),
        ("caption", " ".join((found.caption or "").split())),
    ]
    return [(name, text) for name, text in pairs if text]


def _camera(found: Facts) -> str:
    """Maker and model, of which many say the maker themselves."""
    make, model = found.make or "", found.camera or ""
    return model if model.casefold().startswith(make.casefold()) else f"{make} {model}".strip()


_SOURCES = {"exif": "EXIF", "xmp": "XMP", "name": "its name", "file": "the file's time"}


def _time(taken: Taken) -> str:
    offset = ""
    if taken.offset_s is not None:
        hours, minutes = divmod(abs(taken.offset_s) // 60, 60)
        offset = f" {'-' if taken.offset_s < 0 else '+'}{hours:02}:{minutes:02}"
    return f"{taken.at.isoformat(' ')}{offset}, from {_SOURCES[taken.source]}"


def _seconds(seconds: float) -> str:
    return f"1/{1 / seconds:.0f} s" if seconds < 0.3 else f"{seconds:.3g} s"


def _place(place: Place) -> str:
    altitude = "" if place.altitude_m is None else f", {place.altitude_m:.0f} m"
    return f"{place.latitude:.6f}, {place.longitude:.6f}{altitude}"
