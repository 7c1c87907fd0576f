"""Watches behave the same by raw HTTP, `Client` and `AsyncClient`."""

from contextlib import AsyncExitStack

import pytest

from tests.sdk.api import ODD_KEYS, Api, Change, Failed, Kind
from tests.sdk.apis import APIS, open_api
from tests.support.http import Http
from tests.support.waiting import soon


@pytest.fixture
def bucket(make_bucket) -> str:
    """A bucket that keeps ten revisions of each key."""
    name: str = make_bucket(history=10, storage="memory").name
    return name


async def test_a_watch_sees_what_happens_from_its_opening_on(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"before")
    async with api.watch(bucket) as changes:
        revision = await api.put(bucket, "a/ü", b"\x00\xff")
        assert await changes.take(1) == [Change("a/ü", b"\x00\xff", revision)]


async def test_a_watch_sees_every_write_in_its_order(api: Api, bucket: str) -> None:
    async with api.watch(bucket) as changes:
        written = [
            Change(key, value, await api.put(bucket, key, value))
            for key, value in (("a", b"1"), ("b", b"2"), ("a", b"3"))
        ]
        assert await changes.take(3) == written


async def test_a_watch_sees_deletes_and_why(api: Api, bucket: str) -> None:
    for key in ("deleted", "purged"):
        await api.put(bucket, key, b"v")
    async with api.watch(bucket) as changes:
        await api.delete(bucket, "deleted")
        await api.purge(bucket, "purged")
        assert await changes.take(2) == [
            Change("deleted", b"", 3, "delete"),
            Change("purged", b"", 4, "delete", "purge"),
        ]


async def test_all_ways_see_a_key_expire_where_the_server_has_markers(
    http: Http, make_bucket
) -> None:
    made = make_bucket(ttl_seconds=1)
    bucket = made.name
    marked = made.info()["expiry_markers"]
    async with AsyncExitStack() as stack:
        apis = [await open_api(stack, name, http) for name in APIS]
        watches = [await stack.enter_async_context(api.watch(bucket)) for api in apis]
        await apis[0].put(bucket, "k", b"v")
        await soon(lambda: made.keys() == [], "the key is gone")
        if not marked:
            await apis[0].put(bucket, "k", b"v")
        second = Change("k", b"", 2, "delete", "expired") if marked else Change("k", b"v", 2)
        for changes in watches:
            assert await changes.take(2) == [Change("k", b"v", 1), second]


async def test_a_watch_sees_only_what_its_filters_choose(api: Api, bucket: str) -> None:
    async with api.watch(bucket, "user:*", "flag.>") as changes:
        for key in ("other", "user:1", "x", "flag.a.b"):
            await api.put(bucket, key, b"v")
        assert [change.key for change in await changes.take(2)] == ["user:1", "flag.a.b"]


async def test_a_snapshot_is_the_live_values_in_the_order_of_their_writing(
    api: Api, bucket: str
) -> None:
    for key, value in (("a", b"old"), ("gone", b"v"), ("b", b"v"), ("a", b"new")):
        await api.put(bucket, key, value)
    await api.delete(bucket, "gone")
    async with api.watch(bucket, snapshot=True) as changes:
        assert await changes.take(2) == [Change("b", b"v", 3), Change("a", b"new", 4)]
        await changes.complete()


async def test_a_snapshot_goes_over_into_what_happens(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"1")
    async with api.watch(bucket, snapshot=True) as changes:
        await changes.take(1)
        await changes.complete()
        revision = await api.put(bucket, "k", b"2")
        assert await changes.take(1) == [Change("k", b"2", revision)]


async def test_a_snapshot_of_an_empty_bucket_is_complete(api: Api, bucket: str) -> None:
    async with api.watch(bucket, snapshot=True) as changes:
        await changes.complete()


async def test_a_watch_resumes_after_a_revision(api: Api, bucket: str) -> None:
    revisions = [await api.put(bucket, "k", value) for value in (b"1", b"2", b"3")]
    async with api.watch(bucket, resume_after=revisions[0]) as changes:
        assert await changes.take(2) == [
            Change("k", b"2", revisions[1]),
            Change("k", b"3", revisions[2]),
        ]


async def test_resuming_tells_of_deletes(api: Api, bucket: str) -> None:
    revision = await api.put(bucket, "k", b"1")
    await api.delete(bucket, "k")
    async with api.watch(bucket, resume_after=revision) as changes:
        assert await changes.take(1) == [Change("k", b"", revision + 1, "delete")]


async def test_a_watch_can_leave_out_deletes(api: Api, bucket: str) -> None:
    await api.put(bucket, "k", b"v")
    async with api.watch(bucket, ignore_deletes=True) as changes:
        await api.delete(bucket, "k")
        revision = await api.put(bucket, "k", b"again")
        assert await changes.take(1) == [Change("k", b"again", revision)]


async def test_a_bucket_that_does_not_exist_is_not_watched(api: Api, bucket_name: str) -> None:
    try:
        async with api.watch(bucket_name) as changes:
            failed = await changes.failure()
    except Failed as at_once:
        failed = at_once
    assert failed.kind is Kind.BUCKET_NOT_FOUND


async def test_a_watch_ends_with_its_bucket(api: Api, bucket: str) -> None:
    async with api.watch(bucket) as changes:
        await api.delete_bucket(bucket)
        assert (await changes.failure()).kind is Kind.BUCKET_DELETED


async def test_resuming_from_the_future_is_no_promise_to_keep(api: Api, bucket: str) -> None:
    async with api.watch(bucket, resume_after=1000) as changes:
        assert (await changes.failure()).kind is Kind.RESYNC


@pytest.mark.parametrize("filter", ["a.>.b", "a\nb", "f" * 513])
async def test_a_watch_with_a_filter_that_breaks_a_rule_is_refused(
    api: Api, bucket: str, filter: str
) -> None:
    with pytest.raises(Failed) as caught:
        async with api.watch(bucket, filter):
            pass
    assert caught.value.kind is Kind.INVALID


async def test_odd_keys_are_watched_like_any_others(api: Api, bucket: str) -> None:
    async with api.watch(bucket) as changes:
        written = [Change(key, b"v", await api.put(bucket, key, b"v")) for key in ODD_KEYS]
        assert await changes.take(len(written)) == written
