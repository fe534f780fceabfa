"""Puts the service together: endpoints, pages, and what every request goes through on its way to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

import zsindex
from zsindex.errors import ZsindexError
from zsindex.library import Library
from zsindex.web import logs, openapi, pages, problems
from zsindex.web.access_log import AccessLog
from zsindex.web.admission import Admission
from zsindex.web.forwarded import Forwarded
from zsindex.web.head import Head
from zsindex.web.known import Known
from zsindex.web.limits import Limits
from zsindex.web.parameters import KNOWN_ONLY
from zsindex.web.replicas import Positions
from zsindex.web.routes import ROUTERS, classify, immich
from zsindex.web.security import Guard, Security
from zsindex.web.service import Service

_IDLE_CHECKS = 4
SPARE_THREADS = 16


def create_app(
    library: Library,
    *,
    security: Security | None = None,
    limits: Limits | None = None,
    thumbnails: Path | None = None,
    drop_model_after_s: float | None = None,
    runs_jobs: bool = True,
    page: Path = pages.FOLDER,
) -> FastAPI:
    """A service over a library, as an ASGI application.

    Args:
        library: open; whoever opened it closes it, after the service has ended.
        security: default: answers only to loopback names without a port or with 8765, and needs no token.
        limits: what it lets itself in for.
        thumbnails: folder for small pictures. Default: one in the user's cache folder.
        drop_model_after_s: let go of the model when it has not been used for so long.
        runs_jobs: False leaves that to other services over the library.
        page: folder of the web page; see `zsindex.web.pages`.
    """
    security = security or Security(loopback_hosts(8765) | loopback_hosts(80), read_only=library.read_only)
    service = Service(library, security=security, limits=limits or Limits(), thumbnails=thumbnails, runs_jobs=runs_jobs)

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
        description=openapi.DESCRIPTION,
        lifespan=lifespan,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # it would load scripts from elsewhere; see `pages`
        redoc_url=None,
        redirect_slashes=False,
        responses=openapi.REFUSALS,
    )
    app.state.service = service
    for router in ROUTERS:
        app.include_router(router, dependencies=[KNOWN_ONLY])
    if security.immich is not None:
        app.include_router(immich.router)
    public = pages.mount_docs(app) | pages.mount(app, page, security)
    if security.immich is not None:
        public |= immich.PATHS
    for kind in (ZsindexError, problems.Problem, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, problems.handle)
    # From the inside out.
    app.add_middleware(Head)
    if isinstance(library.place, Path):
        app.add_middleware(Known, service=service, tag=classify.etag_now)
    else:  # it is on a server
        app.add_middleware(Positions, storage=library.session.storage)
    # Photos are small already, and events are to arrive one by one: Starlette leaves both as they are.
    app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=4)
    app.add_middleware(
        Admission,
        limits=service.limits,
        gate=service.gate,
        refused=service.metrics.refused,
        readers=service.cache_allowance.take,
    )
    app.add_middleware(Guard, security=security, public=public)
    app.add_middleware(AccessLog, metrics=service.metrics)
    if security.root_path or security.proxies:
        app.add_middleware(Forwarded, security=security)
    app.openapi = openapi.completed(app.openapi)  # type: ignore[method-assign]
    return app


def loopback_hosts(port: int) -> frozenset[str]:
    """What a Host header may say where the service listens on this machine only."""
    names = ("127.0.0.1", "localhost", "[::1]")
    return frozenset(names if port == 80 else (f"{name}:{port}" for name in names))


async def _drop_model(service: Service, after_s: float) -> None:
    while True:
        await asyncio.sleep(after_s / _IDLE_CHECKS)
        if await asyncio.to_thread(service.serving.release_model, idle_s=after_s):
            logs.event("model dropped", idle_s=after_s)
