"""How long calls take while NATS or the gateway is away: as long as docs/sdk.md says."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv import OutcomeUnknownError, Retry, TooManyRequestsError, UnavailableError
from jetkv.testing import LocalNats
from tests.sdk.calls import INFO, first_of
from tests.sdk.test_retry import BREAK, GET, HONOURS, UNAVAILABLE
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Http
from tests.support.scripted import http, scripted

LONGEST = 5.0
"""Seconds: two to three, and what a busy machine takes. Without the bound it would be for ever."""

CALLS = {
    "get": lambda bucket: bucket.get("k"),
    "put": lambda bucket: bucket.put("k", 1),
    "delete": lambda bucket: bucket.delete("k"),
    "keys": lambda bucket: bucket.keys(),
    "info": lambda bucket: bucket.info(),
    "watch": lambda bucket: first_of(bucket.watch(snapshot=True)),
}


@pytest.fixture(scope="module")
def without_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    """A gateway whose NATS has died."""
    folder: Path = tmp_path_factory.mktemp("nats")
    with LocalNats(folder) as nats, running_gateway(nats.url) as gateway:
        assert gateway.post(BUCKETS, {"name": "b"}).status == 201
        nats.kill()
        yield gateway


async def test_with_nats_away_each_call_gives_up_within_two_to_three_seconds(
    make, without_nats
) -> None:
    took: dict[str, float] = {}

    async def fail(name: str, bucket) -> None:
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match="NATS"):
            await CALLS[name](bucket)
        took[name] = time.monotonic() - begun

    async with make(without_nats.url) as client:
        bucket = client.kv().bucket("b")
        await asyncio.gather(*(fail(name, bucket) for name in CALLS))
    assert took.keys() == CALLS.keys()
    assert all(seconds < LONGEST for seconds in took.values()), took


async def test_with_the_gateway_away_a_call_gives_up_within_two_to_three_seconds(
    make, nobody
) -> None:
    async with make(nobody) as client:
        begun = time.monotonic()
        with pytest.raises(UnavailableError, match="nothing was sent"):
            await client.kv().bucket("b").put("k", 1)
        assert time.monotonic() - begun < LONGEST


async def test_a_job_that_has_more_patience_is_served_when_nats_is_back(make) -> None:
    with scripted(*[UNAVAILABLE] * 7, GET) as server:
        retry = Retry(attempts=20, first_delay=0.01, longest_delay=0.02, patience=60)
        async with make(server.url, retry=retry) as client:
            assert (await client.kv().bucket("b").get("k")).value == 1
    assert len(server.asked) == 8


async def test_without_patience_a_503_is_the_last_word(make) -> None:
    with scripted(UNAVAILABLE) as server:
        async with make(server.url, retry=Retry(patience=0)) as client:
            with pytest.raises(UnavailableError):
                await client.kv().bucket("b").get("k")
    assert len(server.asked) == 1


async def test_without_patience_a_503_is_the_last_word_to_a_watch_that_begins(make) -> None:
    with scripted(INFO, UNAVAILABLE) as server:
        async with make(server.url, retry=Retry(patience=0)) as client:
            with pytest.raises(UnavailableError):
                await first_of(client.kv().bucket("b").watch())
    assert len(server.asked) == 2


async def test_a_gateway_that_is_busy_is_waited_for_whatever_the_patience(make) -> None:
    busy = http(
        429,
        '{"error":"too many requests","code":"too_many_requests","retryable":true,'
        '"request_id":"r"}',
    )
    retry = Retry(attempts=3, first_delay=0.001, patience=0)
    with scripted(busy, busy, GET, busy, busy, busy) as server:
        async with make(server.url, retry=retry) as client:
            assert (await client.kv().bucket("b").get("k")).value == 1
            with pytest.raises(TooManyRequestsError):
                await client.kv().bucket("b").get("k")
    assert len(server.asked) == 6


async def test_a_write_in_doubt_is_asked_for_whatever_the_patience(make) -> None:
    retry = Retry(attempts=4, first_delay=0.001, patience=0)
    with scripted(BREAK, HONOURS, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE) as server:
        async with make(server.url, retry=retry) as client:
            with pytest.raises(OutcomeUnknownError):
                await client.kv().bucket("b").put("k", 2)
    assert len(server.asked) == 5
