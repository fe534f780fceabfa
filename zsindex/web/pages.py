"""Where a web page finds its place: templates that are filled here, and files that are served as they are.

A folder with ``templates/*.html`` and ``static/…`` is all that it takes. ``templates/index.html`` is ``/``; any other,
such as ``search.html``, is ``/search``. Scripts and styles come from ``/static/``: the content policy allows no inline
ones. Templates hold no data of the library, since they are given out without a token; scripts ask for it.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

import zsindex
from zsindex.web.security import Security

FOLDER = Path(__file__).parent / "page"


def mount(app: FastAPI, folder: Path, security: Security) -> frozenset[str]:
    """Add the pages of a folder. Returns their paths."""
    if (folder / "static").is_dir():
        app.mount("/static", StaticFiles(directory=folder / "static"), name="static")
    templates = Jinja2Templates(directory=folder / "templates")
    paths = []
    for file in sorted((folder / "templates").glob("*.html")):
        if file.name.startswith("_"):
            continue  # what others are made of
        path = "/" if file.stem == "index" else f"/{file.stem}"
        app.add_api_route(path, _page(templates, file.name, security), methods=["GET"], include_in_schema=False)
        paths.append(path)
    return frozenset(paths)


def _page(templates: Jinja2Templates, name: str, security: Security):  # type: ignore[no-untyped-def]
    def page(request: Request) -> Response:
        known = {"version": zsindex.__version__, "needs_token": bool(security.tokens), "read_only": security.read_only}
        return templates.TemplateResponse(request, name, known)

    return page
