"""What makes a model the same model: the fingerprint that every stored vector belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from zsindex.records import IccMode, ModelSpec, TransparencyMode

FORMAT = 1


def fingerprint(identity: Mapping[str, Any], spec: ModelSpec) -> str:
    """SHA-256, in hexadecimal, of all that decides a model's vectors.

    Args:
        identity: ``architecture``, ``weights`` (their hash), ``preprocessing`` and ``tokenizer`` as plain data.
        spec: how photos become pixels, and what the model computes in.
    """
    # Each part that came later is named only where it is not what it was before there was a choice: vectors of
    # libraries that were made then stay valid.
    later: dict[str, str] = {}
    if spec.icc is not IccMode.IGNORE:
        later["icc"] = str(spec.icc)
    if spec.transparency is not TransparencyMode.REFERENCE:
        later["transparency"] = str(spec.transparency)
    return sha256_of(
        {
            **identity,
            **later,
            "format": FORMAT,
            "decode": str(spec.decode),
            "precision": spec.precision,
            "normalisation": "l2",
        }
    )


def sha256_of(value: Any) -> str:
    """SHA-256, in hexadecimal, of plain data, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
