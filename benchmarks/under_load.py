"""A service under load beside a FAISS flat index, and beside another version of itself, in one run.

    python benchmarks/under_load.py --vectors 100000 --before ../other-checkout ../its-environment/bin/python

Each question takes turns, some seconds each, for a number of rounds: a FAISS flat index that is asked one query at a
time by as many threads as there are clients; this service; and with `--before` that of another checkout, over the same
library. The clients are a process of their own on the same cores, and ask over connections that they keep open; each
question is another one, but for `304`, which is the same one with If-None-Match. In the end all is asked once more
while the service syncs. Prints a markdown table of medians over all rounds, and the ratios that are promised.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import numpy as np
from service_load import BATCH, DIM, LABELS_ASKED, N_LABELS, paint, post
from synthetic import label_names, unit_vectors

TOP = 20
FAISS = "FAISS"
# Gives the path of the next request.
Next = Callable[[], str]


class Version(NamedTuple):
    """A version of this project, and the Python in which it is installed: its migrations are found there."""

    checkout: Path
    python: Path


class Connection:
    """Asks over one connection, with as little of the processor as that takes: the service has the rest."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._host = f"127.0.0.1:{port}"

    def get(self, path: str, tag: str = "") -> tuple[int, str]:
        """The status and the tag of an answer, which is read to its end."""
        condition = f"If-None-Match: {tag}\r\n" if tag else ""
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\n{condition}\r\n".encode())
        got = b""
        while b"\r\n\r\n" not in got:
            got += self._more()
        head, _, body = got.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        status = int(first.split()[1])
        left = 0 if status == 304 else int(headers["content-length"]) - len(body)
        while left > 0:
            left -= len(self._more())
        return status, headers.get("etag", "")

    def _more(self) -> bytes:
        got = self._socket.recv(1 << 18)
        if not got:
            raise ConnectionError("the service has closed the connection")
        return got


def similar(numbers: Iterator[int]) -> Next:
    return lambda: f"/v1/images/{1 + 7919 * next(numbers) % 90_000}/similar?top={TOP}"


def words(numbers: Iterator[int]) -> Next:
    names = [f"This is a photo of {name}." for name in label_names(N_LABELS)]

    def ask() -> str:
        first, second = divmod(7919 * next(numbers) % N_LABELS**2, N_LABELS)
        return "/v1/search?" + urlencode({"top": TOP, "q": names[first], "plus": names[second]})

    return ask


def label_sets(numbers: Iterator[int]) -> Next:
    names = label_names(N_LABELS)

    def ask() -> str:
        chosen = np.random.default_rng(next(numbers)).permutation(N_LABELS)[:LABELS_ASKED]
        return "/v1/classify?" + urlencode([("label", names[n]) for n in chosen])

    return ask


def unchanged(numbers: Iterator[int]) -> Next:
    path = "/v1/classify?" + urlencode([("label", name) for name in label_names(N_LABELS)[:LABELS_ASKED]])
    return lambda: path


QUESTIONS: dict[str, Callable[[Iterator[int]], Next]] = {
    "search": similar,
    "search, words": words,
    "classify": label_sets,
    "304": unchanged,
}


def load(
    port: int, question: str, start: int, clients: int, seconds: float, results: multiprocessing.Queue[list[float]]
) -> None:
    """Ask with so many clients for so long; in a process of its own. Gives how long it took, and the time of each."""
    following, times = QUESTIONS[question](count(start)), list[float]()
    _, tag = Connection(port).get(following())  # also what is read once
    until = time.perf_counter() + seconds

    def client() -> None:
        nonlocal tag
        connection = Connection(port)
        while (began := time.perf_counter()) < until:
            status, found = connection.get(following(), tag if question == "304" else "")
            if status not in (200, 304):
                raise RuntimeError(f"{question} got {status}")
            tag = found  # another one once a sync has stored something
            times.append(time.perf_counter() - began)

    results.put([in_threads(client, clients), *times])


def load_faiss(vectors: int, clients: int, seconds: float, results: multiprocessing.Queue[list[float]]) -> None:
    """The same of a FAISS flat index, without any service."""
    import faiss

    flat, times, numbers = faiss.IndexFlatIP(DIM), list[float](), count()
    flat.add(unit_vectors(vectors, DIM, seed=1))
    until = time.perf_counter() + seconds

    def client() -> None:
        query = unit_vectors(1, DIM, seed=next(numbers))
        while (began := time.perf_counter()) < until:
            flat.search(query, TOP)
            times.append(time.perf_counter() - began)

    results.put([in_threads(client, clients), *times])


def in_threads(work: Callable[[], None], n: int) -> float:
    """Seconds until all were done."""
    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def measured(target: Callable[..., None], *arguments: object) -> tuple[float, list[float]]:
    """Seconds that a process asked for, until its last answer, and those of each answer."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[list[float]] = context.Queue()
    process = context.Process(target=target, args=(*arguments, results))
    process.start()
    seconds, *times = results.get(timeout=300)
    process.join()
    return seconds, times


@contextmanager
def service(library: Path, photos: Path, version: Version) -> Iterator[int]:
    """A running service of a version; its port."""
    program = version.checkout / "benchmarks" / "service_load.py"
    process = subprocess.Popen(
        [version.python, program, "--serve", library, photos],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": str(version.checkout)},
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(120)


MAKE = """
import sys
from pathlib import Path
from synthetic import make
from zsindex.records import Candidate
library, vectors, batch, dim, labels = Path(sys.argv[1]), *map(int, sys.argv[2:])
files = [Candidate(f"/made-up/{n // batch:04}", f"{n:07}.jpg", 1, 1) for n in range(vectors)]
make(library, (files[n : n + batch] for n in range(0, vectors, batch)), dim=dim, n_labels=labels)
"""


def made_by(version: Version, library: Path, vectors: int) -> None:
    """Make a library by a version, whose schema may be an older one."""
    numbers = map(str, (vectors, BATCH, DIM, N_LABELS))
    paths = os.pathsep.join(map(str, (version.checkout, version.checkout / "benchmarks")))
    subprocess.run(
        [version.python, "-P", "-c", MAKE, library, *numbers], check=True, env={**os.environ, "PYTHONPATH": paths}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=20_000, help="that the sync finds; 0: no sync")
    parser.add_argument("--before", type=Path, nargs=2, help="a checkout of another version, and its Python")
    parser.add_argument("--only", nargs="+", default=list(QUESTIONS), choices=QUESTIONS)
    parser.add_argument("--json", type=Path, help="where to keep all that was seen")
    options = parser.parse_args()
    versions = {"now": Version(Path(__file__).parents[1], Path(sys.executable))}
    if options.before:
        versions["before"] = Version(*options.before)
    seen: dict[tuple[str, str, int], list[tuple[float, float, float]]] = {}

    def note(question: str, whose: str, clients: int, done: tuple[float, list[float]]) -> None:
        seconds, times = done
        found = len(times) / seconds, 1000 * float(np.median(times)), 1000 * float(np.percentile(times, 99))
        seen.setdefault((question, whose, clients), []).append(found)
        print(question, whose, clients, *(f"{value:.1f}" for value in found), file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="zsindex-") as folder:
        photos, numbers = Path(folder, "photos"), count(0, 10_000)
        libraries = {name: Path(folder, name) for name in versions}
        for whose, version in versions.items():
            made_by(version, libraries[whose], options.vectors)
        paint(photos, options.photos)
        for _ in range(options.rounds):
            for whose, version in versions.items():
                with service(libraries[whose], photos, version) as port:
                    for question in options.only:
                        for clients in options.clients:
                            arguments = port, question, next(numbers), clients, options.seconds
                            note(question, whose, clients, measured(load, *arguments))
            for clients in options.clients:
                note(FAISS, "", clients, measured(load_faiss, options.vectors, clients, options.seconds))
        if options.photos:
            for whose, version in versions.items():
                with service(libraries[whose], photos, version) as port:
                    job = post(port, "/v1/sync", {"paths": [str(photos)]})
                    for question in options.only:
                        arguments = port, question, next(numbers), options.clients[-1], options.seconds
                        note(question, f"{whose}, beside a sync", options.clients[-1], measured(load, *arguments))
                    state = post(port, f"/v1/jobs/{job['id']}/cancel", None)
                    print(f"the sync is {state['state']} at {state['progress']}", file=sys.stderr)
    tell(seen, options)


def tell(seen: dict[tuple[str, str, int], list[tuple[float, float, float]]], options: argparse.Namespace) -> None:
    middle = {key: tuple(map(statistics.median, zip(*found, strict=True))) for key, found in seen.items()}
    print(f"{options.vectors:,} × {DIM}, {os.cpu_count()} cores, {options.rounds} rounds of {options.seconds:g} s\n")
    print("| question | of | clients | a second | median ms | p99 ms | × FAISS | × before |")
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for (question, whose, clients), (rate, median, late) in sorted(middle.items()):
        against = middle.get((FAISS, "", clients))
        beside_faiss = f"{rate / against[0]:.2f}" if against and question.startswith("search") else ""
        against = middle.get((question, whose.replace("now", "before"), clients))
        beside_before = f"{rate / against[0]:.2f}" if against and whose.startswith("now") else ""
        print(
            f"| {question} | {whose} | {clients} | {rate:,.1f} | {median:.1f} | {late:.1f} | {beside_faiss} |"
            f" {beside_before} |"
        )
    if options.json:
        options.json.write_text(json.dumps([[*key, found] for key, found in seen.items()]), encoding="utf-8")


if __name__ == "__main__":
    main()
