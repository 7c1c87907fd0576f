"""What vanishes without a trace while a reader is away ends its watch; nothing else does.

Buckets are made as nats-py makes them: each message may have a TTL of its own, and nothing marks
where one expired. Native clients write to them, since they can give a single value a TTL.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.cluster.proxy import proxied
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.native import SECOND, Native
from tests.support.waiting import eventually, until
from tests.support.watching import streaming, updates, watching

ENDS = ["resync"], 4409


@pytest.fixture(autouse=True)
def _needs_ttls(native: Native) -> None:
    if native.version < (2, 11):
        pytest.skip("nats-server 2.10 knows no TTL of a single message")


@pytest.fixture
async def silent(http: Http, native: Native, bucket_name: str) -> Bucket:
    """A bucket by nats-py: `old` is revision 1, `k` is 2."""
    await native.make_kv(bucket_name)
    assert "allow_msg_ttl" in (await native.api(f"STREAM.INFO.KV_{bucket_name}"))["config"]
    await write(native, bucket_name, "old")
    await write(native, bucket_name, "k")
    return Bucket(http, bucket_name)


async def write(native: Native, bucket: str, key: str, **headers: str) -> int:
    ack = await native.publish(f"$KV.{bucket}.{key}", b"v", **headers)
    assert "error" not in ack, ack
    return ack["seq"]


async def gone(native: Native, bucket: str, key: str) -> None:
    async def is_gone() -> bool:
        return await native.last(bucket, key) is None

    await eventually(is_gone, f"nothing is left of {key}")


async def ended(bucket: Bucket, query: str) -> tuple[list[str], int]:
    async with watching(bucket.http, bucket.name, query) as watcher:
        frames, code = await watcher.closed()
    return [frame["code"] for frame in frames], code


@pytest.mark.parametrize("query", ["", "&key=k", "&key=o*", "&ignore_deletes=true"])
async def test_a_value_that_came_and_expired_while_a_reader_was_away_is_a_resync(
    silent: Bucket, native: Native, query: str
) -> None:
    await write(native, silent.name, "k", Nats_TTL="1")
    await gone(native, silent.name, "k")
    assert await ended(silent, f"?resume_after=2{query}") == ENDS


async def test_an_event_stream_is_told_so_too_and_loses_its_id(
    silent: Bucket, native: Native
) -> None:
    await write(native, silent.name, "k", Nats_TTL="1")
    await gone(native, silent.name, "k")
    async with streaming(silent.http, silent.name, Last_Event_ID="2") as stream:
        event = await stream.next()
        assert event is not None
        assert (event.frame["code"], stream.last_id) == ("resync", "")


async def test_what_came_after_the_value_that_expired_does_not_hide_it(
    silent: Bucket, native: Native
) -> None:
    await write(native, silent.name, "k", Nats_TTL="1")
    await write(native, silent.name, "new")
    await gone(native, silent.name, "k")
    assert await ended(silent, "?resume_after=2") == ENDS
    assert await ended(silent, "?resume_after=2&key=new") == ENDS


async def test_what_expires_between_two_that_came_is_a_resync_after_the_first(
    silent: Bucket, native: Native
) -> None:
    await write(native, silent.name, "first")
    await write(native, silent.name, "k", Nats_TTL="1")
    await write(native, silent.name, "last")
    await gone(native, silent.name, "k")
    async with watching(silent.http, silent.name, "?resume_after=2") as watcher:
        frames, code = await watcher.closed()
    assert ([frame["code"] for frame in frames if frame["type"] == "error"], code) == ENDS
    assert "last" not in [frame.get("key") for frame in frames]


@pytest.mark.parametrize("query", ["", "&key=k"])
async def test_a_marker_that_is_gone_by_now_is_a_resync(
    http: Http, native: Native, bucket_name: str, query: str
) -> None:
    await native.make_bucket(bucket_name, allow_msg_ttl=True, subject_delete_marker_ttl=SECOND)
    await write(native, bucket_name, "old")
    await write(native, bucket_name, "k")
    await write(native, bucket_name, "k", Nats_TTL="1")
    await gone(native, bucket_name, "k")
    assert await ended(Bucket(http, bucket_name), f"?resume_after=2{query}") == ENDS


async def test_a_marker_that_is_still_there_is_a_delete(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(
        bucket_name, allow_msg_ttl=True, subject_delete_marker_ttl=600 * SECOND
    )
    await write(native, bucket_name, "k")
    await write(native, bucket_name, "k", Nats_TTL="1")

    async def marked() -> bool:
        return (await native.state(bucket_name))["last_seq"] == 3

    await eventually(marked, "the value has expired")
    async with watching(http, bucket_name, "?resume_after=1") as watcher:
        frame = await watcher.next()
    assert (frame["key"], frame["operation"], frame["reason"]) == ("k", "delete", "expired")


async def test_a_key_that_never_expires_does_not_vouch_for_those_that_do(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(
        bucket_name,
        max_age=SECOND,
        duplicate_window=SECOND,
        allow_msg_ttl=True,
        subject_delete_marker_ttl=SECOND,
    )
    await write(native, bucket_name, "old", Nats_TTL="never")
    await write(native, bucket_name, "k")
    await gone(native, bucket_name, "k")
    assert await native.last(bucket_name, "old") is not None
    assert await ended(Bucket(http, bucket_name), "?resume_after=2") == ENDS


async def test_a_short_ttl_that_an_administrator_set_while_a_reader_was_away_is_a_resync(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(bucket_name, max_age=3600 * SECOND)
    for key in ("a", "b", "c"):
        await write(native, bucket_name, key)
    config = (await native.api(f"STREAM.INFO.KV_{bucket_name}"))["config"]
    short = {**config, "max_age": SECOND, "duplicate_window": SECOND}
    assert "error" not in await native.api(f"STREAM.UPDATE.KV_{bucket_name}", short)
    await gone(native, bucket_name, "c")
    assert await ended(Bucket(http, bucket_name), "?resume_after=1") == ENDS


# --- harmless


@pytest.mark.parametrize(
    ("query", "expected"), [("", ["a", "b", "c"]), ("&key=b", ["b"]), ("&key=old", [])]
)
async def test_a_resume_goes_on_where_every_revision_is_still_there(
    silent: Bucket, native: Native, query: str, expected: list[str]
) -> None:
    await write(native, silent.name, "k", Nats_TTL="1")
    await gone(native, silent.name, "k")
    for key in ("a", "b", "c"):
        await write(native, silent.name, key)
    async with watching(silent.http, silent.name, f"?resume_after=3{query}") as watcher:
        frames = await watcher.take(len(expected))
        assert [frame["key"] for frame in frames] == expected
        await write(native, silent.name, "b")
        await write(native, silent.name, "old")
        frame = await watcher.next()
        assert frame["key"] == (expected[-1] if query == "&key=b" else frame["key"])


async def test_a_resume_goes_on_where_nothing_happened(silent: Bucket, native: Native) -> None:
    await write(native, silent.name, "k", Nats_TTL="1")
    await gone(native, silent.name, "k")
    async with watching(silent.http, silent.name, "?resume_after=3") as watcher:
        revision = await write(native, silent.name, "k")
        assert updates([await watcher.next()]) == [("k", "put", revision)]


@pytest.mark.parametrize("query", ["", "&key=hot"])
async def test_a_resume_goes_on_where_keys_were_written_over_and_markers_tell_what_expires(
    make_bucket, native: Native, query: str
) -> None:
    bucket = await asyncio.to_thread(make_bucket, ttl_seconds=600)
    await write(native, bucket.name, "old", Nats_TTL="never")
    await write(native, bucket.name, "some")
    for _ in range(20):
        last = await write(native, bucket.name, "hot")
    async with watching(bucket.http, bucket.name, f"?resume_after=2{query}") as watcher:
        assert updates([await watcher.next()]) == [("hot", "put", last)]


async def test_a_reader_who_is_back_within_a_second_goes_on(silent: Bucket, native: Native) -> None:
    """No value lives for less: nothing can have expired."""
    position = await write(native, silent.name, "some")
    for _ in range(3):
        last = await write(native, silent.name, "k")
    async with watching(silent.http, silent.name, f"?resume_after={position}") as watcher:
        assert updates([await watcher.next()]) == [("k", "put", last)]


async def test_a_snapshot_is_complete_whatever_has_expired(silent: Bucket, native: Native) -> None:
    await write(native, silent.name, "k", Nats_TTL="1")
    await gone(native, silent.name, "k")
    async with watching(silent.http, silent.name, "?snapshot=true") as watcher:
        frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
    assert updates(frames) == [("old", "put", 1)]
    assert frames[-1]["revision"] == 3


# --- the live feed, after an outage


@pytest.fixture
async def cut_off(nats) -> AsyncIterator:
    """A gateway whose way to NATS can be cut."""
    async with proxied(nats.port) as proxy:
        gateway = running_gateway(proxy.url)
        http = await asyncio.to_thread(gateway.__enter__)
        try:
            yield proxy, http
        finally:
            proxy.mend()
            await asyncio.to_thread(gateway.__exit__, None, None, None)


async def back(proxy, http: Http) -> None:
    proxy.mend()
    await asyncio.to_thread(
        until, lambda: http.get("/ready").status == 200, "the gateway is back", 20
    )


@pytest.mark.parametrize("later", [True, False])
async def test_a_watch_ends_where_a_value_came_and_expired_during_an_outage(
    silent: Bucket, native: Native, cut_off, later: bool
) -> None:
    proxy, http = cut_off
    async with watching(http, silent.name, "?snapshot=true") as watcher:
        await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
        proxy.refuse()
        await write(native, silent.name, "k", Nats_TTL="1")
        if later:
            await write(native, silent.name, "later")
        await gone(native, silent.name, "k")
        await back(proxy, http)
        frames, code = await watcher.closed()
    assert ([frame["code"] for frame in frames], code) == ENDS


async def test_a_watch_goes_on_where_all_that_came_during_an_outage_is_there(
    silent: Bucket, native: Native, cut_off
) -> None:
    proxy, http = cut_off
    async with watching(http, silent.name, "?key=new*") as watcher:
        proxy.refuse()
        for number in range(3):
            await write(native, silent.name, f"new{number}")
        await write(native, silent.name, "k", Nats_TTL="600")
        await asyncio.sleep(1.5)  # longer than the shortest time that a value can live
        await back(proxy, http)
        assert [frame["key"] for frame in await watcher.take(3)] == ["new0", "new1", "new2"]
        revision = await write(native, silent.name, "new")
        assert updates([await watcher.next()]) == [("new", "put", revision)]


async def test_a_busy_key_of_a_silent_bucket_does_not_end_a_live_watch(
    silent: Bucket, native: Native
) -> None:
    async with watching(silent.http, silent.name, "?key=done") as watcher:
        for _ in range(3):
            await asyncio.sleep(1.1)  # until what came last is older than values live
            for _ in range(300):
                await native.client.publish(f"$KV.{silent.name}.k", b"v")
            await native.settled()
        revision = await write(native, silent.name, "done")
        assert updates([await watcher.next()]) == [("done", "put", revision)]
