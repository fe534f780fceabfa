"""What the commands of the label lab have in common: unknown paths, long prompts, Ctrl-C, what they say to do next."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from zsindex.cli import cli

from tests.fakes import COLOURS, FakeEncoder
from tests.libraries import paint
from zsindex.models.encoder import Encoder
from zsindex.records import ModelSpec

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on a library with photos of three colours, in folders that are called so but for one photo."""

    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        return FakeEncoder(name=spec.name, decode=spec.decode)

    def invoke(*arguments: str | Path, code: int = 0, library: str = "library") -> Result:
        environment = {"ZSINDEX_LIBRARY": str(tmp_path / library), "COLUMNS": "200"}
        result = CliRunner().invoke(cli, [str(a) for a in arguments], env=environment)
        assert result.exit_code == code, result.output
        return result

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    for colour in ("red", "green", "blue"):
        for shade in range(4):
            paint(tmp_path / "photos" / colour / f"{shade}.png", [max(0, c - 9 * shade) for c in COLOURS[colour]])
    paint(tmp_path / "photos" / "red" / "wrong.png", (0, 250, 0))
    invoke("sync", tmp_path / "photos", "-q")
    invoke("labels", "save", "colours", "-l", "red", "-l", "green", "-l", "blue")
    return invoke


QUESTIONS = [
    ["eval", "folders", "--label-set", "{}"],
    ["temperature", "fit", "folders", "--label-set", "{}", "--folds", "2"],
    ["templates", "attribute", "folders", "--label-set", "{}", "--template", "a {}", "--template", "the {}"],
    ["next", "--label-set", "{}"],
    ["labels", "suggest", "{}", "--vocabulary", "basic"],
    ["labels", "diff", "{}", "colours"],
]


@pytest.mark.parametrize("question", [*QUESTIONS, ["labels", "lint", "{}"], ["duplicates"]], ids=lambda q: " ".join(q))
def test_a_path_that_the_library_does_not_know_is_refused(run: Run, question: list[str]) -> None:
    words = [word.replace("{}", "colours") if word == "{}" else word for word in question]
    assert "not in the library" in run(*words, "--path", "/nothere", code=1).stderr
    assert run(*words, "--path", "/").exit_code == 0


@pytest.mark.parametrize(
    "question",
    [
        *(q for q in QUESTIONS if "attribute" not in q),
        ["thresholds", "show", "{}"],
        ["thresholds", "set", "{}", "red", "--count", "2"],
    ],
    ids=lambda q: " ".join(q),
)
def test_long_prompts_can_be_cut_wherever_they_are_refused(run: Run, tmp_path: Path, question: list[str]) -> None:
    prompts = {"red": ["red " + "and so on " * 9], "green": ["green"], "blue": ["blue"]}
    (tmp_path / "long.json").write_text(json.dumps(prompts), encoding="utf-8")
    run("labels", "save", "long", "--labels", tmp_path / "long.json")
    words = ["long" if word == "{}" else word for word in question]
    assert "--truncate" in run(*words, code=1).stderr
    run(*words, "--truncate")


def test_ctrl_c_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("zsindex.services.lab.Lab.lint", interrupted)
    assert "stopped" in run("labels", "lint", "colours", code=130).stderr


def test_what_to_do_next_can_be_pasted(run: Run) -> None:
    assert "--label-set 'two words'" in run("labels", "save", "two words", "-l", "red", "-l", "blue").stderr
    assert "--label-set 'two words'" in run("thresholds", "set", "two words", "red", "--count", "1").stderr
    assert "--label-set 'two words'" in run("next", "--label-set", "two words").stderr


def test_ways_to_name_labels_are_those_of_the_command(run: Run, tmp_path: Path) -> None:
    empty = tmp_path / "empty.txt"
    empty.write_text("", encoding="utf-8")
    assert f"{empty}: it holds no labels" in run("labels", "save", "x", "--labels", empty, code=1).stderr
    assert "'#x'" not in run("labels", "save", "x", "--labels", "#x", code=1).stderr
    for words in (["labels", "lint"], ["labels", "suggest", "--vocabulary", "basic"]):
        assert "--labels FILE or NAME\n" in run(*words, code=2).stderr
    assert "-l/--label or --labels FILE\n" in run("labels", "save", "x", code=2).stderr
    assert "needs a name" in run("labels", "save", "", "-l", "red", code=2).stderr


def test_none_of_these_is_not_counted_as_a_label(run: Run) -> None:
    assert "13 photos by 3 labels" in run("classify", "--label-set", "colours", "--unknown", "mcm:0.1").stderr


def test_a_run_gives_its_best_labels_as_tags_unless_all_are_asked_for(run: Run) -> None:
    key = json.loads(run("classify", "--label-set", "colours", "--record", "--format", "json").stdout)["run"]["key"]
    written = json.loads(run("tags", "write", "--run", key, "--json").stdout)["changes"]
    assert {len(change["added"]["dc:subject"]) for change in written} == {1}
    every = json.loads(run("tags", "write", "--run", key, "--all", "--json").stdout)["changes"]
    assert {len(change["added"]["dc:subject"]) for change in every} == {3}


def test_a_score_is_no_threshold_where_there_is_no_photo(run: Run) -> None:
    run("labels", "save", "colours", "-l", "red", "-l", "blue", library="empty")
    assert (
        "zsindex sync" in run("thresholds", "set", "colours", "red", "--score", "0.5", code=1, library="empty").stderr
    )
