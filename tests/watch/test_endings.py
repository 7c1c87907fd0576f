"""Watches that cannot go on: each ends with a word, and none before it has to."""

import asyncio
import threading

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import Native, native_client
from tests.support.waiting import eventually, until
from tests.support.watching import state_of, streaming, updates, watching


@pytest.fixture
async def native(nats: NatsServer):
    async with native_client(nats.url) as client:
        yield client


@pytest.fixture
async def forgetful(http: Http, native: Native, bucket_name: str) -> Bucket:
    """A bucket made elsewhere that drops its oldest keys: of k1 to k100 it holds k51 to k100."""
    await native.make_bucket(bucket_name, max_msgs=50, discard="old")
    for number in range(1, 101):
        await native.publish(f"$KV.{bucket_name}.k{number}", b"v")
    return Bucket(http, bucket_name)


async def test_a_resume_beyond_what_a_forgetting_bucket_holds_is_a_resync(
    forgetful: Bucket,
) -> None:
    async with watching(forgetful.http, forgetful.name, "?resume_after=20") as watcher:
        frames, code = await watcher.closed()
    assert [frame["type"] for frame in frames] == ["error"]
    assert (frames[0]["code"], code) == ("resync", 4409)


async def test_an_event_stream_that_cannot_be_resumed_is_told_so_and_loses_its_id(
    forgetful: Bucket,
) -> None:
    async with streaming(forgetful.http, forgetful.name, Last_Event_ID="20") as stream:
        event = await stream.next()
        assert event is not None
        assert (event.frame["code"], stream.last_id) == ("resync", "")
        assert await stream.next() is None
        assert stream.ended


async def test_a_resume_within_what_a_forgetting_bucket_holds_loses_nothing(
    forgetful: Bucket,
) -> None:
    async with watching(forgetful.http, forgetful.name, "?resume_after=50") as watcher:
        frames = await watcher.take(50)
    assert updates(frames) == [(f"k{number}", "put", number) for number in range(51, 101)]


async def test_after_a_resync_a_snapshot_is_the_truth_again(forgetful: Bucket) -> None:
    async with watching(forgetful.http, forgetful.name, "?snapshot=true") as watcher:
        frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
    assert sorted(state_of(frames)) == sorted(await asyncio.to_thread(forgetful.keys))


async def test_a_resume_after_keys_expired_without_a_trace_is_a_resync(
    make_bucket, native: Native
) -> None:
    bucket = await asyncio.to_thread(make_bucket, ttl_seconds=1, expiry_markers=False)
    for key in ("a", "b", "c"):
        await native.publish(f"$KV.{bucket.name}.{key}", b"v")

    async def expired() -> bool:
        return (await native.state(bucket.name))["messages"] == 0

    await eventually(expired, "all keys have expired", 20)
    async with watching(bucket.http, bucket.name, "?resume_after=1") as watcher:
        frames, code = await watcher.closed()
    assert ([frame["code"] for frame in frames], code) == (["resync"], 4409)


async def test_a_revision_of_the_future_is_a_resync(bucket: Bucket) -> None:
    await asyncio.to_thread(bucket.put, "k", "v")
    async with watching(bucket.http, bucket.name, "?resume_after=2") as watcher:
        frames, code = await watcher.closed()
    assert ([frame["code"] for frame in frames], code) == (["resync"], 4409)


async def test_a_bucket_deleted_in_the_midst_of_writes_ends_its_watch_without_a_hole(
    make_bucket,
) -> None:
    bucket = await asyncio.to_thread(make_bucket, history=64)
    acked: list[int] = []

    def write_until_it_is_gone() -> None:
        while (answer := bucket.put(f"k{len(acked) % 50}", "v")).status == 200:
            acked.append(answer.json["revision"])
        # Of the write that was in flight nobody can tell.
        assert answer.status in (404, 504), answer

    writer = threading.Thread(target=write_until_it_is_gone)
    async with watching(bucket.http, bucket.name) as watcher:
        writer.start()
        await asyncio.to_thread(until, lambda: len(acked) >= 50, "writes flow")
        deleted = await asyncio.to_thread(bucket.http.delete, bucket.path)
        assert deleted.status == 204
        frames, code = await watcher.closed()
    await asyncio.to_thread(writer.join, 20)
    assert ([frame["code"] for frame in frames if frame["type"] == "error"], code) == (
        ["bucket_deleted"],
        4410,
    )
    revisions = [revision for _, _, revision in updates(frames)]
    assert revisions == list(range(1, len(revisions) + 1))
    assert len(revisions) <= len(acked) + 1


@pytest.mark.parametrize("history", [1, 2])
async def test_a_snapshot_larger_than_what_is_fetched_at_once_lacks_no_key(
    make_bucket, native: Native, history: int
) -> None:
    bucket = await asyncio.to_thread(make_bucket, history=history)
    keys = [f"k{number}" for number in range(80)]
    for key in keys:
        await native.publish(f"$KV.{bucket.name}.{key}", b"v" * 64 * 1024)
    async with watching(bucket.http, bucket.name, "?snapshot=true") as watcher:
        frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
    known = state_of(frames)
    assert [key for key in keys if key not in known] == []


async def test_a_reader_that_keeps_up_is_not_called_slow_in_a_burst(
    nats: NatsServer, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name)
    with running_gateway(nats.url, watch_queue=16) as http:
        async with watching(http, bucket_name) as watcher:
            await asyncio.gather(
                *(native.publish(f"$KV.{bucket_name}.k{number}", b"v") for number in range(200))
            )
            frames = await watcher.until(
                lambda frame: frame["type"] == "error" or frame["revision"] == 200, 20
            )
    assert frames[-1]["type"] == "kv_update", frames[-1]
    assert len(frames) == 200


async def test_a_handshake_that_is_waiting_when_the_gateway_stops_is_unavailable(
    own_nats: NatsServer,
) -> None:
    """It is for the client to come again, as with any other request."""
    own_nats.start()
    with running_gateway(own_nats.url, request_timeout=20) as http:
        await asyncio.to_thread(http.post, BUCKETS, {"name": "b"})
        own_nats.pause()
        reader, writer = await asyncio.open_connection(http.host, http.port)
        writer.write(
            f"GET {BUCKETS}/b/watch HTTP/1.1\r\nHost: {http.host}:{http.port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        await writer.drain()
        # A later request that is answered shows that the handshake was taken in.
        health = await asyncio.to_thread(http.get, "/health")
        assert health.status == 200
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == b"503", answer
    assert b'"code":"unavailable"' in body
