"""What work costs, in operations: seconds depend on the machine, counts of statements, reads and model calls do not."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import libraries
from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.statements import counting_statements
from zsindex.library import Library
from zsindex.photos import decode
from zsindex.photos.sandbox import Sandbox
from zsindex.storage.sqlite.storage import SqliteStorage

BATCH = 4


def made_up(folder: Path, *, folders: int, photos: int) -> Path:
    """A library of files that need not exist, with the prompts of two label sets."""
    libraries.new_library(folder)
    with Library.open(folder, encoder=FakeEncoder()) as library:
        library.embed_texts(["This is a photo of red.", "This is a photo of blue."])
        library.labels.save("colours", ["red", "blue"])
    storage = SqliteStorage.open(folder, create=False)
    model = storage.reads.default_model()
    assert model is not None
    for i in range(folders):
        vectors = libraries.unit_vectors(photos, seed=i)
        libraries.add_photos(storage, model, vectors, folder=f"/photos/{i:03}")
    storage.close()
    with Library.open(folder) as library:
        library.classify(label_set="colours")  # writes the snapshot
        library.session.facts.table()  # and the facts beside it
    return folder


QUESTIONS: dict[str, Callable[[Library], Any]] = {
    "saved label set": lambda library: library.classify(label_set="colours"),
    "labels": lambda library: library.classify(["red", "blue"]),
    "below a folder": lambda library: library.classify(["red"], paths="/photos", sync=False),
    "photos that fit": lambda library: library.classify(label_set="colours", where={"path": "/photos"}),
    "a search for photos that fit": lambda library: library.search(
        "text:This is a photo of red.", where={"path": "/photos"}
    ),
    "skipped": lambda library: library.photos.skipped(),
    "paths": lambda library: library.photos.paths(["/photos"]),
}


@pytest.fixture(scope="module")
def two_sizes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("two sizes")
    return made_up(base / "small", folders=1, photos=3), made_up(base / "large", folders=25, photos=20)


@pytest.mark.parametrize("question", QUESTIONS)
def test_statements_of_a_cached_question_depend_on_neither_photos_nor_folders(
    question: str, two_sizes: tuple[Path, Path]
) -> None:
    counts = []
    for folder in two_sizes:
        with counting_statements() as seen, Library.open(folder) as library:
            QUESTIONS[question](library)
        counts.append(len(seen))
    assert counts[0] == counts[1]
    assert 1 <= counts[0] <= 40


def test_many_named_photos_take_no_statements_each(two_sizes: tuple[Path, Path]) -> None:
    with Library.open(two_sizes[1]) as library:
        paths = library.photos.paths()
        counts = []
        for part in (paths[:2], paths):
            with counting_statements() as seen:
                assert library.photos.paths(part) == part
            counts.append(len(seen))
    assert counts[0] == counts[1]


def test_a_re_sync_asks_for_many_folders_at_once(tmp_path: Path) -> None:
    for i in range(30):
        photo(tmp_path / "photos" / f"{i:02}" / "one.png", mark=i)
    libraries.new_library(tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        library.sync(tmp_path / "photos")
        with counting_statements() as seen:
            assert library.sync().unchanged == 30
    assert len([s for s in seen if s.startswith("SELECT") and "files" in s]) <= 5


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts files that are read (and with that hashed) and photos that are decoded."""
    done: Counter[str] = Counter()
    read_file, decode_bytes = decode.read_file, Sandbox.decode

    def read(*arguments: Any, **options: Any) -> Any:
        done["read"] += 1
        return read_file(*arguments, **options)

    def decoded(*arguments: Any, **options: Any) -> Any:
        done["decoded"] += 1
        return decode_bytes(*arguments, **options)

    monkeypatch.setattr(decode, "read_file", read)
    monkeypatch.setattr(Sandbox, "decode", decoded)
    return done


def test_new_photos_are_each_read_decoded_and_encoded_once(tmp_path: Path, work: Counter[str]) -> None:
    encoder = FakeEncoder()
    libraries.new_library(tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=encoder, batch_size=BATCH, workers=2) as library:
        for n_new in (11, 3, 0):
            for i in range(n_new):
                photo(tmp_path / "photos" / str(n_new) / f"{i}.png", mark=1000 * n_new + i)
            encoder.batches.clear()
            work.clear()
            assert library.sync(tmp_path / "photos").encoded == n_new
            assert work == Counter(read=n_new, decoded=n_new)
            assert len(encoder.batches) == math.ceil(n_new / BATCH)
            assert sum(encoder.batches) == n_new


def test_prompts_are_encoded_once_and_questions_touch_no_photo(tmp_path: Path, work: Counter[str]) -> None:
    encoder = FakeEncoder()
    photo(tmp_path / "photos" / "one.png")
    libraries.new_library(tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=encoder) as library:
        library.sync(tmp_path / "photos")
        work.clear()
        library.classify(["red", "blue"], template="a {}")
        assert encoder.texts == ["a red", "a blue"]
        library.classify(["blue", "red"], template="a {}", paths=tmp_path / "photos")
        library.classify(["red", "green", "blue"], template="a {}")
        assert encoder.texts == ["a red", "a blue", "a green"]
    assert not work
    assert encoder.image_count == 1


PROGRAM = """
import sys
from zsindex.cli import main
try:
    main()
finally:
    print("imported", *sys.modules, file=sys.stderr)
"""


NEW_LABELS = """
import sys
from tests.fakes import FakeEncoder
from zsindex.library import Library
with Library.open(sys.argv[1], encoder=FakeEncoder()) as library:
    library.classify([sys.argv[2], "red"])
    usage = library.usage
print(usage["prompts_encoded"], "sqlalchemy" in sys.modules, "zsindex.library" in sys.modules)
"""


def test_new_labels_are_stored_without_sqlalchemy(two_sizes: tuple[Path, Path]) -> None:
    for expected in ("1 False True", "0 False True"):
        command = [sys.executable, "-c", NEW_LABELS, str(two_sizes[0]), "never seen before"]
        root = Path(__file__).parents[1]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, cwd=root)
        assert done.stdout.strip() == expected


def test_a_cached_classify_imports_only_what_it_uses(two_sizes: tuple[Path, Path]) -> None:
    command = [sys.executable, "-c", PROGRAM, "classify", "--library", str(two_sizes[0]), "--label-set", "colours"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert len(done.stdout.splitlines()) == 3
    imported = set(done.stderr.splitlines()[-1].split())
    heavy = {
        "torch",
        "open_clip",
        "transformers",
        "faiss",
        "sqlalchemy",
        "alembic",
        "pandas",
        "PIL",
        "tqdm",
        "yaml",
        "lxml",
    }
    own = {"decode", "intake", "maintenance", "openclip", "scan", "sources", "sync", "cli.cmd_demo", "cli.cmd_sync"}
    assert not imported & {*heavy, *(f"zsindex.{name}" for name in own)}
    assert {"numpy", "zsindex.storage.sqlite.fast_reads", "zsindex.cli.answers"} <= imported  # or nothing would be seen
