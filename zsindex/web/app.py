"""Puts the service together. To add a subject: a module with a `router`, and its name in `ROUTERS`, or in
those of `zsindex.web.lab`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import zsindex
from zsindex.errors import ZsindexError
from zsindex.library import Library
from zsindex.web import (
    classify,
    corrections,
    duplicates,
    groups,
    images,
    jobs,
    label_sets,
    logs,
    pages,
    problems,
    schemas,
    search,
    system,
)
from zsindex.web import lab as label_lab
from zsindex.web.limits import Limits
from zsindex.web.observe import Observe
from zsindex.web.security import Guard, Security
from zsindex.web.service import Service
from zsindex.web.throttle import Throttle

ROUTERS = (
    classify.router,
    groups.router,
    corrections.router,
    duplicates.router,
    search.router,
    images.router,
    label_sets.router,
    jobs.router,
    system.router,
)

DESCRIPTION = """Encode a photo library once, then ask it anything.

Failures are problem documents (RFC 9457), of the media type `application/problem+json`. Where the service needs a
token, it comes as `Authorization: Bearer TOKEN`, or as the cookie that `POST /v1/session` sets. Too much at once is
answered with 429 and `Retry-After`."""
_REFUSED = {
    "description": "Why not",
    "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_IDLE_CHECKS = 4
SPARE_THREADS = 16


def create_app(
    library: Library,
    *,
    security: Security | None = None,
    limits: Limits | None = None,
    thumbnails: Path | None = None,
    drop_model_after_s: float | None = None,
    page: Path = pages.FOLDER,
) -> FastAPI:
    """A service over a library, as an ASGI application.

    Args:
        library: open; whoever opened it closes it, after the service has ended.
        security: default: answers only to loopback names without a port or with 8765, and needs no token.
        limits: what it lets itself in for.
        thumbnails: folder for small pictures. Default: one in the user's cache folder.
        drop_model_after_s: let go of the model when it has not been used for so long.
        page: folder of the web page; see `zsindex.web.pages`.
    """
    security = security or Security(loopback_hosts(8765) | loopback_hosts(80), read_only=library.read_only)
    service = Service(library, security=security, limits=limits or Limits(), thumbnails=thumbnails)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start()
        # A thread for each request that may be at work, waits for a model, or is not counted.
        anyio.to_thread.current_default_thread_limiter().total_tokens = (
            service.limits.running + service.limits.encoding + SPARE_THREADS
        )
        idle = asyncio.create_task(_drop_model(service, drop_model_after_s)) if drop_model_after_s else None
        try:
            yield
        finally:
            if idle is not None:
                idle.cancel()
            await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="zsindex",
        version=zsindex.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": _REFUSED, "5XX": _REFUSED},
    )
    app.state.service = service
    for router in (*ROUTERS, *label_lab.ROUTERS):
        app.include_router(router)
    public = pages.mount(app, page, security)
    for kind in (ZsindexError, problems.Problem, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, problems.handle)
    # From the inside out.
    app.add_middleware(
        Throttle,
        limits=service.limits,
        gate=service.gate,
        refused=service.metrics.refused,
        readers=service.readers.take,
    )
    app.add_middleware(Guard, security=security, public=public)
    app.add_middleware(Observe, metrics=service.metrics)
    app.openapi = _documented(app.openapi)  # type: ignore[method-assign]
    return app


def loopback_hosts(port: int) -> frozenset[str]:
    """What a Host header may say where the service listens on this machine only."""
    names = ("127.0.0.1", "localhost", "[::1]")
    return frozenset(names if port == 80 else (f"{name}:{port}" for name in names))


def _documented(make: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    def openapi() -> dict[str, Any]:
        document = make()
        parts = document.setdefault("components", {})
        parts.setdefault("schemas", {}).setdefault("Problem", schemas.Problem.model_json_schema())
        for name in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(name, None)
        parts["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"},
            "session": {"type": "apiKey", "in": "cookie", "name": "zsindex_session"},
        }
        document["security"] = [{}, {"token": []}, {"session": []}]
        return document

    return openapi


async def _drop_model(service: Service, after_s: float) -> None:
    while True:
        await asyncio.sleep(after_s / _IDLE_CHECKS)
        if await asyncio.to_thread(service.serving.release_model, idle_s=after_s):
            logs.event("model dropped", idle_s=after_s)
