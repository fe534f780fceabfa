"""What makes a model the same model: the fingerprint that every stored vector belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from zsindex.records import DecodeMode

FORMAT = 1


def fingerprint(identity: Mapping[str, Any], *, decode: DecodeMode, precision: str) -> str:
    """SHA-256, in hexadecimal, of all that decides a model's vectors.

    Args:
        identity: ``architecture``, ``weights`` (their hash), ``preprocessing`` and ``tokenizer`` as plain data.
        decode: how photos become pixels.
        precision: what the model computes in.
    """
    return sha256_of(
        {
            **identity,
            "format": FORMAT,
            "decode": str(decode),
            "precision": precision,
            "normalisation": "l2",
        }
    )


def sha256_of(value: Any) -> str:
    """SHA-256, in hexadecimal, of plain data, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
