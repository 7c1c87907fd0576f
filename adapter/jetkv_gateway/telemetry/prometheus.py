"""Counts events in cells, for Prometheus (docs/metrics.md)."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from itertools import product

from jetkv_gateway.telemetry.cells import Cells
from jetkv_gateway.telemetry.families import BUCKETS, Family, Kind, Layout

__all__ = ["METHODS", "NO_ROUTE", "OTHER", "STATUSES", "PrometheusListener", "families"]

OTHER = "other"
NO_ROUTE = "none"
"""The label `route` of a request whose path no route has."""

_SUM = len(BUCKETS) + 1
_MANY = 6
"""So many times are counted faster in order than one by one."""

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER)
STATUSES = (
    *("101", "200", "201", "204", "304", "400", "401", "403", "404", "405", "408", "409", "410"),
    *("412", "413", "414", "417", "426", "429", "431", "499", "500", "501", "503", "504", "507"),
    OTHER,
)
_OFTEN = frozenset({"400", "401", "403", "429", "499", "500", "503", "504"})
_OPERATIONS = (
    *("get", "direct_get", "multi_get", "publish", "batch"),
    *("stream_info", "stream_list", "stream_create", "stream_update", "stream_delete"),
    *("stream_purge", "consumer_create", "consumer_delete", "consumer_info", "account_info"),
    OTHER,
)
_FAILURES = (
    *("timeout", "no_responders", "connection_lost", "not_connected", "not_permitted"),
    *("too_large", "unreadable", "jetstream", OTHER),
)
_REFUSALS = (
    *("unauthenticated", "permission_denied", "too_many_requests", "too_large", "too_slow"),
    *("protocol", OTHER),
)
_HANDSHAKES = ("protocol", "timeout", "gone", "no_room")
_YES_NO = ("true", "false")
_LOSSES = ("queue_full", "write_failed")
_CONFLICTS = ("key_exists", "revision_mismatch", "batch_condition", "idempotency", "bucket_exists")
_PARTS = ("subject", "headers", "answer", "message", "protocol", OTHER)
_TRANSPORTS = ("websocket", "sse")


def _each(values: Iterable[str]) -> list[tuple[str, ...]]:
    return [(value,) for value in values]


def families(routes: Mapping[str, Mapping[str, Iterable[int]]]) -> list[Family]:
    """Return all metrics.

    Args:
        routes: the statuses of each method, by method, of each route, by template.
    """
    templates = (*routes, NO_ROUTE)
    often = {("GET", NO_ROUTE, "404")} | {
        (method, template, status)
        for template, methods in routes.items()
        for method, statuses in methods.items()
        for status in {*map(str, statuses), *_OFTEN}
    }
    # Ordered as the cells of a request are found: by method and route, then by status.
    requests = [
        (method, template, status)
        for method, template, status in product(METHODS, templates, STATUSES)
    ]
    timed = [*product(METHODS, templates)]
    often_timed = {(method, template) for method, template, _ in often}
    return [
        Family(
            "jetkv_http_requests",
            Kind.COUNTER,
            "Requests that were answered; 499 if the client left first",
            ("method", "route", "status"),
            requests,
            frozenset(requests) - often,
        ),
        Family(
            "jetkv_http_request_duration_seconds",
            Kind.HISTOGRAM,
            "Time from the complete head of a request to its answer; of a watch, to its beginning",
            ("method", "route"),
            timed,
            frozenset(timed) - often_timed,
        ),
        Family(
            "jetkv_http_requests_in_flight",
            Kind.SUM,
            "Requests that run now, without watches",
        ),
        Family(
            "jetkv_http_requests_refused",
            Kind.COUNTER,
            "Requests that were refused without being run, by the reason",
            ("reason",),
            _each(_REFUSALS),
        ),
        Family(
            "jetkv_tls_handshake_failures",
            Kind.COUNTER,
            "TLS handshakes of clients that failed, by the reason",
            ("reason",),
            _each(_HANDSHAKES),
        ),
        Family(
            "jetkv_failed_logins",
            Kind.COUNTER,
            "Credentials that were refused, by whether the answer was slowed down",
            ("slowed",),
            _each(_YES_NO),
        ),
        Family(
            "jetkv_audit_dropped",
            Kind.COUNTER,
            "Records that the audit log has lost, by the reason",
            ("reason",),
            _each(_LOSSES),
        ),
        Family(
            "jetkv_audit_write_failures",
            Kind.COUNTER,
            "Writes of the audit log that failed and were tried again",
        ),
        Family("jetkv_nats_connected", Kind.MIN, "Whether every worker has a connection to NATS"),
        Family(
            "jetkv_nats_request_duration_seconds",
            Kind.HISTOGRAM,
            "Time from a request to NATS to its reply, or to its failure",
            ("operation",),
            _each(_OPERATIONS),
        ),
        Family(
            "jetkv_nats_errors",
            Kind.COUNTER,
            "Requests to NATS without a reply, or with an error of JetStream as their reply",
            ("kind",),
            _each(_FAILURES),
        ),
        Family(
            "jetkv_nats_reconnects", Kind.COUNTER, "Connections to NATS that replaced another one"
        ),
        Family(
            "jetkv_retries",
            Kind.COUNTER,
            "Tries of requests to NATS beyond the first one",
        ),
        Family(
            "jetkv_unknown_outcomes",
            Kind.COUNTER,
            "Writes whose callers were told that the outcome is unknown",
        ),
        Family(
            "jetkv_conflicts",
            Kind.COUNTER,
            "Writes whose condition did not hold",
            ("kind",),
            _each(_CONFLICTS),
        ),
        Family(
            "jetkv_unreadable",
            Kind.COUNTER,
            "Data from NATS that cannot be parsed, by its part",
            ("part",),
            _each(_PARTS),
        ),
        Family("jetkv_watches", Kind.SUM, "Open watches", ("transport",), _each(_TRANSPORTS)),
        Family(
            "jetkv_watch_frames",
            Kind.COUNTER,
            "Changes that were sent to watchers",
            ("transport",),
            _each(_TRANSPORTS),
        ),
        Family(
            "jetkv_watch_lag_revisions",
            Kind.MAX,
            "Revisions by which the slowest watch is behind its bucket",
        ),
        Family(
            "jetkv_watch_slow_consumers",
            Kind.COUNTER,
            "Watches that ended because their readers are too slow",
        ),
        Family(
            "jetkv_feed_rebuilds", Kind.COUNTER, "Feeds of watched buckets that were opened again"
        ),
        Family(
            "jetkv_event_loop_lag_seconds",
            Kind.MAX,
            "The longest time in the last 15 seconds that the event loop was busy with other work",
        ),
    ]


_Series = tuple[int, int, list[float]]
"""The cell that counts what ends, or 0; the first cell of its times; times in seconds that are not
counted yet."""


class PrometheusListener:
    """Listens to events, and counts them. See `telemetry.events` for the methods.

    What ends in one turn of the event loop is counted together behind it, by series: that takes
    half of the time that it takes to count each at its end.

    Attributes:
        call_soon: of the event loop, or None. Without it, `settle` has to be called.
    """

    def __init__(self, layout: Layout, cells: Cells) -> None:
        self._cells = cells.own
        self._unsettled: list[_Series] = []
        self.call_soon: Callable[[Callable[[], None]], object] | None = None
        cells.settle = self.settle
        self._statuses = {int(s): at for at, s in enumerate(STATUSES) if s != OTHER}
        self._other_status = STATUSES.index(OTHER)
        counted = layout.cells("jetkv_http_requests")
        timed = layout.cells("jetkv_http_request_duration_seconds")
        self._places = {
            (method, None if template == NO_ROUTE else template): (
                counted[method, template, STATUSES[0]],
                at,
            )
            for (method, template), at in timed.items()
        }
        self._requests: dict[tuple[str, str | None, int], _Series] = {}
        self._in_flight = layout.first("jetkv_http_requests_in_flight")
        self._refusals = _by_label(layout, "jetkv_http_requests_refused")
        self._handshakes = _by_label(layout, "jetkv_tls_handshake_failures")
        self._logins = _by_label(layout, "jetkv_failed_logins")
        self._losses = _by_label(layout, "jetkv_audit_dropped")
        self._failed_writes = layout.first("jetkv_audit_write_failures")
        self._connected = layout.first("jetkv_nats_connected")
        self._calls: dict[str, _Series] = {
            operation: (0, first, [])
            for operation, first in _by_label(layout, "jetkv_nats_request_duration_seconds").items()
        }
        self._failures = _by_label(layout, "jetkv_nats_errors")
        self._reconnects = layout.first("jetkv_nats_reconnects")
        self._retries = layout.first("jetkv_retries")
        self._unknown = layout.first("jetkv_unknown_outcomes")
        self._conflicts = _by_label(layout, "jetkv_conflicts")
        self._parts = _by_label(layout, "jetkv_unreadable")
        self._watches = _by_label(layout, "jetkv_watches")
        self._frames = _by_label(layout, "jetkv_watch_frames")
        self._watch_lag = layout.first("jetkv_watch_lag_revisions")
        self._slow = layout.first("jetkv_watch_slow_consumers")
        self._rebuilds = layout.first("jetkv_feed_rebuilds")
        self._loop_lag = layout.first("jetkv_event_loop_lag_seconds")

    def request_ended(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        _id: bytes,
        _reason: str | None,
        _names: tuple[str, ...],
    ) -> None:
        series = self._requests.get((method, route, status)) or self._add(method, route, status)
        times = series[2]
        if not times:
            unsettled = self._unsettled
            if not unsettled and self.call_soon is not None:
                self.call_soon(self.settle)
            unsettled.append(series)
        times.append(seconds)

    def nats_call_ended(self, operation: str, seconds: float, failure: str | None) -> None:
        series = self._calls.get(operation) or self._calls[OTHER]
        times = series[2]
        if not times:
            unsettled = self._unsettled
            if not unsettled and self.call_soon is not None:
                self.call_soon(self.settle)
            unsettled.append(series)
        times.append(seconds)
        if failure is not None:
            self._cells[self._failures[failure]] += 1.0

    def settle(self) -> None:
        """Count what has ended since the last call."""
        cells = self._cells
        unsettled, self._unsettled = self._unsettled, []
        for count, first, times in unsettled:
            size = len(times)
            if count:
                cells[count] += size
            cells[first + _SUM] += sum(times)
            if size < _MANY:
                for seconds in times:
                    cells[first + bisect_left(BUCKETS, seconds)] += 1.0
            else:
                self._count(first, times)
            times.clear()

    def _count(self, first: int, times: list[float]) -> None:
        """Count many times in a histogram: in order, so that each bucket is looked at once."""
        times.sort()
        counted, size = 0, len(times)
        while counted < size:
            bucket = bisect_left(BUCKETS, times[counted])
            end = bisect_right(times, BUCKETS[bucket]) if bucket < len(BUCKETS) else size
            self._cells[first + bucket] += end - counted
            counted = end

    def _add(self, method: str, route: str | None, status: int) -> _Series:
        """Return the series of such requests."""
        found = self._places.get((method, route))
        first, times = found or self._places[OTHER, route]
        count = first + self._statuses.get(status, self._other_status)
        series: _Series = count, times, []
        if found is not None and status in self._statuses:
            # Others are not kept, because clients choose them.
            self._requests[method, route, status] = series
        return series

    def request_refused(self, reason: str) -> None:
        self._cells[self._refusals[reason]] += 1.0

    def handshake_failed(self, reason: str) -> None:
        self._cells[self._handshakes[reason]] += 1.0

    def login_failed(self, slowed: bool) -> None:
        self._cells[self._logins["true" if slowed else "false"]] += 1.0

    def audit_dropped(self, reason: str, count: int) -> None:
        self._cells[self._losses[reason]] += count

    def audit_write_failed(self) -> None:
        self._cells[self._failed_writes] += 1.0

    def nats_failed(self, kind: str) -> None:
        self._cells[self._failures[kind]] += 1.0

    def nats_reconnected(self) -> None:
        self._cells[self._reconnects] += 1.0

    def retried(self, times: int) -> None:
        self._cells[self._retries] += times

    def outcome_unknown(self) -> None:
        self._cells[self._unknown] += 1.0

    def conflicted(self, kind: str) -> None:
        self._cells[self._conflicts[kind]] += 1.0

    def unreadable(self, part: str) -> None:
        self._cells[self._parts.get(part, self._parts[OTHER])] += 1.0

    def watch_opened(self, transport: str) -> None:
        self._cells[self._watches[transport]] += 1.0

    def watch_closed(self, transport: str) -> None:
        self._cells[self._watches[transport]] -= 1.0

    def frames_sent(self, transport: str, count: int) -> None:
        self._cells[self._frames[transport]] += count

    def watch_too_slow(self) -> None:
        self._cells[self._slow] += 1.0

    def feed_rebuilt(self) -> None:
        self._cells[self._rebuilds] += 1.0

    def set_gauges(
        self, *, connected: bool, in_flight: int, watch_lag: int, loop_lag: float
    ) -> None:
        """Set the gauges that are measured, not counted. The worker counts as running from now."""
        cells = self._cells
        cells[0] = 1.0
        cells[self._connected] = float(connected)
        cells[self._in_flight] = float(in_flight)
        cells[self._watch_lag] = float(watch_lag)
        cells[self._loop_lag] = loop_lag


def _by_label(layout: Layout, name: str) -> dict[str, int]:
    return {labels[0]: at for labels, at in layout.cells(name).items()}
