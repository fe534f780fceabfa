"""Too few open files, full disks, signals, odd clocks, locales and names: what commands do in bad company."""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

import click
from zsindex.cli import main as command_line

from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.torture.apart import Ending, apart
from tests.torture.campaign import Campaign, Case
from tests.torture.command import fake
from zsindex.config import CACHE_VARIABLE, LIBRARY_VARIABLE
from zsindex.library import Library
from zsindex.session import model

# A command takes a tenth of a second here.
HANGS_S = 60.0
# What exit codes mean; see the end of `zsindex --help`.
CODES = {0, 1, 3, 130, 141}
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# What is in a library, without numbers that depend on the order of things, and without times.
Facts: TypeAlias = frozenset[tuple[object, ...]]
Wrong: TypeAlias = list[str]


class Came(NamedTuple):
    """How a command ended: its exit code, or the negative number of a signal; None where it did not end."""

    code: int | None
    stdout: bytes
    stderr: str


@dataclass(frozen=True)
class Reference:
    """What a command does where nothing is in its way."""

    code: int
    stdout: bytes
    facts: Facts
    seconds: float


@dataclass(frozen=True)
class Trouble:
    """Something that is not as it should be while a command runs.

    Attributes:
        name: with its numbers.
        before: done to the scene, in a process that also looks at what came of it.
        inside: done in the command's own process, just before it begins.
        after: makes all well again, before anybody looks.
        signals: sent to the command, each after so many of its usual durations.
        words: what a message has to match, where the command says that it failed.
        environment: variables that the command has, or, with None, has not.
        settles: whether a run afterwards ends where one ends that was never disturbed.
        stderr_is_there: whether what the command says can be read.
        may_write: whether the command may write into the library.
        meanwhile: done over and over while the command runs.
        anew: whether the command is a Python of its own, begun in this environment; a fork of this process otherwise.
        hangs_s: when the command has to have ended.
    """

    name: str
    before: Callable[[], None] = lambda: None
    inside: Callable[[], None] = lambda: None
    after: Callable[[], None] = lambda: None
    signals: tuple[tuple[float, signal.Signals], ...] = ()
    words: str = ""
    environment: dict[str, str | None] = field(default_factory=dict)
    settles: bool = True
    stderr_is_there: bool = True
    may_write: bool = True
    meanwhile: Callable[[], None] | None = None
    anew: bool = False
    hangs_s: float = HANGS_S


# Arrow ends the process where it gets no memory: nobody can tell anything then, and nothing may be lost all the same.
ARROW_GIVES_UP = "terminate called after throwing an instance of 'arrow::"


class Environment(Campaign):
    """A command runs in trouble; then all is well again, and the same command once more.

    Whatever came of the first: an exit code that means something, a message without a traceback where it failed, all
    that was committed before is there and nothing is there that should not be. The second ends where one ends that
    nothing was in the way of, and `check` finds nothing.
    """

    name = "environment"
    about = "open files, disks, memory, users, streams, signals, clocks, locales, names, folders that change"
    in_ci = 30

    def __init__(self, work: Path, seed: int) -> None:
        super().__init__(work, seed)
        self.scene = work / "scene"
        self.base = work / "base"
        self.album = self.scene / "album"
        self._references: dict[str, Reference] = {}
        self._codes: Counter[str] = Counter()
        self._left_out: dict[str, str] = {}
        self._before: Facts = frozenset()
        self._made_locales: list[str] | None = None

    # --- commands -----------------------------------------------------------------------------------------------------

    def acts(self) -> dict[str, list[str]]:
        """Commands by name; they all find the same library."""
        album, out = str(self.album), str(self.scene / "out")
        return {
            "sync": ["sync", album],
            "classify": ["classify", "-l", "red", "-l", "green", "-l", "a yellow dog", "--format", "csv"],
            "umlauts": ["classify", "--labels", str(self.scene / "größen.txt"), "--format", "csv"],
            "record": ["classify", "--label-set", "colours", "--record", "--format", "csv"],
            "search": ["search", "a green cat", "--format", "csv"],
            "similar": ["similar", f"{album}/red.png", "--format", "csv"],
            "embed": ["embed", "ein schöner Text", f"{album}/new 1.png"],
            "labels": ["labels", "save", "animals", "-l", "owl", "-l", "fox"],
            "correct": ["correct", "--label-set", "colours", f"{album}/red.png", "blue"],
            "tags": ["tags", "write", "--label-set", "colours", "--apply", f"{album}/sea"],
            "retract": ["tags", "retract", "--apply"],
            "export": ["vectors", "export", out, "--overwrite"],
            "import": ["vectors", "import", str(self.scene / "vectors"), "--model", "nano"],
            "status": ["status"],
            "check": ["check"],
            "fix": ["check", "--fix"],
            "prune": ["prune", "--yes"],
            "duplicates": ["duplicates", "--format", "csv"],
            "next": ["next", "--label-set", "colours"],
            "runs": ["runs", "list"],
            "first": ["--library", str(self.scene / "another"), "sync", album],
        }

    def _checks(self) -> dict[str, list[str]]:
        """What `acts` has for the library, of the one that is begun anew."""
        another = ["--library", str(self.scene / "another"), "check"]
        return {"check another": another, "fix another": [*another, "--fix"]}

    # What the same question prints twice.
    SAME = frozenset({"classify", "umlauts", "record", "search", "similar", "embed", "duplicates"})
    WRITING = (
        "sync",
        "first",
        "classify",
        "record",
        "labels",
        "correct",
        "tags",
        "retract",
        "export",
        "import",
        "prune",
        "fix",
    )

    def cases(self) -> Iterator[Case]:
        warnings.simplefilter("error")
        self._make_base()
        self._import_all()
        troubles = self._troubles()
        names = list(troubles)
        for number in range(10**9):
            kind = names[number % len(names)]
            chance = random.Random(self.random.getrandbits(64))
            act, trouble = troubles[kind](chance)
            yield Case(kind, f"{act}: {trouble.name}", partial(self._judge, kind, act, trouble))

    def missing(self) -> str | None:
        return None if sys.platform == "linux" else "it looks at what Linux does"

    def notes(self) -> Sequence[str]:
        said = [", ".join(f"{n:,} {code}" for code, n in sorted(self._codes.items()))]
        return said + [f"left out: {kind}, {why}" for kind, why in self._left_out.items()]

    # --- the scene ----------------------------------------------------------------------------------------------------

    def _make_base(self) -> None:
        """A library of photos of which some have come, changed, moved and gone since."""

        def make() -> None:
            for name in ("red", "blue", "sea/green", "sea/white", "gone", "moves"):
                photo(
                    self.album / f"{name}.png", name.rpartition("/")[2] if "o" not in name else "yellow", mark=len(name)
                )
            photo(self.scene / "elsewhere" / "black.png", "black")
            with Library.open(self.scene / "exported", encoder=FakeEncoder("nano")) as other:
                other.sync(self.scene / "elsewhere")
                other.vectors.export_to(self.scene / "vectors")
            with Library.open(self.scene / "library", encoder=FakeEncoder("nano")) as library:
                library.sync(self.album)
                library.labels.save("colours", ["red", "green", "blue"])
                library.corrections.add("colours", str(self.album / "blue.png"), "blue")
                answer = library.classify(label_set="colours", paths=[self.album / "red.png", self.album / "blue.png"])
                library.tags.write(answer, apply=True)
            shutil.rmtree(self.scene / "exported")
            (self.scene / "größen.txt").write_text("grün green\n猫 red\n", encoding="utf-8")
            photo(self.album / "größer" / "schön.png", "blue", mark=77)
            for number in range(6):
                photo(self.album / f"new {number}.png", ("green", "yellow", "black")[number % 3], mark=number + 9)
            photo(self.album / "sea" / "white.png", "white", mark=99)
            (self.album / "gone.png").unlink()
            (self.album / "moves.png").rename(self.album / "sea" / "moved.png")
            (self.scene / "home").mkdir()

        self._must(apart(make, timeout_s=HANGS_S))
        self.scene.rename(self.base)
        self.work.chmod(0o755)

    def _import_all(self) -> None:
        """Import what commands import, here and once, so that forks find it."""

        def names() -> list[str]:
            self._lay_out()
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), 1)
                os.dup2(nothing.fileno(), 2)
            for arguments in self.acts().values():
                self._as_command(arguments, {})
            return list(sys.modules)

        for name in self._must(apart(names, timeout_s=HANGS_S)):
            if name.partition(".")[0] not in ("__main__", "__mp_main__", "torch"):
                with suppress(Exception):
                    importlib.import_module(name)
        gc.freeze()

    @staticmethod
    def _must(ending: Ending[Any]) -> Any:
        if ending.error is not None or ending.hung or ending.signal:
            raise RuntimeError(f"the scene cannot be made: {ending}\n{ending.trace}")
        return ending.value

    def _lay_out(self) -> None:
        if self.scene.is_dir():
            for inside in self.scene.iterdir():
                shutil.rmtree(inside) if inside.is_dir() and not inside.is_symlink() else inside.unlink()
        shutil.copytree(self.base, self.scene, dirs_exist_ok=True, symlinks=True)

    # --- one case -----------------------------------------------------------------------------------------------------

    def _judge(self, kind: str, act: str, trouble: Trouble) -> Wrong:
        if not self._before:
            self._lay_out()
            self._before = self._must(apart(partial(self._facts, "sync"), timeout_s=HANGS_S))
        if act not in self._references:
            self._lay_out()
            self._references[act] = self._must(apart(partial(self._reference, act), timeout_s=HANGS_S))
        ending = apart(partial(self._case, act, trouble), timeout_s=5 * trouble.hangs_s)
        if ending.value is None:
            return [f"the judge ended oddly: {ending.error!r} {ending.signal} {ending.hung} {ending.trace[-1500:]}"]
        code, wrong = ending.value
        self._codes[f"ended with {code}"] += 1
        return wrong

    def _reference(self, act: str) -> Reference:
        begun = time.monotonic()
        came = self._run(act, Trouble("none"), 0.0)
        seconds = time.monotonic() - begun
        if came.code != 0:
            raise RuntimeError(f"{act} fails without trouble: {came}")
        return Reference(came.code, came.stdout, self._facts(act), seconds)

    def _case(self, act: str, trouble: Trouble) -> tuple[int | None, Wrong]:
        reference = self._references[act]
        if trouble.settles:
            self._lay_out()
        trouble.before()
        came = self._run(act, trouble, reference.seconds)
        trouble.after()
        wrong = self._of_command(act, trouble, came, reference)
        before = frozenset() if act == "first" else self._before
        there = self._read(act, wrong, "afterwards")
        if there is not None:
            # Of a folder that changes, nobody knows what a sync has seen; the photos that were known then still are.
            may_go = reference.facts if trouble.settles else frozenset(one for one in before if one[0] != "file")
            lost = before - there - (before - may_go)
            wrong += [f"lost: {one}" for one in _shown(lost)]
            if trouble.settles:
                added = {one for one in there - before - reference.facts if not _is_passing(one)}
                wrong += [f"should not be there: {one}" for one in _shown(added)]
                # Who may not write is answered all the same.
                told = "Warning: " in came.stderr or not trouble.stderr_is_there or not trouble.may_write
                told = told or "read-only" in came.stderr or "skipped " in came.stderr
                if came.code == 0 and there != reference.facts and not told:
                    wrong.append(f"it says that all is done, and lacks {_shown(reference.facts - there)}")
        again = self._run(act, Trouble("none"), 0.0)
        if again.code != 0:
            wrong.append(f"again, without trouble: {again.code}, {again.stderr[-400:]!r}")
        there = self._read(act, wrong, "at the end")
        if there is not None:
            expected = reference.facts if trouble.settles else self._files_of_a_new_library(wrong)
            found = there if trouble.settles else _files(there)
            if found != expected:
                wrong.append(f"at the end it lacks {_shown(expected - found)} and has {_shown(found - expected)}")
        check, fix = ("check another", "fix another") if act == "first" else ("check", "fix")
        checked = self._run(check, Trouble("none"), 0.0)
        if came.code is not None and came.code < 0 and b" 1 files in index/ belong to no index" in checked.stdout:
            # A killed writer leaves its file for check to tell of.
            self._run(fix, Trouble("none"), 0.0)
            checked = self._run(check, Trouble("none"), 0.0)
        if checked.code != 0:
            wrong.append(f"check finds {checked.stdout[-400:]!r} {checked.stderr[-300:]!r}")
        wrong += [f"left behind: {name}" for name in self._strays()]
        return came.code, wrong

    def _files_of_a_new_library(self, wrong: Wrong) -> Facts:
        """What a library knows of the album that has never known another one."""
        came = self._run("first", Trouble("none"), 0.0)
        if came.code != 0:
            wrong.append(f"a new library: {came.code}, {came.stderr[-400:]!r}")
        return _files(self._facts("first"))

    def _of_command(self, act: str, trouble: Trouble, came: Came, reference: Reference) -> Wrong:
        wrong = []
        if came.code is None:
            return ["it hangs"]
        expected = {int(number) for _, number in trouble.signals}
        if ARROW_GIVES_UP in came.stderr:
            expected.add(signal.SIGABRT)
        if came.code < 0 and -came.code not in expected:
            wrong.append(f"signal {-came.code} ended it: {came.stderr[-300:]!r}")
        elif came.code >= 0 and came.code not in CODES and "Error: Invalid value" not in came.stderr:
            wrong.append(f"exit code {came.code}: {came.stderr[-300:]!r}")
        if "Traceback" in came.stderr or "Exception ignored" in came.stderr:
            wrong.append(f"a traceback: …{came.stderr[-900:]!r}")
        elif came.code in (1, 2) and trouble.stderr_is_there:
            if "Error: " not in came.stderr and not came.stdout.startswith(b"problem: "):
                wrong.append(f"exit code {came.code}, and no reason: {came.stderr[-300:]!r} {came.stdout[-200:]!r}")
            elif trouble.words and not re.search(trouble.words, f"{came.stderr}{came.stdout!r}"):
                wrong.append(f"the message does not fit: {came.stderr[-400:]!r}")
            if "zsindex check" in came.stderr and "amage" in came.stderr:
                wrong.append(f"it speaks of damage: {came.stderr[-400:]!r}")
        if came.code == 0 and act in self.SAME and came.stdout != reference.stdout and "stdout" not in trouble.name:
            wrong.append(f"another answer, and exit code 0: {came.stdout[:300]!r}, not {reference.stdout[:300]!r}")
        return wrong

    def _read(self, act: str, wrong: Wrong, when: str) -> Facts | None:
        try:
            return self._facts(act)
        except Exception as error:  # noqa: BLE001
            wrong.append(f"{when} it cannot be read: {type(error).__name__}: {error}")
            return None

    def _strays(self) -> list[str]:
        """Temporary files that are nobody's any more."""
        walk = os.walk(self.scene)  # which leaves out what is too deep to be named
        return [f"{folder}/{name}" for folder, _, names in walk for name in names if name.endswith(".tmp")]

    # --- running ------------------------------------------------------------------------------------------------------

    def _run(self, act: str, trouble: Trouble, usual_s: float) -> Came:
        """Run a command in a process of its own."""
        arguments = (self.acts() | self._checks())[act]
        out, err = os.pipe(), os.pipe()
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until it is the command
        child = os.fork()
        if child == 0:
            status = 99
            try:
                for mine, number in ((out[1], 1), (err[1], 2)):
                    os.dup2(mine, number)
                for number in (*out, *err):
                    os.close(number)
                if trouble.anew:
                    self._become(arguments, trouble.environment)
                status = self._as_command(arguments, trouble.environment, trouble.inside)
            finally:
                os._exit(status)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        for number in (out[1], err[1]):
            os.close(number)
        begun = time.monotonic()
        signals = [(begun + part * usual_s, number) for part, number in sorted(trouble.signals)]
        read: dict[int, list[bytes]] = {out[0]: [], err[0]: []}
        open_ones, hung = set(read), False
        while open_ones:
            if trouble.meanwhile is not None:
                trouble.meanwhile()
            now = time.monotonic()
            while signals and signals[0][0] <= now:
                with suppress(ProcessLookupError):
                    os.kill(child, signals.pop(0)[1])
            if now - begun > trouble.hangs_s:
                os.kill(child, signal.SIGKILL)
                hung = True
                break
            wait_s = min(0.001 if trouble.meanwhile is not None else 0.2, signals[0][0] - now if signals else 1.0)
            for number in select.select(list(open_ones), [], [], max(0.0, wait_s))[0]:
                if some := os.read(number, 1 << 16):
                    read[number].append(some)
                else:
                    open_ones.discard(number)
        for number in read:
            os.close(number)
        status = os.waitpid(child, 0)[1]
        texts = [b"".join(parts) for parts in read.values()]
        return Came(None if hung else os.waitstatus_to_exitcode(status), texts[0], texts[1].decode(errors="replace"))

    def _as_command(
        self, arguments: Sequence[str], environment: dict[str, str | None], inside: Callable[[], None] = lambda: None
    ) -> int:
        """Be the command, as its console script is; returns the exit code."""
        self._set(environment)
        model.load_encoder = fake  # type: ignore[assignment]
        sys.argv = ["zsindex", *arguments]
        for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115
        code: int | str | None = 0
        try:
            inside()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
            command_line()
        except SystemExit as end:
            code = end.code
        except KeyboardInterrupt as stop:
            # What comes before the command has begun is Python's.
            code = 1 if _had_begun(stop) else 130
            if code == 1:
                os.write(2, traceback.format_exc().encode())
        except BaseException:  # noqa: BLE001  as Python would
            code = 1
            with suppress(Exception):
                os.write(2, traceback.format_exc().encode())
        with suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        return code if isinstance(code, int) else 0 if code is None else 1

    def _set(self, environment: dict[str, str | None]) -> None:
        usual = {
            LIBRARY_VARIABLE: str(self.scene / "library"),
            "HOME": str(self.scene / "home"),
            CACHE_VARIABLE: "off",
            "COLUMNS": "200",
        }
        for name, value in {**usual, **environment}.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _become(self, arguments: Sequence[str], environment: dict[str, str | None]) -> NoReturn:
        """Be a new process that is the command."""
        encoded = [os.fsencode(one) for one in (sys.executable, "-m", "tests.torture.command", *arguments)]
        self._set(environment)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        os.execv(sys.executable, encoded)

    def _facts(self, act: str) -> Facts:
        """What the library of a command holds; of exports and sidecars their bytes."""
        folder = self.scene / ("another" if act == "first" else "library")
        found: set[tuple[object, ...]] = set()
        if not (folder / "library.db").exists():
            return frozenset(found)
        shutil.copytree(folder, self.scene / "read")
        try:
            with closing(sqlite3.connect(self.scene / "read" / "library.db")) as connection:
                if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    for name, query in FACTS.items():
                        found |= {(name, *row) for row in connection.execute(query)}
        finally:
            shutil.rmtree(self.scene / "read")
        # Which leaves out what is too deep to be named.
        for within, _, names in os.walk(self.scene / "album"):
            for path in (Path(within, name) for name in names if name.endswith(".xmp")):
                found.add(("sidecar file", str(path), path.read_bytes()))
        export = self.scene / "out"
        if export.exists():
            found.add(("export", *(str(path.relative_to(export)) for path in sorted(export.rglob("*")))))
        return frozenset(found)

    # --- troubles -----------------------------------------------------------------------------------------------------

    def _troubles(self) -> dict[str, Callable[[random.Random], tuple[str, Trouble]]]:
        """Each makes a case: the command, and its trouble."""
        every = list(self.acts())
        found = {
            "open files": lambda chance: (chance.choice(every), self._open_files(chance)),
            "file size": lambda chance: (chance.choice(self.WRITING), self._file_size(chance)),
            "signals": lambda chance: (chance.choice(every), self._signals(chance)),
            "streams": lambda chance: (chance.choice(every), self._streams(chance)),
            "memory": lambda chance: (chance.choice(every), self._memory(chance)),
            "locale": lambda chance: (chance.choice(every), self._locale(chance)),
            "clock": lambda chance: (chance.choice(every), self._clock(chance)),
            "home": lambda chance: (chance.choice(every), self._home(chance)),
            "time stamps": lambda chance: ("sync", self._time_stamps(chance)),
            "names": lambda chance: ("sync", self._names(chance)),
            "odd files": lambda chance: ("sync", self._odd_files(chance)),
            "many": lambda chance: ("sync", self._many(chance)),
            "changing": lambda chance: ("sync", self._changing(chance)),
        }
        why = _cannot_mount()
        if why is None:
            found |= {
                "full disk": lambda chance: (chance.choice(self.WRITING), self._full_disk(chance)),
                "read-only": lambda chance: (chance.choice(every), self._read_only(chance)),
                "no temporary folder": lambda chance: (chance.choice(every), self._no_temporary(chance)),
            }
        else:
            self._left_out["full disk, read-only, no temporary folder"] = why
        why = _no_other_user()
        if why is None:
            found["another user"] = lambda chance: (chance.choice(every), self._another_user(chance))
        else:
            self._left_out["another user"] = why
        return found

    def _open_files(self, chance: random.Random) -> Trouble:
        n = chance.choice((*range(3, 24), 28, 32, 40))
        return Trouble(
            f"{n} open files",
            inside=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (n, n)),
            words="[Oo]pen files|ulimit",
        )

    def _file_size(self, chance: random.Random) -> Trouble:
        n = chance.choice((0, 1, 100, 4096, *(4096 * chance.randrange(1, 90) for _ in range(4))))
        return Trouble(
            f"files of {n:,} bytes",
            inside=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)),
            words="space|too large|full",
        )

    def _memory(self, chance: random.Random) -> Trouble:
        mb = chance.choice((0, 1, 2, 4, 8, 16, 32, 64, 128))

        def limit() -> None:
            held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (held + (mb << 20), held + (mb << 20)))

        return Trouble(f"{mb} MB more memory", inside=limit, words="memory|thread")

    def _signals(self, chance: random.Random) -> Trouble:
        one = chance.choice(STOPS)
        at = chance.random()
        signals = [(at, one)]
        if chance.random() < 0.5:
            signals.append((at + chance.random() * 0.3, chance.choice((one, one, *STOPS))))
        name = ", ".join(f"{number.name} at {part:.2f}" for part, number in signals)
        return Trouble(name, signals=tuple(signals))

    def _streams(self, chance: random.Random) -> Trouble:
        # With a folder for one of them, Python does not even begin.
        how = {number: chance.choice(("as it is", "closed", "no reader", "/dev/full")) for number in (0, 1, 2)}
        name = ", ".join(
            f"{what} {where}" for what, where in zip(("stdin", "stdout", "stderr"), how.values(), strict=True)
        )

        def place() -> None:
            for number, where in how.items():
                if where == "closed":
                    os.close(number)
                    setattr(sys, ("stdin", "stdout", "stderr")[number], None)
                elif where == "no reader":
                    mine, its = os.pipe()
                    os.close(mine)
                    os.dup2(its, number)
                    os.close(its)
                elif where != "as it is":
                    opened = os.open(where, os.O_RDWR)
                    os.dup2(opened, number)
                    os.close(opened)

        return Trouble(name, inside=place, stderr_is_there=how[2] == "as it is")

    def _locale(self, chance: random.Random) -> Trouble:
        """A Python that is begun in another locale, with and without its own ways out of it."""
        environment: dict[str, str | None] = dict.fromkeys(("LC_ALL", "LC_CTYPE", "LANG", "PYTHONIOENCODING"))
        environment[chance.choice(("LC_ALL", "LC_ALL", "LC_CTYPE", "LANG"))] = chance.choice(self._locales())
        for variable in ("PYTHONUTF8", "PYTHONCOERCECLOCALE"):
            environment[variable] = chance.choice(("0", "0", None))
        if self._made_locales:
            environment["LOCPATH"] = str(self.work / "locales")
        name = " ".join(f"{name}={value}" for name, value in environment.items() if value is not None)
        return Trouble(name, environment=environment, anew=True)

    def _locales(self) -> list[str]:
        """Names of locales; those of other encodings are made, where that is possible."""
        if self._made_locales is None:
            self._made_locales = []
            for encoding, name in (("ISO-8859-1", "de_DE"), ("ISO-8859-15", "fr_FR"), ("EUC-JP", "ja_JP")):
                (self.work / "locales").mkdir(exist_ok=True)
                made = self.work / "locales" / f"{name}.{encoding}"
                with suppress(OSError, subprocess.SubprocessError):
                    asked = ["localedef", "--no-archive", "-c", "-i", name, "-f", encoding, str(made)]
                    subprocess.run(asked, capture_output=True, timeout=60, check=False)
                if (made / "LC_CTYPE").exists():
                    self._made_locales.append(made.name)
            if not self._made_locales:
                self._left_out["locales of Latin-1"] = "none can be made, localedef or its sources are missing"
        return ["C", "C", "POSIX", "de_DE.nonsense", *self._made_locales]

    def _clock(self, chance: random.Random) -> Trouble:
        """A clock that jumps to and fro, as Python reads it."""
        jumps = random.Random(chance.random())
        most_s = chance.choice((2.0, 3600.0, 86400.0 * 400, 3e9))

        def jump() -> None:
            true_s, true_ns = time.time, time.time_ns

            def now_s() -> float:
                return max(0.0, true_s() + jumps.uniform(-most_s, most_s))

            time.time = now_s
            time.time_ns = lambda: int(now_s() * 10**9) if jumps.random() < 0.9 else true_ns()

        return Trouble(f"a clock off by up to {most_s:,.0f} s", inside=jump)

    def _home(self, chance: random.Random) -> Trouble:
        home = chance.choice(
            (None, "", "/nonexistent/home", "/dev/null", str(self.scene / "album" / "red.png"), "~", "relative")
        )
        environment: dict[str, str | None] = {"HOME": home, CACHE_VARIABLE: chance.choice((None, "off"))}
        for variable in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "TMPDIR"):
            if chance.random() < 0.3:
                environment[variable] = chance.choice(("/nonexistent", "/dev/null", "", "relative"))
        return Trouble(f"{environment}", environment=environment)

    def _no_temporary(self, chance: random.Random) -> Trouble:
        folder = chance.choice(("/nonexistent", "/proc", "/dev/null", ""))

        def lock() -> None:
            _private()
            for place in ("/tmp", "/var/tmp", "/usr/tmp", "/dev/shm"):
                if os.path.isdir(place) and not str(self.scene).startswith(f"{place}/"):
                    _mount("tmpfs", place, "tmpfs", _MS_RDONLY, "size=4k")
            if str(self.scene).startswith("/tmp/"):
                _mount("/tmp", "/tmp", None, _MS_BIND, None)
                _mount(str(self.scene), str(self.scene), None, _MS_BIND, None)
                _mount(None, "/tmp", None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY, None)
            os.chdir("/proc")

        return Trouble(f"no temporary folder, TMPDIR={folder}", inside=lock, environment={"TMPDIR": folder})

    def _full_disk(self, chance: random.Random) -> Trouble:
        spare_kb = 4 * chance.choice((0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 90, 120, 200))
        scene = str(self.scene)

        def before() -> None:
            _private()
            _mount("tmpfs", scene, "tmpfs", 0, "size=512m")
            self._lay_out()
            free = os.statvfs(scene)
            kept = (free.f_blocks - free.f_bfree) * free.f_frsize // 1024
            _mount(None, scene, None, _MS_REMOUNT, f"size={kept + spare_kb}k")

        def after() -> None:
            _mount(None, scene, None, _MS_REMOUNT, "size=512m")

        return Trouble(f"{spare_kb} KB left", before=before, after=after, words="[Ss]pace|full")

    def _read_only(self, chance: random.Random) -> Trouble:
        place = str(chance.choice((self.scene, self.scene / "library", self.album, self.scene / "home")))

        def lock() -> None:
            _private()
            _mount(place, place, None, _MS_BIND, None)
            _mount(None, place, None, _MS_BIND | _MS_REMOUNT | _MS_RDONLY, None)

        return Trouble(
            f"{Path(place).name} read-only",
            inside=lock,
            words="[Rr]ead-only|cannot be made|could not|cannot",
            may_write=False,
        )

    def _another_user(self, chance: random.Random) -> Trouble:
        user = chance.choice((65534, 54321))
        mode = chance.choice(
            ("nothing is theirs", "all is theirs", "may not enter", "photos unreadable", "sidecars unreadable")
        )

        def before() -> None:
            if mode == "all is theirs":
                for path in (self.scene, *self.scene.rglob("*")):
                    os.chown(path, user, user, follow_symlinks=False)
            elif mode == "may not enter":
                (self.scene / "library").chmod(0o700)
            elif mode != "nothing is theirs":
                for path in self.album.rglob("*.png" if mode == "photos unreadable" else "*.xmp"):
                    path.chmod(0o000)

        def after() -> None:
            (self.scene / "library").chmod(0o755)
            for path in self.album.rglob("*"):
                path.chmod(0o755 if path.is_dir() else 0o644)

        def inside() -> None:
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)

        home = chance.choice((None, "/root", str(self.scene / "home")))
        return Trouble(
            f"user {user}, {mode}, HOME={home}",
            before=before,
            inside=inside,
            after=after,
            environment={"HOME": home, CACHE_VARIABLE: chance.choice((None, "off"))},
            may_write=mode == "all is theirs",
        )

    def _time_stamps(self, chance: random.Random) -> Trouble:
        """Photos from before 1970 and after 2106: found as they are, and not read again."""
        stamps = (0, 1, -1, -(2**31), 2**31, 2**32, 2**32 + 1, -(2**33), 2**34, -(2**40), 2**62, -(2**62), 2**63 - 1)
        chosen = [chance.choice(stamps) for _ in range(12)]

        def stamp() -> None:
            for path, seconds in zip(sorted(self.album.rglob("*.png")), chosen, strict=False):
                with suppress(OSError, OverflowError):  # what the file system, or Python, does not take
                    os.utime(path, ns=(seconds * 10**9, seconds * 10**9))

        return Trouble(f"stamps {chosen}", before=self._on_its_own(stamp), settles=False)

    def _names(self, chance: random.Random) -> Trouble:
        how = chance.choice(("deep", "long", "bytes", "odd"))
        depth, part = chance.choice(((50, "f"), (300, "f"), (300, "f" * 20)))
        raw = bytes(chance.choice((*range(1, 47), *range(48, 256))) for _ in range(chance.randrange(1, 60)))

        def make() -> None:
            source = self.album / "red.png"
            if how == "deep":
                at = os.open(self.album, os.O_RDONLY)
                for number in range(depth):
                    os.mkdir(f"{part}{number}", dir_fd=at)
                    deeper = os.open(f"{part}{number}", os.O_RDONLY, dir_fd=at)
                    os.close(at)
                    at = deeper
                _copy_at(source, b"deep.png", at)
                os.close(at)
                return
            folder = os.open(self.album, os.O_RDONLY)
            for name in {
                "long": [b"x" * 251 + b".png", "\u732b".encode() * 83 + b".png", b"y" * 255],
                "bytes": [raw[:250] + b".png", b"\xff\xfe.png", b"\xe4.jpg", b"\xed\xa0\x80.png"],
                "odd": [
                    b"a\nb.png",
                    b"-rf.png",
                    b"  .png",
                    b".png",
                    b"\x1b[31m.png",
                    b"a|b.png",
                    b"%s{}.png",
                    b"..png",
                ],
            }[how]:
                with suppress(OSError):
                    _copy_at(source, name, folder)
            os.close(folder)

        return Trouble(f"{how} {depth} {part} {raw[:20]!r}", before=self._on_its_own(make), settles=False)

    def _many(self, chance: random.Random) -> Trouble:
        """Many names of a few photos in one folder."""
        n = chance.choices((1_000, 3_000, 100_000), (15, 4, 1))[0]

        def make() -> None:
            sources = [photo(self.scene / f"{mark}.png", "red", mark=mark) for mark in range(4)]  # links are limited
            for number in range(n):
                os.link(sources[number % 4], self.album / f"{number:06}.{'png' if number % 9 else 'txt'}")

        return Trouble(f"{n:,}", before=self._on_its_own(make), settles=False, hangs_s=10 * HANGS_S)

    def _odd_files(self, chance: random.Random) -> Trouble:
        chosen = chance.sample(
            ("fifo", "socket", "device", "loop", "dangling", "folder", "up", "sparse", "dev zero"), 5
        )

        def make() -> None:
            for what in chosen:
                path = self.album / f"{what}.png"
                if what == "fifo":
                    os.mkfifo(path)
                elif what == "socket":
                    with closing(socket.socket(socket.AF_UNIX)) as bound:
                        here = Path.cwd()
                        os.chdir(self.album)  # the address of a socket is short
                        bound.bind("socket.png")
                        os.chdir(here)
                elif what == "device":
                    with suppress(PermissionError):
                        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
                elif what == "loop":
                    path.symlink_to(path)
                elif what == "dangling":
                    path.symlink_to("nowhere.png")
                elif what == "folder":
                    path.mkdir()
                elif what == "up":
                    (self.album / "up").symlink_to(self.album)
                elif what == "sparse":
                    with path.open("wb") as out:
                        out.truncate(1 << 36)
                else:
                    path.symlink_to("/dev/zero")

        return Trouble(", ".join(chosen), before=self._on_its_own(make), settles=False)

    def _changing(self, chance: random.Random) -> Trouble:
        """Photos that change while they are read; the run after that finds them as they are then."""
        steps = random.Random(chance.random())

        def change() -> None:
            photos = [path for path in sorted(self.album.rglob("*.png")) if path.is_file()]
            if not photos:
                return
            path = steps.choice(photos)
            how = steps.randrange(8)
            with suppress(OSError):
                if how == 0:
                    photo(path, steps.choice(("red", "black", "white")), mark=steps.randrange(2**20))
                elif how == 1:
                    os.truncate(path, steps.randrange(1 + path.stat().st_size))
                elif how == 2:
                    with path.open("ab") as out:
                        out.write(b"more" * steps.randrange(1, 2000))
                elif how == 3 and len(photos) > 4:
                    path.unlink()
                elif how == 4:
                    path.rename(path.with_name(f"renamed {steps.randrange(99)}.png"))
                elif how == 5 and len(photos) > 4:
                    path.unlink()
                    os.mkfifo(path)
                elif how == 6:
                    path.replace(steps.choice(photos))
                else:
                    photo(self.album / f"came {steps.randrange(9)}" / "x.png", "blue", mark=steps.randrange(2**20))

        return Trouble("at random", before=self._on_its_own(lambda: None), meanwhile=change, settles=False)

    def _on_its_own(self, prepare: Callable[[], None]) -> Callable[[], None]:
        """Lays out the scene and prepares it; it has no reference, and is compared with a library of its own."""

        def before() -> None:
            self._lay_out()
            prepare()

        return before


# Each row in words of its own, not by its number.
_OF_MODEL = "JOIN models m ON m.id = t.model_id"
FACTS = {
    "root": "SELECT path FROM roots",
    "model": "SELECT fingerprint, name FROM models",
    "file": """SELECT d.path || '/' || f.name, f.size, f.mtime_ns, hex(i.digest), f.skip_reason, f.missing_since IS NULL
        FROM files f JOIN folders d ON d.id = f.folder_id LEFT JOIN images i ON i.id = f.image_id""",
    "image": "SELECT hex(digest), width, height, format FROM images",
    "vector": f"SELECT m.fingerprint, hex(i.digest), t.vector, t.checksum FROM embeddings t {_OF_MODEL} "
    "JOIN images i ON i.id = t.image_id",
    "prompt": f"SELECT m.fingerprint, t.text, t.vector, t.truncated, t.checksum FROM prompts t {_OF_MODEL}",
    "label set": "SELECT name, version, body FROM label_sets",
    "template set": "SELECT name, body FROM template_sets",
    "correction": "SELECT label_set, hex(digest), label, is_not FROM corrections",
    "survey": "SELECT kind, question, hex(image_ids), result FROM surveys",
    "look": "SELECT survey_id, number, hex(digest), answer FROM looks",
    "album": "SELECT name, body, hex(seen) FROM albums",
    "decision": "SELECT kind, hex(digest), hex(other), path, other_path FROM decisions",
    "threshold": "SELECT label_set, label, rate FROM thresholds",
    "run": "SELECT key FROM runs",
    "sidecar": "SELECT path, original, written_sha256 FROM sidecars",
}


def _no_other_user() -> str | None:
    """Why a command cannot run as another user; None if it can."""
    if os.geteuid() != 0:
        return "only root can become one"
    # What is imported when it is needed would be missing, such as what click prints an error with.
    for module in (sys.modules[__name__], click, json):
        for folder in Path(str(module.__file__)).parents:
            if not folder.stat().st_mode & stat.S_IXOTH:
                return f"others may not enter {folder}"
    return None


def _is_passing(fact: tuple[object, ...]) -> bool:
    """Whether it is a photo that could not be read for now, one that has gone and not been found elsewhere yet, or the
    record of a sidecar that is about to be removed.
    """
    if fact[0] == "sidecar":
        return not fact[3]
    return fact[0] == "file" and (fact[5] is not None or not os.path.exists(str(fact[1])))


def _files(facts: Facts) -> Facts:
    """The files that are there; of those that are no photos, not what they were before."""
    there = (one for one in facts if one[0] == "file" and one[6])
    return frozenset((*one[:2], one[5]) if one[5] == "not-a-file" else one for one in there)


def _shown(facts: Iterator[object] | set[Any] | Facts) -> list[str]:
    return [repr(one)[:200] for one in sorted(facts, key=repr)][:4]


def _had_begun(stop: BaseException) -> bool:
    """Whether an exception comes out of a command, rather than out of what there is before one."""
    return any(frame.name == "invoke" for frame in traceback.extract_tb(stop.__traceback__))


def _copy_at(source: Path, name: bytes, folder: int) -> None:
    number = os.open(name, os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=folder)
    with open(number, "wb") as out:
        out.write(source.read_bytes())


# --- mounts that only one process and its children see ---------------------------------------------------------------

_CLONE_NEWNS = 0x20000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18


def _private() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE, None)


def _mount(source: str | None, target: str, kind: str | None, flags: int, options: str | None) -> None:
    coded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    if ctypes.CDLL(None, use_errno=True).mount(coded[0], coded[1], coded[2], ctypes.c_ulong(flags), coded[3]):
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)}: mount {target}")


def _cannot_mount() -> str | None:
    """Why no file system can be mounted here, if none can."""

    def attempt() -> None:
        _private()
        _mount("tmpfs", "/mnt", "tmpfs", 0, "size=64k")

    ending = apart(attempt, timeout_s=20)
    return None if ending.error is None and not ending.signal else f"nothing can be mounted ({ending.error})"
