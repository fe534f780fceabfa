"""On a Ray cluster: what a sync stores, and what questions and exports answer, is what one process stores and answers.

One head serves the module, and most libraries lie on a throw-away server; `--on ray` starts a Ray of its own, which
takes seconds, so few tests do that.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from zsindex.cli import cli

from tests import photos
from tests.fakes import FakeEncoder
from tests.ports import free_port
from tests.storage import postgres_server
from tests.storage.postgres_server import Server
from tests.waiting import WAIT_S, until
from zsindex.distributed import cluster, syncing
from zsindex.distributed.cluster import Share, connected
from zsindex.distributed.reach import Reach, opened
from zsindex.errors import (
    BadQuestion,
    ClusterFailed,
    ClusterUnreachable,
    ExtraMissing,
    ModelChanged,
    Stopped,
    ZsindexError,
)
from zsindex.exchange.vectors import Layout
from zsindex.library import Library
from zsindex.records import Candidate, FloatArray, Progress, SkipReason, SyncReport
from zsindex.storage.rows import now

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'zsindex[ray]'")
needs_server = pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))
LABELS = [f"a photo number {n}" for n in range(1000)]
BAD = 2


@dataclass(frozen=True)
class Head:
    """A head that listens for clients, with a token.

    Attributes:
        on: its address.
        folder: where it keeps its logs, and whatever else.
    """

    on: str
    folder: Path


@pytest.fixture(scope="module")
def server() -> Server:
    return postgres_server.running()


@pytest.fixture(scope="module")
def head(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A Ray of two cores. Its nodes know the server's password from a file, as this process does meanwhile."""
    passwords = tmp_path_factory.mktemp("passwords") / "pgpass"
    passwords.write_text(f"*:*:*:*:{server.password}\n", encoding="utf-8")
    passwords.chmod(0o600)
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # names of sockets have 107 characters at most
    port = free_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSFILE", str(passwords))
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        with (folder / "head.log").open("wb") as log:
            started = subprocess.Popen(
                [
                    Path(sys.executable).with_name("ray"),
                    "start",
                    "--head",
                    "--block",
                    "--num-cpus=2",
                    "--port=0",
                    f"--ray-client-server-port={port}",
                    "--include-dashboard=false",
                    f"--temp-dir={folder}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            said = folder / "head.log"
            until(lambda: b"will now block forever" in said.read_bytes() or started.poll() is not None)
            assert started.poll() is None, said.read_text(encoding="utf-8")
            yield Head(f"ray://127.0.0.1:{port}", folder)
        finally:
            started.send_signal(signal.SIGINT)
            try:
                started.wait(WAIT_S)
            finally:
                for pid in processes_in(str(folder)):
                    os.kill(pid, signal.SIGKILL)
                shutil.rmtree(folder, ignore_errors=True)


def processes_in(text: str) -> list[int]:
    """Processes with something in their command line or title."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            said = entry.read_bytes().replace(b"\0", b" ")
        except OSError:
            continue
        if text.encode() in said and int(entry.parent.name) != os.getpid():
            found.append(int(entry.parent.name))
    return found


@pytest.fixture
def url(server: Server) -> Iterator[str]:
    """The URL of an empty library, without the password."""
    made = server.new_library()
    yield made.replace(f":{server.password}", "")
    server.drop(made)


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 photos in folders, 12 of them copies, and `BAD` more that cannot be used."""
    folder = tmp_path_factory.mktemp("album")
    for n in range(84):
        place = folder / f"{n % 3}"
        place.mkdir(exist_ok=True)
        photos.save(place / f"ü{n}.png", photos.noise(n, 40, 30))
        if n % 7 == 0:
            photos.save(folder / f"{(n + 1) % 3 if n else 0}" / f"copy of {n}.png", photos.noise(n, 40, 30))
    photos.empty(folder / "empty.png")
    (folder / "1" / "no picture.jpg").write_bytes(b"this is no picture at all")
    return folder


@pytest.fixture(scope="module")
def here(album: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """A library in a folder, synced by one process, in two goes so that rows are in no order of paths."""
    with Library.open(tmp_path_factory.mktemp("here") / "library") as library:
        library.sync(album / "2")
        library.sync(album)
        library.labels.save("numbers", LABELS[:40])
        library.thresholds.choose("numbers", LABELS[0], count=3)
        library.corrections.add("numbers", library.photos.paths()[0], LABELS[1])
        yield library


def vectors_of(library: Library) -> dict[str, FloatArray]:
    view = library.view()
    return dict(zip(view.paths, view.take(range(len(view))), strict=True))


def assert_same_vectors(one: Library, other: Library) -> None:
    ours, theirs = vectors_of(one), vectors_of(other)
    assert ours.keys() == theirs.keys()
    assert max(float(np.abs(ours[path] - theirs[path]).max()) for path in ours) < 1e-6


def assert_whole(library: Library, report: SyncReport, total: int) -> None:
    """All was stored once, and counted once."""
    assert (report.added, report.skipped, report.left) == (96, BAD, 0)
    assert (report.encoded, report.reused) == (84, 12)
    assert report.to_read == total == 96 + BAD
    assert library.status().files == 96
    assert library.check().ok
    assert library.session.storage.photos.receipts(now()[:4]) == []


# --- sync -------------------------------------------------------------------------------------------------------------


@needs_ray
@needs_server
def test_a_cluster_stores_what_one_process_stores(head: Head, url: str, album: Path, here: Library) -> None:
    seen: list[Progress] = []
    with Library.open(url, workers=1, batch_size=4) as library:
        report = library.sync(album, on=head.on, progress=seen.append)
        assert_whole(library, report, seen[-1].total or 0)
        assert sorted(skip.path for skip in report.skips) == [
            str(album / "1" / "no picture.jpg"),
            str(album / "empty.png"),
        ]
        assert {skip.reason for skip in report.skips} == {SkipReason.EMPTY, SkipReason.NOT_AN_IMAGE}
        encoded = [p.done for p in seen if p.stage == "encode"]
        assert encoded[0] == 0
        assert len(encoded) > 5, "it tells what it has done while it goes on"
        assert seen[-1].done == seen[-1].total
        assert_same_vectors(library, here)
        again = library.sync(album, on=head.on)
        assert (again.unchanged, again.skipped, again.to_read, again.encoded) == (96, BAD, 0, 0)


@needs_ray
@needs_server
def test_an_actor_that_is_killed_loses_and_doubles_nothing(head: Head, url: str, album: Path, here: Library) -> None:
    killed: list[int] = []

    def kill_one(progress: Progress) -> None:
        if progress.stage == "encode" and progress.done and not killed:
            assert progress.done < (progress.total or 0)
            actors = processes_in("ray::MapWorker(MapBatches(_EachItem")
            assert actors
            killed.append(actors[0])
            os.kill(actors[0], signal.SIGKILL)

    with Library.open(url, workers=1, batch_size=2) as library:
        report = library.sync(album, on=head.on, progress=kill_one)
        assert killed
        assert_whole(library, report, report.to_read)
        assert_same_vectors(library, here)


@needs_ray
@needs_server
def test_what_was_stopped_goes_on(head: Head, url: str, album: Path, here: Library) -> None:
    stop = False

    def after_some(progress: Progress) -> None:
        nonlocal stop
        stop = stop or (progress.stage == "encode" and progress.done > 0)

    with Library.open(url, workers=1, batch_size=2) as library:
        first = library.sync(album, on=head.on, progress=after_some, should_stop=lambda: stop)
        assert first.interrupted
        assert 0 < first.added < 96
        assert first.left == 96 + BAD - first.added - first.skipped
        rest = library.sync(album, on=head.on)
        # What an actor has stored in its last instant, the first sync does not know of.
        assert first.added + rest.added + rest.unchanged >= 96
        assert library.status().files == 96
        assert first.encoded + rest.encoded <= 84
        assert_same_vectors(library, here)


@needs_ray
@needs_server
def test_ctrl_c_ends_a_command_and_what_it_started(head: Head, url: str, album: Path) -> None:
    command = [sys.executable, "-m", "zsindex", "sync", album, "--library", url, "--on", head.on, "--workers", "1"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    assert running.stderr is not None
    said = ""
    while "core each" not in said:
        said += running.stderr.readline()
    running.send_signal(signal.SIGINT)
    stdout, stderr = running.communicate(timeout=WAIT_S)
    assert running.returncode == 130, said + stderr
    assert "stopping after this batch" in stderr
    assert re.search(r"stopped (with \d+ photos left|before all was seen); run the same command again", stderr)
    assert "Traceback" not in stderr
    assert re.match(r"98 photos", stdout)
    until(lambda: not processes_in("ray::MapWorker"))


@needs_ray
def test_on_ray_starts_one_here_for_a_library_in_a_folder(album: Path, here: Library, tmp_path: Path) -> None:
    temporary = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    place = tmp_path / "library"
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = ["sync", album, "--library", place, "--on", "ray", "--workers", "1", "--json"]
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "zsindex", *command],
            env={**plain, "RAY_TMPDIR": str(temporary)},
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=300,
        )
        assert ran.returncode == 0, ran.stderr
        report = json.loads(ran.stdout)
        assert (report["added"], report["encoded"], report["reused"], report["skipped"]) == (96, 84, 12, BAD)
        assert "starting Ray" in ran.stderr
        with Library.open(place) as library:
            assert_same_vectors(library, here)
            assert library.check().ok
        until(lambda: not processes_in(str(temporary)))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def test_ray_that_is_started_here_asks_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    with cluster._environment(None):
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert not [name for name in os.environ if name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_USAGE_STATS_ENABLED")]
    cluster._token.cache_clear()
    monkeypatch.setitem(sys.modules, "ray", cluster)  # by somebody else
    with (
        pytest.raises(ClusterUnreachable, match="imported before with its authentication off"),
        cluster._environment(None),
    ):
        pytest.fail("it was started")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # and then a token is there as well
    with cluster._environment(None):
        assert "RAY_AUTH_TOKEN" not in os.environ


def test_a_block_that_is_given_again_is_finished_and_not_counted_twice(album: Path, tmp_path: Path) -> None:
    """As Ray does it when an actor has died, or the answer of one was lost."""
    files = [
        Candidate(*os.path.split(path), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(album.rglob("*.*"))
    ]
    with Library.open(tmp_path / "library", batch_size=4, workers=2) as library:
        how = encoding_of(library, tmp_path / "library")
        with actor(how) as first:
            first((0, files[:30]))  # as far as it came
        with actor(how) as second:
            assert second((0, files)) == f"{how.sync}/0"
            assert second((0, files)) == f"{how.sync}/0"
        receipts = library.session.storage.photos.take_receipts(how.sync)
        counts = sum((receipt.counts for receipt in receipts[1:]), receipts[0].counts)
        assert (counts["read"], counts["added"], counts["encoded"], counts["reused"]) == (98, 96, 84, 12)
        assert counts["skipped"] == len([skip for receipt in receipts for skip in receipt.skips]) == BAD
        assert counts["unchanged"] == 0
        assert SkipReason.EMPTY in {skip.reason for receipt in receipts for skip in receipt.skips}


@contextmanager
def actor(how: syncing.Encoding) -> Iterator[syncing.EncodingActor]:
    """One in this process, which outlasts it."""
    made = syncing.EncodingActor(how)
    try:
        yield made
    finally:
        made._decoder.stop()
        made._storage.close()


def encoding_of(library: Library, where: Path) -> syncing.Encoding:
    row = library.session.model.row()
    return syncing.Encoding(
        Reach(where),
        row.id,
        row.info.spec,
        row.info.fingerprint,
        "cpu",
        None,
        library.session.settings,
        now(),
        f"{now()}/abcdef",
    )


def test_actors_claim_images_against_one_another(album: Path, tmp_path: Path) -> None:
    """Of a library in a folder by locks that another process sees, and that end with it."""
    with Library.open(tmp_path / "library") as library:
        row = library.session.model.row()
        program = (
            "import sys\nfrom pathlib import Path\nfrom zsindex.session import storages\n"
            "storage = storages.open_storage(Path(sys.argv[1]))\n"
            "with storage.photos.claims(int(sys.argv[2]), shared=True) as claims:\n"
            "    print(claims.take(b'1' * 32).name, flush=True)\n"
            "    print(claims.take(b'2' * 32).name, flush=True)\n"
            "    claims.release([b'2' * 32])\n"
            "    print('released', flush=True)\n"
            "    input()\n"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", program, library.path, str(row.id)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        with other, library.session.storage.photos.claims(row.id, shared=True) as claims:
            assert other.stdout is not None
            assert [other.stdout.readline().strip() for _ in range(3)] == ["MINE", "MINE", "released"]
            assert claims.take(b"1" * 32).name == "ELSEWHERE"
            assert claims.take(b"2" * 32).name == "MINE"
            other.kill()
            other.wait(WAIT_S)
            assert claims.take(b"1" * 32).name == "MINE"


# --- questions and exports --------------------------------------------------------------------------------------------

# What is scored by the model's own formula, by other scorers, and by what is derived from all photos.
QUESTIONS = {
    "some photos": {"labels": LABELS},
    "photos that fit": {"labels": LABELS, "where": {"not": {"answer": f"numbers={LABELS[1]}"}}},
    "a photo that fits": {"labels": LABELS, "where": {"corrected": "numbers"}},
    "multi-label": {"label_set": "numbers", "multi_label": True, "thresholds": True},
    "unknown": {"labels": LABELS[:50], "unknown": "mcm:0.2", "temperature": 0.05},
    "corrections": {"label_set": "numbers", "with_corrections": "gda", "top": 20},
}


@needs_ray
@needs_server
def test_answers_and_their_runs_are_those_of_one_process(
    head: Head, here: Library, server: Server, album: Path
) -> None:
    """From the folder, from a copy of it on a server, and from both on the cluster: to the last bit."""
    import ray

    empty = server.url(server.new_database())
    Library.copy(here.path, empty)
    try:
        # One connection for all of them, as a program has that uses Ray itself.
        ray.init(head.on, logging_level="error", log_to_driver=False)
        try:
            with Library.open(empty, workers=1) as there:
                for name, options in QUESTIONS.items():
                    some = {"paths": [str(album / "0"), str(album / "2")]} if name == "some photos" else {}
                    expected = here.classify(**options, **some)  # type: ignore[arg-type]
                    answers = [there.classify(on=on, **options, **some) for on in (None, "ray")]  # type: ignore[arg-type]
                    if some:
                        answers.append(here.classify(on="ray", **options, **some))  # type: ignore[arg-type]
                    for answer in answers:
                        assert answer.run.key == expected.run.key, name
                        assert answer.paths == expected.paths
                        for ours, theirs in zip(answer.ranked, expected.ranked, strict=True):
                            assert ours.dtype == theirs.dtype
                            assert np.array_equal(ours, theirs), name
            assert ray.is_initialized(), "who connected disconnects"
        finally:
            ray.shutdown()
    finally:
        server.drop(empty)


PHOTOS = Path(
    os.environ.get("ZSINDEX_TEST_PHOTOS") or Path(__file__).parents[2] / "shared" / "photos" / "imagenet-sample"
)


@needs_ray
@needs_server
@pytest.mark.photos
@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"no photos at {PHOTOS}; name a folder with ZSINDEX_TEST_PHOTOS")
def test_real_photos_by_a_thousand_labels(head: Head, url: str, tmp_path: Path) -> None:
    with Library.open(tmp_path / "library") as folder, Library.open(url, workers=1) as there:
        folder.sync(PHOTOS)
        there.sync(PHOTOS, on=head.on)
        expected = folder.classify(LABELS, top=5)
        assert len(expected) == 400
        for answer in (there.classify(LABELS, top=5), there.classify(LABELS, top=5, on=head.on)):
            assert answer.paths == expected.paths
            assert np.array_equal(answer.ranked[0], expected.ranked[0])
            assert np.abs(answer.ranked[1] - expected.ranked[1]).max() < 1e-5


@needs_ray
@needs_server
def test_exports_are_those_of_one_process(
    head: Head, here: Library, server: Server, album: Path, tmp_path: Path
) -> None:
    empty = server.new_database()
    Library.copy(here.path, server.url(empty))
    place = server.url(empty).replace(f":{server.password}", "")
    try:
        with Library.open(place, workers=1) as there:
            expected = here.vectors.export_to(tmp_path / "one", part_size=7)
            seen: list[Progress] = []
            report = there.vectors.export_to(tmp_path / "many", part_size=7, on=head.on, progress=seen.append)
        assert report.to_dict() | {"folder": 0, "seconds": 0} == expected.to_dict() | {"folder": 0, "seconds": 0}
        assert seen[-1] == Progress("export", 96, 96)
        assert content_of(tmp_path / "many") == content_of(tmp_path / "one")
        # By the command, and of some paths only.
        for some, n in (["--path"], 31), (["--not", "--path"], 65):
            for name, options in {f"{n}": [], f"{n} on": ["--on", head.on]}.items():
                command = ["vectors", "export", str(tmp_path / name), "--part-size", "5", "--dtype", "float16"]
                result = CliRunner().invoke(cli, [*command, *some, str(album / "1"), "--library", place, *options])
                assert result.exit_code == 0, result.output
                assert result.stdout.startswith(f"{n} photos exported to ")
            assert content_of(tmp_path / f"{n}") == content_of(tmp_path / f"{n} on")
    finally:
        server.drop(server.url(empty))


def content_of(folder: Path) -> dict[str, bytes]:
    """All files, but for when they were written."""
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert len(found) > 4
    manifest = json.loads(found.pop("zsindex.json"))
    assert manifest.pop("created_at")
    return {**found, "manifest": json.dumps(manifest).encode()}


def test_parts_of_an_export_are_of_one_state(here: Library, tmp_path: Path) -> None:
    from zsindex.distributed.exporting import ExportingActor, RayExport
    from zsindex.distributed.exporting import Source as Exported

    model = here.session.model.row()
    asked = RayExport("ray", here.session.storage, model, None, should_stop=lambda: False)
    (tmp_path / "out").mkdir()
    layout = Layout(tmp_path / "out", model.info.dim, "float32", 50, 96)
    source = Exported(Reach(here.path), model, None, asked._state)
    number, digests = ExportingActor(source, layout)(1)
    assert number == 1
    assert sorted(digests) == ["img_emb/img_emb_1.npy", "metadata/metadata_1.parquet"]
    stale = replace(source, state=(source.state[0] - 1, *source.state[1:]))
    with pytest.raises(ZsindexError, match="photos were stored or removed meanwhile"):
        ExportingActor(stale, layout)(1)
    with pytest.raises(ClusterFailed, match=r"does not see .*storage that all nodes share"):
        ExportingActor(source, replace(layout, folder=tmp_path / "nowhere" / "out"))


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_without_ray_it_says_what_to_install(here: Library, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ExtraMissing, match=r"pip install 'zsindex\[ray\]'"):
        here.classify(["a", "b"], on="ray")
    for command in (["classify", "-l", "a", "-l", "b"], ["vectors", "export", str(tmp_path / "out")]):
        result = CliRunner().invoke(cli, [*command, "--on", "ray", "--library", str(here.path)])
        assert result.exit_code == 1
        assert "pip install 'zsindex[ray]'" in result.stderr
        assert not result.stdout
    assert os.listdir(tmp_path) == []


@needs_ray
def test_a_head_that_is_not_there_is_noticed_before_ray_is_asked(
    here: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which would try for minutes."""
    port = free_port()
    command = ["classify", "-l", "a", "-l", "b", "--library", str(here.path), "--on", f"ray://127.0.0.1:{port}"]
    monkeypatch.setattr(cluster, "_initialised", lambda address: pytest.fail("Ray is asked"))
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 1
    assert f"cannot connect to Ray at ray://127.0.0.1:{port} (Connection refused). Start its head" in result.stderr


@pytest.mark.parametrize("on", ["rays", "ray://", "ray://head", "ray://user@head:1", "http://head:8265"])
def test_other_addresses_are_refused(here: Library, on: str) -> None:
    with pytest.raises(ValueError, match="on must be ray or ray://HOST:PORT"):
        here.classify(["a", "b"], on=on)
    result = CliRunner().invoke(cli, ["classify", "-l", "a", "--library", str(here.path), "--on", on])
    assert result.exit_code == 2
    assert "ray://HOST:PORT" in result.stderr


@needs_ray
def test_other_versions_are_told(here: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from zsindex._version import __version__

    def mismatch(*_: object, **__: object) -> None:
        raise RuntimeError(
            "Version mismatch: The cluster was started with:\n    Ray: 1.0\n    Python: 3.8.1\nThis process was started"
            " with:\n    Ray: 2.0\n    Python: 3.11.7\n"
        )

    monkeypatch.setattr(ray, "init", mismatch)
    monkeypatch.setattr(cluster, "_require_answer", lambda _: None)
    with pytest.raises(
        ClusterUnreachable, match=r"versions are not those of this machine: .*Ray: 1\.0 Python: 3\.8\.1"
    ):
        here.classify(["a", "b"], on="ray://head:10001")
    with pytest.raises(
        ClusterFailed, match=rf"has zsindex {re.escape(__version__)}, this machine 0\.0\.1: install one"
    ):
        cluster._unpacked(cluster._EachItem(b"", "0.0.1")._result(b""))


def test_what_a_node_cannot_see_is_told(here: Library, tmp_path: Path) -> None:
    how = encoding_of(here, here.path)
    unseen = (0, [Candidate("/nowhere", "1.jpg", 1, 1)])
    with (
        actor(how) as made,
        pytest.raises(ClusterFailed, match="does not see /nowhere: photos must have the same paths"),
    ):
        made(unseen)
    with pytest.raises(ModelChanged):
        syncing.EncodingActor(replace(how, fingerprint="0" * 64))
    with pytest.raises(ClusterFailed, match="cannot open the library: there is no library at"):
        opened(Reach(tmp_path / "none"))
    from zsindex.distributed.ranking import SharedVectors

    shared = SharedVectors.of(here.session.index.open().vectors)
    with pytest.raises(ClusterFailed, match="ZSINDEX_CACHE names, must be on storage that all nodes share"):
        replace(shared, file=tmp_path / "no.faiss").opened()


@needs_ray
@needs_server
def test_passwords_do_not_travel(head: Head, url: str, server: Server, album: Path, here: Library) -> None:
    with_password = url.replace("postgres@", f"postgres:{server.password}@")
    said = []
    for place in (with_password, str(here.path)):
        result = CliRunner().invoke(cli, ["sync", str(album), "--library", place, "--on", head.on, "--retry-skipped"])
        assert result.exit_code == 1
        said.append(result.output)
    assert "has a password in it, which is not sent to other machines. Leave it out, and put it into a file" in said[0]
    assert "is a folder, which only one machine can work on. Use --on ray" in said[1]
    # What tests before this one have done is in the logs, too.
    token = os.environ["RAY_AUTH_TOKEN"]
    files = [file for file in head.folder.rglob("*") if file.is_file() and not file.is_symlink()]
    assert len(files) > 10
    for file in files:
        content = file.read_bytes()
        assert server.password.encode() not in content, file
        assert token.encode() not in content, file
    assert not [text for text in said if server.password in text or token in text]


@needs_server
def test_a_password_in_a_url_goes_into_a_file_of_its_users(url: str, server: Server) -> None:
    from zsindex.distributed.cluster import Cluster
    from zsindex.distributed.reach import reached

    with_password = url.replace("postgres@", f"postgres:{server.password}@") + "?connect_timeout=7"
    with Library.open(with_password) as library:
        storage = library.session.storage
        with reached(storage, Cluster(is_here=True)) as reach:
            assert server.password not in repr(reach)
            (file,) = re.findall(r"passfile=([^&]*)", str(reach.where))
            name = Path(file.replace("%2F", "/"))
            assert name.stat().st_mode & 0o077 == 0
            assert "connect_timeout=7" in str(reach.where)
            other = opened(reach)
            assert other.place == storage.place
            other.close()
            with pytest.raises(ClusterFailed, match="finds another library at"):
                opened(replace(reach, identity="another"))
        assert not name.exists()


def test_what_needs_all_at_once_is_refused(here: Library) -> None:
    with pytest.raises(BadQuestion, match="smoothing looks at all photos at once"):
        here.classify(["a", "b"], smooth=True, on="ray")
    for option in ("--smooth", "--wide"):
        result = CliRunner().invoke(
            cli, ["classify", "-l", "a", "--library", str(here.path), "--on", "ray", "--format", "csv", option]
        )
        assert result.exit_code == 2
        assert "exclude each other" in result.stderr


def test_an_encoder_object_cannot_be_loaded_elsewhere(tmp_path: Path, album: Path) -> None:
    with Library.open(tmp_path / "library", encoder=FakeEncoder()) as library:
        with pytest.raises(ClusterFailed, match="actors load the model by its name"):
            library.sync(album, on="ray")
        assert library.status().files == 0


@pytest.mark.parametrize(
    ("nodes", "options", "expected"),
    [
        ([{"CPU": 2}], {}, Share(1, 2)),
        ([{"CPU": 2}], {"cores": 1}, Share(2, 1)),
        ([{"CPU": 16}, {"CPU": 6}, {"memory": 1}], {}, Share(5, 4)),
        ([{"CPU": 16}, {"CPU": 2}], {"cores": 8}, Share(9, 2)),
        ([{"CPU": 64, "GPU": 4}, {"CPU": 16}], {}, Share(4, 16, 1)),
        ([{"CPU": 64, "GPU": 4}, {"CPU": 8, "GPU": 1}], {"cores": 4}, Share(5, 4, 1)),
        ([{"CPU": 64, "GPU": 4}], {"gpus": False}, Share(16, 4)),
        ([{"CPU": 1, "GPU": 8}], {}, Share(8, 1, 1)),
    ],
)
def test_shares(nodes: list[dict[str, float]], options: dict[str, int], expected: Share) -> None:
    assert Share.of(nodes, **{"cores": None, "gpus": True, **options}) == expected  # type: ignore[arg-type]


def test_a_cluster_without_cores() -> None:
    with pytest.raises(ClusterFailed, match="no node of the cluster has a processor core"):
        Share.of([{"memory": 1}], cores=None, gpus=True)


@needs_ray
@needs_server
def test_errors_of_workers_arrive_as_what_they_are(head: Head) -> None:
    with connected(head.on) as there:
        share = there.share(cores=1, gpus=False)
        assert share == Share(2, 1)

        # In here, or actors would have to know this module.
        class Doubling:
            """A worker that does not like some numbers."""

            def __init__(self, bad: int, wrong: int) -> None:
                self._bad, self._wrong = bad, wrong

            def __call__(self, number: int) -> int:
                if number == self._bad:
                    raise Stopped
                return number // (number - self._wrong) * 0 + 2 * number

        def doubled(bad: int, wrong: int) -> list[int]:
            made = there.mapped(range(6), Doubling, [bad, wrong], share=share, should_stop=lambda: False)
            return sorted(made)

        assert doubled(-1, -1) == [0, 2, 4, 6, 8, 10]
        with pytest.raises(Stopped):
            doubled(3, -1)
        with pytest.raises(ClusterFailed, match="ZeroDivisionError") as failed:
            doubled(-1, 4)
        assert "Traceback" in "".join(failed.value.__notes__)
        assert list(there.mapped([], Doubling, [0, 0], share=share, should_stop=lambda: False)) == []
