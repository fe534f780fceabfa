"""How long filling up a library takes that was made before facts were kept, and what sidecars cost a sync without news.

    python benchmarks/filling_up.py [--photos FOLDER] [--count 10000] [--rounds 5]

Copies of the photos of --photos (../shared/photos/clothing), each with bytes of its own at its end, are put into a
library with made-up vectors and without facts. Then they are filled up by a sync, and syncs that find nothing new are
timed without sidecars and with one for each photo, in turn; the figure for these is a ratio.
docs/decisions.md, "Facts of a photo", has a result.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from zsindex.library import Library
from zsindex.photos import decode
from zsindex.photos.scan import scan
from zsindex.records import Candidate, SyncReport
from zsindex.storage.rows import FileOutcome, ImageRecord

SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "photos"
PACKET = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="{}"/></rdf:RDF>"""
PER_FOLDER = 500
PER_BATCH = 1000


def copies(folder: Path, count: int, into: Path) -> list[Path]:
    """So many files, no two of which have the same bytes."""
    originals = [Path(file.path).read_bytes() for listing in scan([str(folder)]) for file in listing.candidates]
    made = []
    for number in range(count):
        path = into / f"{number // PER_FOLDER:04}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(originals[number % len(originals)] + b"%d" % number)
        made.append(path)
    return made


def store(library: Library, paths: list[Path]) -> None:
    """As if they had been encoded before facts were kept."""
    storage, model = library.session.storage, library.session.model.row()
    vectors = np.random.default_rng(0).standard_normal((PER_BATCH, model.info.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for start in range(0, len(paths), PER_BATCH):
        outcomes = []
        for path, vector in zip(paths[start : start + PER_BATCH], vectors, strict=False):
            status, data = path.stat(), path.read_bytes()
            file = Candidate(str(path.parent), path.name, status.st_size, status.st_mtime_ns)
            outcomes.append(FileOutcome(file, ImageRecord(decode.digest(data), 4, 3, "JPEG", vector)))
        storage.photos.save(outcomes, model.id)


def timed(library: Library, album: Path) -> tuple[float, SyncReport]:
    began = time.perf_counter()
    report = library.sync(album)
    return time.perf_counter() - began, report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=SHARED / "clothing")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base, Library.open(Path(base, "library")) as library:
        album = Path(base, "album")
        paths = copies(arguments.photos, arguments.count, album)
        store(library, paths)
        seconds, report = timed(library, album)
        size = sum(path.stat().st_size for path in paths)
        print(
            f"filled up {report.facts_read:,} photos of {size / 1e6:,.0f} MB in {seconds:.1f} s:"
            f" {report.facts_read / seconds:,.0f}/s with {os.cpu_count()} cores"
        )
        spent: dict[str, list[float]] = {"without": [], "with": []}
        for _ in range(arguments.rounds):
            for path in paths:
                path.with_suffix(".xmp").unlink(missing_ok=True)
            library.sync(album)
            spent["without"].append(timed(library, album)[0])
            for path in paths:
                path.with_suffix(".xmp").write_text(PACKET.format(4), encoding="utf-8")
            came, report = timed(library, album)
            spent["with"].append(timed(library, album)[0])
        print(f"{report.sidecars:,} sidecars that came: {came:.1f} s")
        without, beside = (statistics.median(spent[kind]) for kind in ("without", "with"))
        times = f"{without:.2f} s without sidecars, {beside:.2f} s with: {beside / without:.2f}"
        print(f"a sync that finds nothing new: {times}")


if __name__ == "__main__":
    main()
