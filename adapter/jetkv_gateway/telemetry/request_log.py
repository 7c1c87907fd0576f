"""Logs requests, by settings: all of them, or those that say that something is wrong."""

import logging
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["REQUEST_FIELDS", "RequestLog", "RequestLogMode"]

_log = logging.getLogger("jetkv.http")

_ACCESS_REFUSED = frozenset({401, 403})
_SERVER_ERROR = 500

REQUEST_FIELDS = "jetkv_request"
"""The attribute of a log record that has the parts of the line by name."""


class RequestLogMode(StrEnum):
    """The requests that the log has a line for.

    `errors` are answers of 500 and more, and refusals of access (401 and 403).
    """

    ALL = "all"
    ERRORS = "errors"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class RequestLog:
    """Listens to requests, and logs one line for each.

    A line has the route's template, and neither path nor query, which may hold personal data.
    """

    mode: RequestLogMode

    def request_ended(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        request_id: bytes,
        reason: str | None,
    ) -> None:
        is_error = status >= _SERVER_ERROR
        if self.mode is not RequestLogMode.ALL and not (is_error or status in _ACCESS_REFUSED):
            return
        level = logging.WARNING if is_error else logging.INFO
        if not _log.isEnabledFor(level):
            return
        fields = {
            "request_id": request_id.decode("ascii"),
            "method": method or "-",
            "route": route or "-",
            "status": status,
            "milliseconds": round(seconds * 1000, 3),
            **({} if reason is None else {"reason": reason}),
        }
        _log.log(
            level,
            "request %s: %s %s %d in %.1f ms%s",
            fields["request_id"],
            fields["method"],
            fields["route"],
            status,
            seconds * 1000,
            "" if reason is None else f": {reason}",
            extra={REQUEST_FIELDS: fields},
        )
