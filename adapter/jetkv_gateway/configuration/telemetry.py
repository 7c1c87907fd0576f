"""The settings of logs, metrics and traces."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, SecretStr

from jetkv_gateway.configuration.about import About, Panel
from jetkv_gateway.configuration.types import Words
from jetkv_gateway.http.metrics import MetricsOptions
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.kv.keys import check_bucket
from jetkv_gateway.telemetry.audit import AuditKeys
from jetkv_gateway.telemetry.logs import LogFormat
from jetkv_gateway.telemetry.request_log import RequestLogMode, RequestLogOptions

__all__ = ["TelemetrySettings"]

MOST_BUCKETS = 32
"""Buckets that may be a label. Each has up to 352 series, and 0.2 ms of each scrape."""


def _check_names(names: list[str]) -> list[str]:
    try:
        return [check_bucket(name) for name in dict.fromkeys(names)]
    except GatewayError as error:
        raise ValueError(error.message) from error


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
    request_log_rate: Annotated[
        float,
        Field(ge=0, le=1),
        About(
            Panel.TELEMETRY,
            "With --request-log sampled, the part of the requests without an error.",
        ),
    ] = 0.01
    request_log_limit: Annotated[
        float,
        Field(ge=0, le=1_000_000),
        About(
            Panel.TELEMETRY,
            "Lines a second about failed requests, 0 = no limit. Others are counted.",
        ),
    ] = 5.0
    audit_log: Annotated[
        str | None,
        About(Panel.TELEMETRY, "File of the audit log, or - for the standard output."),
    ] = None
    audit_keys: Annotated[AuditKeys, About(Panel.TELEMETRY, "How the audit log shows keys.")] = (
        AuditKeys.PLAIN
    )
    audit_hash_key: Annotated[
        SecretStr | None,
        Field(max_length=64),
        About(Panel.TELEMETRY, "secret that the audit log hashes keys with"),
    ] = None
    audit_reads: Annotated[
        bool, About(Panel.TELEMETRY, "The audit log also has requests that change nothing.")
    ] = True
    metrics: Annotated[bool, About(Panel.TELEMETRY, "Count, and answer /metrics.")] = True
    metrics_buckets: Annotated[
        Words,
        Field(max_length=MOST_BUCKETS),
        AfterValidator(_check_names),
        About(
            Panel.TELEMETRY,
            "Bucket whose requests have metrics of their own.",
            flag="--metrics-bucket",
        ),
    ] = []
    traces: Annotated[
        bool, About(Panel.TELEMETRY, "Export traces as OTEL_* variables say; needs the extra otel.")
    ] = False
    traces_in_messages: Annotated[
        bool,
        About(Panel.TELEMETRY, "Name the span of a write in its NATS message, for watch frames."),
    ] = False

    def metrics_options(self) -> MetricsOptions | None:
        """Return what is counted, or None if metrics are off."""
        if not self.metrics:
            return None
        return MetricsOptions(tuple(self.metrics_buckets), exemplars=self.traces)

    def request_log_options(self) -> RequestLogOptions:
        """Return what the log has of requests."""
        return RequestLogOptions(self.request_log, self.request_log_rate, self.request_log_limit)
