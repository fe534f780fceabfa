"""``zsindex serve``: the command as people call it, and what docs/service.md says about it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from zsindex.cli import cli

from tests.fakes import FakeEncoder
from tests.scenes import photo
from tests.waiting import WAIT_S
from zsindex.library import Library
from zsindex.web.serve import listen

ROOT = Path(__file__).parents[2]
DOCS, READMES = ROOT / "docs" / "service.md", ("README.md", "README.ja.md")
PROGRAM = """
import sys
import zsindex.session.model
from tests.fakes import FakeEncoder
zsindex.session.model.load_encoder = lambda spec, **options: FakeEncoder(name=spec.name)
from zsindex.cli import main
main()
"""


@contextmanager
def serving(*arguments: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run ``zsindex serve``; gives its URL."""
    with serving_at(*arguments) as (urls, process):
        yield urls[0], process


@contextmanager
def serving_at(*arguments: object) -> Iterator[tuple[list[str], subprocess.Popen[str]]]:
    """Run ``zsindex serve``; gives all URLs that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "serve", *map(str, arguments)],
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            found = re.search(r"serving .* at (http://.*)", line)
            if found:
                yield found[1].split(" and "), process
                break
        else:
            pytest.fail("it did not start")
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def library(tmp_path: Path, new_library: Path) -> Path:
    folder = tmp_path / "library"
    shutil.copytree(new_library, folder)
    for colour in ("red", "blue"):
        photo(tmp_path / "album" / f"{colour}.png", colour)
    with Library.open(folder, encoder=FakeEncoder()) as opened:
        opened.sync(tmp_path / "album")
    return folder


def test_it_serves_until_it_is_told_to_stop(library: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    with serving("--library", library, "--port", 0, "--token-file", tokens, "--photos", tmp_path) as (url, process):
        read, write = (line.split()[1] for line in tokens.read_text(encoding="utf-8").splitlines())
        assert httpx.get(f"{url}healthz", timeout=WAIT_S).json() == {"status": "ok"}
        assert httpx.get(f"{url}v1/library", timeout=WAIT_S).status_code == 401
        with httpx.Client(base_url=url, timeout=WAIT_S, headers={"Authorization": f"Bearer {read}"}) as reader:
            assert reader.get("/v1/library").json()["files"] == 2
            assert reader.post("/v1/sync", json={}).status_code == 403
        with httpx.Client(base_url=url, timeout=WAIT_S, headers={"Authorization": f"Bearer {write}"}) as writer:
            job = writer.post("/v1/sync", json={"paths": [str(tmp_path)]}).json()
            with writer.stream("GET", f"/v1/jobs/{job['id']}/events") as events:
                told = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
            assert told[-1]["state"] == "done"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=WAIT_S)
        assert "Traceback" not in errors
        lines = [json.loads(line) for line in errors.splitlines()]
        assert {"request", "job"} <= {line["event"] for line in lines}
        assert not any(secret in errors for secret in (read, write))


def test_ctrl_c_twice_leaves_no_traceback(library: Path) -> None:
    with serving("--library", library, "--port", 0) as (_, process):
        process.send_signal(signal.SIGINT)
        time.sleep(0.01)  # or the system makes one signal of the two
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=WAIT_S)
    assert "Traceback" not in errors
    assert process.returncode == 130


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_do_not_wait_for_acknowledgements(host: str) -> None:
    try:
        listening = listen(host, 0)
    except OSError:
        pytest.skip(f"{host} is no address of this machine")

    async def accepted() -> int:
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def on_connect(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = writer.get_extra_info("socket")
            told.set_result(there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        # As uvicorn does it with a socket that it is given.
        async with await asyncio.start_server(on_connect, sock=listening):
            _, writer = await asyncio.open_connection(*listening.getsockname()[:2])
            option = await asyncio.wait_for(told, 30)
            writer.close()
            await writer.wait_closed()
        return option

    assert asyncio.run(accepted()) != 0


def test_read_only(library: Path) -> None:
    with serving("--library", library, "--port", 0, "--read-only", "-q") as (url, _):
        assert httpx.post(f"{url}v1/sync", json={}, timeout=WAIT_S).status_code == 403
        assert (
            len(httpx.get(f"{url}v1/classify", params={"label": ["red", "blue"]}, timeout=WAIT_S).json()["results"])
            == 2
        )
        assert not (library / "jobs.lock").exists()


def test_another_address_needs_tokens(library: Path) -> None:
    runner = CliRunner()
    for host in ("0.0.0.0", "192.168.1.5", "::"):
        result = runner.invoke(cli, ["serve", "--library", str(library), "--host", host])
        assert result.exit_code == 2
        assert "--token-file" in result.output


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("host", ["0.0.0.0", "0", "::", "::1", "localhost", "127.0.0.2", socket.gethostname()])
def test_each_address_that_is_printed_answers(library: Path, tmp_path: Path, host: str) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        pytest.skip(f"this machine does not know {host}")
    tokens = tmp_path / "tokens"
    with serving_at("--library", library, "--port", 0, "--host", host, "--token-file", tokens, "-q") as (urls, _):
        token = tokens.read_text(encoding="utf-8").split()[1]
        port = httpx.URL(urls[0]).port
        for url in urls:
            assert httpx.get(f"{url}v1/library", timeout=WAIT_S).status_code == 401
            assert (
                httpx.get(f"{url}v1/library", headers={"Authorization": f"Bearer {token}"}, timeout=WAIT_S).json()[
                    "files"
                ]
                == 2
            )
        if host in ("0.0.0.0", "0", "::"):
            assert urls[0] == f"http://127.0.0.1:{port}/"
            named = {"Host": f"{socket.gethostname()}:{port}"}
            assert httpx.get(f"{urls[0]}v1/library", headers=named, timeout=WAIT_S).status_code == 401
        for wrong in ("0.0.0.0", "[::]", "rebound.example", "192.0.2.77"):
            assert (
                httpx.get(f"{urls[0]}v1/library", headers={"Host": f"{wrong}:{port}"}, timeout=WAIT_S).status_code
                == 421
            )


def test_a_port_that_is_taken_is_said(library: Path) -> None:
    with serving("--library", library, "--port", 0) as (url, _):
        port = url.rstrip("/").rpartition(":")[2]
        result = CliRunner().invoke(cli, ["serve", "--library", str(library), "--port", port])
        assert result.exit_code == 1
        assert f"cannot listen on 127.0.0.1, port {port}" in result.output


def test_the_documented_client_works(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [DOCS.read_text(encoding="utf-8"), *((ROOT / name).read_text(encoding="utf-8") for name in READMES)]
    examples = [
        code
        for text in pages
        for code in re.findall(r"<!-- tested(?:: service)? -->\n```python\n(.*?)```", text, re.DOTALL)
    ]
    assert len(examples) == len(pages)
    monkeypatch.chdir(tmp_path / "album")
    with serving("--library", library, "--port", 0) as (url, _):
        for code in examples:
            assert len(code.strip().splitlines()) <= 6
            found: dict[str, object] = {}
            exec(compile(code.replace("http://127.0.0.1:8765", url.rstrip("/")), "docs/service.md", "exec"), found)
            answers = found["answers"]
            assert isinstance(answers, dict)
            assert len(answers["results"]) == 2
            hits = found["hits"]
            assert isinstance(hits, list)
            assert hits[0]["path"].endswith("red.png")


def test_every_endpoint_is_documented() -> None:
    from tests.web.test_openapi import OPERATIONS

    text = DOCS.read_text(encoding="utf-8")
    missing = [
        path for _, path in OPERATIONS if path.replace("{image_id}", "{id}").replace("{job_id}", "{id}") not in text
    ]
    assert missing == []
