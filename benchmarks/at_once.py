"""Searches a second while many ask at once, beside a FAISS flat index asked one query at a time by as many threads.

    python benchmarks/at_once.py --vectors 100000 --clients 1 10

Random vectors, every query another one. Asked in turns, some seconds each: FAISS; the products as they were made before
(blocks of 8,192 rows, all cores for each query); those that threads share now; `Library.search`; and a service over
HTTP, whose clients are another process. Prints a markdown table of the medians over all rounds, and ratios to FAISS.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import faiss
import numpy as np
from PIL import Image
from synthetic import make, model_info, unit_vectors

from zsindex.index import nearest
from zsindex.library import Library
from zsindex.records import Candidate, FloatArray, ModelInfo

DIM, TOP = 512, 20


class Encoder:
    """Gives each text a vector of its own at once: what is measured is the search."""

    def __init__(self) -> None:
        self.info: ModelInfo = model_info(DIM)

    def preprocess(self, image: Image.Image) -> FloatArray:
        raise RuntimeError("no photo is encoded")

    def encode_images(self, pixels: list[FloatArray]) -> FloatArray:
        raise RuntimeError("no photo is encoded")

    def encode_texts(self, texts: list[str], *, truncate: bool = False) -> FloatArray:
        return np.concatenate([unit_vectors(1, DIM, seed=abs(hash(text)) % 2**32) for text in texts])

    def count_tokens(self, text: str) -> int:
        return 3


Ask = Callable[[], object]


def rate(asks: list[Ask], seconds: float) -> float:
    """Answers a second of so many threads."""
    done = [0] * len(asks)
    began = time.perf_counter()

    def client(number: int, ask: Ask) -> None:
        while time.perf_counter() < began + seconds:
            ask()
            done[number] += 1

    threads = [threading.Thread(target=client, args=one) for one in enumerate(asks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / (time.perf_counter() - began)


def load(port: int, start: int, clients: int, seconds: float, results: multiprocessing.Queue[float]) -> None:
    """Ask the service; in a process of its own. Image ids are the queries: cached, and each another one."""
    numbers = count(start)

    def connected() -> Ask:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

        def ask() -> None:
            connection.request("GET", f"/v1/images/{next(numbers)}/similar?top={TOP}")
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise RuntimeError(body)

        return ask

    results.put(rate([connected() for _ in range(clients)], seconds))


@contextmanager
def service(library: Library) -> Iterator[int]:
    """The port of a service in this process."""
    from zsindex.web import Limits, Security
    from zsindex.web import serve as web

    listening = web.listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    ready = threading.Event()
    thread = threading.Thread(
        target=lambda: web.serve(
            library,
            listening,
            security=Security(web.hosts_of("127.0.0.1", port)),
            limits=Limits(requests_per_s=0),
            log_requests=False,
            ready=ready.set,
        ),
        daemon=True,
    )
    thread.start()
    ready.wait()
    yield port


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        n = options.vectors
        files = [Candidate("/made-up", f"{i:07d}.jpg", 1, 1) for i in range(n)]
        make(Path(folder) / "library", (files[i : i + 5000] for i in range(0, n, 5000)), dim=DIM, n_labels=1)
        with Library.open(Path(folder) / "library", encoder=Encoder()) as library, service(library) as port:
            view = library.view()
            assert view.vectors.base is not None
            stored = view.vectors.base.vectors
            flat = faiss.IndexFlatIP(DIM)
            flat.add(np.ascontiguousarray(view.vectors.take(view.unique[0])))
            rows, numbers = view.unique[0], count()

            def query() -> FloatArray:
                return unit_vectors(1, DIM, seed=next(numbers))[0]

            def as_before() -> object:
                vector = query()
                products = np.empty(len(rows), dtype=np.float32)
                for start in range(0, n, 8192):
                    products[start : start + 8192] = stored[start : start + 8192] @ vector
                return nearest._best(view.vectors, rows, products, vector, TOP)

            def over_http(clients: int) -> float:
                results: multiprocessing.Queue[float] = context.Queue()
                start = 1 + next(numbers) * 997 % (n // 2)
                process = context.Process(target=load, args=(port, start, clients, options.seconds, results))
                process.start()
                found = results.get()
                process.join()
                return found

            context = multiprocessing.get_context("spawn")
            in_process: dict[str, Ask] = {
                "FAISS flat, one query at a time": lambda: flat.search(query()[None], TOP),
                "products as before": as_before,
                "products as now": lambda: nearest.exact_after(view.vectors, rows, query(), TOP),
                "Library.search, new words": lambda: library.search(f"words {next(numbers)}", top=TOP),
            }
            seen: dict[tuple[str, int], list[float]] = {}
            for _ in range(options.rounds):
                for clients in options.clients:
                    for name, ask in in_process.items():
                        seen.setdefault((name, clients), []).append(rate([ask] * clients, options.seconds))
                    seen.setdefault(("HTTP, similar", clients), []).append(over_http(clients))

    print(f"| {n:,} × {DIM} | clients | a second | least, most | × FAISS |")
    print("|---|---|---|---|---|")
    for (name, clients), rates in seen.items():
        yardstick = statistics.median(seen["FAISS flat, one query at a time", clients])
        median = statistics.median(rates)
        print(f"| {name} | {clients} | {median:.1f} | {min(rates):.1f}, {max(rates):.1f} | {median / yardstick:.2f} |")
    if options.json:
        options.json.write_text(json.dumps([[*key, rates] for key, rates in seen.items()]), encoding="utf-8")


if __name__ == "__main__":
    main()
