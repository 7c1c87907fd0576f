"""Logs requests, by settings: all of them, or those that say that something is wrong."""

import logging
from dataclasses import dataclass
from enum import StrEnum

from jetkv_gateway.telemetry.trace_context import current_trace_id

__all__ = ["REQUEST_FIELDS", "RequestLogMode", "request_log"]

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
class AllRequests:
    """Logs one line for each request."""

    def request_ended(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        request_id: bytes,
        reason: str | None,
        _bucket: str | None,
    ) -> None:
        _log_request(method, route, status, seconds, request_id, reason)


@dataclass(frozen=True, slots=True)
class FailedRequests:
    """Logs one line for each answer of 500 and more, and for each refusal of access.

    It does not hear of other requests, so it costs them nothing.
    """

    def request_failed(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        request_id: bytes,
        reason: str | None,
        _bucket: str | None,
    ) -> None:
        if status >= _SERVER_ERROR or status in _ACCESS_REFUSED:
            _log_request(method, route, status, seconds, request_id, reason)


def request_log(mode: RequestLogMode) -> list[object]:
    """Return the listeners for a mode."""
    if mode is RequestLogMode.OFF:
        return []
    return [AllRequests() if mode is RequestLogMode.ALL else FailedRequests()]


def _log_request(
    method: str,
    route: str | None,
    status: int,
    seconds: float,
    request_id: bytes,
    reason: str | None,
) -> None:
    """Log a request.

    The line has the route's template, and neither path nor query, which may hold personal data.
    """
    level = logging.WARNING if status >= _SERVER_ERROR else logging.INFO
    if not _log.isEnabledFor(level):
        return
    trace_id = current_trace_id()
    fields = {
        "request_id": request_id.decode("ascii"),
        "method": method or "-",
        "route": route or "-",
        "status": status,
        "milliseconds": round(seconds * 1000, 3),
        **({} if trace_id is None else {"trace_id": trace_id}),
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
