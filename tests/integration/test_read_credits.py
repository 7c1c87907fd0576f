"""What is under way from NATS counts until it is here, also when nobody waits for it any more."""

import asyncio

from jetkv.testing import LocalNats
from jetkv_gateway.jetstream.api import Naming, get_last
from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.buckets import JetStreamBuckets
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.names import names_of
from jetkv_gateway.kv.buckets import BucketSpec
from tests.support.link import connected
from tests.support.waiting import soon

READS = 20


async def test_an_answer_that_nobody_waits_for_any_more_counts_until_it_is_here(
    own_nats: LocalNats,
) -> None:
    own_nats.start()
    async with connected(own_nats.url) as connection:
        js = JetStream(connection, Naming(), 5.0)
        await JetStreamBuckets(js, BucketCache(js)).create(BucketSpec("b"))
        names = names_of(js.naming, "b")
        credit = js.read_sizes.credit(names.subject_prefix, js.max_answer_bytes(None))
        pool = js.credits.large
        assert credit.pool is pool
        await connection.mux.request(f"{names.publish_prefix}k", bytes(1_000_000), timeout=5)
        query = get_last(f"{names.subject_prefix}k")
        own_nats.pause()
        reads = [
            asyncio.create_task(js.call(names.get, query, credit=credit, credit_timeout=5))
            for _ in range(READS)
        ]
        await soon(
            lambda: js.credits.waiting > 0, "no more than there is room for are asked for", 5
        )
        under_way = pool.taken
        assert under_way > 0
        for read in reads:
            read.cancel()
        await asyncio.wait(reads)
        assert all(read.cancelled() for read in reads)
        assert pool.taken == under_way
        assert js.credits.waiting == 0
        own_nats.resume()
        await soon(lambda: pool.taken == 0, "all of it is here", 10)
        assert js.credits.free == js.credits.total
        reply = await js.call(names.get, query, credit=credit)
        assert reply["message"]["seq"] == 1
