"""Fixtures that several test modules share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeEncoder
from zsindex.library import Library


@pytest.fixture(scope="session")
def new_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that knows the fake model and nothing else. Copying it is faster than making one for each test."""
    path = tmp_path_factory.mktemp("new") / "library"
    with Library.open(path, encoder=FakeEncoder()) as library:
        assert library.model.dim
    return path
