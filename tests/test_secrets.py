"""No password of a server is in anything that zsindex writes, shows, sends or stores, wherever it has it from."""

from __future__ import annotations

import base64
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests import photos
from tests.command_lines import run_all
from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.storage import postgres_server
from tests.storage.postgres_server import Server
from zsindex.errors import LibraryError
from zsindex.library import Library
from zsindex.web import create_app

pytestmark = pytest.mark.skipif(postgres_server.missing() is not None, reason=str(postgres_server.missing()))

PASSWORD = "s3cr3t/w@rd%zz"
FORMS = [
    form.encode()
    for form in (PASSWORD, quote(PASSWORD, safe=""), base64.b64encode(PASSWORD.encode()).decode(), "s3cr3t")
]


def require_none(content: bytes | str, where: str) -> None:
    there = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    found = [form for form in FORMS if form in there]
    assert not found, f"{where} has the password: {there[:2000]!r}"


@pytest.fixture
def own() -> Iterator[Server]:
    made = Server()
    made.execute(f"CREATE ROLE keeper LOGIN CREATEDB PASSWORD '{PASSWORD}'")
    yield made
    made.remove()


class Given:
    """A way to tell zsindex the password."""

    def __init__(self, server: Server, way: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._at = f"127.0.0.1:{server.port}"
        self._in_url = f":{quote(PASSWORD, safe='')}" if way == "URL" else ""
        if way == "PGPASSFILE":
            file = folder / "pgpass"
            file.write_text(f"127.0.0.1:{server.port}:*:keeper:{PASSWORD}\n", encoding="utf-8")
            file.chmod(0o600)
            monkeypatch.setenv("PGPASSFILE", str(file))
        elif way == "PGPASSWORD":
            monkeypatch.setenv("PGPASSWORD", PASSWORD)
        # Nothing that Python or libpq say of what they do is missed.
        monkeypatch.setenv("PYTHONFAULTHANDLER", "1")

    def url(self, database: str, **options: str) -> str:
        after = "?" + "&".join(f"{name}={value}" for name, value in options.items()) if options else ""
        return f"postgresql://keeper{self._in_url}@{self._at}/{database}{after}"


@pytest.fixture(params=["URL", "PGPASSFILE", "PGPASSWORD"])
def given(request: pytest.FixtureRequest, own: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    return Given(own, request.param, tmp_path, monkeypatch)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    for n, colour in enumerate(["red", "green", "blue", "white"]):
        photo(folder / f"{colour}.png", colour, mark=n)
    photos.empty(folder / "bad.png")
    return folder


@contextmanager
def watched(server: Server) -> Iterator[set[bytes]]:
    """What anybody on this machine and on the server sees of the processes meanwhile: their arguments, and what their
    sessions say.
    """
    seen: set[bytes] = set()
    stop = threading.Event()
    import psycopg

    def look() -> None:
        with psycopg.connect(server.url("postgres"), autocommit=True) as link:
            while not stop.is_set():
                for process in Path("/proc").glob("[0-9]*"):
                    try:
                        seen.add((process / "cmdline").read_bytes())
                    except OSError:
                        continue
                for row in link.execute("SELECT application_name, query FROM pg_stat_activity"):
                    seen.update(str(value).encode() for value in row)
                time.sleep(0.02)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def rows_of(server: Server, database: str) -> str:
    """All that is stored in a database, as text."""
    tables = server.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'zsindex'", database)
    found = [str(server.execute(f"SELECT t::text FROM zsindex.{name} t", database)) for (name,) in tables]
    assert len(found) > 15
    return "\n".join(found)


def commands(album: Path, out: Path, copied: Path, url: str, elsewhere: str) -> list[list[str | Path]]:
    """Most commands, and several that fail."""
    return [
        ["status"],  # there is no library yet
        ["library", "create"],
        ["library", "upgrade"],
        ["sync", album],
        ["sync", album / "nothing.png"],
        ["library", "info", "--json"],
        ["status", "--json"],
        ["classify", "-l", "red", "-l", "blue", "--format", "json"],
        ["labels", "save", "colours", "-l", "red", "-l", "blue"],
        ["classify", "--label-set", "colours", "--record"],
        ["runs", "list", "--json"],
        ["search", "red"],
        ["similar", album / "red.png"],
        ["duplicates"],
        ["correct", "colours", album / "red.png", "red"],
        ["check"],
        ["prune", "--yes"],
        ["vectors", "export", out],
        ["vectors", "import", out],
        ["library", "copy", url, copied, "--quiet"],
        ["library", "copy", copied, url],  # there is one already
        ["library", "copy", copied, elsewhere],
        ["models", "list", "--held"],
        ["classify", "-l", "red", "--library", f"{url}?sslmode=require"],
        ["classify", "-l", "red", "--library", f"{url}?no_such_option=1"],
        ["status", "--library", url.replace("keeper", "nobody")],
        ["no-such-command", "--library", url],
    ]


def test_no_command_shows_the_password(own: Server, given: Given, album: Path, tmp_path: Path) -> None:
    own.execute("CREATE DATABASE photos OWNER keeper TEMPLATE template0")
    own.execute("CREATE DATABASE elsewhere OWNER keeper TEMPLATE template0")
    url = given.url("photos")
    asked = commands(album, tmp_path / "out", tmp_path / "copied", url, given.url("elsewhere"))
    with watched(own) as seen:
        ended = run_all(tmp_path / "said", asked, library=url)
    own.stop()
    ended += run_all(tmp_path / "down", [["status"], ["sync", album]], library=url)
    own.start()
    codes = [one.code for one in ended]
    assert codes.count(0) >= 18, list(zip(codes, asked, strict=False))
    assert codes.count(1) >= 6
    assert {type(code) for code in codes} == {int}, codes
    for one, command in zip(ended, [*asked, ["down"], ["down"]], strict=True):
        require_none(one.stdout, f"the output of {command}")
        require_none(one.stderr, f"the messages of {command}")
    assert b"no library" in ended[0].stderr
    files = [file for place in ("out", "copied", "said") for file in (tmp_path / place).rglob("*") if file.is_file()]
    files += [file for file in Path(os.environ["ZSINDEX_CACHE"]).rglob("*") if file.is_file()]
    assert len(files) > 10
    for file in files:
        require_none(file.read_bytes(), str(file))
    require_none(rows_of(own, "photos"), "the database")
    require_none(rows_of(own, "elsewhere"), "the other database")
    assert any(b"|" in one for one in seen), "sessions were seen"
    # The commands themselves stand in the arguments of this test's own process.
    for one in seen:
        if b"commands = json.loads" not in one:
            require_none(one, "a process or a session")
    require_none(own.log().replace(f"CREATE ROLE keeper LOGIN CREATEDB PASSWORD '{PASSWORD}'", ""), "the server's log")


def test_no_answer_of_the_service_shows_the_password(
    own: Server, given: Given, album: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own.execute("CREATE DATABASE photos OWNER keeper TEMPLATE template0")
    url = given.url("photos")
    Library.create(url)
    caplog.set_level(logging.DEBUG)
    answers: list[str] = []
    with Library.open(url, encoder=FakeEncoder()) as library:
        library.sync(album)
        with TestClient(
            create_app(library, thumbnails=tmp_path / "thumbnails"),
            base_url="http://127.0.0.1",
            raise_server_exceptions=False,
        ) as client:

            def ask(method: str, path: str, **options: object) -> int:
                answer = client.request(method, path, **options)  # type: ignore[arg-type]
                answers.append(f"{answer.headers} {answer.text}")
                return answer.status_code

            for path in (
                "/",
                "/healthz",
                "/readyz",
                "/metrics",
                "/v1/status",
                "/v1/openapi.json",
                "/v1/models",
                "/v1/jobs",
            ):
                ask("GET", path)
            assert ask("POST", "/v1/classify", json={"labels": ["red", "blue"]}) == 200
            assert ask("POST", "/v1/sync", json={"paths": [str(album)]}) in (200, 201, 202)
            ask("GET", "/v1/jobs")
            own.stop()
            assert ask("POST", "/v1/classify", json={"labels": ["green", "blue"]}) == 503
            for path in ("/readyz", "/metrics", "/v1/library", "/v1/jobs"):
                ask("GET", path)
            own.start()
    assert "library-unreachable" in " ".join(answers)
    for answer in answers:
        require_none(answer, "an answer")
    logged = "\n".join(str(vars(record)) for record in caplog.records)
    assert logged.count("zsindex.web") > 10
    require_none(logged, "a log")
    require_none(rows_of(own, "photos"), "the database, with the records of jobs")


@pytest.mark.parametrize("way", ["URL", "PGPASSWORD"])
def test_no_wrong_password_is_shown(
    way: str, own: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="psycopg")
    own.execute("ALTER ROLE keeper PASSWORD 'another'")
    with pytest.raises(LibraryError, match=r"password authentication failed for user .* PGPASSFILE") as caught:
        Library.open(Given(own, way, tmp_path, monkeypatch).url("postgres"), encoder=FakeEncoder())
    require_none(str(caught.value) + repr(vars(caught.value)) + caplog.text, "the error")
