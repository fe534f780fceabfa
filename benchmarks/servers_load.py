"""Requests per second of several services over one library on a PostgreSQL server, beside those over a folder.

    python benchmarks/servers_load.py --vectors 100000

Prints a markdown table: 16 clients, each of which goes from service to service, ask one service over a folder, and four
over the same library on a server that is started for it (`pip install 'zsindex[server]'`); first alone, then while
photos are encoded and stored: by one process into the folder, which takes no more at a time, by four onto the server.
Ratios are to the service over the folder, of the same question, alone or beside encoders.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
from service_load import BATCH, DIM, N_LABELS, QUESTIONS, Encoder, paint
from synthetic import make

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.storage.postgres_server import Server
from zsindex.library import Library
from zsindex.records import Candidate

N_SERVICES = 4
CLIENTS = 16
Place = Path | str


Results: TypeAlias = "multiprocessing.Queue[tuple[list[float], float]]"


def load(ports: Sequence[int], question: str, seconds: float, results: Results) -> None:
    """Begin requests for so long, in a process of its own. Gives the time of each, and the time that all took."""
    times: list[float] = []
    start = time.perf_counter()
    until = start + seconds
    ask = QUESTIONS[question](ports[0])

    def client(first: int) -> None:
        connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for port in ports]
        for connection in islice(cycle(connections), first, None):
            began = time.perf_counter()
            if began >= until:
                break
            status = ask(connection)
            if status not in (200, 304):
                raise RuntimeError(f"{question} got {status}")
            times.append(time.perf_counter() - began)
        for connection in connections:
            connection.close()

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # What was begun in time may come much later: a rate is over all of that.
    results.put((times, time.perf_counter() - start))


def measure(ports: Sequence[int], question: str, seconds: float) -> tuple[float, float, float]:
    """Requests per second; median and 99th percentile in ms."""
    results: Results = multiprocessing.Queue()
    process = multiprocessing.Process(target=load, args=(ports, question, seconds, results))
    process.start()
    found, took_s = results.get(timeout=seconds + 240)
    process.join()
    times = np.array(found) * 1000
    return len(times) / took_s, float(np.median(times)), float(np.percentile(times, 99))


@contextmanager
def services(place: Place, n: int) -> Iterator[list[int]]:
    """So many services over a library; their ports."""
    program = Path(__file__).with_name("service_load.py")
    with ExitStack() as stack:
        ports = []
        for _ in range(n):
            process = subprocess.Popen(
                [sys.executable, program, "--serve", str(place), "/nowhere"], stdout=subprocess.PIPE, encoding="utf-8"
            )
            stack.callback(process.wait, 120)
            stack.callback(process.terminate)
            assert process.stdout is not None
            ports.append(int(process.stdout.readline()))
        yield ports


def encode(place: Place, photos: Path) -> None:
    """Store photos, in a process of its own, until it is ended."""
    with Library.open(place, encoder=Encoder(), batch_size=16, workers=2) as library:
        library.sync(photos)


@contextmanager
def encoders(place: Place, folders: Sequence[Path]) -> Iterator[None]:
    """A process for each folder that stores what is in it."""
    before = images(place)
    processes = [multiprocessing.Process(target=encode, args=(place, folder)) for folder in folders]
    for process in processes:
        process.start()
    while images(place) <= before:
        time.sleep(0.2)
    try:
        yield
    finally:
        still = sum(process.is_alive() for process in processes)
        for process in processes:
            process.terminate()
            process.join()
        if still < len(processes):
            print(f"{len(processes) - still} encoders came to their end: use more --photos", file=sys.stderr)


def images(place: Place) -> int:
    """How many the library holds."""
    with Library.open(place, create=False, read_only=True) as library:
        return library.status().images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each line of the table")
    parser.add_argument("--photos", type=int, default=10_000, help="for each encoder")
    options = parser.parse_args()
    os.environ["ZSINDEX_DECODE_LIMITS"] = "off"
    with tempfile.TemporaryDirectory(prefix="zsindex-") as folder:
        os.environ["ZSINDEX_CACHE"] = str(Path(folder, "cache"))
        library = Path(folder, "library")
        files = [Candidate(f"/made-up/{n // BATCH:04}", f"{n:07}.jpg", 1, 1) for n in range(options.vectors)]
        make(library, (files[at : at + BATCH] for at in range(0, len(files), BATCH)), dim=DIM, n_labels=N_LABELS)
        for n in range(N_SERVICES):
            paint(Path(folder, f"photos {n}"), options.photos, seed=n)
        folders = sorted(Path(folder).glob("photos *"))
        server = Server(shared_buffers="256MB", fsync="on", full_page_writes="on")
        try:
            url = server.url(server.new_database())
            Library.copy(library, url)
            run(options, [("folder", library, 1), ("server", url, N_SERVICES)], folders)
        finally:
            server.remove()


def run(options: argparse.Namespace, over: list[tuple[str, Place, int]], folders: Sequence[Path]) -> None:
    """Measure, and print the table."""
    about = f"{options.vectors:,} vectors of {DIM}, {CLIENTS} clients, {os.cpu_count()} cores"
    print(f"{about}, {options.seconds:g} s for each line\n")
    print("| services over | besides | question | requests/s | ratio | median ms | p99 ms | stored/s |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    first: dict[tuple[str, str], float] = {}
    for name, place, n in over:
        with services(place, n) as ports, ExitStack() as stack:
            for question in QUESTIONS:  # what each has to read the first time is not measured
                for port in ports:
                    measure([port], question, 0.2)
            for besides in ("", "one encoder" if name == "folder" else f"{len(folders)} encoders"):
                if besides:
                    stack.enter_context(encoders(place, folders[: 1 if name == "folder" else None]))
                for question in QUESTIONS:
                    there, began = images(place), time.perf_counter()
                    rate, median, late = measure(ports, question, options.seconds)
                    stored = (images(place) - there) / (time.perf_counter() - began)
                    base = first.setdefault((question, "" if not besides else "encoders"), rate)
                    print(
                        f"| {n} × {name} | {besides} | {question} | {rate:,.1f} | {rate / base:.2f} | {median:.1f} |"
                        f" {late:.0f} | {f'{stored:.0f}' if besides else ''} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
