"""What each command of the label lab costs on a large library: fresh processes, as a person would start them.

    python benchmarks/lab_speed.py
    python benchmarks/lab_speed.py --keep FOLDER --only "duplicates|eval"

The library is made up, and so is its model, which nobody can load: every prompt is in the cache. Photos are a label, a
bit of what all photos of their folder have in common, and noise; one in fifty is nearly the one before it. Prints a
Markdown table, beyond what `zsindex --version` takes: seconds, the least of several runs; seconds of all cores
together, which tell more on a busy machine; and the most memory, the mapped file of the vectors included.
"""

from __future__ import annotations

import argparse
import csv
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import synthetic
from tabulate import tabulate

from zsindex import label_set
from zsindex.classification import prompts
from zsindex.classification.templates import BUILT_IN, DEFAULT_TEMPLATE
from zsindex.index.snapshots import VectorIndex, neighbours_file
from zsindex.lab.vocabulary import BASIC
from zsindex.records import Candidate, FloatArray
from zsindex.storage.rows import FileOutcome, ImageRecord
from zsindex.storage.sqlite.database import SqliteDatabase
from zsindex.storage.sqlite.storage import SqliteStorage

FEW, MANY = "few", "many"  # the label sets, of 20 and 200 labels
N_LABELS = {FEW: 20, MANY: 200}
PER_FOLDER = 100
N_CORRECTIONS = 400
# A second run of what takes longer than this tells little that is new.
LONG = 60.0


# --- the library ------------------------------------------------------------------------------------------------------


def unit(rows: FloatArray) -> FloatArray:
    """Rows of length 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def photo_vectors(shows: np.ndarray, concepts: FloatArray, seed: int) -> FloatArray:
    """Vectors of the photos of a few folders, which show these labels: float32 (n, dim)."""
    n, dim = len(shows), concepts.shape[1]
    of_folder = synthetic.unit_vectors(-(-n // PER_FOLDER), dim, seed=2 * seed)
    noise = synthetic.unit_vectors(n, dim, seed=2 * seed + 1)
    rows = unit(0.18 * concepts[shows] + 0.4 * np.repeat(of_folder, PER_FOLDER, axis=0)[:n] + 0.9 * noise)
    rows[1::50] = unit(rows[0::50][: len(rows[1::50])] + 0.15 * noise[1::50])
    return rows


def make(home: Path, n: int, dim: int) -> None:
    """Make the library, and the files beside it that commands read."""
    random = np.random.default_rng(1)
    concepts = synthetic.unit_vectors(N_LABELS[MANY], dim, seed=0)
    names = synthetic.label_names(N_LABELS[MANY])
    shows = random.integers(0, len(names), n)
    files = [(str(home / "Pictures" / f"{i // PER_FOLDER:05}"), f"IMG_{i:06}.jpg") for i in range(n)]
    with closing(SqliteStorage.open(home / "library", create=True)) as storage:
        model = storage.photos.add_model(synthetic.model_info(dim), make_default=True)
        for start in range(0, n, 1000):
            part = slice(start, min(start + 1000, n))
            vectors = photo_vectors(shows[part], concepts, seed=start + 1)
            outcomes = []
            for number, ((folder, name), vector) in enumerate(zip(files[part], vectors, strict=True), start=start):
                digest = hashlib.sha256(f"{folder}/{name}".encode()).digest()
                image = ImageRecord(digest, 4000, 3000, "JPEG", vector)
                outcomes.append(FileOutcome(Candidate(folder, name, 4_000_000, number), image))
            storage.photos.save(outcomes, model.id)
        for seed, template in enumerate((DEFAULT_TEMPLATE, *BUILT_IN["openai-7"], *BUILT_IN["openai-80"])):
            texts = [prompts.fill(template, name) for name in names]
            around = unit(concepts + 0.6 * synthetic.unit_vectors(len(names), dim, seed=10**6 + seed))
            storage.reads.save_prompts(texts, around, model.id, truncated=[False] * len(texts))
        texts = [prompts.fill(DEFAULT_TEMPLATE, word) for word in BASIC]
        words = synthetic.unit_vectors(len(texts), dim, seed=2 * 10**6)
        storage.reads.save_prompts(texts, words, model.id, truncated=[False] * len(texts))
        for name, count in N_LABELS.items():
            for labels in (names[: count - 1], names[:count]):  # two versions
                storage.labels.save_label_set(name, prompts.to_document(label_set(labels)))
            storage.labels.save_thresholds(
                name, [(label, 2 / count, {"by": "rate", "value": 2 / count}) for label in names[:count]]
            )
        VectorIndex.rebuild(storage, model)
    # One photo in ten shows what nobody would think.
    said = np.where(random.random(n) < 0.9, shows, random.integers(0, len(names), n))
    write_csv(home / "truth.csv", [(f"{folder}/{name}", names[said[i]]) for i, (folder, name) in enumerate(files)])
    for label_set_name, count in N_LABELS.items():
        some = random.permutation(np.flatnonzero(shows < count))[:N_CORRECTIONS]
        rows = [(f"{files[i][0]}/{files[i][1]}", names[shows[i]]) for i in some]
        write_csv(home / f"corrections-{label_set_name}.csv", rows)
        zsindex(
            home, "correct", "--csv", str(home / f"corrections-{label_set_name}.csv"), "--label-set", label_set_name
        )


def write_csv(file: Path, rows: Sequence[tuple[str, str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("path", "label"), *rows])


# --- the commands -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A command, and what is to be done before each run of it and after the last, which is not timed.

    Attributes:
        once: a second run would find what the first has left.
    """

    name: str
    command: Sequence[str]
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    once: bool = False


def rows(home: Path, n: int) -> Iterator[Row]:
    """All commands, in an order in which each finds what it needs."""
    with closing(SqliteDatabase.open(home / "library", create=False)) as database:
        (model,) = SqliteStorage(database).reads.models()
    graph = neighbours_file(home / "library", model.info.fingerprint)
    truth, labels = str(home / "truth.csv"), ("--label-set", FEW)
    first = ("--path", str(home / "Pictures" / "00000" / "IMG_000000.jpg"))
    a_photo, out = first[1], str(home / "out")
    to_csv = ("--format", "csv", "--output", f"{out}.csv")

    for name, count in N_LABELS.items():
        yield Row(f"classify, {count} labels", ("classify", "--label-set", name, *to_csv))
    for options in (
        *(("--unknown", rule) for rule in ("softmax:0.1", "mcm:0.1", "zscore:0.1", "margin:0.1", "neglabel")),
        ("--thresholds",),
        ("--multi-label",),
        ("--with-corrections", "logistic"),
        ("--with-corrections", "gda"),
        ("--with-corrections", "tip-adapter"),
        ("--temperature", "0.02"),
    ):
        yield Row(f"classify {' '.join(options)}", ("classify", *labels, *options, *to_csv))
    yield Row("classify --thresholds, 200 labels", ("classify", "--label-set", MANY, "--thresholds", *to_csv))
    yield Row(
        "classify --smooth, nothing kept",
        ("classify", *labels, "--smooth", *to_csv),
        before=lambda: graph.unlink(missing_ok=True),
    )
    yield Row("classify --smooth, neighbours kept", ("classify", *labels, "--smooth", *to_csv))
    recorded = ("classify", *labels, "--record", *to_csv)
    # A question that nobody has asked yet; another minimum score would only leave out some of a recorded answer.
    new = (*recorded, "--temperature", f"0.01{time.time_ns() % 10**9:09}")
    yield Row("classify --record, the first time", new, once=True)
    yield Row("classify --record, again", recorded, before=functools.cache(lambda: zsindex(home, *recorded)))
    yield Row("runs list", ("runs", "list"))
    yield Row("runs repeat", ("runs", "repeat", last_run(home, recorded)))
    yield Row("classify, parquet", ("classify", *labels, "--format", "parquet", "--output", f"{out}.parquet"))
    yield Row("classify, csv --wide", ("classify", *labels, "--wide", *to_csv))
    yield Row("classify, csv --wide, 200 labels", ("classify", "--label-set", MANY, "--wide", *to_csv))

    for name, count in N_LABELS.items():
        yield Row(f"labels lint, {count} labels", ("labels", "lint", name))
        yield Row(f"labels lint, {count} labels, 7 templates", ("labels", "lint", name, "--template", "openai-7"))
    yield Row("labels diff", ("labels", "diff", f"{FEW}@1", f"{FEW}@2"))
    yield Row("labels suggest, 200 words", ("labels", "suggest", FEW, "--vocabulary", "basic"))
    for name, count in N_LABELS.items():
        for of in (7, 80):
            yield Row(
                f"templates attribute, {count} labels, {of} templates",
                ("templates", "attribute", truth, "--label-set", name, "--template", f"openai-{of}"),
            )
    yield Row("eval, 20 labels", ("eval", truth, *labels, "--others-are-none"))
    yield Row("eval, 200 labels", ("eval", truth, "--label-set", MANY))
    yield Row(
        "eval, 200 labels, two template sets",
        ("eval", truth, "--label-set", MANY, "--compare-templates", "default", "--compare-templates", "openai-7"),
    )
    yield Row("temperature fit, 20 labels", ("temperature", "fit", truth, *labels, "--dry-run"))
    yield Row("temperature fit, 200 labels", ("temperature", "fit", truth, "--label-set", MANY, "--dry-run"))

    for name, count in N_LABELS.items():
        yield Row(f"thresholds show, {count} labels", ("thresholds", "show", name))
        yield Row(
            f"thresholds preview, {count} labels", ("thresholds", "preview", name, "label 0001", "--rate", "0.03")
        )
    rate = str(2 / N_LABELS[FEW])
    yield Row("thresholds set", ("thresholds", "set", FEW, "label 0001", "--rate", rate))

    undo = ("correct", "--undo", *labels)
    yield Row("correct, one photo", ("correct", a_photo, "label 0001", *labels), after=lambda: zsindex(home, *undo))
    many = ("correct", "--csv", str(home / f"corrections-{FEW}.csv"), *labels)
    yield Row(f"correct --csv, {N_CORRECTIONS} photos", many, after=lambda: zsindex(home, *undo))
    everything = ("correct", "--csv", truth, "--label-set", MANY)
    back = ("correct", "--undo", "--label-set", MANY)
    yield Row("correct --csv, all photos", everything, after=lambda: zsindex(home, *back))
    yield Row("correct --list", ("correct", "--list", *labels))
    yield Row("next, 20 labels", ("next", *labels))
    yield Row("next, 200 labels", ("next", "--label-set", MANY))

    yield Row("duplicates, nothing kept", ("duplicates", *to_csv), before=lambda: graph.unlink(missing_ok=True))
    yield Row("duplicates, neighbours kept", ("duplicates", *to_csv))
    yield Row("duplicates --show-threshold", ("duplicates", "--show-threshold"))

    tags = ("tags", "write", *labels, "--json")
    yield Row("tags write, no photo there", tags)
    yield Row("tags write, without --apply", tags, before=lambda: touch(home, n))


def zsindex(home: Path, *arguments: str) -> str:
    """Run a command; returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "zsindex", *arguments],
        env={**os.environ, "ZSINDEX_LIBRARY": str(home / "library")},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"zsindex {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def last_run(home: Path, recorded: Sequence[str]) -> str:
    """The key of a run of this question."""
    zsindex(home, *recorded)
    key: str = json.loads(zsindex(home, "runs", "list", "--json"))[0]["key"]
    return key


def touch(home: Path, n: int) -> None:
    """Make photos, which are empty files: what is looked at is whether they are there."""
    for i in range(n):
        file = home / "Pictures" / f"{i // PER_FOLDER:05}" / f"IMG_{i:06}.jpg"
        if not i % PER_FOLDER:
            file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


# --- measuring --------------------------------------------------------------------------------------------------------


class Cost(NamedTuple):
    """Of a process: seconds by the clock, seconds of all cores, and the most memory in MB."""

    seconds: float
    cpu: float
    memory: float


# A process starts with the peak memory of the one that starts it: so that is a bare Python.
LAUNCHER = """
import os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:])
_, status, used = os.wait4(process.pid, 0)
seconds = time.perf_counter() - started
print(os.waitstatus_to_exitcode(status), seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)
os._exit(0)
"""


def cost(home: Path, command: Sequence[str]) -> Cost:
    """Run a command in a fresh process; what it prints goes to a file, as large as it may be."""
    with (home / "printed").open("wb") as printed:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", LAUNCHER, sys.executable, "-m", "zsindex", *command],
            env={**os.environ, "ZSINDEX_LIBRARY": str(home / "library")},
            stdout=printed,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=True,
        )
    code, *numbers = done.stderr.splitlines()[-1].split()
    if code != "0":
        raise SystemExit(f"zsindex {' '.join(command)}: exit code {code}\n{done.stderr}")
    return Cost(*map(float, numbers))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--photos", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the library there, and use it if it is there")
    parser.add_argument("--only", default="", metavar="REGEX", help="measure only what matches")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        home = (arguments.keep or Path(temporary)).absolute() / f"{arguments.photos}x{arguments.dim}"
        if not home.exists():
            home.mkdir(parents=True)
            make(home, arguments.photos, arguments.dim)
        bare = cost(home, ["--version"])
        print(
            f"{arguments.photos:,} × {arguments.dim}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; ", end=""
        )
        print(f"zsindex --version: {bare.seconds:.2f} s, {bare.memory:.0f} MB\n")
        table = []
        for row in rows(home, arguments.photos):
            if not re.search(arguments.only, row.name):
                continue
            costs: list[Cost] = []
            while len(costs) < (1 if row.once else arguments.repeats) and not (costs and costs[-1].seconds > LONG):
                row.before()
                costs.append(cost(home, row.command))
            row.after()
            least = [min(values) - of_bare for values, of_bare in zip(zip(*costs, strict=True), bare, strict=True)]
            table.append((row.name, *least))
            said = "{:.2f} s, {:.2f} s of all cores, {:,.0f} MB".format(*least)
            print(f"{row.name}: {said}, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
        headers = ["command", "seconds", "of all cores", "MB"]
        print(tabulate(table, headers, tablefmt="github", floatfmt=("", ".2f", ".2f", ",.0f")))


if __name__ == "__main__":
    main()
