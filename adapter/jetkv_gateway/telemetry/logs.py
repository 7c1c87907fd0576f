"""The two forms of the log: lines for people, and JSON for machines.

A record is one line; only a traceback for people has more.
"""

import json
import logging
import re
import time
from enum import StrEnum
from typing import Any

from jetkv_gateway.telemetry.request_log import REQUEST_FIELDS

__all__ = ["ConsoleFormatter", "JsonFormatter", "LogFormat", "logging_for"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


class LogFormat(StrEnum):
    CONSOLE = "console"
    JSON = "json"


class ConsoleFormatter(logging.Formatter):
    """Writes a line for people. Clients' texts cannot begin another line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name of the base
        return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], super().formatMessage(record))


class JsonFormatter(logging.Formatter):
    """Writes a JSON object: `time`, `level`, `logger`, `message`, and the parts of a request.

    A traceback is in `exception`.
    """

    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, REQUEST_FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def logging_for(level: str, form: LogFormat = LogFormat.CONSOLE) -> dict[str, Any]:
    """Return the logging configuration for stderr, for `logging.config.dictConfig`."""
    formatter = JsonFormatter if form is LogFormat.JSON else ConsoleFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "jetkv": {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
            **{
                library: {"handlers": ["stderr"], "level": "WARNING", "propagate": False}
                for library in ("uvicorn", "opentelemetry")
            },
        },
    }
