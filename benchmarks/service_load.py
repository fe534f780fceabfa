"""Requests per second and 99th percentiles of a service over made-up vectors, from a second process over loopback.

    python benchmarks/service_load.py --vectors 100000

Prints a markdown table: cached classification and search, with 1, 8 and 32 clients; then the same while a sync runs,
which adds photos to the library. `classify` asks one question again and again, which is answered from what the service
remembers; `304` does so with If-None-Match; `classify, others` asks with as many label sets as it keeps no answers of.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from PIL import Image
from synthetic import label_names, make, model_info

from zsindex.records import Candidate, FloatArray, ModelInfo

DIM = 512
N_LABELS = 200
LABELS_ASKED = 20
CLIENTS = (1, 8, 32)
BATCH = 5000


class Encoder:
    """Gives every photo a vector, slowly enough for a sync to last, and every text one, too."""

    def __init__(self) -> None:
        self.info: ModelInfo = model_info(DIM)

    def preprocess(self, image: Image.Image) -> FloatArray:
        return np.asarray(image.convert("RGB").resize((8, 8)), dtype=np.float32).transpose(2, 0, 1)

    def encode_images(self, pixels: list[FloatArray]) -> FloatArray:
        time.sleep(0.01 * len(pixels))
        rows = np.random.default_rng(int(pixels[0].sum())).standard_normal((len(pixels), DIM)).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def encode_texts(self, texts: list[str], *, truncate: bool = False) -> FloatArray:
        raise RuntimeError("every prompt of this benchmark is cached")

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


def serve(library: str, photos: str) -> None:
    """Be the service; prints its port."""
    from zsindex.library import Library
    from zsindex.web import Limits, Security
    from zsindex.web import serve as web

    listening = web.listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    security = Security(web.hosts_of("127.0.0.1", port), photo_folders=(photos,))
    with Library.open(library, encoder=Encoder(), batch_size=16) as opened:
        web.serve(
            opened,
            listening,
            security=security,
            limits=Limits(requests_per_s=0, wait_s=120.0),
            log_requests=False,
            ready=lambda: print(port, flush=True),
        )


Ask = Callable[[http.client.HTTPConnection], int]


def classify(port: int) -> Ask:
    query = urlencode([("label", name) for name in label_names(N_LABELS)[:LABELS_ASKED]])
    return lambda c: get(c, f"/v1/classify?{query}", {})[0]


def unchanged(port: int) -> Ask:
    query = urlencode([("label", name) for name in label_names(N_LABELS)[:LABELS_ASKED]])
    tags: dict[str, str] = {}

    def ask(connection: http.client.HTTPConnection) -> int:
        status, tag = get(connection, f"/v1/classify?{query}", tags)
        if tag:
            tags["If-None-Match"] = tag
        return status

    return ask


def classify_others(port: int) -> Ask:
    names, numbers = label_names(N_LABELS), count(int.from_bytes(os.urandom(3), "big"))

    def ask(connection: http.client.HTTPConnection) -> int:
        chosen = np.random.default_rng(next(numbers)).permutation(N_LABELS)[:LABELS_ASKED]
        return get(connection, "/v1/classify?" + urlencode([("label", names[n]) for n in chosen]), {})[0]

    return ask


def search(port: int) -> Ask:
    numbers = count()
    return lambda c: get(c, f"/v1/images/{1 + 7 * next(numbers) % 1000}/similar", {})[0]


QUESTIONS: dict[str, Callable[[int], Ask]] = {
    "classify": classify,
    "classify, 304": unchanged,
    "classify, others": classify_others,
    "search": search,
}


def get(connection: http.client.HTTPConnection, path: str, headers: dict[str, str]) -> tuple[int, str]:
    """The status and the tag of an answer, which is read to its end."""
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    response.read()
    return response.status, response.getheader("ETag") or ""


def load(port: int, question: str, clients: int, seconds: float, results: multiprocessing.Queue[list[float]]) -> None:
    """Ask with so many clients for so long; in a process of its own. Gives the time of each request."""
    times: list[float] = []
    ask, until = QUESTIONS[question](port), time.perf_counter() + seconds

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while (began := time.perf_counter()) < until:
            status = ask(connection)
            if status not in (200, 304):
                raise RuntimeError(f"{question} got {status}")
            times.append(time.perf_counter() - began)
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results.put(times)


def measure(port: int, question: str, clients: int, seconds: float) -> tuple[float, float, float, float]:
    """Requests per second; median, 99th percentile and largest time in ms."""
    results: multiprocessing.Queue[list[float]] = multiprocessing.Queue()
    process = multiprocessing.Process(target=load, args=(port, question, clients, seconds, results))
    process.start()
    times = np.array(results.get(timeout=seconds + 120)) * 1000
    process.join()
    return len(times) / seconds, float(np.median(times)), float(np.percentile(times, 99)), float(times.max())


@contextmanager
def service(library: Path, photos: Path) -> Iterator[int]:
    """A running service; its port."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(library), str(photos)], stdout=subprocess.PIPE, encoding="utf-8"
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(120)


def paint(folder: Path, n: int, *, seed: int = 0) -> None:
    """Write small photos that all differ."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    for number in range(n):
        Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number:06}.png")


def post(port: int, path: str, body: object) -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    found: dict[str, object] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def row(what: str, clients: int, found: tuple[float, float, float, float], besides: str) -> None:
    rate, median, late, longest = found
    print(f"| {what} | {besides} | {clients} | {rate:,.0f} | {median:.1f} | {late:.1f} | {longest:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each line of the table")
    parser.add_argument("--photos", type=int, default=20_000, help="that the sync finds")
    parser.add_argument("--serve", nargs=2, metavar=("LIBRARY", "PHOTOS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return
    with tempfile.TemporaryDirectory(prefix="zsindex-") as folder:
        library, photos = Path(folder, "library"), Path(folder, "photos")
        files = [Candidate(f"/made-up/{n // BATCH:04}", f"{n:07}.jpg", 1, 1) for n in range(options.vectors)]
        batches = (files[at : at + BATCH] for at in range(0, len(files), BATCH))
        make(library, batches, dim=DIM, n_labels=N_LABELS)
        paint(photos, options.photos)
        print(f"{options.vectors:,} vectors of {DIM}, {os.cpu_count()} cores, {options.seconds:g} s for each line\n")
        print("| question | besides | clients | requests/s | median ms | p99 ms | longest ms |")
        print("|---|---|---:|---:|---:|---:|---:|")
        with service(library, photos) as port:
            for question in QUESTIONS:
                for clients in CLIENTS:
                    row(question, clients, measure(port, question, clients, options.seconds), "")
            job = post(port, "/v1/sync", {"paths": [str(photos)]})
            for question in QUESTIONS:
                row(question, 8, measure(port, question, 8, options.seconds), "a sync")
            state = post(port, f"/v1/jobs/{job['id']}/cancel", None)
            print(f"\nThe sync was {state['state']} at {state['progress']} when the last line was done.")


if __name__ == "__main__":
    main()
