"""Both clients' watches that began with a snapshot, where a resume cannot show all that happened.

The bucket is one that nats-py makes: it has no markers, so values expire without a trace.
"""

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jetkv import Client, WatchLostError
from jetkv._core.session import WatchSession
from jetkv.recipes import Flags
from tests.sdk.calls import INFO
from tests.sdk.test_watch_place import SNAPSHOT_END, updates
from tests.support.http import BUCKETS
from tests.support.scripted import http as answer
from tests.support.scripted import scripted
from tests.support.waiting import eventually, soon

SECONDS = 20


class Life:
    """A watched bucket, and its gateway, which can be cut off from its watchers."""

    def __init__(self, gateway: Any, native: Any, name: str, kv: Any) -> None:
        self.gateway = gateway
        self.native = native
        self.name = name
        self.kv = kv

    async def expires(self, *keys: str) -> None:
        """Write values with a TTL of their own, over what is there, and wait until it is over."""
        if self.native.version < (2, 11):
            pytest.skip("nats-server 2.10 has no TTL for a single message")
        for key in keys:
            await self.native.publish(f"$KV.{self.name}.{key}", b"2", Nats_TTL="1s")
        for key in keys:
            await eventually(lambda key=key: self.is_gone(key), f"{key} has expired")

    async def is_gone(self, key: str) -> bool:
        return await self.native.last(self.name, key) is None

    async def put(self, key: str, value: bytes) -> None:
        """Write a value twice, which stays whatever the bucket's TTL is: the first is forgotten."""
        for one in (b"0", value):
            await self.native.publish(f"$KV.{self.name}.{key}", one, Nats_TTL="never")

    @asynccontextmanager
    async def unseen(self) -> AsyncIterator[None]:
        """What happens in the block happens while the link is cut."""
        await asyncio.to_thread(self.gateway.stop)
        yield
        await asyncio.to_thread(self.gateway.start)


@pytest.fixture
async def life(gateway, native, bucket_name) -> Life:
    kv = await native.make_kv(bucket_name)
    return Life(gateway, native, bucket_name, kv)


@pytest.fixture
async def brief(gateway, native, bucket_name) -> Life:
    """A bucket whose values expire after a second."""
    kv = await native.make_kv(bucket_name, ttl=1)
    return Life(gateway, native, bucket_name, kv)


async def take(watch, count: int) -> list[tuple[Any, ...]]:
    """The next updates as (key, revision, operation, reason)."""
    async with asyncio.timeout(SECONDS):
        found = [await anext(watch) for _ in range(count)]
    return [(one.key, one.revision, one.operation, one.reason) for one in found]


async def test_what_expired_unseen_is_reported_as_gone_and_what_changed_as_it_is(
    make, life: Life
) -> None:
    for key in ("a", "b", "c", "d"):
        await life.kv.put(key, b"1")
    async with (
        make(life.gateway.http.url) as client,
        client.kv().bucket(life.name).watch(snapshot=True) as watch,
    ):
        assert [one.key for one in await watch.snapshot()] == ["a", "b", "c", "d"]
        async with life.unseen():
            await life.kv.put("b", b"2")
            await life.kv.put("new", b"1")
            await life.expires("a", "c")
        assert await take(watch, 4) == [
            ("b", 5, "put", None),
            ("new", 6, "put", None),
            ("a", 8, "delete", "vanished"),
            ("c", 8, "delete", "vanished"),
        ]
        assert (watch.synced, watch.last_revision) == (True, 8)
        await life.kv.put("d", b"3")
        assert await take(watch, 1) == [("d", 9, "put", None)]


async def all_gone(life: Life) -> None:
    async def empty() -> bool:
        return (await life.native.state(life.name))["messages"] == 0

    await eventually(empty, "all values have expired")


async def test_a_typed_watch_of_some_keys_resyncs_and_deletes_have_no_value(make, brief) -> None:
    for key in ("a.1", "b.1", "other.1"):
        await brief.kv.put(key, b"1")
    async with (
        make(brief.gateway.http.url) as client,
        client.kv().bucket(brief.name, int).watch("a.*", "b.*", snapshot=True) as watch,
    ):
        assert [one.key for one in await watch.snapshot()] == ["a.1", "b.1"]
        async with brief.unseen():
            await all_gone(brief)
            await brief.put("b.1", b"22")
        async with asyncio.timeout(SECONDS):
            found = [await anext(watch) for _ in range(2)]
    assert [(one.key, one.operation, one.value) for one in found] == [
        ("b.1", "put", 22),
        ("a.1", "delete", None),
    ]


async def test_a_watch_without_deletes_resyncs_without_them(make, brief) -> None:
    await brief.kv.put("a", b"1")
    async with (
        make(brief.gateway.http.url) as client,
        client.kv().bucket(brief.name).watch(snapshot=True, ignore_deletes=True) as watch,
    ):
        assert [one.key for one in await watch.snapshot()] == ["a"]
        async with brief.unseen():
            await all_gone(brief)
            await brief.put("b", b"2")
        assert await take(watch, 1) == [("b", 3, "put", None)]
        await brief.kv.put("c", b"1")
        assert await take(watch, 1) == [("c", 4, "put", None)]


async def test_a_reader_that_stops_while_its_watch_resyncs_gets_the_rest_on_resume(
    make, brief
) -> None:
    await brief.kv.put("a", b"1")
    await brief.kv.put("b", b"1")
    async with make(brief.gateway.http.url) as client:
        bucket = client.kv().bucket(brief.name)
        async with bucket.watch(snapshot=True) as watch:
            await watch.snapshot()
            async with brief.unseen():
                await all_gone(brief)
                await brief.put("c", b"2")
            assert await take(watch, 1) == [("c", 4, "put", None)]
        assert watch.last_revision == 2
        with pytest.raises(WatchLostError) as caught:
            await take(bucket.watch(resume_after=watch.last_revision), 2)
    assert caught.value.reason == "resync"


@pytest.mark.parametrize("begins", [{}, {"resume_after": 0}])
async def test_a_watch_without_a_snapshot_is_lost_and_says_what_to_do(
    make, brief, begins: dict
) -> None:
    async with (
        make(brief.gateway.http.url) as client,
        client.kv().bucket(brief.name).watch(**begins) as watch,
    ):
        await brief.kv.put("a", b"1")
        assert await take(watch, 1) == [("a", 1, "put", None)]
        async with brief.unseen():
            await all_gone(brief)
            await brief.put("b", b"2")
        with pytest.raises(WatchLostError, match="snapshot=True") as caught:
            await take(watch, 1)
    assert (caught.value.reason, caught.value.last_revision) == ("resync", 1)


async def test_another_bucket_of_the_name_is_not_resynced(make, gateway, http, bucket) -> None:
    bucket.put("a", "1")
    async with (
        make(gateway.http.url) as client,
        client.kv().bucket(bucket.name).watch(snapshot=True) as watch,
    ):
        await watch.snapshot()
        await asyncio.to_thread(gateway.stop)
        http.delete(bucket.path)
        http.post(BUCKETS, {"name": bucket.name})
        bucket.put("a", "2")
        await asyncio.to_thread(gateway.start)
        with pytest.raises(WatchLostError) as caught:
            await take(watch, 1)
    assert (caught.value.reason, caught.value.last_revision) == ("bucket_deleted", 1)


async def test_a_flag_that_vanished_unseen_is_its_default_again(brief) -> None:
    await brief.kv.put("f", b"true")
    with Client(brief.gateway.http.url) as client:
        changes: list[tuple[str, Any]] = []
        flags = Flags(
            client.kv().bucket(brief.name),
            on_change=lambda name, value: changes.append((name, value)),
        )
        await asyncio.to_thread(flags.start, 10)
        try:
            assert flags.enabled("f")
            async with brief.unseen():
                await all_gone(brief)
                await brief.put("g", b"true")
            await soon(lambda: len(changes) == 2, "both changes are there")
        finally:
            await asyncio.to_thread(flags.close)
    assert changes == [("g", True), ("f", None)]


# What a gateway does only where something is wrong.

RESYNC = b'id:\ndata: {"type":"error","message":"resync: gone","code":"resync"}\n\n'


def stream(*events: str | bytes) -> bytes:
    text = b"".join(one.encode() if isinstance(one, str) else one for one in events)
    return answer(200, text, kind="text/event-stream")


async def test_a_second_resync_within_the_first_starts_again(make) -> None:
    steps = [
        INFO,
        stream(updates(1, 2), SNAPSHOT_END, RESYNC),
        INFO,
        stream(updates(4), RESYNC),
        INFO,
        stream(updates(2, 4, 5), SNAPSHOT_END.replace("3", "6")),
    ]
    with scripted(*steps) as server:
        async with (
            make(server.url) as client,
            client.kv().bucket("b").watch(snapshot=True) as watch,
        ):
            assert [one.key for one in await watch.snapshot()] == ["k1", "k2"]
            told = []
            for _ in range(3):
                (one,) = await take(watch, 1)
                told.append((*one, watch.synced, watch.last_revision))
    assert told == [
        ("k4", 4, "put", None, False, 3),
        ("k5", 5, "put", None, False, 3),
        ("k1", 6, "delete", "vanished", True, 6),
    ]
    asked = [one for one in server.asked if "watch" in one.target]
    assert ["last-event-id" in one.headers for one in asked[:3]] == [False] * 3
    assert all("snapshot=true" in one.target for one in asked)


async def test_a_bucket_that_was_set_back_is_reported_again_where_deletes_are_not_wanted(
    make,
) -> None:
    end = SNAPSHOT_END.replace("3", "9")
    steps = [
        INFO,
        stream(updates(1, 9), end, RESYNC),
        *[INFO, stream(updates(1, 2), SNAPSHOT_END)] * 2,
    ]
    with scripted(*steps) as server:
        async with (
            make(server.url) as client,
            client.kv().bucket("b").watch(snapshot=True, ignore_deletes=True) as watch,
        ):
            assert [one.key for one in await watch.snapshot()] == ["k1", "k9"]
            assert await take(watch, 2) == [("k1", 1, "put", None), ("k2", 2, "put", None)]
            assert (watch.synced, watch.last_revision) == (True, 3)


def test_a_watch_without_deletes_remembers_no_keys() -> None:
    session: WatchSession[Any] = WatchSession(
        "b", (), decode, snapshot=True, resume_after=None, ignore_deletes=True
    )
    tracemalloc.start()
    try:
        for revision in range(1, 20_001):
            assert len(session.feed(updates(revision).encode())) == 1
        assert tracemalloc.get_traced_memory()[0] < 64 * 1024
    finally:
        tracemalloc.stop()


def decode(_key: str, raw: bytes) -> Any:
    return raw


async def test_resyncs_without_end_make_no_storm(make) -> None:
    steps = [INFO, stream(updates(1), SNAPSHOT_END, RESYNC)] * 2000
    with scripted(*steps) as server:
        async with make(server.url) as client:
            watch = client.kv().bucket("b").watch(snapshot=True)
            reading = asyncio.create_task(drain(watch))
            await asyncio.sleep(0.5)
            assert len(server.asked) < 20
            await watch.aclose()
            async with asyncio.timeout(5):
                await reading


async def drain(watch) -> None:
    async for _ in watch:
        pass
