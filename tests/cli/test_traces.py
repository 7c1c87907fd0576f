"""Traces of a gateway as a process: exported over OTLP/HTTP to a receiver on loopback."""

import re
from collections.abc import Callable

import pytest

from tests.cli.conftest import Process, Serve
from tests.cli.workers import both_serve
from tests.support.figures import OPENMETRICS
from tests.support.http import Bucket, Http
from tests.support.otlp import receiver
from tests.support.ports import free_port
from tests.support.traces import PARENT, TRACE
from tests.support.waiting import until


@pytest.mark.long
def test_the_spans_of_all_workers_arrive_at_the_collector(serve: Serve, bucket: Bucket) -> None:
    with receiver() as collector:
        process, http = serve(
            *("--workers", "2"),
            JETKV_TRACES="true",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_EXPORTER_OTLP_HEADERS="x-team=kv",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_BSP_SCHEDULE_DELAY="50",
            OTEL_SERVICE_NAME="my-kv",
        )
        both_serve(process, http)
        for number in range(20):
            put = http.put(bucket.key(f"k{number}"), "v", traceparent=PARENT)
            assert put.headers["traceparent"].split("-")[1] == TRACE

        def puts() -> list[tuple[dict[str, str], str]]:
            return [
                (resource, span.span_id.hex())
                for resource, span in collector.spans
                if span.name.startswith("PUT ") and span.trace_id.hex() == TRACE
            ]

        until(lambda: len(puts()) == 20, "all spans arrived")
        assert len({span for _, span in puts()}) == 20
        assert {resource["service.name"] for resource, _ in puts()} == {"my-kv"}
        instances = {resource["service.instance.id"] for resource, _ in collector.spans}
        assert len(instances) == 2
        assert collector.headers[0]["x-team"] == "kv"
        assert collector.headers[0]["content-encoding"] == "gzip"
        shown = [exemplars_of_puts(http) for _ in range(6)]
        assert shown[0]
        assert all(one == shown[0] for one in shown), "each worker shows those of all"
        assert process.stop() == 0


def exemplars_of_puts(http: Http) -> list[tuple[str, str]]:
    """Return the bound and the trace of each."""
    body = http.get("/metrics", accept=OPENMETRICS).body.decode()
    return re.findall(r'_seconds_bucket\{method="PUT".*?le="(.*?)"\} .* # \{trace_id="(\w+)"', body)


def test_a_stop_exports_what_still_waits_and_an_unknown_sampler_is_named(
    serve: Serve, bucket: Bucket
) -> None:
    with receiver() as collector:
        process, http = serve(
            JETKV_TRACES="true",
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            OTEL_BSP_SCHEDULE_DELAY="60000",
            OTEL_TRACES_SAMPLER="jaeger_remote",
        )
        process.wait_for("WARNING jetkv.traces: OTEL_TRACES_SAMPLER=jaeger_remote: use one of")
        http.put(bucket.key("k"), "v", traceparent=PARENT)
        assert process.stop() == 0
        found = [span for _, span in collector.spans if span.trace_id.hex() == TRACE]
        assert {span.name for span in found} >= {"nats publish"}
        resource, _ = collector.spans[0]
        assert resource["service.name"] == "jetkv"


@pytest.mark.long
def test_a_collector_that_is_away_disturbs_no_request_and_no_stop(
    serve: Serve, bucket: Bucket
) -> None:
    process, http = serve(
        *("--log-format", "json"),
        JETKV_TRACES="true",
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port()}",
        OTEL_BSP_SCHEDULE_DELAY="50",
    )
    assert http.put(bucket.key("k"), "v").status == 200
    process.wait_for('"logger": "opentelemetry')
    assert http.get(bucket.key("k")).status == 200
    assert process.stop() == 0
    others = [line for line in process.output.splitlines() if not line.startswith("{")]
    assert [line for line in others if "serves http://" not in line] == []


def test_without_the_extra_a_gateway_with_traces_does_not_start(
    start: Callable[..., Process],
) -> None:
    gone = "import sys; sys.modules['opentelemetry.sdk'] = None"
    process = start("serve", "--auth", "off", "--port", "0", first=gone, JETKV_TRACES="true")
    assert process.popen.wait(30) == 4
    assert 'pip install "jetkv[gateway,otel]"' in process.output
