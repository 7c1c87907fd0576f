"""Flags that keep themselves up to date, through whatever happens to the gateway."""

import json
import math
import threading

import pytest

from jetkv import AsyncClient, Client, InvalidArgumentError, Retry
from jetkv.recipes import AsyncFlags, Flags
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS
from tests.support.ports import free_port
from tests.support.waiting import soon, until

IMPATIENT = Retry(attempts=2, first_delay=0.01, longest_delay=0.05)


def put(bucket, name: str, value: object) -> None:
    assert bucket.put(name, json.dumps(value)).status == 200


async def shows(flags: AsyncFlags, name: str, value: object) -> None:
    await soon(lambda: flags.get(name) == value, f"{name} is {value!r}", seconds=15)


async def test_all_flags_are_there_when_start_returns(kv, bucket) -> None:
    put(bucket, "one", True)
    put(bucket, "two", {"enabled": True})
    put(bucket, "limit", 20)
    async with AsyncFlags(kv.bucket(bucket.name)) as flags:
        assert flags.enabled("one")
        assert flags.enabled("two")
        assert flags.get("limit") == 20
        assert flags.stale == 0.0


async def test_an_empty_bucket_is_complete_too(kv, bucket) -> None:
    async with AsyncFlags(kv.bucket(bucket.name), {"one": True}) as flags:
        assert flags.enabled("one")
        assert not flags.enabled("two")
        assert flags.get("two", "default") == "default"


async def test_changes_come_by_themselves(kv, bucket) -> None:
    async with AsyncFlags(kv.bucket(bucket.name), {"one": "default"}) as flags:
        put(bucket, "one", 1)
        await shows(flags, "one", 1)
        put(bucket, "one", 2)
        await shows(flags, "one", 2)
        bucket.delete("one")
        await shows(flags, "one", "default")


@pytest.mark.parametrize(
    ("value", "on"),
    [
        (True, True),
        (False, False),
        (1, False),
        ("true", False),
        (None, False),
        ({"enabled": True}, True),
        ({"enabled": False, "rollout": 1}, False),
        ({"enabled": True, "rollout": 1}, True),
        ({"enabled": True, "rollout": 0.99}, False),
        ({"rollout": 1.0}, False),
    ],
)
async def test_what_is_on_for_everybody(value, on, kv, bucket) -> None:
    put(bucket, "one", value)
    async with AsyncFlags(kv.bucket(bucket.name)) as flags:
        assert flags.enabled("one") is on


def on_for(rollout: float) -> set[str]:
    flags = AsyncFlags(
        AsyncClient().kv().bucket("b"), {"new": {"enabled": True, "rollout": rollout}}
    )
    return {user for user in map(str, range(1000)) if flags.enabled("new", user=user)}


def test_a_rollout_is_on_for_its_part_of_the_users() -> None:
    assert on_for(0) == set()
    assert 450 < len(on_for(0.5)) < 550
    assert len(on_for(1)) == 1000


def test_a_rollout_that_grows_takes_nothing_from_anybody() -> None:
    assert on_for(0.1) < on_for(0.5) < on_for(0.9)


def test_a_rollout_is_the_same_in_every_process() -> None:
    # By `printf new:16 | sha256sum`, and so on: 0.01 of 2^64 begins with 028f.
    assert sorted(on_for(0.01), key=int)[:5] == ["16", "30", "50", "65", "109"]


@pytest.mark.parametrize(
    "bad", [b"{", b"\xff", b'{"enabled": 1}', b'{"enabled": true, "rollout": 2}']
)
async def test_a_value_that_is_no_flag_leaves_the_last_valid_one(bad, kv, bucket, words) -> None:
    put(bucket, "one", {"enabled": True})
    async with AsyncFlags(kv.bucket(bucket.name)) as flags:
        bucket.put("one", bad)
        put(bucket, "later", True)
        await shows(flags, "later", True)
        assert flags.enabled("one")
        assert words.count("flag 'one'") == 1


async def test_a_value_that_is_no_flag_from_the_start_leaves_the_default(kv, bucket, words) -> None:
    bucket.put("one", b"{")
    async with AsyncFlags(kv.bucket(bucket.name), {"one": True}) as flags:
        assert flags.enabled("one")
        assert words.count("flag 'one'") == 1


async def test_a_default_that_is_no_flag_is_refused(kv, bucket) -> None:
    with pytest.raises(InvalidArgumentError, match="default of flag 'one': rollout"):
        AsyncFlags(kv.bucket(bucket.name), {"one": {"enabled": True, "rollout": "half"}})


async def test_a_filter_leaves_other_keys_out(kv, bucket) -> None:
    put(bucket, "web.one", True)
    put(bucket, "app.one", True)
    async with AsyncFlags(kv.bucket(bucket.name), filter="web.*") as flags:
        assert flags.enabled("web.one")
        assert not flags.enabled("app.one")


async def test_what_a_reader_does_to_a_value_changes_no_flag(kv, bucket) -> None:
    put(bucket, "one", {"users": ["ada"]})
    async with AsyncFlags(kv.bucket(bucket.name)) as flags:
        flags.get("one")["users"].append("bob")
        assert flags.get("one") == {"users": ["ada"]}


async def test_a_callback_is_told_of_what_changes_after_the_start(kv, bucket, words) -> None:
    told = []

    async def on_change(name: str, value: object) -> None:
        told.append((name, value))
        if value == "bad":
            raise ZeroDivisionError

    put(bucket, "one", 1)
    async with AsyncFlags(kv.bucket(bucket.name), {"one": 0}, on_change=on_change) as flags:
        put(bucket, "one", 1)
        put(bucket, "one", "bad")
        put(bucket, "one", True)
        await shows(flags, "one", True)
        bucket.delete("one")
        await shows(flags, "one", 0)
        await soon(lambda: len(told) > 2, "it was told")
    assert told == [("one", "bad"), ("one", True), ("one", 0)]
    assert words.count("on_change of flag 'one'") == 1


async def test_before_the_start_there_are_defaults(kv, bucket) -> None:
    put(bucket, "one", True)
    flags = AsyncFlags(kv.bucket(bucket.name), {"one": False})
    assert not flags.enabled("one")
    assert flags.stale == math.inf


async def test_flags_are_started_once(kv, bucket) -> None:
    async with AsyncFlags(kv.bucket(bucket.name)) as flags:
        with pytest.raises(InvalidArgumentError, match="started before"):
            await flags.start()


async def test_while_the_connection_is_cut_the_flags_keep_their_values_and_are_stale(
    relay, relayed, bucket
) -> None:
    put(bucket, "one", 1)
    async with AsyncFlags(relayed.bucket(bucket.name)) as flags:
        relay.cut()
        put(bucket, "one", 2)
        await soon(lambda: flags.stale > 0, "the flags are stale")
        assert flags.get("one") == 1
        relay.mend()
        await shows(flags, "one", 2)
        assert flags.stale == 0.0


async def test_a_bucket_that_was_created_again_is_taken_as_it_is_now(kv, http, bucket) -> None:
    put(bucket, "one", True)
    put(bucket, "two", True)
    async with AsyncFlags(kv.bucket(bucket.name)) as flags:
        http.delete(bucket.path)
        http.post(BUCKETS, {"name": bucket.name})
        put(bucket, "two", {"enabled": True})
        await shows(flags, "two", {"enabled": True})
        assert flags.get("one") is None


async def test_a_filter_that_is_no_text_is_refused(kv, bucket) -> None:
    with pytest.raises(InvalidArgumentError, match="a filter must be text"):
        AsyncFlags(kv.bucket(bucket.name), filter=["a"])


async def test_while_the_bucket_is_gone_the_flags_keep_their_values(kv, http, bucket) -> None:
    put(bucket, "one", True)
    async with AsyncFlags(kv.bucket(bucket.name)) as flags:
        http.delete(bucket.path)
        await soon(lambda: flags.stale > 0, "the flags are stale")
        assert flags.enabled("one")
        http.post(BUCKETS, {"name": bucket.name})
        await shows(flags, "one", None)


async def test_flags_end_with_their_client_and_say_so(http, bucket, words) -> None:
    put(bucket, "one", True)
    client = AsyncClient(http.url)
    flags = AsyncFlags(client.kv().bucket(bucket.name))
    await flags.start()
    await client.aclose()
    await soon(lambda: words.count("no longer followed"), "it is said")
    assert flags.enabled("one")
    await flags.aclose()


@pytest.fixture
def port() -> int:
    return free_port()


async def test_async_flags_go_on_after_a_restart_of_the_gateway(nats, port, bucket) -> None:
    with running_gateway(nats.url, port=port) as first:
        client = AsyncClient(first.url, retry=IMPATIENT)
        put(bucket, "one", 1)
        flags = AsyncFlags(client.kv().bucket(bucket.name))
        await flags.start()
    put(bucket, "one", 2)
    await soon(lambda: flags.stale > 0, "the flags are stale")
    assert flags.get("one") == 1
    with running_gateway(nats.url, port=port):
        await shows(flags, "one", 2)
        await flags.aclose()
        await client.aclose()


def test_sync_flags_go_on_after_a_restart_of_the_gateway(nats, port, bucket) -> None:
    with running_gateway(nats.url, port=port) as first:
        client = Client(first.url, retry=IMPATIENT)
        put(bucket, "one", 1)
        flags = Flags(client.kv().bucket(bucket.name))
        flags.start()
    put(bucket, "one", 2)
    until(lambda: flags.stale > 0, "the flags are stale")
    assert flags.get("one") == 1
    with running_gateway(nats.url, port=port):
        until(lambda: flags.get("one") == 2, "the change has come", seconds=15)
        flags.close()
        client.close()


def test_closing_sync_flags_ends_their_thread(sync_kv, bucket) -> None:
    before = set(threading.enumerate())
    with Flags(sync_kv.bucket(bucket.name)):
        (own,) = [
            thread for thread in set(threading.enumerate()) - before if "jetkv flags" in thread.name
        ]
    until(lambda: not own.is_alive(), "the thread has ended")
