"""Photos are decoded in processes of their own: with the same pixels, within limits, and each dies for itself."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import photos
from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.waiting import WAIT_S, until
from zsindex import config
from zsindex.errors import DecoderUnavailable, ImageError, ZsindexError
from zsindex.library import Library
from zsindex.models.preprocess import Preprocessing
from zsindex.photos import decode, decoder_process, sandbox
from zsindex.photos.sandbox import Here, Sandbox, decoder_for
from zsindex.photos.scaling import Fitting
from zsindex.records import AS_REFERENCE, AS_SEEN, Decoded, DecodeLimits, DecodeMode, Rendering, Settings, SkipReason

MB = 1 << 20
LIMITS = DecodeLimits(60, 512 * MB)
RED = photos.encoded(photos.solid("red", 8, 8), "PNG")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, and limits that hold")


def decoded(box: Sandbox, data: bytes, *, name: str = "", fitting: Fitting | None = None) -> Decoded:
    return box.decode(data, DecodeMode.EXACT, (8, 8), name=name, fitting=fitting)


def is_well(box: Sandbox) -> bool:
    return decoded(box, RED).image.getpixel((0, 0)) == (255, 0, 0)


# A decoder that has what no codec should have, for files that begin so.
_PLANTED = """
import os, signal, sys, time
from pathlib import Path
from zsindex.photos import decode

real = decode.decode

def planted(data, **options):
    if data.startswith(b"die"):
        os.kill(os.getpid(), signal.SIGSEGV)
    elif data.startswith((b"hang", b"spin")):
        assert 50 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
        signal.setitimer(signal.ITIMER_REAL, 0.05)  # it rings soon, while others have all the time that they need
        while data.startswith(b"spin"):
            pass
        time.sleep(1000)
    elif data.startswith(b"deaf"):
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        time.sleep(1000)
    elif data.startswith(b"wait "):
        while not Path(os.fsdecode(data[5:])).exists():
            time.sleep(0.01)
    elif data.startswith(b"eat"):
        eaten = []
        while True:
            eaten.append(bytes(1 << 20))
    elif data.startswith(b"kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    elif data.startswith(b"mistake"):
        raise LookupError("a mistake")
    elif data.startswith(b"leave once"):
        left = Path(os.fsdecode(data[10:]))
        if not left.exists():
            left.touch()
            os._exit(0)
        data = (left.parent / "red.png").read_bytes()
    elif data.startswith(b"leave"):
        os._exit(0)
    return real(data, **options)

decode.decode = planted
"""


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Processes are forked from one that is started for this test."""
    monkeypatch.setattr(sandbox, "_forking", None)
    yield
    if sandbox._forking is not None:
        sandbox._forking.close()


@pytest.fixture
def planted(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "planted"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_PLANTED, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)


# --- the same pixels --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    with Sandbox(LIMITS, workers=2, max_pixels=10**7) as made:
        yield made


def _files() -> dict[str, bytes]:
    colours = photos.gradient(50, 30)
    alpha = colours.convert("RGBA")
    alpha.putalpha(colours.convert("L"))
    palette = colours.quantize(20)
    return {
        "1": photos.encoded(colours.convert("1"), "PNG"),
        "L": photos.encoded(colours.convert("L"), "PNG"),
        "LA": photos.encoded(colours.convert("LA"), "PNG"),
        "P": photos.encoded(palette, "PNG"),
        "P, transparent": photos.encoded(palette, "PNG", transparency=3),
        "P, transparent by value": photos.encoded(palette, "PNG", transparency=bytes(range(0, 200, 10))),
        "PA": photos.encoded(alpha.quantize(20), "PNG"),
        "RGB": photos.encoded(colours, "PNG"),
        "RGBA": photos.encoded(alpha, "PNG"),
        "CMYK": photos.encoded(colours.convert("CMYK"), "TIFF"),
        "YCbCr": photos.encoded(colours.convert("YCbCr"), "TIFF"),
        "LAB": photos.encoded(colours.convert("LAB"), "TIFF"),
        "I;16": photos.encoded(photos.grey_ramp("<u2", 65535, 50, 30), "PNG"),
        "F": photos.encoded(photos.grey_ramp("<f4", 1.0, 50, 30), "TIFF"),
        "JPEG": photos.encoded(colours, "JPEG"),
        "cut short": photos.encoded(colours, "JPEG")[:-2],
    }


@pytest.mark.parametrize("rendering", [AS_REFERENCE, AS_SEEN])
@pytest.mark.parametrize("kind", _files())
def test_pixels_are_those_of_this_process(kind: str, rendering: Rendering, box: Sandbox) -> None:
    data = _files()[kind]
    here = decode.decode(data, mode=DecodeMode.EXACT, input_size=(8, 8), rendering=rendering)
    there = box.decode(data, DecodeMode.EXACT, (8, 8), rendering)
    assert (there.image.mode, there.image.size) == (here.image.mode, here.image.size)
    assert there.image.tobytes() == here.image.tobytes()
    assert there.image.convert("RGB").tobytes() == here.image.convert("RGB").tobytes()
    assert (there.width, there.height, there.format, there.incomplete) == (
        here.width,
        here.height,
        here.format,
        here.incomplete,
    )


@pytest.mark.parametrize("resize_mode", ["shortest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("kind", _files())
def test_what_is_fitted_there_is_what_preprocessing_makes_of_it(
    kind: str, interpolation: str, resize_mode: str, box: Sandbox
) -> None:
    fitting = Fitting(16, 16, interpolation, resize_mode)
    prepare = Preprocessing(fitting, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    whole, fitted = decoded(box, _files()[kind]), decoded(box, _files()[kind], fitting=fitting)
    assert fitted.image.size == (16, 16)
    assert (fitted.width, fitted.height) == (whole.width, whole.height)
    assert np.array_equal(prepare(fitted.image), prepare(whole.image))


def test_a_picture_that_fitting_would_enlarge_comes_as_it_is(box: Sandbox) -> None:
    assert decoded(box, RED, fitting=Fitting(224, 224, "bicubic", "shortest")).image.size == (8, 8)


def test_a_sync_stores_the_vectors_that_it_would_store_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(5):
        photo(tmp_path / "photos" / f"{i}.png", mark=i)
    vectors = []
    for limits in ("on", "off"):
        monkeypatch.setenv(config.LIMITS_VARIABLE, limits)
        with Library.open(tmp_path / limits, encoder=FakeEncoder()) as library:
            assert isinstance(library._session.decoder, Sandbox if limits == "on" else Here)
            assert library.sync(tmp_path / "photos").encoded == 5
            vectors.append(library.embed_images([str(tmp_path / "photos" / f"{i}.png") for i in range(5)]))
    assert np.array_equal(*vectors)


# --- limits -----------------------------------------------------------------------------------------------------------


@on_linux
def test_a_photo_that_takes_too_much_memory_is_refused_alone() -> None:
    # 80 million pixels of RGBA want 320 MB; the decoder may have 64 more than it begins with.
    out = io.BytesIO()
    Image.new("RGBA", (9000, 8900)).save(out, "PNG", compress_level=1)
    with Sandbox(DecodeLimits(60, 64 * MB, from_environment=True), workers=1, max_pixels=10**9) as box:
        with pytest.raises(
            ImageError, match="takes more than 64 MB of memory; ZSINDEX_DECODE_MB raises the limit"
        ) as raised:
            decoded(box, out.getvalue())
        assert raised.value.reason is SkipReason.OUT_OF_MEMORY
        assert is_well(box)


@on_linux
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG2000"])
def test_the_largest_photo_that_may_be_read_fits_into_the_memory(kind: str) -> None:
    side = 2000
    seen = photos.gradient(side, side).convert("RGBA")
    seen.putalpha(seen.getchannel("R"))
    options = {"WEBP": {"lossless": True, "method": 0}, "PNG": {"compress_level": 1}}.get(kind, {})
    share = side * side / config.DEFAULT_MAX_PIXELS
    limits = DecodeLimits(60, int(share * config.DEFAULT_DECODE_MB * MB))
    with Sandbox(limits, workers=1, max_pixels=side * side) as box:
        found = box.decode(photos.encoded(seen, kind, **options), DecodeMode.EXACT, (224, 224), AS_SEEN)
        assert found.image.size == (side, side)


def test_a_photo_that_takes_too_long_is_refused_alone() -> None:
    out = io.BytesIO()
    Image.effect_noise((6000, 6000), 90).save(out, "PNG", compress_level=0)
    with Sandbox(DecodeLimits(0.05, 2048 * MB), workers=1, max_pixels=10**9) as box:
        with pytest.raises(ImageError, match=r"decoding it takes more than 0\.05 s$") as raised:
            decoded(box, out.getvalue())
        assert raised.value.reason is SkipReason.TOO_SLOW
    with Sandbox(LIMITS, workers=1, max_pixels=10**9) as box:
        assert is_well(box)


@on_linux
@pytest.mark.parametrize("forks", [True, False])
@pytest.mark.parametrize(
    ("file", "reason", "says"),
    [
        (b"die", SkipReason.DECODE_FAILED, r"its decoder crashed \(SIGSEGV\); saved anew"),
        (b"hang", SkipReason.TOO_SLOW, "decoding it takes more than 60 s$"),
        (b"spin", SkipReason.TOO_SLOW, "decoding it takes more than 60 s$"),
        (b"deaf", SkipReason.TOO_SLOW, "decoding it takes more than 60 s$"),
        (b"eat", SkipReason.OUT_OF_MEMORY, "decoding it takes more than 64 MB of memory$"),
        (b"kill", SkipReason.OUT_OF_MEMORY, "the system killed its decoder"),
        (b"leave", SkipReason.DECODE_FAILED, "its decoder ended, again and again"),
    ],
)
def test_a_decoder_that_fails_takes_one_photo_with_it(
    file: bytes, reason: SkipReason, says: str, forks: bool, planted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Sandbox(DecodeLimits(60, 64 * MB), workers=1, max_pixels=10**6, forks=forks) as box:
        assert is_well(box)
        with monkeypatch.context() as patch:
            if file == b"deaf":  # given up 0.3 s after it was asked
                patch.setattr(sandbox, "_GRACE_S", 0.3 - 60)
                patch.setattr(sandbox, "_ENDING_S", 0.3)
            with pytest.raises(ImageError, match=says) as raised:
                decoded(box, file)
        assert raised.value.reason is reason
        assert is_well(box)


@on_linux
def test_one_that_had_ended_for_want_of_work_is_replaced(planted: None, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    with Sandbox(LIMITS, workers=1, max_pixels=10**6) as box:
        found = decoded(box, b"leave once" + os.fsencode(tmp_path / "left"))
        assert found.image.getpixel((0, 0)) == (255, 0, 0)
        assert (tmp_path / "left").exists()


@on_linux
def test_a_mistake_of_ours_is_not_a_reason_to_skip(planted: None) -> None:
    with (
        Sandbox(LIMITS, workers=1, max_pixels=10**6) as box,
        pytest.raises(RuntimeError, match=r"(?s)a mistake in a process that decodes photos:.*LookupError: a mistake"),
    ):
        decoded(box, b"mistake")


@on_linux
def test_a_sync_goes_on(planted: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(20):
        photo(tmp_path / "photos" / f"{i}.png", mark=i)
    for name in ("die", "spin", "eat"):
        (tmp_path / "photos" / f"{name}.png").write_bytes(name.encode())
    monkeypatch.setenv(config.SECONDS_VARIABLE, "60")
    monkeypatch.setenv(config.MEMORY_VARIABLE, "100")
    with Library.open(tmp_path / "library", encoder=FakeEncoder(), batch_size=4, workers=2) as library:
        report = library.sync(tmp_path / "photos")
        assert report.encoded == 20
        skipped = {Path(one.path).stem: (one.reason, one.detail) for one in library.photos.skipped()}
        assert library.check().ok
    assert {name: reason for name, (reason, _) in skipped.items()} == {
        "die": SkipReason.DECODE_FAILED,
        "spin": SkipReason.TOO_SLOW,
        "eat": SkipReason.OUT_OF_MEMORY,
    }
    assert skipped["spin"][1].endswith("ZSINDEX_DECODE_SECONDS raises the limit, and --retry-skipped tries again")


def test_each_decoder_works_for_one_thread_at_a_time() -> None:
    files = [photos.encoded(photos.noise(seed, 60, 40), "PNG") for seed in range(40)]
    wrong: list[int] = []
    with Sandbox(LIMITS, workers=3, max_pixels=10**6) as box:

        def work(start: int) -> None:
            mine = range(start, len(files), 6)
            wrong.extend(i for i in mine if decoded(box, files[i]).image.tobytes() != photos.noise(i, 60, 40).tobytes())

        threads = [threading.Thread(target=work, args=(start,)) for start in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(box._all) <= 3
    assert not wrong
    assert not box._all


# --- settings ---------------------------------------------------------------------------------------------------------


def test_limits_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (config.LIMITS_VARIABLE, config.SECONDS_VARIABLE, config.MEMORY_VARIABLE):
        monkeypatch.delenv(variable, raising=False)
    assert config.decode_limits() == DecodeLimits(60, 3584 * MB, from_environment=True)
    monkeypatch.setenv(config.MAX_PIXELS_VARIABLE, str(2 * config.DEFAULT_MAX_PIXELS))
    assert config.decode_limits() == DecodeLimits(60, 7168 * MB, from_environment=True)
    monkeypatch.setenv(config.SECONDS_VARIABLE, "5")
    monkeypatch.setenv(config.MEMORY_VARIABLE, "700")
    assert config.decode_limits() == DecodeLimits(5, 700 * MB, from_environment=True)
    monkeypatch.setenv(config.LIMITS_VARIABLE, "off")
    assert config.decode_limits() is None
    monkeypatch.setenv(config.LIMITS_VARIABLE, "of")
    with pytest.raises(ZsindexError, match="ZSINDEX_DECODE_LIMITS must be on or off, not 'of'"):
        config.decode_limits()


def test_without_limits_photos_are_decoded_here() -> None:
    assert isinstance(decoder_for(Settings(1, 1, 10**6)), Here)
    with decoder_for(Settings(1, 1, 10**6, LIMITS)) as box:
        assert isinstance(box, Sandbox)


@pytest.mark.parametrize("forks", [True, False])
def test_where_none_can_be_started_it_is_said(forks: bool, alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    if forks and sys.platform != "linux":
        pytest.skip("nothing is forked here")
    for program, why in ((["/nowhere/python"], "No such file"), ([sys.executable, "-c", ""], "ended again")):
        monkeypatch.setattr(sandbox, "_program", lambda *arguments, program=program: program)
        with (
            Sandbox(LIMITS, workers=1, max_pixels=10**6, forks=forks) as box,
            pytest.raises(DecoderUnavailable, match=rf"none can be started: .*{why}.*ZSINDEX_DECODE_LIMITS=off"),
        ):
            decoded(box, RED)


# --- beginning and end ------------------------------------------------------------------------------------------------


class _AsItIs(decoder_process._Memory):
    """Leaves the memory of this process unlimited."""

    def __init__(self) -> None:
        self.is_limited = False


def test_a_process_ends_with_its_pipe_and_without_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_process, "IDLE_S", 0.01)
    for is_closed in (True, False):
        (requests, ask), (answers, answer) = os.pipe(), os.pipe()
        if is_closed:
            os.close(ask)
        with os.fdopen(requests, "rb") as stdin, os.fdopen(answer, "wb") as stdout:
            decoder_process.serve(stdin, stdout, _AsItIs(), 60)
        os.close(answers)
        if not is_closed:
            os.close(ask)


@on_linux
def test_one_killed_from_outside_is_replaced_with_all_that_were_forked_from_it() -> None:
    with Sandbox(LIMITS, workers=1, max_pixels=10**6) as box:
        assert is_well(box)
        assert sandbox._forking is not None
        sandbox._forking._process.kill()
        sandbox._forking._process.wait()
        assert is_well(box)
        box.stop()
        assert is_well(box)


_PROGRAM = """
import os, sys, time
from zsindex.photos.sandbox import Sandbox
from zsindex.records import DecodeLimits, DecodeMode

data = open(sys.argv[1], "rb").read()
box = Sandbox(DecodeLimits(60, 1 << 29), workers=2, max_pixels=10**6)
decode = lambda: box.decode(data, DecodeMode.EXACT, (8, 8)).image.getpixel((0, 0))
print(decode(), flush=True)
"""


def _run(program: str, tmp_path: Path) -> subprocess.Popen[str]:
    (tmp_path / "red.png").write_bytes(RED)
    command = [sys.executable, "-c", _PROGRAM + program, str(tmp_path / "red.png")]
    environment = {**os.environ, "ZSINDEX_MARK": str(tmp_path)}
    return subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )


def _left(tmp_path: Path) -> list[str]:
    """The processes that were started by a program, zombies included: they have its environment."""
    mark, found = f"ZSINDEX_MARK={tmp_path}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


def _all_end(tmp_path: Path) -> bool:
    return until(lambda: not _left(tmp_path))


@on_linux
@pytest.mark.parametrize(
    "end",
    ["", "box.stop()", "os._exit(0)", "os.kill(os.getpid(), 9)", "sys.exit(0)", "1 / 0"],
)
def test_nothing_is_left_however_the_program_ends(end: str, tmp_path: Path) -> None:
    with _run(end, tmp_path) as program:
        out, err = program.communicate(timeout=WAIT_S)
    assert out == "(255, 0, 0)\n"
    assert err == "" or end == "1 / 0"
    assert _all_end(tmp_path)


@on_linux
def test_a_fork_of_the_program_has_its_own(tmp_path: Path) -> None:
    program = """
child = os.fork()
if child == 0:
    box = Sandbox(DecodeLimits(60, 1 << 29), workers=2, max_pixels=10**6)
print(decode(), flush=True)
if child:
    os.waitpid(child, 0)
    print(decode(), flush=True)
"""
    with _run(program, tmp_path) as running:
        out, err = running.communicate(timeout=WAIT_S)
    assert (out, err) == ("(255, 0, 0)\n" * 4, "")
    assert _all_end(tmp_path)


@on_linux
def test_ctrl_c_is_for_the_program_alone(planted: None, tmp_path: Path) -> None:
    for i in range(20):
        photo(tmp_path / "photos" / f"{i}.png", mark=i)
    go_on = tmp_path / "go on"
    (tmp_path / "photos" / "0.png").write_bytes(b"wait " + os.fsencode(go_on))
    options = ["--library", str(tmp_path / "library"), "--workers", "2", "--batch-size", "4"]
    command = [sys.executable, "-m", "zsindex", "sync", str(tmp_path / "photos"), *options]
    environment = {**os.environ, "ZSINDEX_MARK": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    ) as program:
        until(lambda: len(_left(tmp_path)) >= 3)
        os.killpg(program.pid, signal.SIGINT)
        go_on.touch()
        _, err = program.communicate(timeout=WAIT_S)
    assert program.returncode == 130
    assert "Traceback" not in err
    assert _all_end(tmp_path)
