"""Imports all that a library may need, so that a fork of the process that imported it need not: that takes longest.

Whoever imports this module has the models of `tests.torture.scenarios`: it is for processes of their own.
"""

from __future__ import annotations

import importlib
import pkgutil
from contextlib import suppress

import faiss
import numpy.ma
import numpy.random
import pyarrow.compute
import pyarrow.parquet
import sqlalchemy.dialects.sqlite
from PIL import Image

import zsindex.exchange
import zsindex.index
import zsindex.ingest
import zsindex.lab
import zsindex.photos.thumbnails
import zsindex.services
import zsindex.storage
import zsindex.upkeep
from tests.torture import faults, judge, scenarios
from zsindex.session import model as session_model

__all__ = ["faiss", "faults", "judge", "numpy", "pyarrow", "scenarios", "sqlalchemy"]

_NOT_NEEDED = (".plots", ".ray")  # they take longer than all others together

for package in (
    zsindex.storage,
    zsindex.index,
    zsindex.ingest,
    zsindex.lab,
    zsindex.exchange,
    zsindex.services,
    zsindex.upkeep,
):
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith(_NOT_NEEDED):
            importlib.import_module(module.name)
Image.init()
for optional in ("pillow_heif", "pandas", "pyarrow.pandas_compat"):
    with suppress(ImportError):
        importlib.import_module(optional)

session_model.load_encoder = scenarios.load
