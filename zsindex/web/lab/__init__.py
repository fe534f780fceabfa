"""The label lab over HTTP: what works, what to correct, what to give away. A module per subject, each with a `router`.

Questions here look at all photos. They are limited in photos times labels, a few are at work at a time, and lists are
cut or come in pages.
"""

from __future__ import annotations

from zsindex.web.lab import corrections, duplicates, evaluation, runs, tags, temperature, thresholds, words

ROUTERS = (
    corrections.router,
    thresholds.router,
    words.router,
    evaluation.router,
    temperature.router,
    duplicates.router,
    runs.router,
    tags.router,
)

__all__ = ["ROUTERS"]
