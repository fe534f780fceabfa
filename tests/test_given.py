"""What people give: texts that are none, paths that name nothing or no photo, and where --library may stand."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import platformdirs
import pytest
from click.testing import CliRunner, Result
from starlette.testclient import TestClient
from zsindex.cli import cli

from tests import photos
from tests.fakes import FakeEncoder
from zsindex import config, label_set
from zsindex.classification.prompts import parse_labels, parse_templates
from zsindex.errors import BadLabelFile, BadPath, BadText, PathNotFound
from zsindex.library import Library
from zsindex.web import create_app

BYTES = os.fsdecode(b"b\xffd")  # as a command line brings what is not UTF-8
HALF = "half \ud800"
NUL = "n\0l"
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, new_library: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(
        "zsindex.session.model.load_encoder", lambda spec, **_: FakeEncoder(name=spec.name, decode=spec.decode)
    )
    library = tmp_path / "library"
    shutil.copytree(new_library, library)

    def invoke(*arguments: str | Path, code: int = 0, env: dict[str, str] | None = None) -> Result:
        environment = {"ZSINDEX_LIBRARY": str(library), "COLUMNS": "200", **(env or {})}
        result = CliRunner().invoke(cli, [str(a) for a in arguments], env=environment)
        assert result.exit_code == code, (arguments, result.output, result.exception)
        return result

    return invoke


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    with Library.open(tmp_path / "own", encoder=FakeEncoder()) as opened:
        opened.sync([photos.save(tmp_path / "red.png", photos.solid("red"))])
        opened.labels.save("set", ["red", "blue"])
        yield opened


# --- texts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [BYTES, HALF, NUL])
def test_what_is_no_text_is_refused_by_name_in_python(library: Library, text: str) -> None:
    asks: list[Callable[[], object]] = [
        lambda: library.search(text),
        lambda: library.search("red", plus=[text]),
        lambda: library.embed_texts([text]),
        lambda: library.classify([text, "red"]),
        lambda: library.classify(["red"], template=f"{text} {{}}"),
        lambda: library.classify({"red": [text]}),
        lambda: library.classify(label_set=text),
        lambda: library.labels.save(text, ["red"]),
        lambda: library.labels.save("x", ["red", text]),
        lambda: library.labels.remove(text),
        lambda: library.labels.history(text),
        lambda: library.templates.save(text, ["{}"]),
        lambda: library.templates.remove(text),
        lambda: library.corrections.add_all("set", [(library.photos.paths()[0], text, False)]),
        lambda: library.corrections.add_all(text, [(library.photos.paths()[0], "red", False)]),
        lambda: library.thresholds.choose(text, "red", rate=0.1),
        lambda: library.corrections.list(text),
        lambda: label_set(["red"], groups={text: ["red"]}),
        lambda: label_set(["red"], negatives=[text]),
    ]
    for ask in asks:
        with pytest.raises(BadText) as refused:
            ask()
        assert ascii(text)[1:-1] in str(refused.value)
        str(refused.value).encode()


def test_a_file_of_texts_is_refused_with_the_place() -> None:
    for text, source in (
        (r'["red", "\ud800"]', "x.json"),
        (r'{"labels": {"red": ["a \ud800"]}}', "x.json"),
        ('- "\\ud800"', "x.yaml"),
    ):
        with pytest.raises(BadLabelFile, match=r"x\.(json|yaml).* number \d .*\\ud800"):
            parse_labels(text, source=source)
    with pytest.raises(BadLabelFile, match=r"text number 2 .*\\udfff"):
        parse_templates(r'["{}", "{} \udfff"]', source="x.json")


def test_labels_of_plain_lines_are_read_as_they_are_shown(run: Run, tmp_path: Path) -> None:
    labels = [f"a{letter}b" for letter in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\t"]
    run("labels", "save", "odd", *(argument for label in labels for argument in ("-l", label)))
    (tmp_path / "shown.txt").write_bytes(run("labels", "show", "odd").stdout_bytes)
    run("labels", "save", "again", "--labels", tmp_path / "shown.txt")
    assert list(json.loads(run("labels", "show", "again", "--json").stdout)["labels"]) == labels
    assert parse_templates("a {}\u2028b\r\nc {}\rd {}", source="-") == ("a {}\u2028b", "c {}", "d {}")


def test_the_command_line_is_wrong_where_it_holds_no_text(run: Run, tmp_path: Path) -> None:
    run("sync", photos.save(tmp_path / "red.png", photos.solid("red")))
    for arguments in (
        ["search", BYTES],
        ["search", "red", "--minus", BYTES],
        ["search", "red", "--model", BYTES],
        ["embed", BYTES],
        ["classify", "-l", BYTES],
        ["classify", "-l", "red", "--template", f"{BYTES} {{}}"],
        ["classify", "--label-set", BYTES],
        ["labels", "save", BYTES, "-l", "red"],
        ["labels", "show", BYTES],
        ["runs", "show", BYTES],
        ["thresholds", "show", BYTES],
        ["tags", "write", "--label-set", BYTES],
        ["correct", "x.png", "red", "--label-set", BYTES],
    ):
        said = run(*arguments, code=2).stderr
        assert "is not valid text: 'b\\udcffd" in said, said
    (tmp_path / "labels.txt").write_bytes(b"red\nblue\nn\0l\n")
    assert "line 3 holds a NUL character" in run("classify", "--labels", tmp_path / "labels.txt", code=1).stderr


def test_the_service_refuses_what_is_no_text(library: Library) -> None:
    with TestClient(create_app(library), base_url="http://127.0.0.1:8765") as client:
        for body in ({"labels": ["red", HALF]}, {"labels": ["red", NUL]}, {"label_set": HALF}, {"labels": {HALF: []}}):
            answer = client.post("/v1/classify", content=json.dumps(body), headers={"content-type": "application/json"})
            assert answer.status_code == 422
            assert answer.json()["errors"]


# --- paths ------------------------------------------------------------------------------------------------------------


def test_an_empty_path_is_not_the_current_folder(run: Run, library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (
        ["sync", ""],
        ["classify", "-l", "red", ""],
        ["search", "red", "--path", ""],
        ["search", "red", "--library", ""],
        ["--library", "", "search", "red"],
        ["search", "red", "-o", ""],
        ["similar", ""],
        ["classify", "--labels", ""],
        ["correct", "", "red", "--label-set", "x"],
        ["prune", "--path", ""],
        ["vectors", "export", ""],
        ["bench", ""],
        ["embed", "red", ""],
    ):
        if arguments[0] == "correct":
            run("labels", "save", "x", "-l", "red")
        assert "empty" in run(*arguments, code=2).stderr
    assert "empty" in run("search", "red", "--model", "", code=1).stderr
    asks: list[Callable[[], object]] = [
        lambda: library.sync(""),
        lambda: library.sync([""]),
        lambda: library.photos.paths(""),
        lambda: library.classify(["red"], paths=[""]),
        lambda: library.similar(""),
        lambda: Library.open(""),
        lambda: library.prune([""]),
        lambda: library.vectors.export_to(""),
        *(lambda path=path: library.embed_images([Path(path)]) for path in (NUL, HALF)),
        *(lambda path=path: library.similar(path) for path in (NUL, HALF)),
        *(lambda path=path: library.sync(path) for path in (NUL, HALF)),
    ]
    for ask in asks:
        with pytest.raises(BadPath):
            ask()
    with pytest.raises(PathNotFound, match=r"b\\xffd"):
        library.sync(BYTES)  # it could be one
    # A variable that is set to nothing is not set.
    monkeypatch.setenv("ZSINDEX_LIBRARY", "")
    assert config.library_place() == Path(platformdirs.user_data_dir("zsindex", appauthor=False), "library")


def test_a_working_folder_that_is_gone(tmp_path: Path) -> None:
    """In a process of its own: this one needs its working folder."""
    (tmp_path / "photos").mkdir()
    photo = photos.save(tmp_path / "photos" / "red.png", photos.solid("red"))
    program = """
import json, os, sys
from click.testing import CliRunner
from tests.fakes import FakeEncoder
from zsindex.session import model
from zsindex.cli import cli
model.load_encoder = lambda spec, **_: FakeEncoder(name=spec.name, decode=spec.decode)
folder, commands = sys.argv[1], json.loads(sys.argv[2])
os.makedirs(folder + "/gone")
os.chdir(folder + "/gone")
os.rmdir(folder + "/gone")
answers = []
for command in commands:
    found = CliRunner().invoke(cli, command)
    answers.append([found.exit_code, found.output, repr(found.exception)])
print(json.dumps(answers))
"""
    right = [
        ["sync", str(photo.parent)],
        ["classify", "-l", "red", "-l", "blue", str(photo)],
        ["search", "red"],
        ["search", str(photo)],
        ["similar", str(photo), "-o", str(tmp_path / "out.txt")],
        ["embed", "red"],
        ["status"],
        ["labels", "save", "x", "-l", "red"],
        ["classify", "--label-set", "x"],
        ["search", "red", "--model", "nano"],
        ["check"],
        ["sync"],
        ["models", "show", "ViT-B-32/openai"],  # for which torch is imported
    ]
    wrong = [
        ["sync", "photos"],
        ["sync", "."],
        ["classify", "-l", "red", "red.png"],
        ["search", "red", "--path", "photos"],
        ["search", "red", "--library", "library"],
        ["correct", "red.png", "red", "--label-set", "x"],
    ]
    commands = json.dumps([*right, *wrong])
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), commands],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "ZSINDEX_LIBRARY": str(tmp_path / "library")},
        stdout=subprocess.PIPE,
        check=True,
    )
    answers = json.loads(ended.stdout)
    for command, answer in zip(right, answers, strict=False):
        assert answer[0] == 0, (command, answer)
    for command, answer in zip(wrong, answers[len(right) :], strict=True):
        assert answer[0] == 2, (command, answer)
        assert "the working folder is gone" in answer[1]


@pytest.fixture
def no_photos(tmp_path: Path) -> dict[str, Path]:
    """Files that give no photo, by the reason that is told."""
    folder = tmp_path / "no photos"
    folder.mkdir()
    found = {
        "a pipe, socket or device": folder / "pipe.jpg",
        "not valid UTF-8": folder / os.fsdecode(b"\xff.png"),
        "the file is empty": folder / "empty.png",
        "leads nowhere": folder / "link.png",
        "is not an image": folder / "broken.png",
    }
    os.mkfifo(found["a pipe, socket or device"])
    photos.save(folder / "red.png", photos.solid("red")).rename(found["not valid UTF-8"])
    found["the file is empty"].touch()
    found["leads nowhere"].symlink_to("nowhere")
    found["is not an image"].write_text("no image", encoding="utf-8")
    return found


def test_why_a_named_file_gives_no_answer(run: Run, no_photos: dict[str, Path]) -> None:
    for reason, file in no_photos.items():
        for _ in range(2):  # found by looking, and then from what was recorded
            ended = run("classify", "-l", "red", "-l", "blue", "--strict", file, code=3)
            assert f"skipped {file.parent}" in ended.stderr
            assert reason in ended.stderr
            assert not ended.stdout
        assert reason in run("sync", "--strict", file, code=3).stderr
        assert not run("classify", "-l", "red", "-l", "blue", "--strict", "-q", file, code=3).stderr


def test_a_socket_and_a_device_are_no_photos(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("s.jpg")
        for name in ("s.jpg", "/dev/null"):
            ended = run("classify", "-l", "red", "-l", "blue", "--strict", name, code=3)
            assert "a pipe, socket or device" in ended.stderr
            assert "Error" in run("similar", name, code=1).stderr


def test_a_folder_without_photos_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    ended = run("classify", "-l", "red", "-l", "blue", tmp_path / "nothing")
    assert f"no photo at {tmp_path / 'nothing'}" in ended.stderr
    assert not run("classify", "-l", "red", "-l", "blue", "-q", tmp_path / "nothing").stderr
    assert "no such file" in run("classify", "-l", "red", tmp_path / "missing.jpg", code=1).stderr


# --- where --library stands -------------------------------------------------------------------------------------------


def leaves(command: click.Command, names: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    below: Any = getattr(command, "commands", None)
    if below is None:
        yield names, command
        return
    assert any(parameter.name == "library" for parameter in command.params), names
    for name in below:
        yield from leaves(below[name], (*names, name))


def test_every_command_takes_the_library_before_and_after() -> None:
    for names, command in leaves(cli):
        if names == ("library", "copy"):  # which names two
            continue
        given: list[Path | None] = []
        parameter = next((p for p in command.params if p.name == "library"), None)
        if parameter is None:
            assert names == ("library", "copy"), "which names two"
            continue
        for before, after, expected in (
            (["--library", "/a"], [], "/a"),
            (["--library", "/a"], ["--library", "/b"], "/b"),
            ([], ["--library", "/b"], "/b"),
        ):
            root = cli.make_context("zsindex", [*before, names[0]])
            context = root
            for name in names[:-1]:
                context = click.Context(cli.commands[name], parent=context, info_name=name)
            own = click.Context(command, parent=context, info_name=names[-1])
            parser = command.make_parser(own)
            options, rest, _ = parser.parse_args(list(after))
            parameter.handle_parse_result(own, options, rest)
            given.append(own.params["library"])
            assert str(given[-1]) == expected, names


def test_the_nearest_library_holds(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run("labels", "save", name, "-l", "red", "--library", tmp_path / name)

    def names(*arguments: str | Path) -> list[str]:
        return [one["name"] for one in json.loads(run(*arguments, "--json").stdout)]

    a, b = ("--library", tmp_path / "a"), ("--library", tmp_path / "b")
    assert names("labels", "list") == []  # the environment's
    assert names(*a, "labels", "list") == names("labels", *a, "list") == names("labels", "list", *a) == ["a"]
    assert names(*a, "labels", *b, "list") == names(*a, "labels", "list", *b) == ["b"]
    assert "--library" in run("--help").stdout
