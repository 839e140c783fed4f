"""Logs as JSON lines, and what a request notes about itself for its line.

Neither post text nor query strings nor keys may stand there. Exceptions are logged by type and place: their
messages may quote what was being read.
"""

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime

_FIELDS = "fields"


@dataclass
class Note:
    """What the line of one request says beside what its edge sees."""

    items: int = 0
    degraded: str | None = None


_current: ContextVar[Note | None] = ContextVar("note", default=None)


def begin_note() -> Note:
    """The note of the request that begins in this context."""
    note = Note()
    _current.set(note)
    return note


def current_note() -> Note:
    """That of the request that this runs for; outside of any, one that nobody reads."""
    return _current.get() or Note()


def log_fields(logger: logging.Logger, message: str, fields: dict[str, object]) -> None:
    """One line with named values."""
    logger.info(message, extra={_FIELDS: fields})


class JsonLines(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= getattr(record, _FIELDS, {})
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["at"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-8:]]
        return json.dumps(line)


def log_to_stderr(level: str = "INFO") -> None:
    """Sends all logs of this process to stderr as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
