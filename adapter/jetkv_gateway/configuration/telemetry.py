"""The settings of logs, metrics and traces."""

from typing import Annotated

from pydantic import BaseModel, Field

from jetkv_gateway.configuration.about import About, Panel
from jetkv_gateway.telemetry.logs import LogFormat
from jetkv_gateway.telemetry.request_log import RequestLogMode

__all__ = ["TelemetrySettings"]


class TelemetrySettings(BaseModel):
    """A part of `Settings`."""

    log_level: Annotated[
        str,
        Field(pattern="(?i)^(debug|info|warning|error)$"),
        About(Panel.TELEMETRY, "debug, info, warning or error."),
    ] = "info"
    log_format: Annotated[
        LogFormat, About(Panel.TELEMETRY, "Lines for people, or JSON for machines.")
    ] = LogFormat.CONSOLE
    request_log: Annotated[
        RequestLogMode, About(Panel.TELEMETRY, "The requests that the log has a line for.")
    ] = RequestLogMode.ERRORS
    traces: Annotated[
        bool, About(Panel.TELEMETRY, "Export traces as OTEL_* variables say; needs the extra otel.")
    ] = False
    traces_in_messages: Annotated[
        bool,
        About(Panel.TELEMETRY, "Name the span of a write in its NATS message, for watch frames."),
    ] = False
