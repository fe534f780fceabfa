"""The command line, from arguments to exit codes. The model is the fake one, behind the same seam as the real ones."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from zsindex.cli import cli

from tests import on_server, photos
from tests.fakes import FakeEncoder
from tests.libraries import stored
from zsindex.errors import UnknownModel
from zsindex.library import Library
from zsindex.models.encoder import Encoder
from zsindex.records import ModelSpec

Run = Callable[..., Result]
RGB = ["-l", "red", "-l", "green", "-l", "blue"]


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[FakeEncoder]:
    """The encoders that were loaded, in order."""
    loaded: list[FakeEncoder] = []

    def load(spec: ModelSpec, *, device: str, batch_size: int | None) -> Encoder:
        if spec.name == "nanoo":
            raise UnknownModel("nanoo", near=["nano"])
        loaded.append(FakeEncoder(name=spec.name, decode=spec.decode))
        return loaded[-1]

    monkeypatch.setattr("zsindex.session.model.load_encoder", load)
    return loaded


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for name in ("red", "green", "blue"):
        photos.save(folder / f"{name}.png", photos.solid(name))
    photos.save(folder / "more" / "赤.png", photos.solid("red", 64, 64))
    return folder


@pytest.fixture
def run(tmp_path: Path, encoders: list[FakeEncoder]) -> Run:
    def invoke(*arguments: str | Path, input: str | None = None, code: int = 0) -> Result:
        environment = {"ZSINDEX_LIBRARY": str(tmp_path / "library"), "COLUMNS": "200"}
        result = CliRunner().invoke(cli, [str(a) for a in arguments], env=environment, input=input)
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def synced(run: Run, pictures: Path) -> Run:
    run("sync", pictures)
    return run


# --- sync -------------------------------------------------------------------------------------------------------------


def test_sync_counts_and_costs(run: Run, pictures: Path) -> None:
    first = json.loads(run("sync", pictures, "--json").stdout)
    again = json.loads(run("sync", "--json").stdout)
    (pictures / "red.png").rename(pictures / "rouge.png")
    moved = json.loads(run("sync", pictures, "--json").stdout)

    assert {k: first[k] for k in ("scanned", "added", "encoded", "unchanged", "missing")} == {
        "scanned": 4,
        "added": 4,
        "encoded": 4,
        "unchanged": 0,
        "missing": 0,
    }
    assert (again["unchanged"], again["encoded"], again["to_read"]) == (4, 0, 0)
    assert (moved["moved"], moved["encoded"], moved["reused"], moved["missing"]) == (1, 0, 1, 0)
    assert first["seconds"] > 0


def test_a_new_library_introduces_its_model_once(run: Run, pictures: Path) -> None:
    first = run("sync", pictures)
    assert "model nano" in first.stderr
    assert "ViT-B-32-256/datacomp_s34b_b86k" in first.stderr
    assert "4 photos: 4 added" in first.stdout
    assert "model nano" not in run("sync", pictures).stderr


def test_loading_a_model_is_announced_once(run: Run, pictures: Path) -> None:
    assert run("sync", pictures).stderr.count("loading nano …") == 1
    assert run("classify", *RGB).stderr.count("loading nano …") == 1
    assert "loading" not in run("classify", *RGB).stderr
    assert "loading nano …" in run("search", "yellow").stderr


def test_quiet_says_nothing_on_stderr(run: Run, pictures: Path) -> None:
    (pictures / "bad.jpg").write_bytes(b"")
    assert run("sync", pictures, "--quiet").stderr == ""
    assert run("classify", *RGB, "--quiet").stderr == ""


def test_skipped_photos_are_named_and_strict_says_so(run: Run, pictures: Path) -> None:
    photos.save(pictures / "bad.jpg", photos.gradient())
    (pictures / "bad.jpg").write_bytes((pictures / "bad.jpg").read_bytes()[:2000])
    result = run("sync", pictures, "--strict", code=3)
    assert f"skipped {pictures / 'bad.jpg'}" in result.stderr
    assert json.loads(run("status", "--json").stdout)["skipped"] == {"truncated": 1}
    assert "truncated\t" in run("status", "--skipped").stdout
    run("classify", *RGB, "--strict", code=3)


def test_a_dry_run_makes_no_library(run: Run, pictures: Path, tmp_path: Path, encoders: list[FakeEncoder]) -> None:
    assert "4 would be read" in run("sync", pictures, "--dry-run").stdout
    assert not (tmp_path / "library").exists()
    run("sync", pictures / "more")
    before = stored(tmp_path / "library", to_the_byte=True)
    assert "3 would be read" in run("sync", pictures, "--dry-run").stdout
    assert stored(tmp_path / "library", to_the_byte=True) == before
    assert sum(e.image_count for e in encoders) == 1


def test_a_dry_run_without_a_library_or_a_temporary_folder_says_what_to_do(
    run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", missing)
    assert "set TMPDIR to one that can" in run("sync", pictures, "--dry-run", code=1).stderr


def test_too_little_memory_is_no_traceback(run: Run, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*asked: object, **options: object) -> None:
        raise MemoryError

    run("sync", pictures)
    with monkeypatch.context() as patched:
        patched.setattr(Library, "classify", fails)
        assert run("classify", *RGB, code=1).stderr.startswith("Error: not enough memory; what was stored is kept.")
    run("classify", *RGB)


def test_sync_without_a_path_needs_to_know_some(run: Run) -> None:
    assert "name the folders" in run("sync", code=2).stderr


def test_a_path_that_is_nowhere(run: Run, pictures: Path) -> None:
    result = run("sync", pictures, pictures / "nowhere", code=1)
    assert "no such file or folder" in result.stderr
    assert run("status", "--json").exit_code == 0
    assert json.loads(run("status", "--json").stdout)["files"] == 0


def test_unknown_model_offers_near_ones(run: Run, pictures: Path) -> None:
    assert "Did you mean nano?" in run("sync", pictures, "--model", "nanoo", code=1).stderr


# --- classify ---------------------------------------------------------------------------------------------------------


def test_json_has_run_and_results(synced: Run, pictures: Path) -> None:
    document = json.loads(synced("classify", *RGB, "--format", "json").stdout)
    assert set(document) == {"run", "results"}
    assert document["run"]["labels"] == ["red", "green", "blue"]
    assert len(document["run"]["key"]) == 16
    best = {Path(r["path"]).name: r["predictions"][0]["label"] for r in document["results"]}
    assert best == {"red.png": "red", "green.png": "green", "blue.png": "blue", "赤.png": "red"}
    scores = [p["score"] for p in document["results"][0]["predictions"]]
    assert scores == sorted(scores, reverse=True)
    assert sum(scores) == pytest.approx(1, abs=1e-5)


def test_ndjson_and_csv_agree_with_json(synced: Run) -> None:
    results = json.loads(synced("classify", *RGB, "--format", "json").stdout)["results"]
    assert [json.loads(x) for x in synced("classify", *RGB, "--format", "ndjson").stdout.splitlines()] == results
    rows = list(csv.reader(io.StringIO(synced("classify", *RGB, "--format", "csv").stdout)))
    assert rows[0] == ["path", "rank", "label", "score"]
    flat = [
        [r["path"], str(rank), p["label"], str(p["score"])]
        for r in results
        for rank, p in enumerate(r["predictions"], 1)
    ]
    assert rows[1:] == flat


def test_paths_only_and_min_score(synced: Run, pictures: Path) -> None:
    result = synced("classify", *RGB, "--only", "red", "--format", "paths")
    assert result.stdout.splitlines() == [str(pictures / "red.png"), str(pictures / "more" / "赤.png")]
    assert synced("classify", *RGB, "--min-score", "1", "--format", "paths").stdout == ""
    assert "--only names" in synced("classify", *RGB, "--only", "pink", code=2).stderr


def test_table_lines_end_with_the_path(synced: Run, pictures: Path) -> None:
    lines = synced("classify", *RGB, "--top", "1").stdout.splitlines()
    assert len(lines) == 4
    assert all(line.split()[0] in ("red", "green", "blue") and str(pictures) in line for line in lines)


def test_output_file_appears_whole(synced: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    assert synced("classify", *RGB, "--format", "json", "--output", target).stdout == ""
    assert len(json.loads(target.read_text(encoding="utf-8"))["results"]) == 4
    assert not list(tmp_path.glob(".out.json*"))
    assert "cannot write" in synced("classify", *RGB, "-o", tmp_path / "nowhere" / "x", code=1).stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "red\n\n# a comment\ngreen\nblue\n"),
        ("labels.json", '["red", "green", "blue"]'),
        ("labels.json", '{"red": ["red things", "a red one"], "green": "green", "blue": null}'),
        ("labels.csv", "Label;Prompt\r\nred;red things\r\nred;a red one\r\ngreen;\r\nblue;\r\n"),
        ("labels.yaml", "labels:\n  red:\n  green:\n  blue: [blue]\ntemplates: ['{} things']\n"),
    ],
)
def test_label_files(synced: Run, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    document = json.loads(synced("classify", "--labels", tmp_path / name, "--format", "json").stdout)
    assert document["run"]["labels"] == ["red", "green", "blue"]
    assert all(r["predictions"][0]["label"] in r["path"] or "赤" in r["path"] for r in document["results"])


def test_label_files_of_other_programs(synced: Run, tmp_path: Path) -> None:
    (tmp_path / "notepad.txt").write_text("red\nblue\n", encoding="utf-16")
    answer = json.loads(synced("classify", "--labels", tmp_path / "notepad.txt", "--format", "json").stdout)
    assert answer["run"]["labels"] == ["red", "blue"]
    (tmp_path / "old.txt").write_text("rouge\nblé\n", encoding="latin-1")
    assert "line 2 is not UTF-8" in synced("classify", "--labels", tmp_path / "old.txt", code=1).stderr


def test_labels_that_are_one_word_are_told(synced: Run) -> None:
    told = synced("classify", "-l", "Red", "-l", "red").stderr
    assert told.count("Warning: labels that differ only in case or spacing: 'Red' and 'red'") == 1


def test_a_mistyped_file_is_no_text(synced: Run, pictures: Path) -> None:
    for command in (["search", "nothing.png"], ["embed", "red", "./nothing"], ["search", "red", "--minus", "a.jpg"]):
        assert "To search for it as text: text:" in synced(*command, code=1).stderr
    (pictures / "notes").write_text("text", encoding="utf-8")
    for command in ("search", "embed"):
        assert f"text:{pictures / 'notes'}" in synced(command, pictures / "notes", code=1).stderr


def test_nothing_to_search(run: Run, synced: Run, pictures: Path) -> None:
    for command in (["search", "red"], ["similar", pictures / "red.png"]):
        assert "not in the library" in synced(*command, "--path", pictures / "typo", code=1).stderr
        for options in (["--decode", "fast"], ["--precision", "bf16"]):
            assert "zsindex sync --model nano" in (said := synced(*command, *options, code=1).stderr)
            assert " ".join(options) in said


def test_labels_from_stdin(synced: Run) -> None:
    document = json.loads(synced("classify", "--labels", "-", "--format", "json", input="red\nblue\n").stdout)
    assert document["run"]["labels"] == ["red", "blue"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "name labels with one of"),
        ([], 2, "--label-set NAME"),
        (["-l", "red", "--label-set", "x"], 2, "only one of -l/--label, --labels FILE or --label-set NAME"),
        (["-l", ""], 1, "label number 1 is empty"),
        (["-l", "red", "-l", "red"], 1, "labels given more than once: red"),
        (["-l", "red", "--template", "no place"], 1, "no place for the label"),
        (["--label-set", "none"], 1, "no label set is named 'none'"),
        (["--labels", "nowhere.txt"], 1, "cannot read labels from nowhere.txt"),
        (["-l", " ".join(["word"] * 40)], 1, "tokens"),
    ],
)
def test_bad_labels(synced: Run, arguments: list[str], code: int, message: str) -> None:
    assert message in synced("classify", *arguments, code=code).stderr


def test_a_long_prompt_can_be_truncated(synced: Run) -> None:
    synced("classify", "-l", " ".join(["word"] * 40), "-l", "red", "--truncate")


def test_one_label_says_what_that_means(synced: Run) -> None:
    result = synced("classify", "-l", "red", "--format", "csv")
    assert "with softmax every photo scores 1" in result.stderr
    assert {row.rsplit(",", 1)[1] for row in result.stdout.splitlines()[1:]} == {"1.0"}


def test_new_photos_are_added_on_the_fly(run: Run, pictures: Path) -> None:
    result = run("classify", pictures / "red.png", *RGB, "--format", "paths")
    assert result.stdout.splitlines() == [str(pictures / "red.png")]
    assert "encoded 1 photo " in result.stderr
    assert "encoded" not in run("classify", pictures / "red.png", *RGB).stderr


def test_no_sync_refuses_what_is_unknown(synced: Run, pictures: Path, tmp_path: Path) -> None:
    photos.save(tmp_path / "new.png", photos.solid("red"))
    assert "not in the library" in synced("classify", tmp_path / "new.png", *RGB, "--no-sync", code=1).stderr
    synced("classify", pictures, *RGB, "--no-sync")


def test_before_the_first_sync(run: Run) -> None:
    for command in (["classify", *RGB], ["search", "red"], ["status"], ["check"], ["prune"]):
        assert "zsindex sync" in run(*command, code=1).stderr


# --- search, similar, embed -------------------------------------------------------------------------------------------


def test_search_finds_and_combines(synced: Run, pictures: Path) -> None:
    top = synced("search", "blue", "--top", "1", "--format", "paths").stdout.strip()
    assert top == str(pictures / "blue.png")
    mixed = synced("search", pictures / "red.png", "--plus", "green", "--minus", "blue", "--format", "json")
    scores = {Path(h["path"]).name: h["score"] for h in json.loads(mixed.stdout)}
    assert min(scores, key=lambda name: scores[name]) == "blue.png"
    within = synced("search", "blue", "--path", pictures / "more", "--format", "paths").stdout.splitlines()
    assert within == [str(pictures / "more" / "赤.png")]
    assert "cancel" in synced("search", "red", "--minus", "red", code=1).stderr
    assert "empty" in synced("search", " ", code=1).stderr


def test_similar_leaves_the_photo_itself_out(synced: Run, pictures: Path, tmp_path: Path) -> None:
    hits = json.loads(synced("similar", pictures / "red.png", "--format", "json").stdout)
    assert next(Path(h["path"]).name for h in hits) == "赤.png"
    assert len(hits) == 3
    assert "nowhere.png" in synced("similar", tmp_path / "nowhere.png", code=1).stderr


def test_embed_prints_vectors(run: Run, pictures: Path, tmp_path: Path) -> None:
    lines = run("embed", "red", pictures / "red.png", "text:" + str(pictures / "red.png")).stdout.splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert [r["kind"] for r in rows] == ["text", "image", "text"]
    assert np.allclose(rows[0]["vector"], rows[1]["vector"], atol=1e-6)
    run("embed", "red", "blue", "--format", "npy", "--output", tmp_path / "v.npy")
    saved = np.load(tmp_path / "v.npy")
    assert (saved.dtype, saved.shape) == (np.float32, (2, 8))
    assert np.array_equal(saved[0], np.array(rows[0]["vector"], dtype=np.float32))


# --- label sets, models -----------------------------------------------------------------------------------------------


def test_saved_label_sets(synced: Run, tmp_path: Path) -> None:
    synced("labels", "save", "basic", *RGB, "--template", "a {} thing")
    assert synced("labels", "show", "basic").stdout.splitlines() == ["red", "green", "blue"]
    shown = synced("labels", "show", "basic", "--json").stdout
    assert json.loads(shown)["labels"]["red"] == ["a red thing"]
    (tmp_path / "again.json").write_text(shown, encoding="utf-8")
    synced("labels", "save", "again", "--labels", tmp_path / "again.json")
    named = json.loads(synced("labels", "list", "--json").stdout)
    assert [row["name"] for row in named] == ["again", "basic"]
    results = [
        json.loads(synced("classify", *which, "--format", "json").stdout)["results"]
        for which in (["--label-set", "basic"], ["--label-set", "again"], [*RGB, "--template", "a {} thing"])
    ]
    assert results[0] == results[1] == results[2]
    synced("labels", "remove", "basic")
    assert "the library has again" in synced("labels", "show", "basic", code=1).stderr


def test_older_versions_of_a_label_set_are_kept(synced: Run) -> None:
    synced("labels", "save", "basic", *RGB)
    assert "version 1" in synced("labels", "save", "basic", *RGB).stderr
    assert "version 2" in synced("labels", "save", "basic", "-l", "red").stderr
    history = json.loads(synced("labels", "history", "basic", "--json").stdout)
    assert [(v["version"], v["labels"]) for v in history] == [(1, 3), (2, 1)]
    assert synced("labels", "history", "basic").stdout.count("\n") == 4
    assert synced("labels", "show", "basic@1").stdout.split() == ["red", "green", "blue"]
    assert synced("labels", "show", "basic").stdout.split() == ["red"]
    run = json.loads(synced("classify", "--label-set", "basic@1", "--format", "json").stdout)["run"]
    assert (run["label_set"], run["label_set_version"], len(run["labels"])) == ("basic", 1, 3)
    assert "basic@1, basic@2" in synced("labels", "show", "basic@3", code=1).stderr
    assert "stands for a version" in synced("labels", "save", "basic@2", *RGB, code=2).stderr
    synced("labels", "remove", "basic")
    synced("labels", "history", "basic", code=1)


def test_template_sets_by_name(synced: Run, tmp_path: Path) -> None:
    listed = synced("templates", "list").stdout
    assert all(name in listed for name in ("default", "plain", "openai-7", "openai-80"))
    assert len(synced("templates", "show", "openai-80").stdout.splitlines()) == 80
    file = tmp_path / "templates.json"
    file.write_text(json.dumps({"mine": ["a {c} thing", "one {c}"], "other": ["{c}"]}), encoding="utf-8")
    synced("templates", "save", "mine", "--template", f"@{file}#mine")
    assert json.loads(synced("templates", "show", "mine", "--json").stdout) == ["a {c} thing", "one {c}"]

    def prompts_of(*templates: str) -> list[str]:
        arguments = [part for text in templates for part in ("--template", text)]
        synced("labels", "save", "x", "-l", "red", *arguments)
        return list(json.loads(synced("labels", "show", "x", "--json").stdout)["labels"]["red"])

    assert prompts_of("mine", "{} x") == ["a red thing", "one red", "red x"]
    assert len(prompts_of("openai-7")) == 7
    assert prompts_of("plain") == ["red"]
    named = json.loads(synced("classify", *RGB, "--template", "mine", "--format", "json").stdout)["run"]
    assert named["templates"] == ["a {c} thing", "one {c}"]
    assert "choose one" in synced("classify", *RGB, "--template", f"@{file}", code=1).stderr.lower()
    assert "default, plain" in synced("classify", *RGB, "--template", "nothing", code=1).stderr
    synced("templates", "save", "plain", "--template", "{}", code=2)
    synced("templates", "remove", "mine")
    assert "mine" not in json.loads(synced("templates", "list", "--json").stdout)
    synced("templates", "remove", "mine", code=1)


def test_groups_and_negatives(synced: Run, tmp_path: Path) -> None:
    file = tmp_path / "labels.yaml"
    file.write_text(
        "labels: [red, green, blue]\ngroups:\n  cold: [green, blue]\nnegatives: [white]\n", encoding="utf-8"
    )
    answers = json.loads(synced("classify", "--labels", file, "--top", "9", "--format", "json").stdout)
    plain = json.loads(synced("classify", *RGB, "-l", "white", "--top", "9", "--format", "json").stdout)
    for grouped, single in zip(answers["results"], plain["results"], strict=True):
        scores = {p["label"]: p["score"] for p in single["predictions"]}
        assert {p["label"]: p["score"] for p in grouped["predictions"]} == pytest.approx(
            {
                "red": scores["red"],
                "cold": scores["green"] + scores["blue"],
                "(none of these)": scores["white"],
            },
            abs=1e-6,
        )
    assert answers["run"]["groups"] == {"cold": ["green", "blue"]}
    assert answers["run"]["negatives"] == ["white"]
    only = synced("classify", "--labels", file, "--only", "cold", "--format", "paths").stdout.splitlines()
    assert only == [r["path"] for r in answers["results"] if r["predictions"][0]["label"] == "cold"]
    assert only
    synced("labels", "save", "grouped", "--labels", file)
    saved = json.loads(synced("labels", "show", "grouped", "--json").stdout)
    assert (saved["groups"], list(saved["negatives"])) == ({"cold": ["green", "blue"]}, ["white"])


def test_models_of_the_library(synced: Run, pictures: Path, encoders: list[FakeEncoder]) -> None:
    held = json.loads(synced("models", "list", "--held", "--json").stdout)["held"]
    assert [(m["name"], m["images"], m["default"]) for m in held] == [("nano", 4, True)]
    assert "not yet encoded" in synced("models", "use", "other").stderr
    for question in (["classify", *RGB], ["search", "red"], ["similar", pictures / "red.png"]):
        assert "zsindex sync --model other --precision fp32 --decode exact" in synced(*question, code=1).stderr
    photos.save(pictures / "new.png", photos.solid("red"))
    assert "1 photo not yet encoded" not in synced("classify", pictures / "new.png", *RGB).stderr
    left = synced("classify", *RGB).stderr
    assert "3 photos not yet encoded by other: zsindex sync --model other --precision fp32 --decode exact" in left
    (pictures / "new.png").unlink()
    synced("sync")
    rows = json.loads(synced("models", "list", "--held", "--json").stdout)["held"]
    assert {m["name"]: (m["images"], m["default"]) for m in rows} == {"nano": (4, False), "other": (4, True)}
    assert "fingerprint" in synced("models", "show", "nano").stdout
    assert "unknown model ''" in synced("models", "show", "", code=1).stderr
    assert "library's default" in synced("prune", "--model", "other", "--yes", code=1).stderr
    synced("prune", "--model", "nano", "--yes")
    assert [m["name"] for m in json.loads(synced("models", "list", "--held", "--json").stdout)["held"]] == ["other"]


# --- upkeep -----------------------------------------------------------------------------------------------------------


def test_status_for_people_and_programs(synced: Run, pictures: Path) -> None:
    photos.save(pictures / "copy.png", photos.solid("red"))
    synced("sync")
    document = json.loads(synced("status", "--json").stdout)
    assert (document["files"], document["images"], document["duplicates"]) == (5, 4, 1)
    assert "5 (4 different, 1 duplicates)" in synced("status").stdout


def test_check_and_fix(synced: Run, tmp_path: Path) -> None:
    assert synced("check").stdout.startswith("ok: ")
    (snapshot,) = (tmp_path / "library" / "index").glob("*.faiss")
    data = bytearray(snapshot.read_bytes())
    data[-100] ^= 1
    snapshot.write_bytes(data)
    assert "checksum" in synced("check", code=1).stdout
    assert "rebuilt the index" in synced("check", "--fix").stdout
    assert json.loads(synced("check", "--json").stdout)["ok"] is True


def test_a_rebuilt_index_is_a_warning(synced: Run, tmp_path: Path) -> None:
    before = synced("classify", *RGB, "--format", "csv").stdout
    (snapshot,) = (tmp_path / "library" / "index").glob("*.faiss")
    snapshot.write_bytes(snapshot.read_bytes()[:-1])
    result = synced("classify", *RGB, "--format", "csv")
    assert result.stdout == before
    assert result.stderr.count("Warning: the index of nano was rebuilt") == 1


def test_prune_says_first_and_asks(synced: Run, pictures: Path) -> None:
    (pictures / "red.png").unlink()
    synced("sync")
    assert "would forget 1 file" in synced("prune", "--dry-run").stdout
    declined = synced("prune", input="n\n", code=1)
    assert "will forget 1 file" in declined.stderr
    assert json.loads(synced("status", "--json").stdout)["missing"] == 1
    removed = json.loads(synced("prune", "--yes", "--json").stdout)
    assert (removed["files"], removed["images"], removed["vectors"]) == (1, 1, 1)
    assert synced("prune").stdout == "nothing to forget\n"
    assert synced("check").stdout.startswith("ok: ")


def test_a_disk_that_is_gone_for_good_can_be_forgotten(synced: Run, pictures: Path) -> None:
    kept = pictures.parent / "kept"
    kept.mkdir()
    (pictures / "red.png").rename(kept / "red.png")
    synced("sync", pictures, kept)
    shutil.rmtree(pictures)
    assert f"zsindex prune --path {pictures}" in synced("sync").stderr
    assert synced("prune").stdout == "nothing to forget\n"
    assert "will forget 3 files, 3 images" in synced("prune", "--path", pictures, "--yes").stderr
    assert json.loads(synced("status", "--json").stdout)["roots"] == [str(kept)]
    assert synced("classify", *RGB, "--format", "paths").stdout.splitlines() == [str(kept / "red.png")]
    assert synced("sync").stderr == ""
    assert synced("check").stdout.startswith("ok: ")


# --- the process ------------------------------------------------------------------------------------------------------


def zsindex(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-X", "importtime", "-m", "zsindex", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=False, **options)


def imported(process: subprocess.CompletedProcess[str]) -> set[str]:
    return {line.rsplit("|", 1)[1].strip() for line in process.stderr.splitlines() if line.startswith("import time:")}


def test_help_imports_nothing_heavy() -> None:
    for arguments in (["--help"], ["classify", "--help"], ["--version"]):
        process = zsindex(*arguments)
        assert process.returncode == 0
        assert not imported(process) & {"torch", "open_clip", "faiss", "sqlalchemy", "alembic", "numpy"}


def test_cached_questions_do_not_load_a_model(synced: Run, pictures: Path, tmp_path: Path) -> None:
    synced("labels", "save", "basic", *RGB)
    synced("classify", "--label-set", "basic")
    synced("search", "red")
    environment = {**os.environ, "ZSINDEX_LIBRARY": str(tmp_path / "library")}
    for arguments, others in (
        (["classify", "--label-set", "basic"], {"faiss", "alembic"}),
        (["classify", str(pictures), "--label-set", "basic"], {"faiss", "alembic"}),
        (["search", "red"], set()),
        (["similar", str(pictures / "red.png")], set()),
        (["sync"], set()),
        (["status"], set()),
        (["check"], set()),
    ):
        process = zsindex(*arguments, env=environment)
        assert process.returncode == 0, process.stderr[-2000:]
        assert not imported(process) & {"torch", "open_clip", "transformers", "timm", *others}


SLOW_SYNC = """
import sys, time
from tests.fakes import FakeEncoder
from zsindex.session import model
from zsindex.cli import cli

class Slow(FakeEncoder):
    def encode_images(self, pixels):
        print("encoding", flush=True)
        sys.stdin.readline()
        return super().encode_images(pixels)

model.load_encoder = lambda spec, *, device, batch_size: Slow(name=spec.name, decode=spec.decode)
cli.main(["sync", sys.argv[1], "--batch-size", "1"])
"""


def test_interrupt_finishes_the_batch_and_the_next_sync_goes_on(run: Run, pictures: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "ZSINDEX_LIBRARY": str(tmp_path / "library")}
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_SYNC, str(pictures)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=environment,
        cwd=Path(__file__).parent.parent,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "encoding\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate("\n" * 4)
    assert process.returncode == 130, err
    assert "stopped with 3 photos left; run the same command again to continue" in err
    assert "Encoded 1" in out
    rest = json.loads(run("sync", pictures, "--json").stdout)
    assert (rest["encoded"], rest["unchanged"]) == (3, 1)


def test_a_sync_that_is_stopped_before_its_first_batch_says_so(pictures: Path, tmp_path: Path) -> None:
    loading = """
def load(spec, *, device, batch_size):
    print("loading", flush=True)
    sys.stdin.readline()
    return FakeEncoder(name=spec.name, decode=spec.decode)

model.load_encoder = load
cli.main("""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_SYNC.replace("cli.main(", loading), str(pictures)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "ZSINDEX_LIBRARY": str(tmp_path / "library")},
        cwd=Path(__file__).parent.parent,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate("\n")
    assert process.returncode == 130, err
    assert out.startswith("4 photos: nothing done yet. Encoded 0")
    assert "stopped before all was seen; run the same command again to continue" in err


def test_a_closed_pipe_is_no_traceback(synced: Run, tmp_path: Path) -> None:
    environment = {**os.environ, "ZSINDEX_LIBRARY": str(tmp_path / "library")}
    synced("classify", *RGB)
    command = f"{sys.executable} -m zsindex classify -l red -l green -l blue --format csv | head -n 1"
    process = subprocess.run(
        ["bash", "-c", command], capture_output=True, encoding="utf-8", env=environment, timeout=60, check=False
    )
    assert process.stdout == "path,rank,label,score\n"
    assert "Traceback" not in process.stderr


# --- the demo ---------------------------------------------------------------------------------------------------------


def test_the_demo_shows_what_is_cached(run: Run, tmp_path: Path, encoders: list[FakeEncoder]) -> None:
    first = run("demo", "--library", tmp_path / "demo").stdout
    assert ("library: postgresql://" if on_server.asked() else f"library: {tmp_path / 'demo'}") in first
    assert "8 photos: 8 added. Encoded 8" in first
    assert first.count("encoded 0 images and 0 prompts") == 2  # asked again, and more like this
    second = run("demo", "--library", tmp_path / "demo").stdout
    assert "8 photos: 8 unchanged. Encoded 0" in second
    assert second.count("encoded 0 images and 0 prompts") == 5
    assert sum(e.image_count for e in encoders) == 8
    assert not (tmp_path / "library").exists()


def test_the_demo_takes_photos(run: Run, pictures: Path, tmp_path: Path) -> None:
    assert "4 photos: 4 added" in run("demo", pictures, "--library", tmp_path / "demo").stdout
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "bad.jpg").write_bytes(b"text")
    assert "none of these" in run("demo", tmp_path / "empty", "--library", tmp_path / "demo", code=1).stderr
