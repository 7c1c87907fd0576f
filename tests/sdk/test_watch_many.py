"""One watch over several buckets, by both clients (docs/watch.md#several-buckets)."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jetkv import (
    BucketNotFoundError,
    ClientClosedError,
    InvalidArgumentError,
    JetKVError,
    WatchLostError,
)
from tests.sdk.test_watch_resync import Life
from tests.support.clients import MakeClient
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.waiting import eventually

SECONDS = 20
Seen = tuple[str, str, int, str | None]


@pytest.fixture
def pair(make_bucket: Any) -> tuple[Bucket, Bucket]:
    return make_bucket(history=20), make_bucket(history=20)


@pytest.fixture
async def kv(make: MakeClient, http: Http) -> AsyncIterator[Any]:
    async with make(http.url) as client:
        yield client.kv()


async def take(watch: Any, count: int) -> list[Seen]:
    """Return the next updates as (bucket, key, revision, reason)."""
    async with asyncio.timeout(SECONDS):
        found = [await anext(watch) for _ in range(count)]
    return [(one.bucket, one.key, one.revision, one.reason) for one in found]


async def put(bucket: Bucket, *keys: str) -> None:
    for key in keys:
        assert (await asyncio.to_thread(bucket.put, key, "1")).status == 200


def handle(bucket: Any) -> Any:
    """Return a bucket without what makes the sync client's calls awaitable."""
    return getattr(bucket, "_target", bucket)


async def lost(watch: Any) -> Any:
    async with asyncio.timeout(SECONDS):
        with pytest.raises(JetKVError) as caught:
            await anext(watch)
    return caught.value


async def test_changes_of_all_buckets_come_by_their_filters(kv: Any, pair: Any) -> None:
    a, b = pair
    async with kv.watch({a.name: ["user.*", "x"], b.name: ">"}) as watch:
        await put(a, "no", "user.1", "x")
        assert await take(watch, 2) == [(a.name, "user.1", 2, None), (a.name, "x", 3, None)]
        await put(b, "y")
        assert await take(watch, 1) == [(b.name, "y", 1, None)]


async def test_a_bucket_without_filters_is_watched_whole(kv: Any, pair: Any) -> None:
    async with kv.watch({bucket.name: () for bucket in pair}) as watch:
        await put(pair[1], "any/key")
        assert await take(watch, 1) == [(pair[1].name, "any/key", 1, None)]


async def test_every_bucket_has_the_type_that_it_was_opened_with(
    make: MakeClient, http: Http, pair: Any
) -> None:
    a, b = pair
    async with make(http.url) as client:
        kv = client.kv()
        numbers = handle(kv.bucket(a.name, int))
        async with kv.watch({numbers: ">", b.name: ">"}, snapshot=True) as watch:
            await put(a, "n")
            a.put("bad", "text")
            b.put("json", '{"n":1}')
            found = {}
            async with asyncio.timeout(SECONDS):
                for _ in range(3):
                    update = await anext(watch)
                    found[update.key] = update
    assert found["n"].value == 1
    assert found["json"].value == {"n": 1}
    with pytest.raises(JetKVError, match=f"bucket '{a.name}' does not fit"):
        _ = found["bad"].value


async def test_a_snapshot_has_all_buckets(kv: Any, pair: Any) -> None:
    a, b = pair
    await put(a, "x")
    await put(b, "y", "z")
    async with kv.watch({a.name: ">", b.name: ">"}, snapshot=True) as watch:
        current = {(one.bucket, one.key) for one in await watch.snapshot()}
        assert current == {(a.name, "x"), (b.name, "y"), (b.name, "z")}
        assert watch.synced
        await asyncio.to_thread(b.delete, "y")
        (gone,) = await take(watch, 1)
        assert gone == (b.name, "y", 3, None)


async def test_a_bookmark_resumes_in_every_bucket(kv: Any, pair: Any) -> None:
    a, b = pair
    watched = {a.name: ">", b.name: ">"}
    async with kv.watch(watched) as watch:
        assert watch.bookmark is not None
        await put(a, "x", "x2")
        await take(watch, 1)
        bookmark = watch.bookmark
    await put(b, "y")
    other_order = dict(reversed(watched.items()))
    async with kv.watch(other_order, resume=bookmark) as watch:
        assert sorted(await take(watch, 2)) == sorted(
            [(a.name, "x2", 2, None), (b.name, "y", 1, None)]
        )


async def test_the_bookmark_covers_what_was_returned_and_no_more(kv: Any, pair: Any) -> None:
    a, b = pair
    watched = {a.name: ">", b.name: ">"}
    await put(a, "x", "y")
    await put(b, "z")
    async with kv.watch(watched, snapshot=True) as watch:
        first = await take(watch, 1)
        bookmark = watch.bookmark
    async with kv.watch(watched, resume=bookmark) as watch:
        assert len({*first, *await take(watch, 2)}) == 3


async def test_a_bookmark_of_other_buckets_is_refused(kv: Any, pair: Any, bucket: Bucket) -> None:
    a, b = pair
    async with kv.watch({a.name: ">", b.name: ">"}) as watch:
        bookmark = watch.bookmark
    with pytest.raises(InvalidArgumentError, match="other buckets"):
        async with kv.watch({a.name: ">", bucket.name: ">"}, resume=bookmark):
            pass


@pytest.mark.parametrize("options", [{}, {"snapshot": True}])
async def test_an_unknown_bucket_is_named(kv: Any, bucket: Bucket, options: Any) -> None:
    with pytest.raises(BucketNotFoundError, match="no-such"):
        async with kv.watch({bucket.name: ">", "no-such": ">"}, **options):
            pass


async def test_a_bucket_that_is_deleted_ends_the_watch_and_is_named(
    kv: Any, pair: Any, http: Http
) -> None:
    a, b = pair
    async with kv.watch({a.name: ">", b.name: ">"}, snapshot=True) as watch:
        assert await watch.snapshot() == []
        await asyncio.to_thread(http.delete, b.path)
        error = await lost(watch)
    assert isinstance(error, WatchLostError)
    assert (error.reason, error.bucket) == ("bucket_deleted", b.name)
    assert error.bookmark is not None


@pytest.mark.parametrize(
    ("buckets", "says"),
    [
        ({}, "at least one bucket"),
        ({"": ">"}, "bucket name"),
        ({7: ">"}, "name or an"),
        ({"b": ""}, "filter"),
        ({"b": [""]}, "filter"),
        ({"b": [7]}, "filter"),
    ],
)
async def test_what_cannot_be_watched_is_refused(
    make: MakeClient, nobody: str, buckets: Any, says: str
) -> None:
    async with make(nobody) as client:
        with pytest.raises(InvalidArgumentError, match=says):
            async with client.kv().watch(buckets):
                pass


async def test_a_bucket_of_another_client_or_given_twice_is_refused(
    make: MakeClient, nobody: str
) -> None:
    async with make(nobody) as client, make(nobody) as other:
        own, foreign = (handle(one.kv().bucket("b")) for one in (client, other))
        with pytest.raises(InvalidArgumentError, match="another client"):
            client.kv().watch({foreign: ">"})
        with pytest.raises(InvalidArgumentError, match="twice"):
            client.kv().watch({own: "x", "b": "y"})


async def test_over_64_filters_are_refused(kv: Any, bucket: Bucket) -> None:
    with pytest.raises(InvalidArgumentError, match="64"):
        async with kv.watch({bucket.name: [f"k{number}" for number in range(65)]}):
            pass


async def test_a_client_that_is_closed_ends_its_watch(
    make: MakeClient, http: Http, pair: Any
) -> None:
    async with make(http.url) as client:
        watch = client.kv().watch({bucket.name: ">" for bucket in pair})
        await watch.__aenter__()
    assert isinstance(await lost(watch), ClientClosedError)


# --- through trouble


async def test_a_watch_goes_on_in_each_bucket_after_a_restart_of_the_gateway(
    make: MakeClient, gateway: Any, pair: Any
) -> None:
    a, b = pair
    async with (
        make(gateway.http.url) as client,
        client.kv().watch({a.name: ">", b.name: ">"}) as watch,
    ):
        await put(a, "x")
        await take(watch, 1)
        await asyncio.to_thread(gateway.stop)
        await put(a, "x2")
        await put(b, "y")
        await asyncio.to_thread(gateway.start)
        assert sorted(await take(watch, 2)) == sorted(
            [(a.name, "x2", 2, None), (b.name, "y", 1, None)]
        )


@pytest.fixture
async def life(gateway: Any, native: Any, bucket_name: str) -> Life:
    if native.version < (2, 11):
        pytest.skip("this server has no TTLs of single values")
    return Life(gateway, native, bucket_name, await native.make_kv(bucket_name))


async def test_what_expired_unseen_in_one_bucket_is_reported_as_gone(
    make: MakeClient, life: Life, bucket: Bucket
) -> None:
    for key in ("a", "b", "c"):
        await life.kv.put(key, b"1")
    await put(bucket, "stays")
    watched = {life.name: ">", bucket.name: ">"}
    async with (
        make(life.gateway.http.url) as client,
        client.kv().watch(watched, snapshot=True) as watch,
    ):
        assert len(await watch.snapshot()) == 4
        before = watch.bookmark
        async with life.unseen():
            await life.kv.put("b", b"2")
            await put(bucket, "new")
            await life.expires("a", "c")
        found = await take(watch, 4)
        assert found[2:] == [(life.name, "a", 6, "vanished"), (life.name, "c", 6, "vanished")]
        assert sorted(found[:2]) == sorted(
            [(life.name, "b", 4, None), (bucket.name, "new", 2, None)]
        )
        assert watch.synced
        assert watch.bookmark != before
        await put(bucket, "later")
        assert await take(watch, 1) == [(bucket.name, "later", 3, None)]


async def test_without_a_snapshot_such_a_watch_is_lost(
    make: MakeClient, life: Life, bucket: Bucket
) -> None:
    async with make(life.gateway.http.url) as client:
        kv = client.kv()
        async with kv.watch({life.name: ">", bucket.name: ">"}) as watch:
            await life.kv.put("a", b"1")
            await take(watch, 1)
            async with life.unseen():
                await life.expires("a")
            error = await lost(watch)
    assert (error.reason, error.bucket) == ("resync", life.name)


async def test_a_bucket_created_again_unseen_ends_a_watch_with_a_snapshot(
    make: MakeClient, gateway: Any, pair: Any, http: Http
) -> None:
    a, b = pair
    async with (
        make(gateway.http.url) as client,
        client.kv().watch({a.name: ">", b.name: ">"}, snapshot=True) as watch,
    ):
        await put(b, "y")
        await take(watch, 1)
        await asyncio.to_thread(gateway.stop)
        await asyncio.to_thread(http.delete, b.path)
        await asyncio.to_thread(http.post, BUCKETS, {"name": b.name})
        await put(b, "y", "z")
        await asyncio.to_thread(gateway.start)
        error = await lost(watch)
    assert (error.reason, error.bucket) == ("bucket_deleted", b.name)


async def test_a_watch_waits_for_a_gateway_that_is_away(
    make: MakeClient, gateway: Any, pair: Any
) -> None:
    async with (
        make(gateway.http.url) as client,
        client.kv().watch({bucket.name: ">" for bucket in pair}, snapshot=True) as watch,
    ):
        assert await watch.snapshot() == []
        await asyncio.to_thread(gateway.stop)
        coming = asyncio.ensure_future(take(watch, 1))
        await put(pair[1], "y")
        await asyncio.to_thread(gateway.start)

        async def came() -> bool:
            return coming.done()

        await eventually(came, "the watch goes on")
        assert await coming == [(pair[1].name, "y", 1, None)]
