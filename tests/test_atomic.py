"""Where results are written: plain files are there as a whole or not at all, everything else is only written to."""

from __future__ import annotations

import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from zsindex.cli import cli, options, output

from tests.fakes import FakeEncoder
from tests.processes import Process
from zsindex import atomic
from zsindex.classification import parquet
from zsindex.errors import ZsindexError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs FIFOs and symbolic links")


@contextmanager
def reading(fifo: Path) -> Iterator[list[bytes]]:
    """Reads a FIFO to its end beside the block."""
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()))
    reader.start()
    yield found
    reader.join()


def write(file: Path, text: str = "new") -> None:
    with output.destination(file) as out:
        out.write(text)


def test_a_plain_file_is_replaced_whole_and_keeps_its_permissions(tmp_path: Path) -> None:
    file = tmp_path / "out.csv"
    file.write_text("old", encoding="utf-8")
    file.chmod(0o640)
    with output.destination(file) as out:
        out.write("new")
        out.flush()
        assert file.read_text(encoding="utf-8") == "old"
    assert file.read_text(encoding="utf-8") == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["out.csv"]


def test_a_new_file_has_the_permissions_of_new_files(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write(tmp_path / "out")
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("there", [True, False])
def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path, there: bool) -> None:
    file = tmp_path / "out"
    if there:
        file.write_text("old", encoding="utf-8")

    def fail() -> None:
        with output.destination(file) as out:
            out.write("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == (["out"] if there else [])
    assert not there or file.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("there", [True, False])
def test_a_link_stays_one_and_its_file_is_replaced(tmp_path: Path, there: bool) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    if there:
        (elsewhere / "target").write_text("old", encoding="utf-8")
    (tmp_path / "middle").symlink_to("elsewhere/target")
    (tmp_path / "link").symlink_to(tmp_path / "middle")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "middle").is_symlink()
    assert (elsewhere / "target").read_text(encoding="utf-8") == "new"
    assert not (elsewhere / "target").is_symlink()
    assert os.listdir(elsewhere) == ["target"]


def test_links_in_a_circle_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    with pytest.raises(ZsindexError, match=r"cannot write .*one"):
        write(tmp_path / "one")
    assert (tmp_path / "one").is_symlink()


def test_a_fifo_is_written_to(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with reading(fifo) as found:
        write(fifo)
    assert found == [b"new"]
    (tmp_path / "link").symlink_to("fifo")
    with reading(fifo) as found:
        write(tmp_path / "link", "through a link")
    assert found == [b"through a link"]
    assert stat.S_ISFIFO(fifo.lstat().st_mode)
    assert (tmp_path / "link").is_symlink()


def test_a_device_is_written_to(tmp_path: Path) -> None:
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with device.open("wb"):
            pass
    except OSError:
        pytest.skip("devices cannot be made here")
    (tmp_path / "link").symlink_to(device)
    for place in (device, tmp_path / "link"):
        write(place)
    assert stat.S_ISCHR(device.lstat().st_mode)
    assert (tmp_path / "link").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "null"]


@pytest.mark.parametrize("folder", ["/dev/fd", "/proc/self/fd"])
def test_a_descriptor_is_written_to_from_where_it_stands(tmp_path: Path, folder: str) -> None:
    if not os.path.isdir(folder):
        pytest.skip(f"there is no {folder} here")
    ends = os.pipe()
    write(Path(folder, str(ends[1])))
    os.close(ends[1])  # ours; what was written to has been closed by now, or this would wait for ever
    with os.fdopen(ends[0], "rb") as pipe:
        assert pipe.read() == b"new"
    file = tmp_path / "redirected"
    with file.open("wb", buffering=0) as opened:
        opened.write(b"before ")
        (tmp_path / "link").symlink_to(f"{folder}/{opened.fileno()}")
        write(tmp_path / "link", "in it")
        opened.write(b" after")
    assert file.read_bytes() == b"before in it after"
    assert (tmp_path / "link").is_symlink()


def test_a_file_that_has_lost_its_name_is_not_made_again(tmp_path: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("there is no /proc here")
    program = "import sys\nfile = open(sys.argv[1], 'w+')\nstep(file.fileno())\nprint(file.read())"
    with Process(program, tmp_path / "gone") as other:
        number = other.wait_for_step()
        (tmp_path / "gone").unlink()
        write(Path(f"/proc/{other.pid}/fd/{number}"))
        assert other.finish() == "new\n"
    assert os.listdir(tmp_path) == []


def test_what_may_not_be_written_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "access", lambda *_: False)  # also for root, who may write everything
    with pytest.raises(ZsindexError, match=r"cannot write .*: Permission denied"):
        write(tmp_path / "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize(
    ("place", "why"), [("nowhere/out", "No such file or directory"), ("folder", "Is a directory"), ("", "directory")]
)
def test_what_cannot_be_written_says_why(tmp_path: Path, place: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ZsindexError, match=f"cannot write .*: .*{why}"):
        write(tmp_path / place)
    assert os.listdir(tmp_path) == ["folder"]


def test_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    with atomic.writing(tmp_path / "out") as out:
        out.write(b"\xff\r\n")
    assert (tmp_path / "out").read_bytes() == b"\xff\r\n"


def test_a_dash_is_stdout_and_a_file_of_that_name_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    @options.output
    def command(output: Path | None) -> None:
        write(output)  # type: ignore[arg-type]

    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(command, ["-o", "-"]).stdout == "new"
    assert os.listdir(tmp_path) == []
    assert CliRunner().invoke(command, ["-o", "./-"]).stdout == ""
    assert (tmp_path / "-").read_text(encoding="utf-8") == "new"


def test_every_command_takes_its_output_alike() -> None:
    def commands(group: click.Group) -> Iterator[click.Command]:
        for name in group.list_commands(click.Context(group)):
            command = group.get_command(click.Context(group), name)
            assert command is not None
            yield from commands(command) if isinstance(command, click.Group) else [command]

    @click.command()
    @options.output
    def shared(output: Path) -> None:
        pass

    types = {type(p.type) for command in commands(cli) for p in command.params if "--output" in p.opts}
    assert types
    assert all(issubclass(one, type(shared.params[0].type)) for one in types)


@pytest.mark.parametrize(
    ("arguments", "begins"),
    [(["--format", "npy"], b"\x93NUMPY"), (["--format", "ndjson"], b'{"input": "zebra"')],
)
def test_vectors_go_into_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], begins: bytes
) -> None:
    monkeypatch.setattr("zsindex.session.model.load_encoder", lambda *_, **__: FakeEncoder())
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    arguments = ["embed", "zebra", *arguments, "--library", str(tmp_path / "library"), "-o", str(fifo)]
    with reading(fifo) as found:
        result = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert found[0].startswith(begins)


@pytest.mark.parametrize("to", ["fifo", "file"])
def test_a_parquet_table_goes_into_a_pipe_and_replaces_a_file_whole(tmp_path: Path, to: str) -> None:
    pyarrow_parquet = pytest.importorskip("pyarrow.parquet")
    hits = [("/a.jpg", 0.5, ["/b.jpg"])]
    place = tmp_path / to
    if to == "fifo":
        os.mkfifo(place)
        with reading(place) as found:
            parquet.write_hits(hits, place)
        content = found[0]
    else:
        place.write_text("old", encoding="utf-8")
        place.chmod(0o600)
        with pytest.raises(TypeError):
            parquet.write_hits([None], place)  # type: ignore[list-item]
        assert place.read_text(encoding="utf-8") == "old"
        parquet.write_hits(hits, str(place))
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        content = place.read_bytes()
    assert pyarrow_parquet.read_table(io.BytesIO(content)).column("path").to_pylist() == ["/a.jpg"]
    assert os.listdir(tmp_path) == [to]


def test_what_cannot_be_looked_at_is_no_leftover(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.xmp"
    left = tmp_path / ".a.xmp.mark.tmp"
    left.write_bytes(b"left by a kill")
    assert atomic.leftover(file, "mark") == left

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refuse)
        assert atomic.leftover(file, "mark") is None
        assert not atomic.remove_leftover(file, "mark")
    assert atomic.remove_leftover(file, "mark")
