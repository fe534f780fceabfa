"""A service over a small library, and clients of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.fakes import FakeEncoder
from tests.scenes import photo
from zsindex.library import Library
from zsindex.web import Limits, Security, Token, create_app

HOST = "127.0.0.1:8765"
URL = f"http://{HOST}"
READ, WRITE = "read-token-0123456789", "write-token-0123456789"
TOKENS = (Token.of("read", READ), Token.of("write", WRITE))
COLOURS = {"red": "red", "white": "white", "sea/blue": "blue", "sea/green": "green"}

Serve = Callable[..., TestClient]


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Photos of four colours, one of them twice."""
    folder = tmp_path / "album"
    for name, colour in COLOURS.items():
        photo(folder / f"{name}.png", colour)
    shutil.copy(folder / "red.png", folder / "sea" / "red again.png")
    return folder


@pytest.fixture
def encoder() -> FakeEncoder:
    return FakeEncoder()


@pytest.fixture
def library(tmp_path: Path, new_library: Path, album: Path, encoder: FakeEncoder) -> Iterator[Library]:
    shutil.copytree(new_library, tmp_path / "library")
    with Library.open(tmp_path / "library", encoder=encoder, batch_size=4, workers=2) as opened:
        opened.sync(album)
        yield opened


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Makes clients of services; `security` and `limits` are changes to what is usual in these tests."""
    with ExitStack() as stack:

        def start(
            library: Library,
            *,
            security: dict[str, Any] | None = None,
            limits: dict[str, Any] | None = None,
            token: str | None = None,
            **options: Any,
        ) -> TestClient:
            app = create_app(
                library,
                security=Security(hosts=frozenset({HOST}), **(security or {})),
                limits=Limits(**{"requests_per_s": 0.0, **(limits or {})}),
                thumbnails=tmp_path / "thumbnails",
                **options,
            )
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return stack.enter_context(TestClient(app, base_url=URL, headers=headers))

        yield start


@pytest.fixture
def client(serve: Serve, library: Library) -> TestClient:
    return serve(library)
