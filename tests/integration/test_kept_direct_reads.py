"""How a bucket is read directly is worked out once, and kept as long as that holds."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from jetkv.testing import LocalNats
from jetkv_gateway.http.views import View
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.bucket_cache import BucketCache, WriteLimits
from jetkv_gateway.jetstream.buckets import JetStreamBuckets
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.entries import JetStreamEntries
from jetkv_gateway.jetstream.names import kept_key_names
from jetkv_gateway.kv.buckets import BucketSpec
from jetkv_gateway.kv.commands import Get, Put
from jetkv_gateway.kv.model import Consistency, Entry
from jetkv_gateway.kv.retries import Retries
from tests.support.gateway import running_gateway
from tests.support.http import Bucket
from tests.support.link import connected
from tests.support.waiting import eventually, soon

LARGE = bytes(200_000)
NAMING = Naming()


class Reader:
    """The bucket `b`, whose key `k` has been read."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.js = JetStream(connection, NAMING, 5.0)
        self.buckets = BucketCache(self.js)
        self.entries = JetStreamEntries(self.js, self.buckets)

    @property
    def limits(self) -> WriteLimits:
        return self.buckets.cached["b"]

    async def put(self, key: str, value: bytes) -> None:
        await self.entries.put(Put.of("b", key, value), Retries())

    async def get(self, key: str = "k") -> Entry:
        return await self.entries.get(Get.of("b", key), Retries())


@asynccontextmanager
async def reader(nats: LocalNats) -> AsyncIterator[Reader]:
    async with connected(nats.url) as connection:
        reader = Reader(connection)
        await JetStreamBuckets(reader.js, reader.buckets).create(BucketSpec("b"))
        await reader.put("k", b"v")
        await reader.get()
        assert reader.limits.direct_read is not None
        yield reader


async def test_all_keys_of_a_bucket_are_read_in_the_way_that_is_kept(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        kept = bucket.limits.direct_read
        await bucket.put("other", b"w")
        for key, value in (("other", b"w"), ("k", b"v")):
            assert (await bucket.get(key)).value == value
        assert bucket.limits.direct_read is kept


async def test_it_is_worked_out_again_when_the_limits_were_read_again(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        await bucket.buckets.fresh_limits("b")
        assert bucket.limits.direct_read is None
        assert (await bucket.get()).value == b"v"
        assert bucket.limits.direct_read is not None


async def test_a_key_that_nobody_has_read_is_not_small_beside_a_large_one(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        await bucket.put("large", LARGE)
        await bucket.put("unknown", b"w")
        assert len((await bucket.get("large")).value) == len(LARGE)
        large = bucket.js.credits.large
        taken = large.try_acquire(large.capacity)
        assert taken
        assert (await bucket.get("k")).value == b"v"
        reading = asyncio.create_task(bucket.get("unknown"))
        await soon(lambda: len(large.waiters) == 1, "it waits with the large ones")
        large.release(taken)
        assert (await reading).value == b"w"
        assert bucket.js.credits.free == bucket.js.credits.total


async def test_a_large_value_that_was_just_written_is_read_beside_small_ones(
    solo: LocalNats,
) -> None:
    async with reader(solo) as bucket:
        await JetStreamBuckets(bucket.js, bucket.buckets).create(BucketSpec("c"))
        for value in (b"v", LARGE):
            await bucket.entries.put(Put.of("c", "k", value), Retries())
            entry = await bucket.entries.get(Get.of("c", "k"), Retries())
            assert entry.value == value
        small = bucket.js.credits.small
        assert small.capacity == bucket.js.credits.total, "no read waits for another"


async def test_a_bucket_of_large_values_keeps_no_way(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        for number in range(3):
            await bucket.put(f"large{number}", LARGE)
        await bucket.buckets.fresh_limits("b")
        assert (await bucket.get()).value == b"v"
        assert bucket.limits.direct_read is None


async def test_a_bucket_that_no_longer_answers_keeps_no_way(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        limits = bucket.limits
        config = (await bucket.js.call("STREAM.INFO.KV_b"))["config"]
        payload = json.dumps({**config, "allow_direct": False}).encode()
        await bucket.js.call("STREAM.UPDATE.KV_b", payload)
        for _ in range(2):
            assert (await bucket.get()).value == b"v"
            assert bucket.limits is limits
            assert limits.direct_read is None


async def test_it_is_worked_out_again_when_the_server_has_said_something_new(
    solo: LocalNats,
) -> None:
    async with reader(solo) as bucket:
        kept = bucket.limits.direct_read
        bucket.connection.era = object()
        assert (await bucket.get()).value == b"v"
        assert bucket.limits.direct_read not in (None, kept)


async def test_a_server_that_has_a_cluster_now_is_not_read_directly(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        bucket.connection.connected_server.update({"server_name": "solo", "cluster": "c"})
        bucket.connection.era = object()
        assert isinstance((await bucket.get()).data, str)  # base64, as the leader sends it


async def test_limits_that_are_over_are_read_again(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        limits = bucket.limits
        limits.until = 0.0
        assert (await bucket.get()).value == b"v"
        await soon(lambda: bucket.limits is not limits, "they are read again")


async def test_it_is_worked_out_again_for_another_connection(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        kept, before = bucket.limits.direct_read, bucket.connection.connected_server
        await asyncio.to_thread(solo.restart)
        await soon(
            lambda: (
                bucket.connection.connected and bucket.connection.connected_server is not before
            ),
            "there is another connection",
        )

        async def is_another() -> bool:
            assert (await bucket.get()).value == b"v"
            way = bucket.limits.direct_read
            return way is not kept and way is not None and way.mux is bucket.connection.mux

        await eventually(is_another, "it is the one of this connection")


async def test_reads_of_one_revision_share_what_answers_show_of_it(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        entry = await bucket.get()
        assert entry is await bucket.get()
        assert entry.shown == {}
        await bucket.put("k", b"v")
        assert (await bucket.get()).revision == entry.revision + 1


async def test_connections_share_what_is_kept_so_one_bound_holds_for_all(solo: LocalNats) -> None:
    async with reader(solo) as bucket, connected(solo.url) as connection:
        other = Reader(connection)
        await other.buckets.fresh_limits("b")
        assert await other.get() is await bucket.get()


async def test_a_body_that_is_far_longer_than_its_value_is_not_kept(solo: LocalNats) -> None:
    def read_often() -> None:
        with running_gateway(solo.url, buckets="long") as http:
            bucket = Bucket(http, "long")
            for key, value in (("short", "v"), ("control", "\x01" * 600)):
                assert bucket.put(key, value).status == 200
                for view in ("base64", "json") * 3:
                    assert bucket.get(key, f"?values={view}").status == 200

    await asyncio.to_thread(read_often)
    shown = {
        names.told[1][0].key: set(names.told[1][0].shown or ())
        for names in kept_key_names.values()
        if names.bucket.bucket == "long" and names.told is not None
    }
    assert shown == {"short": {View.BASE64, View.JSON}, "control": {View.BASE64}}


async def test_a_value_that_is_too_long_to_keep_is_not_shared(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        await bucket.put("k", bytes(2000))
        for _ in range(3):
            entry = await bucket.get()
            assert (entry.value, entry.shown) == (bytes(2000), None)


async def test_a_read_of_any_server_is_not_taken_for_one_of_the_leader(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        for consistency in (Consistency.EVENTUAL, Consistency.STRONG) * 2:
            command = Get.of("b", "k", consistency=consistency)
            entry = await bucket.entries.get(command, Retries())
            assert (entry.value, entry.consistency) == (b"v", consistency)


async def test_what_is_shown_of_a_value_follows_the_ttl_of_its_bucket(solo: LocalNats) -> None:
    async with reader(solo) as bucket:
        config = (await bucket.js.call("STREAM.INFO.KV_b"))["config"]
        expiries: list[str | None] = [None]
        for hours in (0, 1, 2, 2, 0):
            for _ in range(2):
                await bucket.get()
            shown = (await bucket.get()).shown
            assert shown is not None
            shown["json"] = b"", b""
            payload = json.dumps({**config, "max_age": hours * 3600 * 10**9}).encode()
            await bucket.js.call("STREAM.UPDATE.KV_b", payload)
            await bucket.buckets.fresh_limits("b")
            entry = await bucket.get()
            assert (entry.expires_at is None) is (hours == 0)
            assert (entry.shown == {}) is (entry.expires_at != expiries[-1])
            expiries.append(entry.expires_at)
        assert len(set(expiries)) == 3
