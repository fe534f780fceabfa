"""Where a web page finds its place: templates that are filled here, and files that are served as they are.

A folder with ``templates/*.html`` and ``static/…`` is all that it takes. ``templates/index.html`` is ``/``; any other,
such as ``search.html``, is ``/search``. Scripts and styles come from ``/static/``: the content policy allows no inline
ones; see `page_files`. Templates hold no data of the library, since they are given out without a token; scripts ask for
it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates

import zsindex
from zsindex.web.page_files import PageFiles
from zsindex.web.problems import Problem
from zsindex.web.security import CONTENT_POLICY, Security

FOLDER = Path(__file__).parent / "page"
DOCS = Path(__file__).parent / "docs"
# The package whose files are taken. It is not imported.
_SWAGGER = "fastapi_offline"
# Its style sheet has small pictures in it.
_DOCS_POLICY = CONTENT_POLICY.replace("img-src 'self'", "img-src 'self' data:")


def mount(app: FastAPI, folder: Path, security: Security) -> frozenset[str]:
    """Add the pages of a folder. Returns their paths."""
    files = PageFiles(folder / "static")
    app.add_api_route("/static/{path:path}", files.get, methods=["GET"], include_in_schema=False)
    templates = Jinja2Templates(directory=folder / "templates")
    paths = []
    for file in sorted((folder / "templates").glob("*.html")):
        if file.name.startswith("_"):
            continue  # what others are made of
        path = "/" if file.stem == "index" else f"/{file.stem}"
        app.add_api_route(path, _page(templates, file.name, files, security), methods=["GET"], include_in_schema=False)
        paths.append(path)
    return frozenset(paths)


def mount_docs(app: FastAPI) -> frozenset[str]:
    """Add ``/docs``, where endpoints are described and can be tried. Swagger UI is that of a package, so that nothing
    comes from elsewhere. Returns the path, which needs no token: the document that is shown there does.
    """
    if find_spec(_SWAGGER) is None:

        def docs(request: Request) -> Response:
            raise Problem("not-found", 404, "this page needs a package: pip install 'zsindex[swagger]'")
    else:
        files = StaticFiles(directory=DOCS / "static", packages=[(_SWAGGER, "static")])
        app.mount("/static/docs", files, name="docs")
        templates = Jinja2Templates(directory=DOCS / "templates")

        def docs(request: Request) -> Response:
            headers = {"Content-Security-Policy": _DOCS_POLICY}
            return templates.TemplateResponse(request, "docs.html", headers=headers)

    app.add_api_route("/docs", docs, methods=["GET"], include_in_schema=False)
    return frozenset({"/docs"})


def _page(templates: Jinja2Templates, name: str, files: PageFiles, security: Security):  # type: ignore[no-untyped-def]
    def page(request: Request) -> Response:
        known = {
            "files": files.now(),
            "version": zsindex.__version__,
            "needs_token": bool(security.tokens),
            "read_only": security.read_only,
            "places": security.places,
        }
        return templates.TemplateResponse(request, name, known)

    return page
