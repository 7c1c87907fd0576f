"""Logs requests, by settings: all of them, or those that say that something is wrong."""

import logging
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from jetkv_gateway.telemetry.line_limit import LineLimit
from jetkv_gateway.telemetry.trace_context import current_trace_id

__all__ = ["REQUEST_FIELDS", "RequestLog", "RequestLogMode", "RequestLogOptions"]

_log = logging.getLogger("jetkv.http")

_ACCESS_REFUSED = frozenset({401, 403})
_SERVER_ERROR = 500

REQUEST_FIELDS = "jetkv_request"
"""The attribute of a log record that has the parts of the line by name."""


class RequestLogMode(StrEnum):
    """The requests that the log has a line for.

    `errors` are answers of 500 and more, and refusals of access (401 and 403). `sampled` are these,
    and a part of the others.
    """

    ALL = "all"
    SAMPLED = "sampled"
    ERRORS = "errors"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class RequestLogOptions:
    """What the log has of requests.

    Attributes:
        rate: the part of the requests without an error that `sampled` logs, from 0 to 1.
        limit: lines a second about failed requests, and about refusals of access, 0 for no limit.
            It does not hold for `all`.
    """

    mode: RequestLogMode = RequestLogMode.ERRORS
    rate: float = 0.01
    limit: float = 5.0


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
        _names: tuple[str, ...],
    ) -> None:
        _log_request(method, route, status, seconds, request_id, reason)


class SampledRequests:
    """Logs a part of the requests that `FailedRequests` does not log."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._random = Random().random  # noqa: S311 - nothing depends on who can guess it

    def request_ended(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        request_id: bytes,
        reason: str | None,
        _names: tuple[str, ...],
    ) -> None:
        if self._random() < self._rate and not _is_logged_as_failed(status):
            _log_request(method, route, status, seconds, request_id, reason)


class FailedRequests:
    """Logs a line for each answer of 500 and more, and for each refusal of access, up to a limit.

    It does not hear of other requests, so it costs them nothing.
    """

    def __init__(self, limit: float) -> None:
        # Many refusals must not hide failures, and the other way round.
        self._failures = LineLimit(_log, "failed requests", limit)
        self._refusals = LineLimit(_log, "refused requests", limit)

    def request_failed(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        request_id: bytes,
        reason: str | None,
        _names: tuple[str, ...],
    ) -> None:
        if _is_logged_as_failed(status):
            limit = self._failures if status >= _SERVER_ERROR else self._refusals
            if limit.allows(str(status)):
                _log_request(method, route, status, seconds, request_id, reason)

    def close(self) -> None:
        """Say how many lines were left out."""
        self._failures.close()
        self._refusals.close()


class RequestLog:
    """The request log of a gateway.

    Attributes:
        listeners: of events.
    """

    def __init__(self, options: RequestLogOptions) -> None:
        self.listeners: list[object] = []
        self._failed: FailedRequests | None = None
        if options.mode is RequestLogMode.ALL:
            self.listeners = [AllRequests()]
        elif options.mode is not RequestLogMode.OFF:
            self._failed = FailedRequests(options.limit)
            self.listeners = [self._failed]
        if options.mode is RequestLogMode.SAMPLED:
            self.listeners.append(SampledRequests(options.rate))

    def close(self) -> None:
        """Say how many lines were left out."""
        if self._failed is not None:
            self._failed.close()


def _is_logged_as_failed(status: int) -> bool:
    return status >= _SERVER_ERROR or status in _ACCESS_REFUSED


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
