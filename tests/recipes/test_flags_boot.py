"""Flags never stop a boot: defaults at once, the flags of the bucket as soon as they can be had."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetkv import AsyncClient, Client, Retry
from jetkv.recipes import AsyncFlags, Flags
from jetkv.testing import LocalNats
from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import Unauthenticated
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS
from tests.support.ports import free_port
from tests.support.scopes import ScopesAreTokens
from tests.support.scripted import scripted, silent
from tests.support.waiting import soon, until

AT_ONCE = 1.5
"""Seconds; the machine of the tests may be busy. Six tries would take two to three."""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def away(port: int) -> str:
    """The address of a gateway that does not run."""
    return f"http://127.0.0.1:{port}"


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[LocalNats]:
    with LocalNats(tmp_path) as nats:
        yield nats


def put(bucket, name: str, value: object) -> None:
    assert bucket.put(name, json.dumps(value)).status == 200


async def test_without_a_gateway_async_flags_start_at_once_with_their_defaults(
    away, port, nats, bucket, words
) -> None:
    put(bucket, "one", 2)
    async with AsyncClient(away) as client:
        begun = time.monotonic()
        async with AsyncFlags(client.kv().bucket(bucket.name), {"one": 1}) as flags:
            assert time.monotonic() - begun < AT_ONCE
            assert flags.get("one") == 1
            assert not flags.ready
            assert not await flags.wait_ready(0.01)
            # Several more tries fail meanwhile.
            assert not await flags.wait_ready(0.5)
            assert len(words.at("WARNING")) == 1
            assert "the defaults apply" in words.at("WARNING")[0]
            with running_gateway(nats.url, port=port, log_level="info"):
                assert await flags.wait_ready(10)
                assert flags.ready
                assert flags.get("one") == 2
                await soon(lambda: words.at("INFO"), "it is said")
                await flags.aclose()
    assert len(words.at("WARNING")) == len(words.at("INFO")) == 1


def test_without_a_gateway_sync_flags_start_at_once_with_their_defaults(
    away, port, nats, bucket, words
) -> None:
    put(bucket, "one", 2)
    with Client(away) as client:
        begun = time.monotonic()
        with Flags(client.kv().bucket(bucket.name), {"one": 1}) as flags:
            assert time.monotonic() - begun < AT_ONCE
            assert (flags.get("one"), flags.ready) == (1, False)
            assert not flags.wait_ready(0.5)
            assert len(words.at("WARNING")) == 1
            with running_gateway(nats.url, port=port, log_level="info"):
                assert flags.wait_ready(10)
                assert flags.get("one") == 2
                until(lambda: words.at("INFO"), "it is said")
                flags.close()
    assert len(words.at("WARNING")) == len(words.at("INFO")) == 1


def test_a_gateway_that_does_not_answer_holds_a_boot_up_for_no_longer_than_asked(words) -> None:
    with scripted(silent) as server, Client(server.url) as client:
        flags = Flags(client.kv().bucket("flags"), {"one": 1})
        begun = time.monotonic()
        flags.start(timeout=0.2)
        assert 0.2 <= time.monotonic() - begun < 0.2 + AT_ONCE
        assert flags.get("one") == 1
        flags.close()
    assert ["no answer within 0.2 s" in text for text in words.at("WARNING")] == [True]


def test_flags_start_while_nats_is_away_and_come_when_it_is_back(own_nats, words) -> None:
    with running_gateway(own_nats.url, log_level="info") as http, Client(http.url) as client:
        client.kv().create_bucket("flags")
        client.kv().bucket("flags").put("one", 2)
        own_nats.kill()
        begun = time.monotonic()
        with Flags(client.kv().bucket("flags"), {"one": 1}) as flags:
            assert time.monotonic() - begun < 2 + AT_ONCE
            assert flags.get("one") == 1
            own_nats.start()
            assert flags.wait_ready(20)
            assert flags.get("one") == 2
    assert len(words.at("WARNING")) == 1


@pytest.mark.parametrize("token", [None, "wrong", "write:*"])
def test_a_refused_token_is_said_and_stops_no_boot(token, nats, bucket, words) -> None:
    class OneToken(ScopesAreTokens):
        def authenticate(self, authorization: bytes | None) -> Principal:
            if authorization != b"Bearer write:*":
                raise Unauthenticated
            return super().authenticate(authorization)

    with (
        running_gateway(nats.url, authenticator=OneToken(), log_level="info") as http,
        Client(http.url, token=token) as client,
    ):
        begun = time.monotonic()
        with Flags(client.kv().bucket(bucket.name), {"one": 1}) as flags:
            assert time.monotonic() - begun < AT_ONCE
            assert flags.get("one") == 1
            # Tried again, and not said again.
            assert not flags.wait_ready(0.3)
    assert len(words.at("WARNING")) == 1


@pytest.mark.parametrize("name", ["not/a/bucket", "b" * 300, "nowhere-to-be-found"])
def test_a_bucket_that_cannot_be_is_said_and_stops_no_boot(name, sync_kv, words) -> None:
    with Flags(sync_kv.bucket(name), {"one": 1}) as flags:
        assert flags.get("one") == 1
        assert not flags.ready
    assert len(words.at("WARNING")) == 1


def test_a_bad_filter_is_said_and_stops_no_boot(sync_kv, bucket, words) -> None:
    with Flags(sync_kv.bucket(bucket.name), {"one": 1}, filter="a>b") as flags:
        assert flags.get("one") == 1
    assert len(words.at("WARNING")) == 1
    assert "invalid filter" in words.at("WARNING")[0]


async def test_a_bucket_that_is_made_after_the_start_is_followed(
    kv, http, bucket_name, words
) -> None:
    async with AsyncFlags(kv.bucket(bucket_name), {"one": 1}) as flags:
        http.post(BUCKETS, {"name": bucket_name})
        try:
            await kv.bucket(bucket_name).put("one", 2)
            assert await flags.wait_ready(10)
            assert flags.get("one") == 2
        finally:
            http.delete(f"{BUCKETS}/{bucket_name}")


async def test_a_callback_is_told_what_the_defaults_became(kv, http, bucket_name) -> None:
    told = []
    defaults = {"one": 1, "two": 2}
    flags = AsyncFlags(
        kv.bucket(bucket_name), defaults, on_change=lambda *change: told.append(change)
    )
    async with flags:
        assert not flags.ready
        http.post(BUCKETS, {"name": bucket_name})
        try:
            bucket = kv.bucket(bucket_name)
            await bucket.put("one", 1)
            await bucket.put("two", 3)
            # The snapshot may have come before these, and they after it: one is told of all alike.
            await soon(lambda: told, "it was told")
            assert told == [("two", 3)]
        finally:
            http.delete(f"{BUCKETS}/{bucket_name}")


async def test_a_wait_for_flags_ends_when_they_are_closed(away) -> None:
    async with AsyncClient(away) as client:
        flags = AsyncFlags(client.kv().bucket("flags"))
        await flags.start()
        await flags.aclose()
        assert not await flags.wait_ready()


def test_an_outage_later_on_is_said_once_and_its_end_too(
    nats, port, bucket, words, monkeypatch
) -> None:
    put(bucket, "one", 1)
    monkeypatch.setattr("jetkv.recipes._sync.flags._OUTAGE_SECONDS", 0.3)
    with running_gateway(nats.url, port=port, log_level="info") as first:
        client = Client(first.url, retry=Retry(attempts=2, first_delay=0.01))
        flags = Flags(client.kv().bucket(bucket.name))
        flags.start()
        assert flags.get("one") == 1
    until(lambda: words.at("WARNING"), "it is said")
    assert "the last values stay" in words.at("WARNING")[0]
    with running_gateway(nats.url, port=port, log_level="info"):
        until(lambda: words.at("INFO"), "its end is said")
        flags.close()
        client.close()
    assert len(words.at("WARNING")) == len(words.at("INFO")) == 1
