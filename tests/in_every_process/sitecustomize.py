"""Python imports this in every process that tests over a server start: see `tests.on_server`."""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Finder(importlib.abc.MetaPathFinder):
    """Puts the seam into `zsindex.session.storages` when that is imported."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "zsindex.session.storages":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        loader = spec.loader
        assert loader is not None
        load = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            from tests import on_server

            on_server.install()

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if os.environ.get("ZSINDEX_TEST_SERVER"):
    sys.meta_path.insert(0, _Finder())
