"""Flags in buckets that other NATS clients made, and in buckets whose values expire."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jetkv.testing import LocalNats
from tests.support.flags import FlagGateways, flag_events, flag_gateways, stream_url, until_seen
from tests.support.native import Native
from tests.support.waiting import soon


@pytest.fixture
async def flags(nats: LocalNats) -> AsyncIterator[FlagGateways]:
    with flag_gateways(nats.url, 2) as started:
        yield started


LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with a history": {"max_msgs_per_subject": 5},
    "with a TTL": {"max_age": 3600 * 10**9},
    "in memory, without direct gets": {"storage": "memory", "allow_direct": False},
}


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_a_flag_that_another_client_writes_is_evaluated_and_told(
    flags: FlagGateways, native: Native, layout: str
) -> None:
    name = flags.bucket.name
    await native.make_bucket(name, **LAYOUTS[layout])
    kv = await native.kv(name)
    await kv.put("on", b"1")
    await asyncio.to_thread(until_seen, flags.gateways[0], "on", 1)
    url = stream_url(await asyncio.to_thread(flags.all))
    async with flag_events(flags.gateways[1], url) as stream:
        for number in range(2, 6):
            revision = await kv.put("on", json.dumps(number).encode())
            assert await stream.next(2) is not None
            assert stream.last_id == str(revision)
            answer = await asyncio.to_thread(flags.one, "on", at=1)
            assert answer.json["value"] == number
        await kv.delete("on")
        assert await stream.next(2) is not None
        assert (await asyncio.to_thread(flags.one, "on", at=1)).status == 404


async def test_where_a_change_may_vanish_a_reconnect_gets_an_event_all_the_same(
    flags: FlagGateways, native: Native
) -> None:
    name = flags.bucket.name
    # So does nats-py make its buckets: from 2.11 on, a value may have a TTL, and leave no trace.
    await native.make_bucket(name, allow_msg_ttl=True)
    kv = await native.kv(name)
    await kv.put("on", b"0")
    await asyncio.to_thread(until_seen, flags.gateways[0], "on", 0)
    url = stream_url(await asyncio.to_thread(flags.all))
    for number in range(1, 6):
        await kv.put("on", json.dumps(number).encode())
    async with flag_events(flags.gateways[1], url, Last_Event_ID="1") as stream:
        assert await stream.next(5) is not None
        assert (await asyncio.to_thread(flags.one, "on", at=1)).json["value"] == 5
        while stream.last_id != "6":
            assert await stream.next(5) is not None
        await kv.put("on", b"6")
        while stream.last_id != "7":
            assert await stream.next(5) is not None
        assert (await asyncio.to_thread(flags.one, "on", at=1)).json["value"] == 6


async def test_a_flag_of_a_bucket_with_a_ttl_is_gone_at_its_end(flags: FlagGateways) -> None:
    await asyncio.to_thread(flags.create_bucket, ttl_seconds=1, expiry_markers=False, key_ttl=False)
    await asyncio.to_thread(flags.bucket.put, "on", "true")
    assert (await asyncio.to_thread(flags.one, "on")).json["value"] is True

    def gone() -> bool:
        return flags.one("on").status == 404 and flags.all().json["flags"] == []

    await soon(gone, "the flag has expired", 3)


async def test_a_stream_that_is_no_bucket_is_409(flags: FlagGateways, native: Native) -> None:
    name = f"KV_{flags.bucket.name}"
    await native.make_stream({"name": name, "subjects": [f"other.{name}"], "storage": "memory"})
    answer = await asyncio.to_thread(flags.one, "on")
    assert (answer.status, answer.json["errorCode"]) == (409, "GENERAL")
