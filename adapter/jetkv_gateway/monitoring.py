"""What listens to the events of a gateway: metrics, the request log, traces, and others."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jetkv_gateway.http.metrics import Metrics, metrics_for
from jetkv_gateway.settings import Settings
from jetkv_gateway.telemetry.events import EVENTS
from jetkv_gateway.telemetry.request_log import RequestLog, RequestLogOptions
from jetkv_gateway.telemetry.sampler import Sampler, State
from jetkv_gateway.telemetry.tracing import Tracing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Monitoring"]


class Monitoring:
    """The listeners of a gateway, from `start` to `close`.

    Args:
        metrics: None switches them off.
        tracing: None switches traces off.
        requests: what the log has of requests.
        listeners: hear of events besides those; see `telemetry.events`.
    """

    def __init__(
        self,
        metrics: Metrics | None,
        tracing: Tracing | None = None,
        requests: RequestLogOptions | None = None,
        listeners: Sequence[object] = (),
    ) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._requests = RequestLog(requests or RequestLogOptions())
        self._others = listeners
        self._sampler: Sampler | None = None
        self._heard: list[object] = []

    @classmethod
    def of(
        cls,
        settings: Settings,
        *listeners: object,
        exporter: "SpanExporter | None" = None,
    ) -> "Monitoring":
        """Return what the settings select.

        Args:
            exporter: takes the spans of traces. None creates the one that `OTEL_*` variables
                select.

        Raises:
            TracingUnavailable: traces are on, and cannot be exported.
        """
        options = settings.metrics_options()
        metrics = None if options is None else metrics_for(options)
        tracing = None
        if settings.traces:
            tracing = Tracing(
                in_messages=settings.traces_in_messages,
                on_recorded=None if metrics is None else metrics.exemplars.note,
                exporter=exporter,
            )
        return cls(metrics, tracing, settings.request_log_options(), listeners)

    @property
    def has_metrics(self) -> bool:
        return self._metrics is not None

    def write(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type; see `Exposition.write`."""
        assert self._metrics is not None, "see `has_metrics`"
        if self._sampler is not None:
            self._sampler.sample()
        return self._metrics.write(accept)

    def start(self, look: Callable[[], State]) -> None:
        """Listen from now on.

        Args:
            look: returns what goes on now.
        """
        self._heard = [*self._requests.listeners, *self._others]
        if self._tracing is not None:
            self._heard += self._tracing.start()
        if self._metrics is not None:
            counting = (self._metrics.listener, self._metrics.bucket_listener)
            self._heard += [one for one in counting if one is not None]
            self._sampler = Sampler(self._metrics.listener, look)
            self._sampler.start()
        for one in self._heard:
            EVENTS.add(one)

    async def close(self) -> None:
        """Stop listening, and export the traces that wait."""
        if self._sampler is not None:
            await self._sampler.close()
        for one in self._heard:
            EVENTS.remove(one)
        self._requests.close()
        if self._tracing is not None:
            await self._tracing.close()
