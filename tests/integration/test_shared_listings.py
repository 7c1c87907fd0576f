"""Listings that wait for their turn share a run; what they list is as complete as ever."""

import asyncio
from contextlib import ExitStack

from jetkv.testing import LocalNats
from tests.support.gateway import running_bucket
from tests.support.http import Bucket
from tests.support.native import Native, native_client
from tests.support.raw import Wire
from tests.support.waiting import eventually, soon

AT_ONCE = 4
KEYS = 10_000
"""So many that a run takes a while, in which others call."""


async def test_callers_who_wait_for_the_same_list_get_it_from_one_run(own_nats: LocalNats) -> None:
    with running_bucket(own_nats, request_timeout=30) as bucket:
        async with native_client(own_nats.url) as native:
            await eventually(
                lambda: asyncio.to_thread(lambda: bucket.put("k").status == 200),
                "the bucket is there",
            )
            made: list[str] = []

            async def take(message) -> None:
                made.append(message.subject)

            await native.client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.CREATED.KV_b.>", cb=take)
            await native.settled()
            with ExitStack() as stack:

                def call(filter: str) -> Wire:
                    wire = stack.enter_context(Wire(bucket.http, timeout=20))
                    wire.head("GET", f"{bucket.path}/keys?filter={filter}")
                    # What was sent before this is read before this.
                    assert bucket.http.get("/health").status == 200
                    return wire

                own_nats.pause()
                wires = [call("k" + "*" * number) for number in range(1, AT_ONCE + 1)]
                wires += [call("k") for _ in range(8)]
                own_nats.resume()
                answers = [await asyncio.to_thread(wire.answer) for wire in wires]
            assert [answer.json["keys"] for answer in answers] == [["k"]] * (AT_ONCE + 8)
            await soon(lambda: len(made) > AT_ONCE, "the consumers are heard of")
            await native.settled()
            assert len(made) == AT_ONCE + 1


async def test_a_list_holds_every_key_written_before_it_was_asked_for(
    native: Native, bucket: Bucket
) -> None:
    for start in range(0, KEYS, 500):
        keys = range(start, start + 500)
        await asyncio.gather(*(native.publish(f"$KV.{bucket.name}.s{key}", b"v") for key in keys))
    written = 0

    async def write() -> None:
        nonlocal written
        while not over.is_set():
            await asyncio.gather(
                *(native.publish(f"$KV.{bucket.name}.k{written + n}", b"v") for n in range(50))
            )
            written += 50
            await asyncio.sleep(0.01)

    async def list_again_and_again(pause: int) -> None:
        for _ in range(4):
            # All had the last list at the same moment, and would call at the same moment.
            await soon(lambda more=written + pause: written >= more, "the writer goes on")
            before = written
            listed = await asyncio.to_thread(bucket.keys)
            assert len(listed) == len(set(listed))
            assert {f"k{number}" for number in range(before)} <= set(listed)

    over = asyncio.Event()
    writing = asyncio.create_task(write())
    await asyncio.gather(*(list_again_and_again(50 * number) for number in range(AT_ONCE + 2)))
    over.set()
    await writing
