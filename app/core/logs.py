"""What the service's processes write to stderr: plain lines, or one JSON object a line for whoever collects them.

A request's line has its method, route, status, time, id and key's id. It never has a text, a key, or the path itself,
which may hold either. Health checks and the reading of metrics have none: they come every few seconds for ever.
"""

import json
import logging
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal

from app.core.errors import StartError
from app.core.request import ROUTE, request_id
from app.core.ring import key_of

Format = Literal["text", "json"]
QUIET = ("/health/live", "/health/ready", "/metrics")
FIELDS = ("method", "route", "status", "ms", "key", "job_id")  # that a line may have beside those of every line
NOISY = ("alembic", "uvicorn.error", "filelock")

access = logging.getLogger("inkling.access")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message; request_id, job_id and what else is known."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        line |= {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(level: str, format: Format = "text") -> None:
    """Set up this process's log. Raises StartError for a level that there is not."""
    if level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise StartError(f"INKLING_LOG_LEVEL is {level!r}; it is debug, info, warning or error")
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if format == "json" else plain)
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(max(logging.getLevelName(level.upper()), logging.WARNING))


def log_request(scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
    """A request was answered; `RequestContext` says so."""
    route = scope.get(ROUTE) or "unmatched"
    if route in QUIET or not access.isEnabledFor(logging.INFO):
        return
    key = key_of(scope)
    ms = round(1000 * seconds, 2)
    said = {"method": scope["method"], "route": route, "status": status, "ms": ms, "key": key.id if key else None}
    access.info("%s %s %d %.2f ms %s", said["method"], route, status, ms, request_id.get(), extra=said)
