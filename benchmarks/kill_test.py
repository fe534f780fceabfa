"""Kill a sync again and again, at random moments, and count what that costs.

    python benchmarks/kill_test.py --kills 50

Each round starts a process that syncs a folder of small photos, and kills it (SIGKILL) once it has encoded a random
number of them, or a random time after it began to open the library. The model is a few lines of numpy that note every
photo in a file of their own before they encode it, so that encoding twice is counted, not estimated. A round that ends
before it is killed does not count; more photos are added, and it is tried again.

It fails (exit code 1) if a photo that was stored after one kill is not after a later one, if anything is encoded twice
beyond the batch that was in flight when a kill came, or if the database is ever found damaged.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from zsindex.library import Library
from zsindex.records import FloatArray, ModelInfo, ModelSpec, Progress
from zsindex.storage.sqlite.storage import SqliteStorage

DIM = 16
SIDE = 8  # pixels; photos of exactly the model's input size reach it unchanged, which makes them countable
COPY_EVERY = 10  # one photo in so many is a copy of another


class RecordingEncoder:
    """Implements `zsindex.models.encoder.Encoder`; notes the SHA-256 of each picture before it encodes it."""

    def __init__(self, record: Path) -> None:
        self._record = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._projection = np.random.default_rng(0).standard_normal((3 * SIDE * SIDE, DIM)).astype(np.float32)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            spec=ModelSpec("recording"),
            fingerprint=hashlib.sha256(b"recording").hexdigest(),
            dim=DIM,
            logit_scale=10.0,
            logit_bias=None,
            context_length=77,
            image_size=(SIDE, SIDE),
            weights_sha256="0" * 64,
        )

    def preprocess(self, image: Image.Image) -> FloatArray:
        return np.asarray(image.convert("RGB"), dtype=np.float32).transpose(2, 0, 1) - 127.5

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        lines = "".join(hashlib.sha256(p.tobytes()).hexdigest() + "\n" for p in pixels)
        os.write(self._record, lines.encode())  # one write: appended as a whole, and kept whoever is killed after it
        vectors = np.stack([p.ravel() for p in pixels]) @ self._projection
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def encode_texts(self, texts: Sequence[str], *, truncate: bool = False) -> FloatArray:
        raise NotImplementedError("nobody asks")

    def count_tokens(self, text: str) -> int:
        return len(text.split())


@dataclass
class Outcome:
    """What all the kills came to.

    Attributes:
        kills: by the stage in which they hit.
        photos, images: files, and files with different bytes.
        encodes: how often a picture went through the model.
        most_repeated: encodes beyond the first, in the round that had most of them.
        lost: photos that were stored after one kill and not after a later one.
        unfinished: photos without a vector after the last sync.
        problems: what `check` says at the end, and what SQLite said after each kill.
    """

    batch_size: int
    kills: Counter[str] = field(default_factory=Counter)
    photos: int = 0
    images: int = 0
    encodes: int = 0
    most_repeated: int = 0
    lost: int = 0
    unfinished: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def repeated(self) -> int:
        return self.encodes - self.images

    @property
    def allowed(self) -> int:
        """One batch per kill: the one in flight."""
        return self.batch_size * self.kills.total()

    @property
    def ok(self) -> bool:
        return (
            self.lost == self.unfinished == 0
            and 0 <= self.repeated <= self.allowed
            and self.most_repeated <= self.batch_size
            and not self.problems
        )


class KillTest:
    def __init__(self, folder: Path, *, batch_size: int, seed: int) -> None:
        self.library, self.photos, self.record = folder / "library", folder / "photos", folder / "encoded.txt"
        self.photos.mkdir()
        self.record.touch()
        self.random = random.Random(seed)
        self.outcome = Outcome(batch_size)
        self._stored: set[str] = set()

    def add_photos(self, n: int) -> None:
        """Add photos of noise; some are copies of earlier ones."""
        for i in range(self.outcome.photos, self.outcome.photos + n):
            folder = self.photos / f"{i // 50:03d}"
            folder.mkdir(exist_ok=True)
            is_copy = i % COPY_EVERY == COPY_EVERY - 1
            noise = np.random.default_rng(i - 1 if is_copy else i).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"{i:05d}.png")
            self.outcome.images += not is_copy
        self.outcome.photos += n

    def run(self, kills: int, photos_per_round: int) -> Outcome:
        self.add_photos(photos_per_round * (kills + 1))
        while self.outcome.kills.total() < kills:
            encoded_before = self._encodes()
            stage = self._round(photos_per_round)
            if stage is None:
                self.add_photos(3 * photos_per_round)
                continue
            self.outcome.kills[stage] += 1
            self._look(encoded_before)
        self._finish()
        return self.outcome

    def _round(self, photos_per_round: int) -> str | None:
        """Start a sync and kill it; returns the stage it was in, None where it was too fast."""
        command = [sys.executable, __file__, "--sync", *map(str, (self.library, self.photos, self.record))]
        with subprocess.Popen(
            [*command, "--batch-size", str(self.outcome.batch_size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            stages = [process.stdout.readline()]
            reader = threading.Thread(target=lambda: stages.extend(process.stdout or ()))
            reader.start()
            process.stdin.write("\n")
            process.stdin.flush()
            if self.random.random() < 0.2:
                self._wait(process, self.random.uniform(0, 0.5))
            else:
                enough = self._encodes() + self.random.randint(1, 2 * photos_per_round)
                while self._encodes() < enough and process.poll() is None:
                    self._wait(process, 0.0005)
                self._wait(process, self.random.uniform(0, 0.02))
            process.kill()
            code = process.wait()
            reader.join()
        if code == 0:
            return None
        if code > 0:
            raise RuntimeError(f"the sync failed by itself, with {code}")
        return stages[-1].strip()

    @staticmethod
    def _wait(process: subprocess.Popen[str], seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)

    def _encodes(self) -> int:
        return self.record.stat().st_size // 65

    def _look(self, encoded_before: int) -> None:
        """After a kill: everything that was stored is still there, and the database is whole."""
        lines = self.record.read_text(encoding="utf-8").split()
        before = set(lines[:encoded_before])
        self.outcome.most_repeated = max(
            self.outcome.most_repeated, sum(line in before for line in lines[encoded_before:])
        )
        if not (self.library / "library.db").exists():
            return
        try:
            storage = SqliteStorage.open(self.library, create=True)
        except Exception as error:  # noqa: BLE001
            self.outcome.problems.append(f"{type(error).__name__}: {error}")
            return
        stored = set(storage.reads.files().paths)
        self.outcome.problems += storage.problems()
        storage.close()
        self.outcome.lost += len(self._stored - stored)
        self._stored = stored

    def _finish(self) -> None:
        encoded_before = self._encodes()
        with Library.open(self.library, encoder=RecordingEncoder(self.record)) as library:
            # A kill may leave a file in index/ that nothing refers to, which is harmless and which `fix` removes.
            problems = [p for p in library.check().problems if "belong to no index" not in p]
            library.sync([self.photos])
            self._look(encoded_before)
            again = library.sync()
            problems += library.check(fix=True).remaining
            self.outcome.problems += problems
            self.outcome.unfinished = (
                again.to_read + len(library.photos.skipped()) + self.outcome.photos - len(library.photos.paths())
            )
        self.outcome.encodes = self._encodes()


def sync(library: Path, photos: Path, record: Path, batch_size: int) -> None:
    """What is killed: say which stage one is in, and sync."""
    encoder = RecordingEncoder(record)
    stages: list[str] = []

    def enter(stage: str) -> None:
        if [stage] != stages[-1:]:
            stages.append(stage)
            print(stage, flush=True)

    def progress(step: Progress) -> None:
        enter("index" if step.stage == "encode" and step.done == step.total else step.stage)

    enter("open")
    sys.stdin.readline()
    with Library.open(library, encoder=encoder, batch_size=batch_size, workers=2) as opened:
        opened.sync([photos], progress=progress)
        enter("close")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--photos-per-round", type=int, default=24, help="photos that come per kill")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sync", nargs=3, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.sync:
        sync(*arguments.sync, batch_size=arguments.batch_size)
        return
    with tempfile.TemporaryDirectory() as folder:
        test = KillTest(Path(folder), batch_size=arguments.batch_size, seed=arguments.seed)
        outcome = test.run(arguments.kills, arguments.photos_per_round)
    stages = ", ".join(f"{n} in {stage}" for stage, n in outcome.kills.most_common())
    table = {
        "kills": f"{outcome.kills.total()} ({stages})",
        "photos": f"{outcome.photos}, of which {outcome.images} with different bytes",
        "stored and lost again": outcome.lost,
        "without a vector at the end": outcome.unfinished,
        "encodes": outcome.encodes,
        "encoded more than once": f"{outcome.repeated} (allowed: {outcome.allowed}, a batch per kill)",
        "most after one kill": f"{outcome.most_repeated} (allowed: {outcome.batch_size})",
        "problems found by check": len(outcome.problems),
    }
    for name, value in table.items():
        print(f"{name:<28} {value}")
    for problem in outcome.problems:
        print(f"  {problem}")
    sys.exit(0 if outcome.ok else 1)


if __name__ == "__main__":
    main()
