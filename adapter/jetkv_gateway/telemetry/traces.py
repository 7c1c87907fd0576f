"""Listens to events, and makes spans of them (docs/traces.md).

A request has a server span, and each of its requests to NATS a span below that. A change that is
sent to a watcher has a span in the trace of its write, if the message of the write names that.

A request runs in a context of its own, so `CURRENT` tells each part of it which span is its own.
Requests that are not sampled get ids alone, since a span costs more than the rest of a short
request.
"""

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from os import urandom
from typing import Protocol

from jetkv_gateway.telemetry.events import NatsCallEvent, RequestEvent, StartOfRequest
from jetkv_gateway.telemetry.sampling import Sampling
from jetkv_gateway.telemetry.trace_context import (
    CURRENT,
    Parent,
    TraceContext,
    read_traceparent,
)

__all__ = ["Recorded", "Recorder", "SpanData", "TraceListener", "TraceMessages"]

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SERVER_ERROR = 500
_MADE = 64

_ON_NATS_CALL: ContextVar[NatsCallEvent | None] = ContextVar("jetkv_nats_call", default=None)
"""Ends the span of a request to NATS, None if the present request is not recorded."""


@dataclass(slots=True)
class SpanData:
    """A span that has ended.

    Attributes:
        kind: `server`, `client` or `producer`.
        parent: the id of the span above, 16 hexadecimal digits, or empty.
        remote: whether that is a span of another service, or of another request.
        began: nanoseconds since 1970.
        ended: nanoseconds since 1970.
        error: the reason if it failed, else None.
        links: other spans.
    """

    name: str
    kind: str
    trace_id: bytes
    span_id: bytes
    parent: bytes
    remote: bool
    began: int
    ended: int
    attributes: dict[str, str | int]
    error: str | None = None
    trace_state: bytes = b""
    links: list[Parent] = field(default_factory=list)


class Recorder(Protocol):
    """Takes spans that have ended. It must neither raise nor wait."""

    def record(self, span: SpanData) -> None: ...


Recorded = Callable[[str, str | None, float, TraceContext], None]


class TraceListener:
    """Listens to events; see `telemetry.events` for the methods.

    Args:
        on_recorded: called with method, route, seconds and span of each recorded request.
        in_messages: whether `TraceMessages` listens too.
    """

    def __init__(
        self,
        recorder: Recorder,
        sampling: Sampling,
        on_recorded: Recorded | None = None,
        *,
        in_messages: bool = False,
    ) -> None:
        self._record = recorder.record
        self._records = sampling.records
        self._bound = sampling.bound_digits
        self._on_recorded = on_recorded
        self._in_messages = in_messages
        self._span_ids: list[bytes] = []
        # Both are called for each request, so they are functions in C: to hand out what was made in
        # advance, and to look up what `_start` has set.
        self.request_began = chain.from_iterable(iter(self._make, [])).__next__
        self.nats_call_began = _ON_NATS_CALL.get

    def request_continued(
        self, headers: Mapping[bytes, bytes]
    ) -> tuple[bytes, StartOfRequest | None]:
        parent = read_traceparent(headers[b"traceparent"])
        if parent is None:
            return self.request_began()
        trace_id, _, sampled = parent
        recorded = self._records(int(trace_id[16:], 16), sampled)
        traceparent = b"00-%b-%b-0%d" % (trace_id, self._new_span_id(), recorded)
        lines = b"traceparent: %b\r\n" % traceparent
        if recorded:
            state = headers.get(b"tracestate", b"")
            return lines, partial(self._start, traceparent, parent, state)
        return lines, partial(_keep, traceparent) if self._in_messages else None

    def _make(self) -> list[tuple[bytes, StartOfRequest | None]]:
        """Make what the next requests without a parent get."""
        bound, kept = self._bound, self._in_messages
        made: list[tuple[bytes, StartOfRequest | None]] = []
        for ids in zip(_random_ids(16), _random_ids(8), strict=True):
            if ids[0][16:] < bound:
                traceparent = b"00-%b-%b-01" % ids
                start: StartOfRequest = partial(self._start, traceparent, None, b"")
                made.append((b"traceparent: %b\r\n" % traceparent, start))
            elif kept:
                traceparent = b"00-%b-%b-00" % ids
                made.append((b"traceparent: %b\r\n" % traceparent, partial(_keep, traceparent)))
            else:
                made.append((b"traceparent: 00-%b-%b-00\r\n" % ids, None))
        return made

    def _start(self, traceparent: bytes, parent: Parent | None, state: bytes) -> RequestEvent:
        """Begin a span, in the context of its request. Return what ends it."""
        context = TraceContext(traceparent, parent, state)
        CURRENT.set(context)
        _ON_NATS_CALL.set(partial(self._end_nats_call, context))
        return partial(self._end_request, context)

    def _new_span_id(self) -> bytes:
        if not self._span_ids:
            self._span_ids += _random_ids(8)
        return self._span_ids.pop()

    def _end_request(
        self,
        context: TraceContext,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        request_id: bytes,
        reason: str | None,
        _names: tuple[str, ...],
    ) -> None:
        now = context.ended_at = time.time_ns()
        attributes: dict[str, str | int] = {
            "http.request.method": method if method in _METHODS else "_OTHER",
            "http.response.status_code": status,
            "jetkv.request_id": request_id.decode("ascii"),
        }
        name = method if method in _METHODS else "HTTP"
        if route is not None:
            attributes["http.route"] = route
            name = f"{name} {route}"
        error = None
        if status >= _SERVER_ERROR:
            attributes["error.type"] = str(status)
            error = reason or ""
        if context.notes is not None:
            attributes.update(context.notes)
        parent = context.parent
        self._record(
            SpanData(
                name,
                "server",
                context.trace_id,
                context.span_id,
                b"" if parent is None else parent.span_id,
                True,
                now - int(seconds * 1e9),
                now,
                attributes,
                error,
                b"" if parent is None else context.trace_state,
            )
        )
        if self._on_recorded is not None:
            self._on_recorded(method, route, seconds, context)

    def _end_nats_call(
        self, context: TraceContext, operation: str, seconds: float, failure: str | None
    ) -> None:
        now = time.time_ns()
        began = now - int(seconds * 1e9)
        if context.ended_at and began > context.ended_at:
            return  # a task that the request has left behind, such as a feed
        attributes: dict[str, str | int] = {
            "messaging.system": "nats",
            "messaging.operation.name": operation,
        }
        if failure is not None:
            attributes["error.type"] = failure
        self._record(
            SpanData(
                f"nats {operation}",
                "client",
                context.trace_id,
                self._new_span_id(),
                context.span_id,
                False,
                began,
                now,
                attributes,
                failure,
                b"" if context.parent is None else context.trace_state,
            )
        )

    def retried(self, times: int) -> None:
        self._note("jetkv.retries", times)

    def outcome_unknown(self) -> None:
        self._note("jetkv.outcome", "unknown")

    def conflicted(self, kind: str) -> None:
        self._note("jetkv.conflict", kind)

    def change_sent(self, transport: str, traceparent: bytes) -> None:
        write = read_traceparent(traceparent)
        if write is None or not self._records(int(write.trace_id[16:], 16), write.sampled):
            return
        now = time.time_ns()
        links = [write]
        watch = CURRENT.get()
        if watch is not None:
            named = read_traceparent(watch if isinstance(watch, bytes) else watch.traceparent)
            links += [named] if named is not None else []
        self._record(
            SpanData(
                "watch frame",
                "producer",
                write.trace_id,
                self._new_span_id(),
                write.span_id,
                True,
                now,
                now,
                {"jetkv.watch.transport": transport},
                links=links,
            )
        )

    def _note(self, name: str, value: str | int) -> None:
        context = CURRENT.get()
        if isinstance(context, TraceContext):
            context.notes = {**(context.notes or {}), name: value}


def _keep(traceparent: bytes) -> None:
    """Keep the `traceparent` of a request that is not recorded, for its messages."""
    CURRENT.set(traceparent)


def _random_ids(size: int) -> list[bytes]:
    """Return ids of so many bytes, in hexadecimal digits."""
    return urandom(size * _MADE).hex("-", size).encode().split(b"-")


class TraceMessages:
    """A listener that names the span of a write in its message, so that watches can link to it."""

    def write_context(self) -> bytes | None:
        context = CURRENT.get()
        if isinstance(context, TraceContext):
            return None if context.ended_at else context.traceparent
        return context
