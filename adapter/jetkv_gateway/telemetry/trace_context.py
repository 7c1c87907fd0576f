"""The trace that a request belongs to, as W3C Trace Context has it. Pure.

https://www.w3.org/TR/trace-context/
"""

import re
from contextvars import ContextVar
from typing import NamedTuple

__all__ = [
    "CURRENT",
    "Parent",
    "TraceContext",
    "current_trace_id",
    "echo_traceparent",
    "read_traceparent",
]

_read = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
).fullmatch
_ODD = frozenset(b"13579bdf")


class Parent(NamedTuple):
    """The span that a `traceparent` names.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        sampled: whether its service records it.
    """

    trace_id: bytes
    span_id: bytes
    sampled: bool


class TraceContext:
    """The span of a request that is recorded.

    Attributes:
        traceparent: names the span.
        parent: the caller's span, or None.
        trace_state: the caller's `tracestate`, as sent.
        ended_at: when the request had its answer, in nanoseconds since 1970, or 0. What begins
            after that is no part of the span.
        notes: attributes that events have added to the span, or None.
    """

    __slots__ = ("ended_at", "notes", "parent", "trace_state", "traceparent")

    def __init__(self, traceparent: bytes, parent: Parent | None, trace_state: bytes) -> None:
        self.traceparent = traceparent
        self.parent = parent
        self.trace_state = trace_state
        self.ended_at = 0
        self.notes: dict[str, str | int] | None = None

    @property
    def trace_id(self) -> bytes:
        return self.traceparent[3:35]

    @property
    def span_id(self) -> bytes:
        return self.traceparent[36:52]


CURRENT: ContextVar[TraceContext | bytes | None] = ContextVar("jetkv_trace", default=None)
"""The span of the request that runs, if it is recorded. If it is not, the `traceparent` that goes
into its messages, or None.
"""


def current_trace_id() -> str | None:
    """Return the id of the trace of the request that runs, if it is recorded."""
    current = CURRENT.get()
    return current.trace_id.decode("ascii") if isinstance(current, TraceContext) else None


def read_traceparent(value: bytes) -> Parent | None:
    """Return the span that a `traceparent` names, or None if it has another form (§3.2)."""
    found = _read(value)
    if found is None:
        return None
    edition, trace_id, span_id, flags, more = found.groups()
    if more is not None and edition == b"00":
        return None
    # `Parent(…)` without a Python call, because callers may send one with each request.
    return tuple.__new__(Parent, (trace_id, span_id, flags[1] in _ODD))


def echo_traceparent(value: bytes) -> bytes:
    """Return the header line of the answer of a gateway that does not trace.

    It names the caller's own span. The line is empty if the value has another form.
    """
    parent = read_traceparent(value)
    if parent is None:
        return b""
    return b"traceparent: 00-%s-%s-0%d\r\n" % parent
