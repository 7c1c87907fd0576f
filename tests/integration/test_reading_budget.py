"""What is under way from NATS counts until it is here, also when nobody waits for it any more."""

import asyncio

from jetkv.testing import LocalNats
from jetkv_gateway.jetstream.api import Naming, get_last
from jetkv_gateway.jetstream.buckets import JetStreamBuckets
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.known import KnownBuckets
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
        await JetStreamBuckets(js, KnownBuckets(js)).create(BucketSpec("b"))
        names = names_of(js.naming, "b")
        share = js.reads.share(names.stored, js.largest_answer(None))
        lane = js.budget.large
        assert share.lane is lane
        await connection.mux.request(f"{names.written}k", bytes(1_000_000), timeout=5)
        query = get_last(f"{names.stored}k")
        own_nats.pause()
        reads = [
            asyncio.create_task(js.call(names.get, query, share=share, room=5))
            for _ in range(READS)
        ]
        await soon(lambda: js.budget.waiting > 0, "no more than there is room for are asked for", 5)
        under_way = lane.taken
        assert under_way > 0
        for read in reads:
            read.cancel()
        await asyncio.wait(reads)
        assert all(read.cancelled() for read in reads)
        assert lane.taken == under_way
        assert js.budget.waiting == 0
        own_nats.resume()
        await soon(lambda: lane.taken == 0, "all of it is here", 10)
        assert js.budget.free == js.budget.total
        reply = await js.call(names.get, query, share=share)
        assert reply["message"]["seq"] == 1
