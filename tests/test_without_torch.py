"""What is cached is answered without torch: by a process that could not load the model even if it wanted to."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.fakes import FakeEncoder
from tests.scenes import photo
from zsindex.library import Library

HEAVY = ["torch", "torchvision", "open_clip", "transformers", "timm"]

PROGRAM = f"""
import json, sys
loaded = {{}}
def note(step):
    watched = {HEAVY!r} + ["faiss", "alembic", "PIL", "pandas", "pyarrow"]
    loaded[step] = [name for name in watched if name in sys.modules]
folder, photo = sys.argv[1:]
import zsindex
note("import")
from zsindex import Library
with Library.open(folder) as library:
    note("open")
    answer = library.classify(["red", "blue"])
    shown = [answer.to_dicts(), answer.run.key]
    library.classify(label_set="colours")
    library.classify(label_set="colours", unknown="mcm:0.5", multi_label=True)
    library.thresholds.choose("colours", "red", count=1)
    library.classify(label_set="colours", thresholds=True)
    library.lab.evaluate(["red", "blue"], {{photo: "red"}}, temperature=0.1, resamples=10)
    library.classify(label_set="colours", smooth=True)
    note("classify")
    library.corrections.add("colours", photo, "red")
    library.classify(label_set="colours", with_corrections="logistic")
    library.classify(label_set="colours", with_corrections="gda")
    library.classify(label_set="colours", with_corrections="tip-adapter")
    assert len(library.corrections.list("colours")) == len(library.corrections.next("colours")) == 1
    note("learn")
    library.lab.lint("colours"), library.lab.diff("colours", ["red"]), library.lab.suggest(["red"], ["blue"])
    note("words")
    library.status(), library.photos.paths(), library.photos.skipped(), library.models(), library.labels.list()
    note("status")
    assert library.sync().unchanged == 2
    library.sync(dry_run=True)
    library.classify(["red"], paths=[photo])
    note("sync")
    library.search("red"), library.search("red", minus=["blue"])
    note("search")
    library.similar(photo)
    library.search(open(photo, "rb").read())
    library.neighbours.duplicates(), library.neighbours.duplicate_examples()
    library.embed_texts(["red"]), library.embed_images([photo])
    note("similar")
    assert library.check().ok
    library.check(fix=True)
    library.prune()
    note("upkeep")
    run = library.classify(["red", "blue"], record=True).run
    library.runs.list(), library.runs.repeat(run.key)
    library.tags.write(library.classify(["red", "blue"], top=1), apply=True)
    library.tags.retract(apply=True)
    note("giving")
    library.vectors.export_to(folder + " exported")
    library.vectors.import_from(folder + " exported")
    note("exchange")
    from zsindex import pipeline
    pipeline(library=library)(photo, ["red", "blue"])
    note("pipeline")
print(json.dumps([loaded, shown]))
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, list[str]], Any, Any]:
    """What each step had imported; the answer; and the same answer from the process that encoded everything."""
    base = tmp_path_factory.mktemp("without torch")
    red, _ = photo(base / "photos" / "red.png", "red"), photo(base / "photos" / "blue.png", "blue")
    with Library.open(base / "library", encoder=FakeEncoder()) as library:
        library.sync(base / "photos")
        library.labels.save("colours", ["red", "blue"])
        library.embed_texts(["red", "blue"])
        library.lab.suggest(["red"], ["blue"])
        answer = library.classify(["red", "blue"])
        expected = [answer.to_dicts(), answer.run.key]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(base / "library"), str(red)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr
    loaded, shown = json.loads(result.stdout)
    return loaded, shown, expected


def test_nothing_that_is_cached_imports_torch(answers: tuple[dict[str, list[str]], Any, Any]) -> None:
    loaded, _, _ = answers
    assert set(loaded) == {
        "import", "open", "classify", "learn", "words", "status", "sync", "search", "similar", "upkeep", "giving",
        "exchange", "pipeline",
    }  # fmt: skip
    assert {step: names for step, names in loaded.items() if set(HEAVY) & set(names)} == {}


def test_questions_import_neither_faiss_nor_alembic(answers: tuple[dict[str, list[str]], Any, Any]) -> None:
    loaded, _, _ = answers
    assert loaded["import"] == []
    for step in ("open", "classify", "learn", "words", "status", "sync", "search", "similar"):
        assert not {"faiss", "alembic", "pandas", "pyarrow"} & set(loaded[step])
    assert "PIL" in loaded["similar"]  # or the check above would see nothing
    assert "pyarrow" in set(loaded["exchange"]) - set(loaded["giving"])


def test_the_answer_is_the_same_as_with_the_model(answers: tuple[dict[str, list[str]], Any, Any]) -> None:
    _, shown, expected = answers
    assert shown == expected
