"""The command line with the fake model, as a program of its own: `python -m tests.torture.command ARGUMENTS`."""

from __future__ import annotations

import sys

from zsindex.cli import main

from tests.fakes import FakeEncoder
from zsindex.records import ModelSpec
from zsindex.session import model


def fake(spec: ModelSpec, *, device: str, batch_size: int | None) -> FakeEncoder:
    """Stands for `zsindex.session.model.load_encoder`."""
    return FakeEncoder(spec.name, decode=spec.decode, icc=spec.icc, transparency=spec.transparency)


if __name__ == "__main__":
    model.load_encoder = fake  # type: ignore[assignment]
    sys.argv[0] = "zsindex"
    main()
