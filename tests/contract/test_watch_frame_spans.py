"""The link from a watch frame to the write that made it (docs/traces.md)."""

import asyncio
import base64

import pytest
from opentelemetry.sdk.trace import ReadableSpan

from jetkv.testing import LocalNats
from jetkv_gateway.jetstream.headers import read_headers
from tests.support.http import Answer, Bucket
from tests.support.native import Native
from tests.support.traces import PARENT, SPAN, TRACE, Spans, traceparent_of, tracing_gateway
from tests.support.watching import streaming, watching


def ids(answer: Answer) -> tuple[str, str]:
    _, trace, span, _ = traceparent_of(answer)
    return trace, span


def links(span: ReadableSpan) -> list[tuple[str, str]]:
    return [
        (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}") for link in span.links
    ]


def frames_of(spans: Spans, answer: Answer) -> list[ReadableSpan]:
    return [span for span in spans.named("watch frame") if ids(answer) in links(span)]


async def headers_of(native: Native, bucket: Bucket) -> dict[str, str]:
    """The headers of the newest message of the key `k`."""
    query = {"last_by_subj": f"$KV.{bucket.name}.k"}
    reply = await native.api(f"STREAM.MSG.GET.KV_{bucket.name}", query)
    return read_headers(base64.b64decode(reply["message"].get("hdrs", "")))


async def test_a_frame_is_linked_to_its_write_and_to_its_watch(
    nats: LocalNats, bucket: Bucket
) -> None:
    with tracing_gateway(nats.url, traces_in_messages=True) as (http, spans):
        async with watching(http, bucket.name) as watcher:
            put = await asyncio.to_thread(http.put, bucket.key("k"), "v")
            deleted = await asyncio.to_thread(http.delete, bucket.key("k"))
            await watcher.take(2)
    for write in (put, deleted):
        (frame,) = frames_of(spans, write)
        assert frame.attributes["jetkv.watch.transport"] == "websocket"
        assert f"{frame.context.trace_id:032x}" == ids(write)[0]
        (watch,) = [span for span in spans.all if span.name.endswith("{bucket}/watch")]
        assert (f"{watch.context.trace_id:032x}", f"{watch.context.span_id:016x}") in links(frame)


async def test_a_frame_of_an_event_stream_and_of_a_watch_of_several_buckets_is_linked_too(
    nats: LocalNats, bucket: Bucket
) -> None:
    with tracing_gateway(nats.url, traces_in_messages=True) as (http, spans):
        async with (
            streaming(http, bucket.name) as stream,
            watching(http, "", f"?watch={bucket.name}") as several,
        ):
            put = await asyncio.to_thread(http.put, bucket.key("k"), "v")
            await stream.next()
            await several.next()
    transports = [one.attributes["jetkv.watch.transport"] for one in frames_of(spans, put)]
    assert sorted(transports) == ["sse", "websocket"]


async def test_each_write_of_an_atomic_batch_names_its_request(
    nats: LocalNats, bucket: Bucket, version: tuple[int, int]
) -> None:
    if version < (2, 12):
        pytest.skip("nats-server has atomic batches from 2.12 on")
    with tracing_gateway(nats.url, traces_in_messages=True) as (http, spans):
        async with watching(http, bucket.name) as watcher:
            ops = [{"op": "put", "key": key, "text": "v"} for key in ("a", "b")]
            answer = await asyncio.to_thread(http.post, f"{bucket.path}/batch", {"ops": ops})
            assert answer.status == 200, answer
            await watcher.take(2)
    assert len(frames_of(spans, answer)) == 2


async def test_messages_do_not_name_the_span_unless_a_setting_says_so(
    nats: LocalNats, bucket: Bucket, native: Native
) -> None:
    with tracing_gateway(nats.url) as (http, spans):
        async with watching(http, bucket.name) as watcher:
            await asyncio.to_thread(http.put, bucket.key("k"), "v", traceparent=PARENT)
            await watcher.next()
    assert "traceparent" not in await headers_of(native, bucket)
    assert spans.named("watch frame") == []


async def test_a_caller_gets_nothing_but_the_ids_into_a_message(
    nats: LocalNats, bucket: Bucket, native: Native
) -> None:
    with tracing_gateway(nats.url, traces_in_messages=True) as (http, _):
        given = {"traceparent": f"cc-{TRACE}-{SPAN}-01-evil", "tracestate": "evil=1"}
        put = await asyncio.to_thread(http.put, bucket.key("k"), "v", **given, baggage="evil=1")
    headers = await headers_of(native, bucket)
    assert headers["traceparent"] == "-".join(("00", *ids(put), "01"))
    assert "evil" not in str(headers)


async def test_a_context_in_the_message_of_another_client_is_linked_if_it_has_the_right_form(
    nats: LocalNats, bucket: Bucket, native: Native
) -> None:
    subject = f"$KV.{bucket.name}.k"
    with tracing_gateway(nats.url) as (http, spans):
        async with watching(http, bucket.name) as watcher:
            for given in ("nonsense", f"00-{TRACE}-{SPAN}-00", PARENT):
                await native.publish(subject, b"v", traceparent=given)
            frames = await watcher.take(3)
    assert [frame["type"] for frame in frames] == ["kv_update"] * 3
    (frame,) = spans.named("watch frame")
    assert (TRACE, SPAN) in links(frame)


async def test_a_frame_is_not_recorded_if_its_write_is_not(
    nats: LocalNats, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    with tracing_gateway(nats.url, traces_in_messages=True) as (http, spans):
        async with watching(http, bucket.name) as watcher:
            await asyncio.to_thread(http.put, bucket.key("k"), "v")
            traced = await asyncio.to_thread(http.put, bucket.key("k"), "v", traceparent=PARENT)
            await watcher.take(2)
    assert len(spans.named("watch frame")) == len(frames_of(spans, traced)) == 1


async def test_a_value_of_a_snapshot_has_no_span_and_a_change_after_a_bookmark_has_one(
    nats: LocalNats, bucket: Bucket
) -> None:
    with tracing_gateway(nats.url, traces_in_messages=True) as (http, spans):
        old = await asyncio.to_thread(http.put, bucket.key("old"), "v")
        async with watching(http, bucket.name, "?snapshot=true") as watcher:
            await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
        new = await asyncio.to_thread(http.put, bucket.key("new"), "v")
        async with watching(http, bucket.name, f"?resume_after={old.json['revision']}") as watcher:
            await watcher.next()
    assert frames_of(spans, old) == []
    assert len(frames_of(spans, new)) == 1
