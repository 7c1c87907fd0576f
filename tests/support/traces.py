"""A gateway whose spans are collected in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.gateway import running_gateway
from tests.support.http import Answer, Http

__all__ = ["PARENT", "SPAN", "TRACE", "Spans", "traceparent_of", "tracing_gateway"]

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@dataclass(frozen=True)
class Spans:
    """The spans of a gateway. They are complete when the gateway has stopped."""

    exporter: InMemorySpanExporter

    @property
    def all(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def of(self, answer: Answer) -> ReadableSpan:
        """Return the span of the request with this answer."""
        _, trace, span, _ = traceparent_of(answer)
        (found,) = [
            one
            for one in self.all
            if f"{one.context.trace_id:032x} {one.context.span_id:016x}" == f"{trace} {span}"
        ]
        return found

    def below(self, span: ReadableSpan) -> list[ReadableSpan]:
        """Return the spans whose parent is this one."""
        return [
            one
            for one in self.all
            if one.parent is not None
            and (one.parent.trace_id, one.parent.span_id)
            == (span.context.trace_id, span.context.span_id)
        ]


def traceparent_of(answer: Answer) -> list[str]:
    """Return the four parts of the header."""
    return answer.headers["traceparent"].split("-")


@contextmanager
def tracing_gateway(nats_url: str, **settings: object) -> Iterator[tuple[Http, Spans]]:
    exporter = InMemorySpanExporter()
    with running_gateway(nats_url, traces=True, exporter=exporter, **settings) as http:
        yield http, Spans(exporter)
