"""Are the facts of photos right, and what do they cost a sync?

    python benchmarks/facts.py [--cameras FOLDER] [--photos FOLDER] [--rounds 5]

Right: each photo of --cameras (../shared/photos/cameras) has a listing of its metadata beside it, which another program
made: ``NAME.jpg.txt``. Make, model, time, exposure, aperture, ISO, focal length and place are compared with that; what
is listed as zero or blank cannot be right, and is counted apart.

Cost: --photos (../shared/photos/imagenet-sample) are synced with the embedded model into new libraries, with facts and
without, in turn, in one process; the figure is the processor's time of all rounds with facts over that without.
docs/decisions.md, "Facts of a photo", has a result.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import tempfile
import time
from collections import Counter
from pathlib import Path

from zsindex import config
from zsindex.library import Library
from zsindex.photos import facts
from zsindex.photos.scan import scan
from zsindex.records import Facts

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "photos"
LINE = re.compile(r"^\[(?:Exif IFD0|Exif SubIFD|GPS) - 0x(\w+)\] [^=]*? = (.*)$", re.MULTILINE)
TEXTS = {"010f": "make", "0110": "camera", "9003": "taken"}
NUMBERS = {"829a": "exposure_s", "829d": "aperture", "8827": "iso", "920a": "focal_length_mm"}
DEGREES = {"0002": "latitude", "0004": "longitude"}
# Listings have a decimal or two; exposures as fractions.
TOLERANCE = 0.07


def listed(text: str) -> dict[str, str | float]:
    """What a listing says, by the name of the fact; of several values of one, the first."""
    found: dict[str, str | float] = {}
    for tag, value in LINE.findall(text):
        if tag in TEXTS and value.strip():
            found.setdefault(TEXTS[tag], value.strip())
        elif tag in NUMBERS and (number := re.match(r"(?:f/)?([\d.]+)(?:/([\d.]+))?", value)):
            found.setdefault(NUMBERS[tag], float(number[1]) / float(number[2] or 1))
        elif tag in DEGREES and (parts := re.match(r"(-?)([\d.]+)° ([\d.]+)' ([\d.]+)", value)):
            degrees = float(parts[2]) + float(parts[3]) / 60 + float(parts[4]) / 3600
            found.setdefault(DEGREES[tag], -degrees if parts[1] else degrees)
    return found


def ours(found: Facts) -> dict[str, str | float | None]:
    """The same of facts."""
    place, taken = found.place, found.taken
    return {
        "make": found.make,
        "camera": found.camera,
        "taken": None if taken is None else f"{taken.at:%Y:%m:%d %H:%M:%S}",
        "exposure_s": found.exposure_s,
        "aperture": found.aperture,
        "iso": found.iso,
        "focal_length_mm": found.focal_length_mm,
        "latitude": None if place is None else place.latitude,
        "longitude": None if place is None else place.longitude,
    }


def verdict(name: str, there: str | float, here: str | float | None) -> str:
    if there in (0, "0000:00:00 00:00:00") or (name == "taken" and not re.search(r"\d", str(there))):
        return "cannot be, left out" if here is None else "cannot be, from elsewhere"
    if here is None:
        return "missing"
    if isinstance(there, str) or isinstance(here, str):
        same = str(there).split() == str(here).split()
    else:
        same = math.isclose(there, here, rel_tol=0.02, abs_tol=0.001 if name == "exposure_s" else TOLERANCE)
    return "agreed" if same else "other"


def coverage(folder: Path) -> None:
    totals: Counter[tuple[str, str]] = Counter()
    n_files = n_facts = 0
    for path in sorted(folder.iterdir()):
        listing = path.with_name(f"{path.name}.txt")
        if path.suffix in (".txt", ".xmp") or not listing.exists():
            continue
        there = listed(listing.read_text(encoding="utf-8", errors="replace"))
        here = ours(facts.read(path.read_bytes(), path.name))
        n_files, n_facts = n_files + 1, n_facts + bool(there)
        for name, value in there.items():
            said = verdict(name, value, here[name])
            totals[name, said] += 1
            if said in ("missing", "other", "cannot be, from elsewhere"):
                print(f"  {said}: {name} of {path.name}: {value!r} listed, {here[name]!r} read")
    print(f"{n_files} files, {n_facts} with facts, {totals.total()} values")
    for said in sorted({said for _, said in totals}):
        by_name = {name: count for (name, own), count in totals.items() if own == said}
        print(f"  {said}: {sum(by_name.values())} {by_name}")


def cost(folder: Path, rounds: int) -> None:
    """Photos are decoded in this process, so that what is measured is all of it, and nothing else."""
    os.environ[config.LIMITS_VARIABLE] = "off"
    n_photos = sum(len(listing.candidates) for listing in scan([str(folder)]))
    read, spent = facts.read, {"with": 0.0, "without": 0.0}
    for number in range(rounds + 1):
        for kind in ("with", "without") if number % 2 else ("without", "with"):
            facts.read = read if kind == "with" else lambda data, name="": None
            with tempfile.TemporaryDirectory() as library, Library.open(Path(library, "library")) as opened:
                began = time.process_time()
                opened.sync(folder)
                if number:  # the first is for loading
                    spent[kind] += time.process_time() - began
    facts.read = read
    each = {kind: 1000 * seconds / rounds / n_photos for kind, seconds in spent.items()}
    print(
        f"{n_photos} photos, {rounds} rounds: {each['with']:.2f} ms of processor time for each with facts,"
        f" {each['without']:.2f} without: {each['with'] / each['without']:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=Path, default=SHARED / "cameras")
    parser.add_argument("--photos", type=Path, default=SHARED / "imagenet-sample")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    coverage(arguments.cameras)
    cost(arguments.photos, arguments.rounds)


if __name__ == "__main__":
    main()
