"""Switches traces on for a gateway. Imports OpenTelemetry only then.

https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

import logging
import os
from collections.abc import Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from jetkv_gateway import __version__
from jetkv_gateway.telemetry.sampling import Sampling
from jetkv_gateway.telemetry.traces import Recorded, TraceListener, TraceMessages

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from jetkv_gateway.telemetry.otel import Exports

__all__ = ["Tracing", "TracingUnavailable", "check_tracing"]

_log = logging.getLogger("jetkv.traces")

_MODULES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
_EXPORTERS = ("otlp", "console", "none")
_PROTOCOL = "http/protobuf"


class TracingUnavailable(Exception):
    """Raised if traces cannot be exported. The text is one line for the operator."""


def check_tracing(environment: Mapping[str, str] = os.environ) -> None:
    """Check that spans can be exported as `OTEL_*` variables say.

    Raises:
        TracingUnavailable: a package is missing, or the variables select something else than spans
            over OTLP/HTTP, on the console, or nowhere.
    """
    for name in _MODULES:
        try:
            found = find_spec(name)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise TracingUnavailable(
                'traces need the extra "otel": pip install "jetkv[gateway,otel]"'
            )
    exporter = _exporter_name(environment)
    if exporter not in _EXPORTERS:
        raise TracingUnavailable(
            f"OTEL_TRACES_EXPORTER={exporter}: use {', '.join(_EXPORTERS[:-1])} or none"
        )
    protocol = _PROTOCOL
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"):
        protocol = environment.get(name, "").strip() or protocol
    if exporter == "otlp" and protocol != _PROTOCOL:
        raise TracingUnavailable(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol}: use {_PROTOCOL}")


class Tracing:
    """The traces of a gateway in this process.

    Args:
        in_messages: whether a write's message names the span of its request.
        on_recorded: as in `TraceListener`.
        exporter: takes the spans. None creates the one that `OTEL_*` variables select.

    Raises:
        TracingUnavailable: see `check_tracing`.
    """

    def __init__(
        self,
        *,
        in_messages: bool = False,
        on_recorded: Recorded | None = None,
        exporter: "SpanExporter | None" = None,
    ) -> None:
        check_tracing()
        self._in_messages = in_messages
        self._on_recorded = on_recorded
        self._exporter = exporter
        self._exports: Exports | None = None

    def start(self) -> list[object]:
        """Start to export, and return the listeners of events."""
        exporter = self._exporter or _exporter()
        if exporter is None:
            return []
        from jetkv_gateway.telemetry.otel import Exports

        sampling = Sampling.from_environment(os.environ)
        if sampling.problem:
            _log.warning("%s", sampling.problem)
        self._exports = Exports(exporter, __version__)
        listeners: list[object] = [
            TraceListener(self._exports, sampling, self._on_recorded, in_messages=self._in_messages)
        ]
        return [*listeners, TraceMessages()] if self._in_messages else listeners

    async def close(self) -> None:
        """Export what waits. Do this when no listener hears of spans any more."""
        if self._exports is not None:
            await self._exports.close()


def _exporter_name(environment: Mapping[str, str]) -> str:
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return "none"
    return environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"


def _exporter() -> "SpanExporter | None":
    name = _exporter_name(os.environ)
    if name == "none":
        return None
    if name == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
