"""The trace that a request belongs to, as W3C Trace Context has it. Pure.

https://www.w3.org/TR/trace-context/
"""

import re
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["CURRENT", "Parent", "TraceContext", "echo_traceparent", "read_traceparent"]

_TRACEPARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
)
_SAMPLED = 1


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


@dataclass(slots=True, eq=False)
class TraceContext:
    """The span of one request.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        recorded: whether its spans are exported.
        parent: the caller's span, or None.
        trace_state: the caller's `tracestate`, as sent.
        ended: whether the request has its answer. What goes on behind it is no part of the span.
        notes: attributes that events have added to the span.
    """

    trace_id: bytes
    span_id: bytes
    recorded: bool
    parent: Parent | None = None
    trace_state: bytes = b""
    ended: bool = False
    notes: dict[str, str | int] = field(default_factory=dict)

    @property
    def traceparent(self) -> bytes:
        return b"00-%s-%s-0%d" % (self.trace_id, self.span_id, self.recorded)


CURRENT: ContextVar[TraceContext | None] = ContextVar("jetkv_trace", default=None)
"""The span of the request that runs, None while nobody traces."""


def read_traceparent(value: bytes) -> Parent | None:
    """Return the span that a `traceparent` names, or None if it has another form (§3.2)."""
    found = _TRACEPARENT.fullmatch(value)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == b"00" and more is not None:
        return None
    return Parent(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def echo_traceparent(value: bytes) -> bytes:
    """Return the header line of the answer of a gateway that does not trace.

    It names the caller's own span. The line is empty if the value has another form.
    """
    parent = read_traceparent(value)
    if parent is None:
        return b""
    return b"traceparent: 00-%s-%s-0%d\r\n" % parent
