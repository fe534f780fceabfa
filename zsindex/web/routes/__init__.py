"""The endpoints: a module per resource, each with a `router` that `ROUTERS` names. Start with `classify`.

`immich` has its own, which not every service has.

An endpoint reads the request, makes one call of the library and shows what comes back; `zsindex.web.schemas` says what
both look like. Questions that look at all photos take turns with `service.slow`.
"""

from __future__ import annotations

from zsindex.web.routes import (
    albums,
    choices,
    chosen,
    classify,
    corrections,
    counts,
    diff,
    duplicates,
    embed,
    evaluation,
    events,
    folders,
    groups,
    health,
    images,
    jobs,
    label_sets,
    library,
    lint,
    map,
    prior,
    reviews,
    runs,
    search,
    session,
    suggest,
    tags,
    temperature,
    template_sets,
    thresholds,
)

ROUTERS = (
    classify.router,
    groups.router,
    search.router,
    embed.router,
    chosen.router,
    images.router,
    label_sets.router,
    template_sets.router,
    corrections.router,
    thresholds.router,
    diff.router,
    lint.router,
    suggest.router,
    evaluation.router,
    temperature.router,
    prior.router,
    duplicates.router,
    albums.router,
    reviews.router,
    counts.router,
    choices.router,
    events.router,
    folders.router,
    runs.router,
    tags.router,
    map.router,
    jobs.router,
    library.router,
    session.router,
    health.router,
)

__all__ = ["ROUTERS"]
