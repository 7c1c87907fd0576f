"""Names the span of a write in its message, if the settings say so (docs/traces.md)."""

from jetkv_gateway.jetstream.headers import with_line
from jetkv_gateway.jetstream.protocol import HEADER_RESERVE
from jetkv_gateway.telemetry.events import EVENTS

__all__ = ["TRACEPARENT", "with_trace_context"]

TRACEPARENT = "traceparent"
_BYTES = 70


def with_trace_context(headers: bytes) -> bytes:
    """Return the header block of a write with the `traceparent` of its request, if there is one.

    The gateway writes that header itself, so nothing of a caller gets into the message but the
    digits of an id. A block without room for it stays as it is, so no write fails for it.
    """
    asked = EVENTS.write_context
    if asked is None or len(headers) + _BYTES > HEADER_RESERVE:
        return headers
    traceparent = asked()
    if traceparent is None:
        return headers
    return with_line(headers, TRACEPARENT, traceparent.decode("ascii"))
