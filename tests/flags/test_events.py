"""The event stream of flags (docs/flags.md#changes)."""

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jetkv.testing import LocalNats
from tests.support.flags import (
    FLAGS,
    FlagGateways,
    evaluate,
    flag_events,
    flag_gateways,
    stream_url,
)
from tests.support.http import Answer, Http
from tests.support.watching import EventStream


@pytest.fixture
def flags(nats: LocalNats) -> Iterator[FlagGateways]:
    with flag_gateways(nats.url, 2) as started:
        started.create_bucket()
        yield started


async def within(call: Callable[..., Answer], *given: Any, **named: Any) -> Answer:
    return await asyncio.to_thread(call, *given, **named)


async def told(stream: EventStream, seconds: float = 2.0) -> dict[str, Any]:
    """The next event; its id is that of the stream."""
    event = await stream.next(seconds)
    assert event is not None, "the stream ended"
    return event.frame


async def test_a_change_is_told_with_its_revision_and_can_be_read_in_every_gateway(
    flags: FlagGateways,
) -> None:
    url = stream_url(await within(flags.all))
    async with flag_events(flags.gateways[0], url) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"] == "text/event-stream"
        for number in range(30):
            revision = (await within(flags.bucket.put, "on", str(number))).json["revision"]
            frame = await told(stream)
            assert frame["type"] == "refetchEvaluation"
            assert stream.last_id == str(revision)
            here = await within(flags.one, "on")
            assert here.json["value"] == number
            query = f"?flagConfigEtag={frame['etag']}"
            there = await within(flags.all, {}, query, at=1)
            assert there.json["flags"][0]["value"] == number
        revision = (await within(flags.bucket.delete, "on")).status
        assert (await told(stream))["type"] == "refetchEvaluation"
        assert (await within(flags.all)).json["flags"] == []


async def test_an_event_is_never_before_the_change_can_be_read(flags: FlagGateways) -> None:
    url = stream_url(await within(flags.all))
    written = asyncio.create_task(asyncio.to_thread(_write_many, flags, 100))
    async with flag_events(flags.gateways[1], url) as stream:
        last = 0
        while last < 99:
            await told(stream, 5)
            revision = int(stream.last_id or "0")
            answer = await within(flags.one, "many", at=1)
            assert answer.json["value"] >= revision - 1
            last = revision - 1
    await written


def _write_many(flags: FlagGateways, count: int) -> None:
    for number in range(count):
        assert flags.bucket.put("many", str(number)).json["revision"] == number + 1


async def test_what_happened_since_the_evaluation_is_told_first(flags: FlagGateways) -> None:
    await within(flags.bucket.put, "on", "1")
    url = stream_url(await within(flags.all))
    await within(flags.bucket.put, "on", "2")
    async with flag_events(flags.gateways[1], url) as stream:
        await told(stream)
        assert stream.last_id == "2"


async def test_a_reconnect_gets_what_it_missed_in_any_gateway(flags: FlagGateways) -> None:
    url = stream_url(await within(flags.all))
    async with flag_events(flags.gateways[0], url) as stream:
        await within(flags.bucket.put, "a", "1")
        await told(stream)
        last = stream.last_id or ""
    for name in ("b", "c"):
        await within(flags.bucket.put, name, "1")
    await within(flags.bucket.delete, "a")
    async with flag_events(flags.gateways[1], url, Last_Event_ID=last) as stream:
        ids = []
        while not ids or ids[-1] != "4":
            await told(stream)
            ids.append(stream.last_id)
        assert ids == ["2", "3", "4"]
    async with flag_events(flags.gateways[1], url, Last_Event_ID="4") as stream:
        await within(flags.bucket.put, "d", "1")
        await told(stream)
        assert stream.last_id == "5", "nothing comes twice"


async def test_a_place_that_nobody_knows_leads_to_an_event(flags: FlagGateways) -> None:
    await within(flags.bucket.put, "on", "1")
    url = stream_url(await within(flags.all))
    async with flag_events(flags.gateways[0], url, Last_Event_ID="1000") as stream:
        await told(stream, 10)
        assert stream.last_id == "1"
    other = re.sub("after=[0-9a-f]+-", "after=1234-", url)
    async with flag_events(flags.gateways[0], other, Last_Event_ID="1") as stream:
        await told(stream)


async def test_a_bucket_that_comes_goes_and_comes_again_is_told(nats: LocalNats) -> None:
    with flag_gateways(nats.url, 2) as flags:
        url = stream_url(await within(flags.all))
        async with flag_events(flags.gateways[1], url) as stream:
            for number in range(3):
                await asyncio.to_thread(flags.create_bucket)
                await within(flags.bucket.put, "on", str(number))
                while (await within(flags.values, at=1)) != {"on": number}:
                    await told(stream, 5)
                await asyncio.to_thread(flags.delete_bucket)
                while (await within(flags.values, at=1)) != {}:
                    await told(stream, 5)


async def test_a_wrong_header_is_400_and_head_is_answered(flags: FlagGateways) -> None:
    url = stream_url(await within(flags.all))
    for value in ("x", "-1", "1.5"):
        answer = await within(flags.gateways[0].get, url, Last_Event_ID=value)
        assert answer.status == 400
    head = await within(flags.gateways[0].request, "HEAD", url)
    assert (head.status, head.headers["content-type"]) == (200, "text/event-stream")


async def test_streams_count_as_watches(nats: LocalNats) -> None:
    with flag_gateways(nats.url, max_watches=1) as flags:
        url = stream_url(await within(flags.all))
        async with flag_events(flags.gateways[0], url) as stream:
            assert stream.status == 200
            answer = await within(flags.gateways[0].get, url)
            assert (answer.status, answer.json["errorCode"]) == (429, "GENERAL")
            assert int(answer.headers["retry-after"]) >= 1
            # The gateway's own watch of the flags counts for nobody.
            await asyncio.to_thread(flags.create_bucket)
            assert (await within(flags.all)).status == 200


async def test_a_stream_ends_when_the_gateway_stops(nats: LocalNats) -> None:
    with flag_gateways(nats.url) as flags:
        url = stream_url(await within(flags.all))
        http: Http = flags.gateways[0]
        streaming = flag_events(http, url)
        stream = await streaming.__aenter__()
        assert stream.status == 200
    async with asyncio.timeout(5):
        while await stream.block() is not None:
            pass
    await streaming.__aexit__(None, None, None)


def test_a_stream_is_named_only_where_evaluations_are(flags: FlagGateways) -> None:
    answer = evaluate(flags.gateways[0], FLAGS)
    (stream,) = answer.json["eventStreams"]
    assert stream["type"] == "sse"
    assert stream["inactivityDelaySec"] == 120
    assert stream["endpoint"]["requestUri"].startswith("/ofrep/v1/")


@pytest.mark.parametrize("protocol", ["h11", "httptools"])
async def test_another_asgi_server_serves_flags_and_their_stream(
    nats: LocalNats, protocol: str
) -> None:
    with flag_gateways(nats.url, protocol=protocol) as flags:
        await asyncio.to_thread(flags.create_bucket)
        await within(flags.bucket.put, "on", "1")
        assert (await within(flags.one, "on")).json["value"] == 1
        url = stream_url(await within(flags.all))
        async with flag_events(flags.gateways[0], url) as stream:
            await within(flags.bucket.put, "on", "2")
            await told(stream)
            assert stream.last_id == "2"
