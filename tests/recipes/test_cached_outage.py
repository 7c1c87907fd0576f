"""Cached functions while the gateway or NATS is away: as fast as the function alone."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jetkv import AsyncClient, Client, InvalidArgumentError, UnavailableError
from jetkv.recipes import cached
from jetkv.recipes._outage import RecentValues
from jetkv.testing import LocalGateway, LocalNats
from tests.recipes.relay import Relay, relay_to
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Http
from tests.support.waiting import soon

AT_ONCE = 2.0
"""Seconds for twenty calls; the machine of the tests may be busy."""


class Source:
    """What is cached: counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, id: str) -> str:
        self.asked += 1
        return f"{id}.{self.asked}"


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cool-down that a test can wait for."""
    monkeypatch.setattr("jetkv.recipes._outage.COOL_DOWN_SECONDS", 0.2)


class Outage:
    """A gateway of its own, on a NATS that can be stopped, and a relay that counts requests."""

    def __init__(self, nats: LocalNats, http: Http, relay: Relay) -> None:
        self.nats = nats
        self.relay = relay
        self.url = relay.url
        assert http.post(BUCKETS, {"name": "cache"}).status == 201

    @property
    def asked(self) -> int:
        return len(self.relay.served)


@pytest.fixture
def outage(tmp_path: Path) -> Iterator[Outage]:
    with ExitStack() as stack:
        nats = stack.enter_context(LocalNats(tmp_path))
        http = stack.enter_context(running_gateway(nats.url, log_level="info"))
        yield Outage(nats, http, stack.enter_context(relay_to(http)))


def test_with_nats_away_one_call_tries_and_the_others_do_not_wait(outage, source) -> None:
    with Client(outage.url) as client:
        load = cached(client.kv().bucket("cache"), key="{id}")(source.__call__)
        outage.nats.kill()
        begun = time.monotonic()
        load("first")
        # The gateway asks for a second before another try: that is not waited for.
        assert time.monotonic() - begun < 0.9
        asked = outage.asked
        begun = time.monotonic()
        assert [load(str(number)) for number in range(20)] == [f"{n}.{n + 2}" for n in range(20)]
        assert time.monotonic() - begun < AT_ONCE
        assert outage.asked == asked


async def test_a_gateway_that_is_silent_is_waited_for_once_and_for_no_longer_than_asked(
    nats, bucket, source
) -> None:
    async def load(id: str) -> str:
        return source(id)

    gateway = LocalGateway(nats.url)
    with gateway:
        async with AsyncClient(gateway.url) as client:
            bucket_of = client.kv().bucket(bucket.name)
            load_quickly = cached(bucket_of, key="{id}", timeout=0.3)(load)
            await load_quickly("a")
            gateway.pause()
            begun = time.monotonic()
            assert await load_quickly("b") == "b.2"
            # The first attempt has two thirds of the time. A second one follows if it fits.
            assert 0.2 <= time.monotonic() - begun < 0.3 + AT_ONCE
            begun = time.monotonic()
            for _ in range(20):
                await load_quickly("c")
            assert time.monotonic() - begun < AT_ONCE
            gateway.resume()


def test_what_one_function_finds_out_holds_for_all_of_a_client(outage, source) -> None:
    with Client(outage.url) as client:
        one = cached(client.kv().bucket("cache"), key="one:{id}")(source.__call__)
        other = cached(client.kv().bucket("cache"), key="other:{id}")(source.__call__)
        outage.nats.kill()
        one("a")
        asked = outage.asked
        assert other("a") == "a.2"
        assert outage.asked == asked


def test_a_recent_value_is_used_during_an_outage(outage, source) -> None:
    with Client(outage.url) as client:
        load = cached(client.kv().bucket("cache"), key="{id}")(source.__call__)
        assert load("a") == "a.1"
        outage.nats.kill()
        # The first finds out, the second does not ask.
        assert [load("a"), load("a")] == ["a.1", "a.1"]
        assert source.asked == 1
        assert [load("b"), load("b")] == ["b.2", "b.3"]


@pytest.mark.parametrize("stale", [0, 0.05])
def test_a_recent_value_is_used_for_no_longer_than_stale(outage, source, stale: float) -> None:
    with Client(outage.url) as client:
        load = cached(client.kv().bucket("cache"), key="{id}", stale=stale)(source.__call__)
        assert load("a") == "a.1"
        seen = time.monotonic()
        outage.nats.kill()
        load("b")
        while time.monotonic() - seen <= stale:
            time.sleep(0.01)
        assert load("a") == "a.3"


def test_an_invalidated_value_is_not_used_during_an_outage(outage, source) -> None:
    with Client(outage.url) as client:
        load = cached(client.kv().bucket("cache"), key="{id}")(source.__call__)
        load("a")
        outage.nats.kill()
        with pytest.raises(UnavailableError):
            load.invalidate("a")
        assert load("a") == "a.2"


async def test_when_nats_is_back_values_are_cached_again_and_it_is_said(
    outage, source, words, quick
) -> None:
    async def load(id: str) -> str:
        return source(id)

    async with AsyncClient(outage.url) as client:
        load_cached = cached(client.kv().bucket("cache"), key="{id}", stale=0)(load)
        await asyncio.to_thread(outage.nats.kill)
        await load_cached("a")
        await load_cached("a")
        assert source.asked == 2
        await asyncio.to_thread(outage.nats.start)

        async def is_cached() -> bool:
            return await load_cached("b") == await load_cached("b")

        deadline = time.monotonic() + 10
        while not await is_cached():
            assert time.monotonic() < deadline, "nothing is cached again"
            await asyncio.sleep(0.02)
        await soon(lambda: words.count("caches again"), "it is said")
    assert words.count("caches nothing now") == 1


def test_where_errors_are_to_come_out_every_call_asks(outage, source) -> None:
    with Client(outage.url, timeout=0.5) as client:
        load = cached(client.kv().bucket("cache"), key="{id}", on_error="raise")(source.__call__)
        load("a")
        outage.nats.kill()
        asked = outage.asked
        for _ in range(2):
            with pytest.raises(UnavailableError):
                load("a")
        assert outage.asked > asked + 1


def test_a_refused_write_is_said_once_though_reads_go_on(http, source, words, make_bucket) -> None:
    small = make_bucket(max_value_size=1)
    with Client(http.url) as client:
        load = cached(client.kv().bucket(small.name), key="{id}")(source.__call__)
        assert [load(id) for id in "abc"] == ["a.1", "b.2", "c.3"]
    assert words.count("caches nothing now") == 1


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"stale": -1}])
def test_times_that_make_no_sense_are_refused(sync_kv, bucket, wrong) -> None:
    with pytest.raises(InvalidArgumentError, match="timeout must be above 0"):
        cached(sync_kv.bucket(bucket.name), **wrong)


def test_recent_values_are_limited_in_number_and_bytes() -> None:
    recent = RecentValues(60)
    for number in range(2000):
        recent.add(str(number), b"x")
    assert [recent.get(str(number)) for number in (0, 975, 976, 1999)] == [
        None,
        None,
        b"x",
        b"x",
    ]
    recent.add("large", bytes(8 * 1024 * 1024))
    assert recent.get("1999") is None
    assert recent.get("large") is not None
    recent.add("too large", bytes(8 * 1024 * 1024 + 1))
    assert recent.get("large") is not None
    recent.remove("large")
    recent.add("new", b"y")
    assert recent.get("new") == b"y"
