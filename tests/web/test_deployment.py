"""The files in deploy/: read by the programs that they are for, and the service behind real proxies, below a prefix."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.fakes import FakeEncoder
from tests.ports import free_port
from tests.scenes import photo
from tests.waiting import WAIT_S, until
from tests.web.serving import Serving
from zsindex.library import Library

ROOT = Path(__file__).parents[2]
DEPLOY, PAGE = ROOT / "deploy", ROOT / "docs" / "deployment.md"
TOKEN = "write-token-0123456789"


def program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def said_by(*command: object, **environment: str) -> str:
    """What a program says that is content with what it is given."""
    ran = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, **environment},
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


# --- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["compose.yaml", "compose.folder.yaml"])
def test_compose_understands_its_file(name: str, tmp_path: Path) -> None:
    compose = program("docker-compose")
    files = DEPLOY / name
    said = said_by(compose, "--file", files, "--project-directory", tmp_path, "config", PHOTOS="/mnt/photos")
    services = yaml.safe_load(said[said.index("services:") :])["services"]
    serves = [service["command"] for service in services.values() if service.get("command", [""])[0] == "serve"]
    assert serves
    assert all(any(argument.startswith("--token-file=") for argument in command) for command in serves)


@pytest.mark.parametrize("name", ["compose.yaml", "compose.folder.yaml"])
def test_commands_of_compose_files_are_commands_of_zsindex(name: str) -> None:
    """Compose itself is not needed for that."""
    from zsindex.cli import cli

    services = yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))["services"]
    asked = 0
    for service in services.values():
        given = service.get("command")
        if "zsindex" in service.get("image", "") and given:
            command = cli.get_command(None, given[0])  # type: ignore[arg-type]
            assert command is not None, given
            for argument in given:
                if argument.startswith("--"):
                    assert any(argument.partition("=")[0] in one.opts for one in command.params), argument
            asked += 1
    assert asked >= 2


def test_the_dockerfile_installs_what_there_is() -> None:
    lines = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert steps[0][0] == "FROM"
    assert {step[0] for step in steps} <= {"FROM", "ARG", "COPY", "RUN", "ENV", "ENTRYPOINT"}
    assert json.loads(dict(steps)["ENTRYPOINT"]) == ["zsindex"]
    [extras] = re.findall(r"/source\[([^\]]+)\]", "\n".join(lines))
    there = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", there, re.MULTILINE) for extra in extras.split(","))


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    text = (DEPLOY / "zsindex.service").read_text(encoding="utf-8")
    assert "/opt/zsindex/bin/zsindex serve" in text
    unit = tmp_path / "zsindex.service"
    unit.write_text(text.replace("/opt/zsindex/bin/zsindex", sys.executable), encoding="utf-8")
    assert said_by(analyze, "verify", "--man=no", unit) == ""
    # As exposed as it says: 10 is without any protection.
    said = said_by(analyze, "security", "--offline=true", "--no-pager", "--threshold=25", unit)
    assert "OK" in said


def test_nginx_understands_its_lines(tmp_path: Path) -> None:
    with nginx(tmp_path, free_port(), free_port(), test_only=True):
        pass


@pytest.mark.parametrize("name", ["Caddyfile", "Caddyfile.prefix"])
def test_caddy_understands_its_lines(name: str, tmp_path: Path) -> None:
    said = said_by(
        program("caddy"),
        *("validate", "--adapter", "caddyfile", "--config", DEPLOY / name),
        PHOTOS_HOST="photos.example.org",
        XDG_DATA_HOME=str(tmp_path),
        XDG_CONFIG_HOME=str(tmp_path),
    )
    assert "Valid configuration" in said
    assert "not formatted" not in said


def test_the_page_names_every_file() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for file in DEPLOY.iterdir():
        assert f"deploy/{file.name}" in page, file.name


# --- behind real proxies ----------------------------------------------------------------------------------------------


@dataclass
class Behind:
    """A service behind a proxy.

    Attributes:
        url: of the proxy.
        log: lines that the service has said.
    """

    url: str
    log: list[str]


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int, list[str]]]:
    """A service that a proxy at the second port may stand before: its own port, that one, and what it says."""
    folder = tmp_path_factory.mktemp("behind")
    for colour in ("red", "blue"):
        photo(folder / "album" / f"{colour}.png", colour)
    with Library.open(folder / "library", encoder=FakeEncoder()) as library:
        library.sync(folder / "album")
    tokens = folder / "tokens"
    tokens.write_text(f"write {TOKEN}\n", encoding="utf-8")
    tokens.chmod(0o600)
    port = free_port()
    options = ["--token-file", tokens, "--root-path", "/photos", "--trusted-proxy", "127.0.0.1"]
    hosts = ["--allow-host", f"127.0.0.1:{port}", "--allow-host", f"localhost:{port}"]
    with Serving("--library", folder / "library", *options, *hosts) as service:
        base, _, below = service.url.rpartition("/")
        assert below == "photos"
        yield int(base.rpartition(":")[2]), port, service.lines


@contextmanager
def nginx(folder: Path, port: int, to: int, *, test_only: bool = False) -> Iterator[str]:
    """nginx at a port, with the lines of deploy/nginx.conf."""
    lines = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert "http://127.0.0.1:8765" in lines
    (folder / "zsindex.conf").write_text(lines.replace(":8765", f":{to}"), encoding="utf-8")
    whole = folder / "nginx.conf"
    kept = "".join(
        f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole.write_text(
        f"""
        daemon off;
        pid {folder}/pid;
        error_log stderr notice;
        events {{}}
        http {{
            access_log off;
            {kept}
            server {{
                listen 127.0.0.1:{port};
                include {folder}/zsindex.conf;
            }}
        }}
        """,
        encoding="utf-8",
    )
    command = [program("nginx"), "-e", "stderr", "-c", str(whole)]
    said_by(*command, "-t")
    if test_only:
        yield ""
        return
    url = f"http://127.0.0.1:{port}"
    with running(command, url):
        yield url


@contextmanager
def caddy(folder: Path, port: int, to: int) -> Iterator[str]:
    """Caddy at a port, with TLS and the lines of deploy/Caddyfile.prefix."""
    lines = (DEPLOY / "Caddyfile.prefix").read_text(encoding="utf-8")
    for was, becomes in {
        "photos.example.org {": f"https://localhost:{port} {{\n\ttls internal",
        "127.0.0.1:8765": f"127.0.0.1:{to}",
    }.items():
        assert was in lines
        lines = lines.replace(was, becomes)
    whole = folder / "Caddyfile"
    whole.write_text(
        "{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}\n" + lines, encoding="utf-8"
    )
    kept = {"XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "HOME": str(folder)}
    url = f"https://localhost:{port}"
    with running([program("caddy"), "run", "--adapter", "caddyfile", "--config", str(whole)], url, **kept):
        yield url


@contextmanager
def running(command: list[str], url: str, **environment: str) -> Iterator[None]:
    def answers() -> bool:
        try:
            return httpx.get(f"{url}/photos/healthz", verify=False).status_code == 200
        except httpx.TransportError:  # it does not listen yet, or has no certificate
            return False

    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **environment}
    )
    try:
        until(lambda: answers() or process.poll() is not None)
        assert process.poll() is None, process.stderr and process.stderr.read()
        yield
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_S)


@pytest.fixture(params=[nginx, caddy])
def proxy(request: pytest.FixtureRequest, behind: tuple[int, int, list[str]], tmp_path: Path) -> Iterator[Behind]:
    start: Callable[..., Any] = request.param
    own, port, log = behind
    with start(tmp_path, port, own) as url:
        yield Behind(url, log)


def test_the_service_behind_a_proxy_below_a_prefix(proxy: Behind) -> None:
    tls = proxy.url.startswith("https:")
    with httpx.Client(base_url=proxy.url, verify=False, timeout=WAIT_S) as browser:
        moved = browser.get("/photos")
        assert (moved.status_code, moved.headers["Location"].endswith("/photos/")) == (308, True)
        page = browser.get("/photos/").text
        files = re.findall(r'(?:src|href)="(/photos/[^"]+)"', page)
        assert len(files) > 4
        for file in files:
            assert browser.get(file).status_code == 200, file
        assert browser.get("/photos/v1/library").status_code == 401
        begun = browser.post("/photos/v1/session", json={"token": TOKEN}, headers={"Origin": proxy.url})
        assert begun.status_code == 200, begun.text
        assert "Path=/photos;" in begun.headers["Set-Cookie"]
        assert ("Secure" in begun.headers["Set-Cookie"]) is tls
        # Sent back by the client itself, below the prefix alone.
        found = browser.get("/photos/v1/search", params={"q": "red"}).json()["hits"]
        shown = browser.get(f"/photos/v1/images/{found[0]['image_id']}/thumbnail")
        assert shown.headers["Content-Type"].startswith("image/")
        tag = {"If-None-Match": browser.get("/photos/v1/classify?label=red&label=blue").headers["ETag"]}
        assert browser.get("/photos/v1/classify?label=red&label=blue", headers=tag).status_code == 304
        assert browser.get("/photos/v1/library", headers={"Accept-Encoding": "gzip"}).json()["files"] == 2
        assert browser.head("/photos/v1/library").status_code == 200
        refused = browser.post("/photos/v1/sync", json={}, headers={"Origin": "https://evil.example"})
        assert refused.status_code == 403


def test_what_a_client_says_of_itself_is_not_believed_behind_a_proxy(proxy: Behind) -> None:
    """The proxy adds who it was, and only its word counts."""
    with httpx.Client(base_url=proxy.url, verify=False, timeout=WAIT_S) as browser:
        mark = f"/v1/images/{proxy.url.rpartition(':')[2]}"
        browser.get(f"/photos{mark}", headers={"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"})

    def seen() -> list[str]:
        lines = [json.loads(line) for line in list(proxy.log) if line.startswith("{")]
        return [line["client"] for line in lines if line.get("path") == mark]

    assert set(until(seen)) == {"127.0.0.1"}


def test_events_come_through_as_they_happen(proxy: Behind) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=proxy.url, verify=False, timeout=WAIT_S, headers=headers) as browser:
        job = browser.post("/photos/v1/sync", json={})
        with browser.stream("GET", f"{job.headers['Location']}/events") as stream:
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            assert any('"done"' in line for line in stream.iter_lines())
