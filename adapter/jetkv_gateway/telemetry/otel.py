"""Exports spans by the OpenTelemetry SDK. The extra `otel` has it.

Spans are created when they have ended, so a request collects numbers, and the SDK's own bookkeeping
of open spans is left out. `OTEL_*` variables configure the exporter and the batches.
"""

import asyncio
import logging
import threading
import uuid
from contextlib import suppress

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from jetkv_gateway.telemetry.trace_context import Parent
from jetkv_gateway.telemetry.traces import SpanData

__all__ = ["Exports"]

_log = logging.getLogger("jetkv.traces")

_CLOSE_SECONDS = 1.5
_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "producer": SpanKind.PRODUCER}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_NOT_SAMPLED = TraceFlags(TraceFlags.DEFAULT)
_UNSET = Status(StatusCode.UNSET)
_NO_STATE = TraceState()


class Exports:
    """`traces.Recorder` on the SDK. A thread of its own exports the spans in batches.

    At most `OTEL_BSP_MAX_QUEUE_SIZE` spans wait. Further ones replace the oldest.
    """

    def __init__(self, exporter: SpanExporter, version: str) -> None:
        self._exporter = exporter
        self._resource = Resource.create(
            {"service.version": version, "service.instance.id": str(uuid.uuid4())}
        )
        if str(self._resource.attributes.get("service.name")).startswith("unknown_service"):
            self._resource = self._resource.merge(Resource({"service.name": "jetkv"}))
        self._scope = InstrumentationScope("jetkv", version)
        self._processor = BatchSpanProcessor(exporter)
        self._take = self._processor.on_end

    def record(self, span: SpanData) -> None:
        state = _NO_STATE
        if span.trace_state:
            state = TraceState.from_header([span.trace_state.decode("latin-1")])
        trace_id = int(span.trace_id, 16)
        parent = None
        if span.parent:
            parent = SpanContext(trace_id, int(span.parent, 16), span.remote, _SAMPLED, state)
        status = _UNSET
        if span.error is not None:
            status = Status(StatusCode.ERROR, span.error or None)
        self._take(
            ReadableSpan(
                name=span.name,
                context=SpanContext(trace_id, int(span.span_id, 16), False, _SAMPLED, state),
                parent=parent,
                resource=self._resource,
                attributes=span.attributes,
                links=[_link(one) for one in span.links],
                kind=_KINDS[span.kind],
                status=status,
                start_time=span.began,
                end_time=span.ended,
                instrumentation_scope=self._scope,
            )
        )

    async def close(self) -> None:
        """Export what waits, if the collector takes it in time."""
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def close() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call] # the SDK lacks it
            with suppress(RuntimeError):  # nobody waits any more, and the loop is closed
                loop.call_soon_threadsafe(done.set)

        # The exporter may block for its timeout, so the thread must not hold up the process.
        threading.Thread(target=close, name="traces-close", daemon=True).start()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await done.wait()
        except TimeoutError:
            _log.warning("stopping: the last traces could not be exported in time")


def _link(to: Parent) -> Link:
    flags = _SAMPLED if to.sampled else _NOT_SAMPLED
    return Link(SpanContext(int(to.trace_id, 16), int(to.span_id, 16), True, flags))
