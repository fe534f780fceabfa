"""Command lines with streams of their own: full, closed, without a reader, in other encodings, or a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

# In one process, since a new one for each would take longer than all that it does. The model is the fake one.
_PROGRAM = """
import contextlib, io, json, os, sys, threading
from tests.fakes import FakeEncoder
from zsindex import cli
from zsindex.session import model

model.load_encoder = lambda spec, *, device, batch_size: FakeEncoder(name=spec.name, decode=spec.decode)
folder, encoding, where, commands = json.loads(sys.argv[1])
kept = [os.dup(0), os.dup(1), os.dup(2)]
answers = []


def place(name, number, file):
    "What a descriptor of the command leads to; and, of a terminal, its other end."
    if name == "closed":
        os.close(number)
        return None
    if name == "terminal":
        mine, its = os.openpty()
    elif name == "no reader":
        mine, its = os.pipe()
        os.close(mine)
        mine = None
    else:
        mine, its = None, os.open(file if name == "file" else name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(its, number)
    os.close(its)
    return mine


def all_of(mine, into):
    with contextlib.suppress(OSError):  # on Linux the end of a terminal is an error
        while some := os.read(mine, 65536):
            into.append(some)


for n, command in enumerate(commands):
    files = [os.path.join(folder, f"{n}.{number}") for number in (1, 2)]
    readers, read = [], {1: [], 2: []}
    for number in (1, 2):
        mine = place(where[number - 1], number, files[number - 1])
        if mine is not None:
            readers.append(threading.Thread(target=all_of, args=(mine, read[number])))
            readers[-1].start()
    for number, name in ((1, "stdout"), (2, "stderr")):
        is_there = where[number - 1] != "closed"
        stream = open(number, "w", encoding=encoding, closefd=False) if is_there else None
        setattr(sys, name, stream)
    sys.argv[1:] = command
    try:
        cli.main()
    except SystemExit as end:
        code = end.code
    except BaseException as error:
        code = repr(error)
    for number in (0, 1, 2):
        os.dup2(kept[number], number)
    for reader in readers:
        reader.join()
    for number in (1, 2):
        if read[number]:
            with open(files[number - 1], "wb") as out:
                out.write(b"".join(read[number]))
    answers.append(code)
os.write(kept[1], json.dumps(answers).encode())
os._exit(0)
"""


class Ended(NamedTuple):
    """What came of a command: its exit code, or the exception that it ended with; and what it wrote."""

    code: int | str | None
    stdout: bytes
    stderr: bytes


def run_all(
    folder: Path,
    commands: Sequence[Sequence[str | Path]],
    *,
    stdout: str = "file",
    stderr: str = "file",
    encoding: str = "utf-8",
    library: Path | str | None = None,
) -> list[Ended]:
    """Run the entry point of the console script, once for each command.

    Args:
        stdout, stderr: ``file``; ``closed``; ``no reader``, a pipe that nobody reads; ``terminal``; or a device.
        encoding: what the locale says.
    """
    folder.mkdir(exist_ok=True)
    asked = [str(folder), encoding, [stdout, stderr], [[str(a) for a in command] for command in commands]]
    found = subprocess.run(
        [sys.executable, "-c", _PROGRAM, json.dumps(asked)],
        stdout=subprocess.PIPE,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "COLUMNS": "200",
            "ZSINDEX_LIBRARY": str(library or folder / "library"),
        },
    )

    def content(n: int, number: int) -> bytes:
        file = folder / f"{n}.{number}"
        return file.read_bytes() if file.exists() else b""

    return [Ended(code, content(n, 1), content(n, 2)) for n, code in enumerate(json.loads(found.stdout))]
