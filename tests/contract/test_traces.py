"""The spans of requests and of requests to NATS, and the context in and out (docs/traces.md)."""

import logging
import socket
import subprocess
import sys

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from jetkv.testing import LocalNats
from jetkv_gateway.telemetry.request_log import REQUEST_FIELDS
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.traces import PARENT, SPAN, TRACE, traceparent_of, tracing_gateway
from tests.support.waiting import until

KEY = "/api/v1/kv/buckets/{bucket}/keys/{key...}"


def test_a_request_has_a_server_span_and_one_below_it_for_each_request_to_nats(
    nats: LocalNats, bucket: Bucket
) -> None:
    with tracing_gateway(nats.url) as (http, spans):
        put = http.put(bucket.key("secret-key"), "v", x_request_id="mine")
        get = http.get(bucket.key("secret-key"))
        assert (put.status, get.status) == (200, 200)
    span = spans.of(put)
    assert span.name == f"PUT {KEY}"
    assert span.kind is SpanKind.SERVER
    assert span.parent is None
    assert span.attributes["http.request.method"] == "PUT"
    assert span.attributes["http.route"] == KEY
    assert span.attributes["http.response.status_code"] == 200
    assert span.attributes["jetkv.request_id"] == "mine"
    assert "secret" not in span.to_json()
    calls = spans.below(span)
    assert "nats publish" in [call.name for call in calls]
    assert {call.kind for call in calls} == {SpanKind.CLIENT}
    for call in calls:
        assert span.start_time <= call.start_time <= call.end_time <= span.end_time
    assert [call.name for call in spans.below(spans.of(get))]


def test_the_context_of_a_caller_goes_on_in_the_span_and_in_the_answer(
    nats: LocalNats, bucket: Bucket
) -> None:
    with tracing_gateway(nats.url) as (http, spans):
        answer = http.get(bucket.key("none"), traceparent=PARENT, tracestate="a=1,b=2")
    version, trace, span_id, flags = traceparent_of(answer)
    assert (version, trace, flags) == ("00", TRACE, "01")
    assert span_id != SPAN
    span = spans.of(answer)
    assert f"{span.parent.span_id:016x}" == SPAN
    assert span.parent.is_remote
    assert span.context.trace_state.to_header() == "a=1,b=2"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nonsense",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"{PARENT}-more",
        f"{PARENT}, {PARENT}",
    ],
)
def test_a_context_with_another_form_begins_a_new_trace(
    nats: LocalNats, bucket: Bucket, given: str
) -> None:
    with tracing_gateway(nats.url) as (http, spans):
        answer = http.get(bucket.key("none"), traceparent=given)
    assert traceparent_of(answer)[1] != TRACE
    assert spans.of(answer).parent is None


def test_a_context_of_a_later_version_is_read_as_far_as_it_is_known(
    nats: LocalNats, bucket: Bucket
) -> None:
    with tracing_gateway(nats.url) as (http, _):
        answer = http.get(bucket.key("none"), traceparent=f"cc-{TRACE}-{SPAN}-01-more")
    assert traceparent_of(answer)[:2] == ["00", TRACE]


def test_a_caller_that_does_not_record_is_followed(nats: LocalNats, bucket: Bucket) -> None:
    with tracing_gateway(nats.url) as (http, spans):
        answer = http.get(bucket.key("none"), traceparent=f"00-{TRACE}-{SPAN}-00")
    assert traceparent_of(answer)[1::2] == [TRACE, "00"]
    assert f"{TRACE}" not in [f"{span.context.trace_id:032x}" for span in spans.all]


def test_a_ratio_of_the_traces_is_recorded_and_those_of_callers_as_they_say(
    nats: LocalNats, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    with tracing_gateway(nats.url) as (http, spans):
        own = http.get(bucket.key("none"))
        theirs = http.get(bucket.key("none"), traceparent=PARENT)
    assert traceparent_of(own)[3] == "00"
    assert traceparent_of(theirs)[3] == "01"
    assert {f"{span.context.trace_id:032x}" for span in spans.all} == {TRACE}


def test_an_error_is_an_error_of_the_span_with_its_reason(own_nats: LocalNats) -> None:
    own_nats.start()
    with tracing_gateway(own_nats.url, buckets="b") as (http, spans):
        absent = http.get(f"{BUCKETS}/b/keys/none")
        own_nats.stop()
        until(lambda: http.get("/ready").status == 503, "NATS is away")
        failed = http.get(f"{BUCKETS}/b/keys/k")
    assert (absent.status, failed.status) == (404, 503)
    assert spans.of(absent).status.status_code is StatusCode.UNSET
    status = spans.of(failed).status
    assert status.status_code is StatusCode.ERROR
    assert status.description == failed.error
    assert spans.of(failed).attributes["error.type"] == "503"


def test_a_request_to_nats_that_fails_is_an_error_of_its_own_span(own_nats: LocalNats) -> None:
    own_nats.start()
    with tracing_gateway(own_nats.url, buckets="b", request_timeout=0.3) as (http, spans):
        assert http.put(f"{BUCKETS}/b/keys/k", "v").status == 200
        own_nats.pause()
        answer = http.put(f"{BUCKETS}/b/keys/k", "v")
        own_nats.resume()
    assert answer.status == 504
    span = spans.of(answer)
    assert span.attributes["jetkv.outcome"] == "unknown"
    (call,) = [one for one in spans.below(span) if one.name == "nats publish"]
    assert call.status.status_code is StatusCode.ERROR
    assert call.attributes["error.type"] == "timeout"


def test_a_conflict_and_retries_are_in_the_span(nats: LocalNats, bucket: Bucket) -> None:
    with tracing_gateway(nats.url) as (http, spans):
        http.put(bucket.key("k"), "v")
        answer = http.put(bucket.key("k"), "v", If_None_Match="*")
    assert answer.status == 412
    assert spans.of(answer).attributes["jetkv.conflict"] == "key_exists"


def test_a_method_that_no_route_has_is_no_name_of_a_span(nats: LocalNats, bucket: Bucket) -> None:
    with tracing_gateway(nats.url) as (http, spans):
        answer = http.request("PROPFIND", bucket.key("k"))
    assert answer.status == 405
    assert spans.of(answer).name == f"HTTP {KEY}"
    assert spans.of(answer).attributes["http.request.method"] == "_OTHER"


def test_a_request_that_is_refused_before_it_is_complete_has_a_span(
    nats: LocalNats, bucket: Bucket
) -> None:
    with (
        tracing_gateway(nats.url) as (http, spans),
        socket.create_connection((http.host, http.port), 20) as client,
    ):
        head = f"PUT {bucket.key('k')} HTTP/1.1\r\nhost: localhost\r\ntraceparent: {PARENT}\r\n"
        client.sendall(f"{head}transfer-encoding: chunked\r\n\r\nnonsense\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")
    (span,) = [one for one in spans.all if f"{one.context.trace_id:032x}" == TRACE]
    assert span.attributes["http.response.status_code"] == 400


def test_a_gateway_that_does_not_trace_answers_with_the_context_of_the_caller(http: Http) -> None:
    assert http.get("/health", traceparent=PARENT).headers["traceparent"] == PARENT
    assert "traceparent" not in http.get("/health", traceparent="nonsense").headers
    assert "traceparent" not in http.get("/health").headers


def test_nothing_of_opentelemetry_is_imported_while_traces_are_off() -> None:
    code = (
        "import sys, jetkv_gateway.commands, jetkv_gateway.app as app\n"
        "from jetkv_gateway.settings import load\n"
        "import asyncio\n"
        "async def main(): app.gateway(load({'auth': 'off'}, None))\n"
        "asyncio.run(main())\n"
        "assert not [name for name in sys.modules if 'opentelemetry' in name]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_line_of_a_request_in_the_log_names_its_trace(
    nats: LocalNats, bucket: Bucket, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger("jetkv")
    with tracing_gateway(nats.url, request_log="all", log_level="info") as (http, _):
        logger.addHandler(caplog.handler)
        answer = http.get(bucket.key("k"), x_request_id="mine")
        logger.removeHandler(caplog.handler)
    fields = [getattr(record, REQUEST_FIELDS, {}) for record in caplog.records]
    (found,) = [one for one in fields if one.get("request_id") == "mine"]
    assert found["trace_id"] == traceparent_of(answer)[1]
