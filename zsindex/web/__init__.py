"""The HTTP service over a library: `create_app` for other programs, `zsindex serve` for people."""

from __future__ import annotations

from zsindex.web.app import create_app
from zsindex.web.limits import Limits
from zsindex.web.security import Security, Token

__all__ = ["Limits", "Security", "Token", "create_app"]
