"""Logs as lines of JSON on stderr: one for each request, and one for each failure with its traceback."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

LOGGER = logging.getLogger("zsindex.web")
# Members of a record beside its message.
FIELDS = "fields"


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, event, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def event(name: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Any) -> None:
    """Log something that happened."""
    LOGGER.log(level, name, extra={FIELDS: fields}, exc_info=error)


def to_stderr(level: int = logging.INFO) -> None:
    """Send the logs of the service, and those of its server, to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name, least in (("zsindex.web", level), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(least)
        logger.propagate = False
