"""Both clients' watches through trouble: nothing is missed, and what cannot go on says so."""

import asyncio
import threading
import time

import pytest

from jetkv import (
    BucketNotFoundError,
    Client,
    ClientClosedError,
    InvalidArgumentError,
    Retry,
    UnavailableError,
    UnexpectedAnswerError,
    WatchLostError,
)
from tests.sdk.calls import INFO
from tests.support.clients import BOTH
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket
from tests.support.scripted import http as answer
from tests.support.scripted import scripted
from tests.support.waiting import eventually, soon, until


@pytest.fixture
def flags(gateway, http, bucket) -> Bucket:
    """A bucket of the shared NATS; written through the shared gateway, which stays."""
    return bucket


async def take(watch, count: int) -> list[tuple[str, int]]:
    """The next updates as (key, revision)."""
    async with asyncio.timeout(20):
        found = [await anext(watch) for _ in range(count)]
    return [(update.key, update.revision) for update in found]


async def test_a_watch_goes_on_where_it_was_after_a_restart_of_the_gateway(
    make, gateway, flags
) -> None:
    async with make(gateway.http.url) as client, client.kv().bucket(flags.name).watch() as watch:
        flags.put("a", "1")
        assert await take(watch, 1) == [("a", 1)]
        await asyncio.to_thread(gateway.stop)
        flags.put("b", "2")
        await asyncio.to_thread(gateway.start)
        flags.put("c", "3")
        assert await take(watch, 2) == [("b", 2), ("c", 3)]


async def test_a_watch_that_has_seen_nothing_yet_misses_nothing_either(
    make, gateway, flags
) -> None:
    async with make(gateway.http.url) as client, client.kv().bucket(flags.name).watch() as watch:
        await asyncio.to_thread(gateway.stop)
        flags.put("a", "1")
        await asyncio.to_thread(gateway.start)
        assert await take(watch, 1) == [("a", 1)]


async def test_a_watch_goes_on_after_nats_was_killed(make, own_nats) -> None:
    own_nats.start()
    with running_gateway(own_nats.url) as http:
        assert http.post(BUCKETS, {"name": "flags"}).status == 201
        async with make(http.url) as client:
            bucket = client.kv().bucket("flags")
            async with bucket.watch() as watch:
                await bucket.put("a", 1)
                assert await take(watch, 1) == [("a", 1)]
                await asyncio.to_thread(own_nats.kill)
                await asyncio.to_thread(own_nats.start)
                await eventually(lambda: asyncio.to_thread(put_works, http), "NATS is back")
                assert (await take(watch, 1))[0][0] == "b"


def put_works(http) -> bool:
    return Bucket(http, "flags").put("b", "2").status == 200


async def test_a_deleted_bucket_ends_the_watch_with_a_word(make, http, bucket) -> None:
    async with make(http.url) as client, client.kv().bucket(bucket.name).watch() as watch:
        bucket.put("a", "1")
        assert await take(watch, 1) == [("a", 1)]
        http.delete(bucket.path)
        with pytest.raises(WatchLostError) as caught:
            await take(watch, 1)
    assert (caught.value.reason, caught.value.last_revision) == ("bucket_deleted", 1)


async def test_a_bucket_that_was_created_again_unseen_is_an_error(
    make, gateway, http, bucket
) -> None:
    async with make(gateway.http.url) as client, client.kv().bucket(bucket.name).watch() as watch:
        bucket.put("a", "1")
        assert await take(watch, 1) == [("a", 1)]
        await asyncio.to_thread(gateway.stop)
        http.delete(bucket.path)
        http.post(BUCKETS, {"name": bucket.name})
        for value in "123":
            bucket.put("a", value)
        await asyncio.to_thread(gateway.start)
        with pytest.raises(WatchLostError) as caught:
            await take(watch, 1)
    assert caught.value.reason in ("resync", "bucket_deleted")


async def test_a_watch_that_was_lost_is_over(make, http, bucket) -> None:
    async with make(http.url) as client, client.kv().bucket(bucket.name).watch() as watch:
        http.delete(bucket.path)
        with pytest.raises(WatchLostError):
            await take(watch, 1)
        assert [update async for update in watch] == []


async def test_a_snapshot_that_breaks_off_goes_on_and_is_complete(
    make, gateway, make_bucket
) -> None:
    bucket = make_bucket()
    keys = [f"k{number:03}" for number in range(300)]
    for key in keys:
        bucket.put(key, f'"{"x" * 4000}"')
    async with (
        make(gateway.http.url) as client,
        client.kv().bucket(bucket.name).watch(snapshot=True) as watch,
    ):
        seen = await take(watch, 1)
        await asyncio.to_thread(gateway.stop)
        await asyncio.to_thread(gateway.start)
        seen += await take(watch, len(keys) - 1)
        for number in range(10):
            # What is written before the snapshot has caught up is a part of it.
            bucket.put(f"later{number}", "1")
            assert (await take(watch, 1))[0][0] == f"later{number}"
            if watch.synced:
                break
        assert watch.synced
    assert [key for key, _ in seen] == keys


async def test_a_reader_that_is_dropped_for_being_slow_loses_no_key(
    make, nats, make_bucket
) -> None:
    bucket = make_bucket(history=1)
    with running_gateway(nats.url, watch_queue=16, watch_queue_bytes=64 * 1024) as http:
        async with make(http.url) as client, client.kv().bucket(bucket.name).watch() as watch:
            big = f'"{"x" * 30_000}"'
            for number in range(600):
                bucket.put(f"k{number:03}", big)
            seen = await take(watch, 600)
    assert [key for key, _ in seen] == [f"k{number:03}" for number in range(600)]


async def test_leaving_the_loop_closes_the_connection(make, http, bucket, native) -> None:
    async with make(http.url) as client:
        bucket.put("a", "1")
        async for update in client.kv().bucket(bucket.name).watch(snapshot=True):
            assert update.key == "a"
            assert (await native.state(bucket.name))["consumer_count"] > 0
            break
        await eventually(lambda: no_consumers(native, bucket.name), "the consumer is gone")


async def no_consumers(native, name: str) -> bool:
    return (await native.state(name))["consumer_count"] == 0


async def test_a_closed_watch_ends_its_loop(make, http, bucket) -> None:
    async with make(http.url) as client, client.kv().bucket(bucket.name).watch() as watch:

        async def read() -> list:
            return [update async for update in watch]

        reading = asyncio.create_task(read())
        await asyncio.sleep(0)
        await watch.aclose()
        async with asyncio.timeout(5):
            assert await reading == []


async def test_a_closed_client_ends_its_watches_with_a_word(make, http, bucket) -> None:
    client = make(http.url)
    watch = client.kv().bucket(bucket.name).watch()
    async with watch:
        reading = asyncio.create_task(anext(watch))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            async with asyncio.timeout(5):
                await reading


async def test_a_watch_of_no_bucket_is_refused_at_its_first_step(make, http) -> None:
    async with make(http.url) as client:
        with pytest.raises(BucketNotFoundError):
            await anext(client.kv().bucket("nowhere").watch())


async def test_a_watch_of_a_bad_filter_is_refused_at_its_first_step(make, http, bucket) -> None:
    async with make(http.url) as client:
        with pytest.raises(InvalidArgumentError, match="filter"):
            await anext(client.kv().bucket(bucket.name).watch("a.>.b"))


async def test_a_watch_that_cannot_begin_does_not_wait_for_ever(make, port) -> None:
    async with make(f"http://127.0.0.1:{port}", retry=Retry(first_delay=0.001)) as client:
        with pytest.raises(UnavailableError):
            await anext(client.kv().bucket("flags").watch())


async def test_an_impatient_step_leaves_the_watch_as_it_is(http, bucket) -> None:
    client = BOTH["async"](http.url)
    async with client, client.kv().bucket(bucket.name).watch() as watch:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(watch), 0.05)
        bucket.put("a", "1")
        assert await take(watch, 1) == [("a", 1)]


def test_another_thread_can_end_a_loop_that_waits(http, bucket) -> None:
    seen = []
    with Client(http.url) as client:
        watch = client.kv().bucket(bucket.name).watch()
        loop = threading.Thread(target=lambda: seen.extend(watch))
        with watch:
            loop.start()
            bucket.put("a", "1")
            until(lambda: seen, "the update is there")
            watch.close()
            loop.join(5)
            assert not loop.is_alive()


def test_another_thread_can_end_a_loop_that_waits_for_its_gateway(gateway, flags) -> None:
    with Client(gateway.http.url) as client:
        watch = client.kv().bucket(flags.name).watch()
        loop = threading.Thread(target=lambda: list(watch))
        with watch:
            loop.start()
            gateway.stop()
            until(lambda: watch._reader._attempts > 1, "it has tried to come back")
            began = time.monotonic()
            watch.close()
            loop.join(5)
            assert not loop.is_alive(), time.monotonic() - began


@pytest.mark.parametrize("count", [0, 1, 3, 300])
async def test_a_snapshot_ends_by_itself_and_changes_follow_it(
    make, http, bucket, count: int
) -> None:
    keys = [f"k{number:03}" for number in range(count)]
    for key in keys:
        bucket.put(key, "1")
    async with (
        make(http.url) as client,
        client.kv().bucket(bucket.name).watch(snapshot=True) as watch,
    ):
        async with asyncio.timeout(20):
            assert [update.key for update in await watch.snapshot()] == keys
        assert watch.synced
        bucket.put("live", "1")
        assert (await take(watch, 1))[0][0] == "live"


async def test_a_snapshot_is_had_once(make, http, bucket) -> None:
    async with (
        make(http.url) as client,
        client.kv().bucket(bucket.name).watch(snapshot=True) as watch,
    ):
        async with asyncio.timeout(20):
            assert await watch.snapshot() == []
            with pytest.raises(InvalidArgumentError):
                await watch.snapshot()


async def test_a_watch_without_a_snapshot_cannot_be_asked_for_one(make, http, bucket) -> None:
    async with make(http.url) as client, client.kv().bucket(bucket.name).watch() as watch:
        with pytest.raises(InvalidArgumentError, match="snapshot=True"):
            await watch.snapshot()


async def test_a_place_in_a_bucket_that_was_created_again_does_not_exist_in_the_new_one(
    make, http, bucket
) -> None:
    for value in "12":
        bucket.put("a", value)
    async with make(http.url) as client:
        opened = client.kv().bucket(bucket.name)
        async with opened.watch(resume_after=0) as first:
            await take(first, 1)
        http.delete(bucket.path)
        http.post(BUCKETS, {"name": bucket.name})
        for value in "12345":
            bucket.put("a", value)
        second = opened.watch(
            resume_after=first.last_revision, bucket_created_at=first.bucket_created_at
        )
        with pytest.raises(WatchLostError) as caught:
            await take(second, 1)
    assert caught.value.reason in ("resync", "bucket_deleted")


async def test_a_place_in_the_same_bucket_is_resumed(make, http, bucket) -> None:
    for key in "ab":
        bucket.put(key, "1")
    async with make(http.url) as client:
        opened = client.kv().bucket(bucket.name)
        async with opened.watch(resume_after=0) as first:
            await take(first, 1)
        async with opened.watch(
            resume_after=first.last_revision, bucket_created_at=first.bucket_created_at
        ) as second:
            assert await take(second, 1) == [("b", 2)]


STORMS = {
    "closes": b"id: 7\n\n",
    "says that it is not available": (
        b'id: 7\n\ndata: {"type":"error","code":"unavailable","message":"no NATS"}\n\n'
    ),
}


@pytest.mark.parametrize("events", STORMS.values(), ids=STORMS)
async def test_connections_that_end_right_after_their_bookmark_make_no_storm(
    make, events: bytes
) -> None:
    with scripted(INFO, *[answer(200, events, kind="text/event-stream")] * 5000) as server:
        async with make(server.url) as client:
            watch = client.kv().bucket("b").watch(snapshot=True)
            reading = asyncio.create_task(anext(watch, None))
            await asyncio.sleep(0.4)
            assert len(server.asked) < 20
            await watch.aclose()
            async with asyncio.timeout(5):
                await reading


async def test_a_frame_that_cannot_be_read_ends_the_watch(make) -> None:
    strange = b'id: 7\n\nid: 8\ndata: {"type":"kv_update","operation":"restore","key":"k"}\n\n'
    steps = [answer(200, strange, kind="text/event-stream")] * 100
    with scripted(INFO, *steps) as server:
        async with make(server.url) as client:
            with pytest.raises(UnexpectedAnswerError, match="after revision 7"):
                await take(client.kv().bucket("b").watch(snapshot=True), 1)
    assert len(server.asked) == 2


async def test_a_second_reader_is_refused_and_the_first_goes_on(make, http, bucket) -> None:
    async with make(http.url) as client, client.kv().bucket(bucket.name).watch() as watch:
        first = asyncio.create_task(take(watch, 1))
        inner = getattr(watch, "_target", watch)
        await soon(lambda: inner._reading, "the first one reads")
        with pytest.raises(InvalidArgumentError, match="only one thread or task"):
            await take(watch, 1)
        bucket.put("a", "1")
        assert await first == [("a", 1)]
