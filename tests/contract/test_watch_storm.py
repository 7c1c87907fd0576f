"""Many readers who come at once, as they do after a restart, and what it costs everybody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import Bucket
from tests.support.native import Native, native_client
from tests.support.waiting import eventually
from tests.support.watching import streaming

pytestmark = pytest.mark.long

READERS = 200
KEYS = 250


@pytest.fixture
async def native(own_nats: NatsServer) -> AsyncIterator[Native]:
    own_nats.start()
    async with native_client(own_nats.url) as client:
        yield client


@pytest.mark.parametrize("history", [1, 2])
async def test_snapshots_of_many_readers_at_once_leave_other_requests_alone(
    own_nats: NatsServer, native: Native, history: int
) -> None:
    with running_gateway(own_nats.url, buckets=f"large,history={history} other") as http:
        other = Bucket(http, "other")
        await eventually(
            lambda: asyncio.to_thread(lambda: other.put("k").status == 200), "the buckets are there"
        )
        await asyncio.gather(
            *(native.publish(f"$KV.large.k{number}", b"v" * 4096) for number in range(KEYS))
        )
        over = asyncio.Event()
        statuses: list[int] = []

        async def write() -> None:
            while not over.is_set():
                answer = await asyncio.to_thread(other.put, "k", "v")
                statuses.append(answer.status)
                await asyncio.sleep(0.05)

        async def read() -> int:
            async with streaming(http, "large", "?snapshot=true") as stream:
                frames = await stream.take(KEYS + 1, 60)
            assert frames[-1]["type"] == "kv_snapshot_end"
            return len({frame["key"] for frame in frames[:-1]})

        writing = asyncio.create_task(write())
        found = await asyncio.gather(*(read() for _ in range(READERS)))
        over.set()
        await writing
        assert set(found) == {KEYS}
        assert set(statuses) == {200}

        async def nothing_left() -> bool:
            return (await native.state("large"))["consumer_count"] == 0

        await eventually(nothing_left, "all consumers are gone")


async def test_many_readers_with_many_filters_each_do_not_stop_the_event_loop(
    own_nats: NatsServer, native: Native
) -> None:
    with running_gateway(own_nats.url, buckets="b") as http:
        bucket = Bucket(http, "b")
        await eventually(
            lambda: asyncio.to_thread(lambda: bucket.put("k").status == 200), "the bucket is there"
        )
        async with AsyncExitStack() as stack:
            for reader in range(100):
                keys = "&".join(f"key=r{reader}.f{number}*x" for number in range(64))
                await stack.enter_async_context(streaming(http, "b", f"?{keys}"))
            last = await stack.enter_async_context(streaming(http, "b", "?key=last"))
            answered = 0
            seen = asyncio.create_task(last.take(1, 60))
            await asyncio.gather(
                *(native.publish(f"$KV.b.key.{number}", b"v") for number in range(3000))
            )
            await native.publish("$KV.b.last", b"v")
            while not seen.done():
                assert (await asyncio.to_thread(http.get, "/health")).status == 200
                answered += 1
            await seen
            # A batch without a turn for others in between would leave room for five or so.
            assert answered > 18
