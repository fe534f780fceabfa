"""`zsindex labels lint|diff|suggest` and `zsindex migrate-model`, from arguments to exit codes, with the fake model."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from zsindex.cli import cli, cmd_migrate

from tests.fakes import COLOURS, FakeEncoder
from tests.libraries import add_photos, open_storage, unit_vectors
from tests.scenes import photo
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.records import FloatArray, ModelSpec, Progress

Run = Callable[..., Result]
FOUR = ["red", "green", "blue", "yellow"]


class Inverted(FakeEncoder):
    """Sees the opposite colours."""

    def encode_images(self, pixels: Sequence[FloatArray]) -> FloatArray:
        return super().encode_images([255 - p for p in pixels])


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[FakeEncoder]:
    """The encoders that were loaded, in order."""
    loaded: list[FakeEncoder] = []

    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        loaded.append(
            Inverted(name=spec.name) if spec.name == "inverted" else FakeEncoder(name=spec.name, decode=spec.decode)
        )
        return loaded[-1]

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    return loaded


@pytest.fixture
def run(tmp_path: Path, encoders: list[FakeEncoder]) -> Run:
    """Runs a command on a library that knows two photos each of four colours, and three label sets."""

    def invoke(*arguments: str | Path, input: str | None = None, code: int = 0) -> Result:
        environment = {"ZSINDEX_LIBRARY": str(tmp_path / "library"), "COLUMNS": "200"}
        result = CliRunner().invoke(cli, [str(a) for a in arguments], env=environment, input=input)
        assert result.exit_code == code, result.output
        return result

    for colour in FOUR:
        for mark in (1, 2):
            photo(tmp_path / "photos" / f"{colour} {mark}.png", COLOURS[colour], mark=mark)
    invoke("sync", tmp_path / "photos", "-q")
    invoke("labels", "save", "clean", *[word for colour in FOUR for word in ("-l", colour)])
    invoke("labels", "save", "doubled", *[word for colour in [*FOUR, "so red"] for word in ("-l", colour)])
    return invoke


# --- lint -------------------------------------------------------------------------------------------------------------


def test_lint_of_a_clean_set_says_nothing(run: Run) -> None:
    result = run("labels", "lint", "clean", "--strict")
    assert result.stdout == ""
    assert "4 labels on 8 images: 0 warnings, 0 remarks" in result.stderr


def test_lint_tells_what_is_wrong_in_every_format(run: Run, tmp_path: Path) -> None:
    shown = run("labels", "lint", "doubled")
    assert "warning: collision: red | so red\n" in shown.stdout
    assert "→ leave one out" in shown.stdout
    assert "info: never-wins: so red" in shown.stdout
    assert "1 warning, 1 remark" in shown.stderr
    document = json.loads(run("labels", "lint", "doubled", "--format", "json").stdout)
    assert (document["warnings"], document["label_set"]) == (1, "doubled@1")
    lines = run("labels", "lint", "doubled", "--format", "ndjson").stdout.splitlines()
    assert [json.loads(line) for line in lines] == document["findings"]
    run("labels", "lint", "doubled", "--format", "csv", "-o", tmp_path / "found.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "found.csv").read_text(encoding="utf-8"))))
    assert [(row["kind"], row["words"]) for row in rows] == [
        ("collision", "red | so red"),
        ("never-wins", "so red"),
    ]


def test_lint_is_strict_about_warnings_only(run: Run) -> None:
    run("labels", "lint", "doubled", "--strict", code=3)
    run("labels", "lint", "-l", "red", "-l", "green", "-l", "blue", "-l", "yellow", "-l", "dark", "--strict")


def test_lint_takes_labels_and_templates(run: Run) -> None:
    found = run("labels", "lint", "clean", "--template", "{}", "--template", "a {}", "--format", "json")
    [finding] = json.loads(found.stdout)["findings"]
    assert finding["kind"] == "template-adds-nothing"
    assert "name labels with one of" in run("labels", "lint", code=2).stderr


def test_lint_shows_no_endless_lists(run: Run) -> None:
    many = "\n".join([*FOUR, *(f"{n} red" for n in range(30))])
    shown = run("labels", "lint", "--labels", "-", input=many).stdout
    assert shown.count("info: never-wins") == 20
    assert "more of never-wins: --format json lists them all" in shown
    assert "more of collision" in shown


def test_the_group_of_labels_imports_words_only_when_asked() -> None:
    program = (
        "import sys; from zsindex.cli import cli; labels = cli.commands['labels']; labels.commands['list'];"
        "print('zsindex.cli.cmd_words' in sys.modules); labels.commands['lint'];"
        "print('zsindex.cli.cmd_words' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True)
    assert result.stdout.split() == ["False", "True"]


# --- diff -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def versions(run: Run) -> Run:
    """Two versions of a set: the second lacks blue, and knows yellow."""
    run("labels", "save", "warm", "-l", "red", "-l", "green", "-l", "blue")
    run("labels", "save", "warm", "-l", "red", "-l", "green", "-l", "yellow")
    return run


def test_diff_in_every_format(versions: Run, tmp_path: Path) -> None:
    shown = versions("labels", "diff", "warm@1", "warm@2")
    document = json.loads(versions("labels", "diff", "warm@1", "warm", "--format", "json").stdout)
    assert document["photos"] == 8
    assert document["only_before"] == ["blue"]
    assert document["only_after"] == ["yellow"]
    assert document["flipped"] == len(document["flips"]) == sum(flow["photos"] for flow in document["flows"]) > 3
    assert f"warm@1, nano → warm@2, nano: {document['flipped']} of 8 photos flip" in shown.stderr
    assert "only before: blue (1)" in shown.stderr
    assert re.search(r"^before +after +photos$", shown.stdout, re.MULTILINE)
    assert document["flips"][0]["path"] in shown.stdout
    lines = versions("labels", "diff", "warm@1", "warm", "--format", "ndjson").stdout.splitlines()
    assert [json.loads(line) for line in lines] == document["flips"]
    rows = list(csv.DictReader(io.StringIO(versions("labels", "diff", "warm@1", "warm", "--format", "csv").stdout)))
    assert [row["path"] for row in rows] == [flip["path"] for flip in document["flips"]]
    paths = versions("labels", "diff", "warm@1", "warm", "--format", "paths", "-q")
    assert paths.stdout.splitlines() == [flip["path"] for flip in document["flips"]]
    assert paths.stderr == ""


@pytest.mark.parametrize(("bound", "code"), [("2%", 3), ("0.02", 3), ("100%", 0), ("two", 2), ("200%", 2)])
def test_diff_fails_above_a_share(versions: Run, bound: str, code: int) -> None:
    versions("labels", "diff", "warm@1", "warm@2", "--fail-above", bound, code=code)


def test_diff_of_templates_files_and_renamed_answers(run: Run, tmp_path: Path) -> None:
    assert "0 of 8 photos flip" in run("labels", "diff", "clean", "--template-after", "openai-7").stderr
    (tmp_path / "rot.json").write_text(json.dumps({"rot": ["red"], **{c: [c] for c in FOUR[1:]}}), encoding="utf-8")
    file = f"@{tmp_path / 'rot.json'}"
    assert "2 of 8 photos flip" in run("labels", "diff", "clean", file).stderr
    assert "0 of 8 photos flip" in run("labels", "diff", "clean", file, "--rename", "red=rot").stderr
    assert "is not an answer" in run("labels", "diff", "clean", file, "--rename", "pink=rot", code=2).stderr
    assert "OLD=NEW" in run("labels", "diff", "clean", file, "--rename", "red", code=2).stderr


def test_diff_needs_something_to_compare(run: Run) -> None:
    assert "name a second label set" in run("labels", "diff", "clean", code=2).stderr
    assert "UnknownLabelSet" not in run("labels", "diff", "clean", "klean", code=1).stderr
    assert "holds no vectors of it" in run("labels", "diff", "clean", "--model-after", "inverted", code=1).stderr


# --- suggest ----------------------------------------------------------------------------------------------------------


def test_suggest_in_every_format(run: Run, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("blue\nyellow\nnothing\n", encoding="utf-8")
    command = ("labels", "suggest", "-l", "red", "-l", "green", "--vocabulary", tmp_path / "words.txt")
    options = ("--share", "25%", "--groups", "1", "--names", "2")
    shown = run(*command, *options)
    document = json.loads(run(*command, *options, "--format", "json").stdout)
    [group] = document["groups"]
    assert group["images"] == 2
    assert group["names"][0]["word"] == "blue"
    assert "1. 2 images, nearest label" in shown.stdout
    assert "    blue  (fits 100% of them better than any label)\n" in shown.stdout
    assert "2 images of 8 with a cosine of at most" in shown.stderr
    lines = run(*command, *options, "--format", "ndjson").stdout.splitlines()
    assert [json.loads(line) for line in lines] == document["groups"]
    rows = list(csv.DictReader(io.StringIO(run(*command, *options, "--format", "csv").stdout)))
    assert [row["word"] for row in rows] == [name["word"] for name in group["names"]]
    assert "cannot read" in run("labels", "suggest", "clean", "--vocabulary", "no such file", code=1).stderr
    assert "place for the word" in run(*command, "--word-template", "photo", code=2).stderr


def test_suggest_stops_on_interrupt(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    from zsindex.lab import suggest

    monkeypatch.setattr(suggest, "BATCH", 2)
    (tmp_path / "words.txt").write_text("\n".join(f"word {n}" for n in range(9)), encoding="utf-8")
    real = FakeEncoder.encode_texts

    def interrupted(self: FakeEncoder, texts: Sequence[str], **options: Any) -> FloatArray:
        if any("word 3" in text for text in texts):
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, texts, **options)

    monkeypatch.setattr(FakeEncoder, "encode_texts", interrupted)
    command = ("labels", "suggest", "clean", "--vocabulary", tmp_path / "words.txt")
    assert "stopped with 5 words left" in run(*command, code=130).stderr
    assert "9 words" in run(*command).stderr


# --- migrate-model ----------------------------------------------------------------------------------------------------


def default_model(run: Run) -> str:
    held = json.loads(run("models", "list", "--held", "--json").stdout)["held"]
    return next(str(row["name"]) for row in held if row["default"])


def test_migrating_encodes_reports_and_switches(run: Run, encoders: list[FakeEncoder]) -> None:
    before = run("classify", "--label-set", "clean", "--format", "csv").stdout
    result = run("migrate-model", "inverted", "--yes")
    assert "nano → inverted: 8 of 8 photos ready, 8 encoded now" in result.stdout
    assert "clean: clean@1, nano → clean@1, inverted: " in result.stdout
    assert "doubled: " in result.stdout
    assert "inverted is now the default. To go back: zsindex models use nano" in result.stderr
    assert default_model(run) == "inverted"
    assert run("classify", "--label-set", "clean", "--format", "csv").stdout != before
    # Nothing of the old model is gone.
    encoded = sum(encoder.image_count for encoder in encoders)
    run("models", "use", "nano")
    assert run("classify", "--label-set", "clean", "--format", "csv").stdout == before
    assert sum(encoder.image_count for encoder in encoders) == encoded


def test_a_model_may_differ_in_more_than_its_name(run: Run, tmp_path: Path) -> None:
    assert "is already the library's model" in run("migrate-model", "nano", code=2).stderr
    result = run("migrate-model", "nano", "--decode", "fast", "--yes")
    exact, fast = (
        f"nano (--precision fp32 --decode {mode} --icc ignore --transparency reference)" for mode in ("exact", "fast")
    )
    assert f"{exact} → {fast}: 8 of 8 photos ready, 8 encoded now" in result.stdout
    back = re.search("To go back: zsindex (.*)", result.stderr)
    assert back is not None
    run(*back[1].split())
    with Library.open(tmp_path / "library") as library:
        assert library.spec == ModelSpec("nano")


def test_migrating_asks_first_and_without_a_terminal_refuses(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = run("migrate-model", "inverted", "--label-set", "clean", code=1)
    assert "8 encoded now" in refused.stdout
    assert "doubled" not in refused.stdout
    assert "--yes" in refused.stderr
    assert default_model(run) == "nano"
    monkeypatch.setattr(cmd_migrate, "can_ask", lambda: True)
    no = run("migrate-model", "inverted", input="n\n")
    assert "8 of 8 photos ready, 0 encoded now" in no.stdout
    assert "not switched. To switch later" in no.stderr
    assert default_model(run) == "nano"
    run("migrate-model", "inverted", input="y\n")
    assert default_model(run) == "inverted"


def test_migrating_reports_as_json(run: Run) -> None:
    document = json.loads(run("migrate-model", "inverted", "--yes", "--json", "-q").stdout)
    assert (document["before"], document["after"], document["switched"]) == ("nano", "inverted", True)
    assert set(document["diffs"]) == {"clean", "doubled"}
    assert document["diffs"]["clean"]["photos"] == 8


def test_an_unknown_label_set_is_refused_before_the_work(run: Run, encoders: list[FakeEncoder]) -> None:
    loaded = len(encoders)
    run("migrate-model", "inverted", "--label-set", "klean", code=1)
    assert len(encoders) == loaded


def test_a_migration_goes_on_where_it_was_stopped(run: Run, tmp_path: Path, encoders: list[FakeEncoder]) -> None:
    events: list[Progress] = []
    with Library.open(tmp_path / "library", batch_size=2, workers=1) as library:
        stopped = library.migration.run(
            "inverted",
            switch=True,
            progress=events.append,
            should_stop=lambda: any(event.stage == "encode" and event.done >= 2 for event in events),
        )
        assert stopped.interrupted
        assert 0 < stopped.ready < 8
        assert not stopped.switched
        assert stopped.diffs == {}
        # Meanwhile the old model answers, and for every photo.
        answer = library.classify(label_set="clean")
        assert (answer.run.model, len(answer)) == ("nano", 8)
        done = library.migration.run("inverted", switch=True)
        assert (done.ready, done.encoded, done.switched) == (8, 8 - stopped.ready, True)
        assert str(library.spec) == "inverted"
    inverted = [encoder for encoder in encoders if encoder.name == "inverted"]
    assert sum(encoder.image_count for encoder in inverted) == 8


def test_photos_that_are_not_here_are_counted_and_those_that_fail_are_named(run: Run, tmp_path: Path) -> None:
    with open_storage(tmp_path / "library") as storage:
        add_photos(storage, storage.reads.models()[0], unit_vectors(3), folder="/elsewhere")
    (tmp_path / "photos" / "red 1.png").unlink()
    (tmp_path / "photos" / "red 2.png").write_bytes(b"no longer a photo")
    (tmp_path / "photos" / "new.png").write_bytes((tmp_path / "photos" / "blue 1.png").read_bytes())
    result = run("migrate-model", "inverted", "--yes")
    assert "6 of 10 photos ready" in result.stdout
    assert "4 photos cannot be encoded here" in result.stdout
    assert "First: /elsewhere/00000.png" in result.stdout
    assert "skipped" in result.stdout
    # The old model still has its vectors of those that are away; a new photo is a matter of sync.
    with Library.open(tmp_path / "library", model="nano") as library:
        assert len(library.view()) == 10
        assert not any(path.endswith("new.png") for path in library.photos.paths())
