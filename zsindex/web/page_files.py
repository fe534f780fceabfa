"""Scripts and styles of the page, which a browser that has them asks for no more.

They are served below a name that stands for what all of them hold, and kept for as long as browsers like: when one is
another, so is the name. Modules name each other by relative paths, and so are asked for below the same name. Those that
a page takes are listed in its head: a browser would learn of them one after another, from the modules that import them.
"""

from __future__ import annotations

import gzip
import hashlib
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from zsindex.web.conditional import unchanged
from zsindex.web.problems import Problem

FOREVER = "public, max-age=31536000, immutable"
# As of all answers; see `zsindex.web.app`.
_WORTH_COMPRESSING = 1024
_TEXTS = frozenset({".js", ".css", ".svg"})
_IMPORT = re.compile(r'^(?:import|export)\b[^;"]*"\./([^"]+)"', re.MULTILINE)


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    is_text: bool

    @cached_property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    @cached_property
    def compressed(self) -> bytes | None:
        if not self.is_text or len(self.content) < _WORTH_COMPRESSING:
            return None
        return gzip.compress(self.content, mtime=0)

    @cached_property
    def imports(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(_IMPORT.findall(self.content.decode())))


@dataclass(frozen=True)
class _Files:
    """All of them, by their paths."""

    changed_ns: Mapping[str, int]
    files: Mapping[str, _File]

    @cached_property
    def name(self) -> str:
        """What stands for all of them."""
        return hashlib.sha256(repr([(path, file.etag) for path, file in self.files.items()]).encode()).hexdigest()[:16]

    def modules(self, *entries: str) -> list[str]:
        """Those that some modules import, and those that these import, and so on; the nearest first."""
        found = list(entries)
        for path in found:  # which grows
            if path in self.files:
                found += [other for other in self.files[path].imports if other not in found]
        return found[len(entries) :]


class PageFiles:
    """The files of a folder, in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = _Files({}, {})
        self.now()

    def now(self) -> _Files:
        """As they are: whoever edits the page need not start the service again."""
        there = sorted(file for file in self._folder.rglob("*") if file.is_file())
        changed_ns = {file.relative_to(self._folder).as_posix(): file.stat().st_mtime_ns for file in there}
        if changed_ns != self._files.changed_ns:
            self._files = _Files(changed_ns, dict(zip(changed_ns, map(_read, there), strict=True)))
        return self._files

    async def get(self, request: Request, path: str) -> Response:
        """Serve a file, by its path or that below the name of all. What is asked for below the name that they had once,
        or have at another service, is given as it is here, and not kept.
        """
        known = self._files
        name, _, below = path.partition("/")
        file = known.files.get(path) or known.files.get(below)
        if file is None:
            raise Problem("not-found", 404, "the page has no such file")
        headers = {"Vary": "Accept-Encoding", **({"Cache-Control": FOREVER} if name == known.name else {})}
        same = unchanged(request, file.etag, **headers)
        if same is not None:
            return same
        content = file.content
        if file.compressed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            content, headers["Content-Encoding"] = file.compressed, "gzip"
        return Response(content, headers={**headers, "ETag": file.etag}, media_type=file.media_type)


def _read(file: Path) -> _File:
    media_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return _File(file.read_bytes(), media_type, file.suffix in _TEXTS)
