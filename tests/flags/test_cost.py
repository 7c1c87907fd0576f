"""An evaluation asks NATS nothing (docs/flags.md#changes)."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from nats.aio.msg import Msg

from jetkv.testing import LocalNats
from jetkv_gateway.flags import follower
from tests.support.flags import flag_events, flag_gateways, stream_url
from tests.support.native import Native
from tests.support.waiting import eventually
from tests.support.watching import SECONDS


async def test_a_thousand_evaluations_cost_no_request_to_nats(
    nats: LocalNats, native: Native
) -> None:
    requests: list[str] = []

    async def on_request(message: Msg) -> None:
        if bucket in message.subject:
            requests.append(message.subject)

    with flag_gateways(nats.url) as flags:
        bucket = flags.bucket.name
        flags.create_bucket()
        flags.bucket.put("half", '{"enabled":true,"rollout":0.5}')
        assert flags.one("half", {"targetingKey": "ada"}).status == 200
        heard = await native.client.subscribe("$JS.API.>", cb=on_request)
        await native.client.flush()

        def evaluate_often() -> None:
            for number in range(500):
                assert flags.one("half", {"targetingKey": str(number)}).status == 200
                assert flags.all({"targetingKey": str(number)}).status == 200

        async with asyncio.timeout(6 * SECONDS):
            await asyncio.to_thread(evaluate_often)
        await native.settled()
        await heard.unsubscribe()
    # The watch itself asks for more changes, and looks after its bucket now and then.
    assert len(requests) < 50, requests
    assert not [one for one in requests if "MSG.GET" in one or "DIRECT.GET" in one]


async def test_a_worker_has_one_consumer_for_evaluations_and_all_streams(
    nats: LocalNats, native: Native
) -> None:
    with flag_gateways(nats.url) as flags:
        await asyncio.to_thread(flags.create_bucket)
        url = stream_url(await asyncio.to_thread(flags.all))
        async with AsyncExitStack() as stack:
            for _ in range(5):
                stream = await stack.enter_async_context(flag_events(flags.gateways[0], url))
                assert stream.status == 200

            async def one() -> bool:
                state = await native.state(flags.bucket.name)
                return bool(state["consumer_count"] == 1)

            await eventually(one, "the streams have caught up")


async def test_nobody_looks_for_a_bucket_that_is_not_there_and_not_asked_for(
    nats: LocalNats, native: Native, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "_UNASKED_SECONDS", 0.5)
    looks: list[str] = []

    async def on_look(message: Msg) -> None:
        looks.append(message.subject)

    with flag_gateways(nats.url) as flags:
        subject = f"$JS.API.STREAM.INFO.KV_{flags.bucket.name}"
        await native.client.subscribe(subject, cb=on_look)
        await native.client.flush()
        assert (await asyncio.to_thread(flags.one, "on")).status == 404

        async def quiet() -> bool:
            before = len(looks)
            await asyncio.sleep(0.8)
            return before > 0 and len(looks) == before

        await eventually(quiet, "nobody looks")
        await asyncio.to_thread(flags.create_bucket)
        await asyncio.to_thread(flags.bucket.put, "on", "true")
        assert (await asyncio.to_thread(flags.one, "on")).json["value"] is True
