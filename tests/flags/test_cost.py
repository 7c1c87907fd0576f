"""An evaluation asks NATS nothing (docs/flags.md#changes)."""

import asyncio

from nats.aio.msg import Msg

from jetkv.testing import LocalNats
from tests.support.flags import flag_gateways
from tests.support.native import Native
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
