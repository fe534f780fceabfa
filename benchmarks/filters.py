"""What a filter costs a question: filtered ones beside the same without, warm in one process, and cold as commands.

    python benchmarks/filters.py
    python benchmarks/filters.py --keep FOLDER --images 100000 --labels 20 --repeats 9

The library is made up (`synthetic.py`), with facts of every photo. Filters that leave nearly all, half, some and few
photos are tried, each with what it leaves. Warm, each filtered question takes turns with the unfiltered one; the ratio
is that of the medians; "found in" is finding the photos that fit, alone. Cold are fresh processes of `zsindex`. Both by
the processor's time, which other work on the machine does not change much.

    python benchmarks/filters.py --cells 400000

How much a search in cells finds of the true 20 nearest of those that fit, over made vectors with clusters: of photos
that fit by chance, and of those that fit because they are unlike the query, so that its nearest cells hold few of them.

docs/benchmarks.md, "Filters", has a result.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import synthetic
from start_up import files, least, process

from zsindex.classification.fitting import fits
from zsindex.index import cells, nearest
from zsindex.index.vectors import Snapshot, VectorTable
from zsindex.library import Library
from zsindex.records import Facts, Place, Taken, TakenFrom
from zsindex.where import Where, camera, hour, keyword, near, rating, taken, year

CAMERAS = (("Apple", "iPhone 12"), ("Canon", "Canon EOS 5D"), ("SONY", "ILCE-7M3"), None)


def facts(path: str) -> Facts:
    """Facts that follow from a path: some ten years, in order; all else by chance."""
    number = int(path[-10:-4])
    chance = zlib.crc32(path.encode())
    made, model = CAMERAS[chance % 4] or (None, None)
    moment = datetime(2010, 1, 1) + timedelta(minutes=50 * number)
    place = Place(40 + chance % 1000 / 50, chance % 1777 / 50) if chance % 3 else None
    keywords = tuple(f"Trips|Country {chance % 50}|Town {chance % 500}" for _ in range(chance % 2))
    return Facts(
        taken=Taken(moment, None, TakenFrom.EXIF),
        make=made,
        camera=model,
        place=place,
        width=4000,
        height=3000,
        orientation=1,
        format="JPEG",
        rating=float(chance % 6) if chance % 5 == 0 else None,
        keywords=keywords,
    )


# As the command line has them, and as Python does; from what leaves nearly all to what leaves a few.
FILTERS: dict[str, tuple[list[str], Where]] = {
    "no iPhone at night, or not 2011": (
        ["--where", '{"or": [{"not": {"year": 2011}}, {"not": {"camera": "iPhone"}}, {"hour": "6..22"}]}'],
        ~(year == 2011) | ~camera.contains("iPhone") | hour.between(6, 22),
    ),
    "not from an iPhone": (["--not", "--camera", "iPhone"], ~camera.contains("iPhone")),
    "since the middle": (["--since", "2014-10"], taken >= "2014-10"),
    "by day": (["--hour", "6..17"], hour.between(6, 17)),
    "one year": (["--year", "2012"], year == 2012),
    "near, with stars": (["--near", "50,10,400", "--rating", "3.."], near(50, 10, km=400) & (rating >= 3)),
    "one keyword": (["--keyword", "Country 7"], keyword == "Country 7"),
}


def medians(one: Callable[[], object], other: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Seconds of the processor that two things take, in turns."""
    one(), other()
    times: tuple[list[float], list[float]] = [], []
    for _ in range(repeats):
        for run, kept in zip((one, other), times, strict=True):
            started = time.process_time()
            run()
            kept.append(time.process_time() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def warm(folder: Path, arguments: argparse.Namespace) -> None:
    repeats = arguments.repeats
    with Library.open(folder, read_only=True) as library:
        table = library.session.facts.table()
        labels = library.labels.get(synthetic.LABEL_SET)
        query = labels.prompts[0][0]
        questions = {
            "classify": lambda where: library.classify(labels, where=where),
            "search": lambda where: library.search(f"text:{query}", where=where),
        }
        print(f"{'warm, milliseconds':34}{'left':>8}{'found in':>9}", end="")
        print("".join(f"{name:>10}{'with it':>9}{'ratio':>7}" for name in questions))
        for name, (_, where) in FILTERS.items():
            n = int(fits(where, table, lambda one: one).sum())  # type: ignore[arg-type,return-value]
            alone = least(lambda where=where: fits(where, table, lambda one: one), repeats)  # type: ignore[misc]
            print(f"{name:34}{n / len(table):>8.1%}{1000 * alone:>9.2f}", end="")
            for ask in questions.values():
                without, with_it = medians(lambda: ask(None), lambda: ask(where), repeats)  # noqa: B023
                print(f"{1000 * without:>10.1f}{1000 * with_it:>9.1f}{with_it / without:>7.2f}", end="", flush=True)
            print()


def busy(*command: str) -> float:
    """Seconds of the processor that a fresh process takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process(*command)()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cold(folder: Path, arguments: argparse.Namespace) -> None:
    query = f"text:This is a photo of {synthetic.label_names(1)[0]}."
    zsindex = ("-m", "zsindex")
    to = ("--library", str(folder), "--format", "paths")
    commands = {
        "classify": (*zsindex, "classify", *to, "-q", "--label-set", synthetic.LABEL_SET),
        "search": (*zsindex, "search", query, *to),
    }
    print(f"\n{'cold, seconds of the processor':42}" + "".join(f"{n:>10}{'with it':>9}{'ratio':>7}" for n in commands))
    for name, (options, _) in FILTERS.items():
        print(f"{name:42}", end="")
        for command in commands.values():
            # In turns, as what else goes on changes how fast the machine is.
            runs = [(busy(*command), busy(*command, *options)) for _ in range(arguments.repeats)]
            without, with_it = (statistics.median(times) for times in zip(*runs, strict=True))
            print(f"{without:>10.3f}{with_it:>9.3f}{with_it / without:>7.2f}", end="", flush=True)
        print()


def in_cells(n: int, dim: int = 128, n_queries: int = 100, k: int = 20) -> None:
    random = np.random.default_rng(0)
    centres = synthetic.unit_vectors(2000, dim, seed=1)
    vectors = centres[random.integers(0, len(centres), n)] + 0.7 * synthetic.unit_vectors(n, dim, seed=2)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    made, order = cells.arrange(np.arange(n), vectors, vectors[:512], known=None)
    none = np.empty(0, dtype=np.int64)
    table = VectorTable(
        Snapshot(Path("in memory"), order, vectors[order], made), none, np.empty((0, dim), np.float32), none
    )
    queries = centres[random.integers(0, len(centres), n_queries)] + 0.7 * synthetic.unit_vectors(
        n_queries, dim, seed=3
    )
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    print(f"{n:,} × {dim} in {len(made.centroids):,} cells, recall at {k} of {n_queries} queries")
    for share in (0.9, 0.7, 0.5):
        found: dict[str, list[float]] = {"by chance": [], "unlike the query": []}
        exactly = dict.fromkeys(found, 0)
        for query in queries:
            chance = np.flatnonzero(random.random(n) < share)
            products = table.base.vectors @ query if table.base is not None else none
            unlike = np.sort(np.argsort(products)[: int(share * n)])
            for name, rows in (("by chance", chance), ("unlike the query", unlike)):
                true, _ = nearest.exact(table, rows, query[None, :], k)
                got = nearest.probe(table, made, query, k, terms=query[None, :][:0], selected=rows)
                exactly[name] += got is None
                found[name].append(1.0 if got is None else len(set(true[0].tolist()) & set(got[0].tolist())) / k)
        told = [f"{name} {np.mean(of):.3f}, {exactly[name]} exactly" for name, of in found.items()]
        print(f"  {share:.0%} fit: {'; '.join(told)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--labels", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--cells", type=int, help="only: the recall of a search in cells, in so many vectors")
    parser.add_argument("--keep", type=Path, help="keep the library in this folder, and use it if it is there")
    arguments = parser.parse_args()
    if arguments.cells:
        in_cells(arguments.cells)
        return
    with tempfile.TemporaryDirectory() as temporary:
        home = arguments.keep or Path(temporary)
        folder = home / f"facts-{arguments.images}x{arguments.dim}-{arguments.labels}"
        if not folder.exists():
            synthetic.make(folder, files(arguments.images), dim=arguments.dim, n_labels=arguments.labels, facts=facts)
        started = time.perf_counter()
        with Library.open(folder) as library:
            library.session.facts.table()
        print(f"{arguments.images:,} images × {arguments.dim} by {arguments.labels} labels, {arguments.repeats} times")
        print(f"the facts of all as columns: {time.perf_counter() - started:.2f} s, with opening the library\n")
        warm(folder, arguments)
        cold(folder, arguments)


if __name__ == "__main__":
    main()
