"""A watch that resumes after a revision."""

from tests.support.http import Bucket, Http
from tests.support.native import Native
from tests.support.waiting import eventually
from tests.support.watched import before, create, created_at, delete, ends, put, remove, watch
from tests.support.watching import updates, value_of


async def test_a_resumed_watch_has_every_change_since_deletes_included(make_bucket) -> None:
    bucket = make_bucket(history=10)
    await put(bucket, "a", "1")
    await put(bucket, "a", "2")
    await delete(bucket, "a")
    await put(bucket, "b", "4")
    async with watch(bucket, "?resume_after=1") as watcher:
        frames = await watcher.take(3)
        assert updates(frames) == [("a", "put", 2), ("a", "delete", 3), ("b", "put", 4)]
        assert await before(watcher, bucket) == [], "no frame of another kind"


async def test_resuming_after_0_begins_with_the_first_revision(bucket: Bucket) -> None:
    await put(bucket, "a")
    await put(bucket, "b")
    async with watch(bucket, "?resume_after=0") as watcher:
        assert updates(await watcher.take(2)) == [("a", "put", 1), ("b", "put", 2)]


async def test_resuming_after_the_newest_revision_shows_what_comes_next(bucket: Bucket) -> None:
    await put(bucket, "a")
    async with watch(bucket, "?resume_after=1") as watcher:
        await put(bucket, "b")
        assert (await watcher.next())["revision"] == 2


async def test_what_the_history_has_dropped_is_not_repeated(make_bucket) -> None:
    bucket = make_bucket(history=1)
    for value in ("1", "2", "3"):
        await put(bucket, "a", value)
    await put(bucket, "b")
    await put(bucket, "gone")
    await delete(bucket, "gone")
    async with watch(bucket, "?resume_after=1") as watcher:
        frames = await watcher.take(3)
        assert updates(frames) == [("a", "put", 3), ("b", "put", 4), ("gone", "delete", 6)]
        assert value_of(frames[0]) == b"3"


async def test_a_purge_while_away_is_shown(make_bucket) -> None:
    bucket = make_bucket(history=10)
    await put(bucket, "a")
    await put(bucket, "a")
    await delete(bucket, "a", "?purge=true")
    async with watch(bucket, "?resume_after=1") as watcher:
        frame = await watcher.next()
        assert (frame["key"], frame["operation"], frame["reason"]) == ("a", "delete", "purge")
        assert frame["revision"] == 3


async def test_a_resumed_watch_has_only_what_the_filters_want(bucket: Bucket) -> None:
    for key in ("user.a", "x", "user.b", "y"):
        await put(bucket, key)
    async with watch(bucket, "?resume_after=1&key=user.*") as watcher:
        assert (await watcher.next())["revision"] == 3
        await put(bucket, "z")
        await put(bucket, "user.a")
        assert (await watcher.next())["revision"] == 6


async def test_resuming_in_the_future_is_a_resync(bucket: Bucket) -> None:
    await put(bucket, "a")
    async with watch(bucket, "?resume_after=2") as watcher:
        frames, code = await watcher.closed()
    assert code == 4409
    assert [(frame["type"], frame["code"]) for frame in frames] == [("error", "resync")]
    assert frames[0].keys() == {"type", "message", "code"}
    assert frames[0]["message"].startswith("resync")


async def test_resuming_in_the_same_bucket_goes_on(bucket: Bucket) -> None:
    await put(bucket, "a")
    await put(bucket, "b")
    query = f"?resume_after=1&bucket_created_at={await created_at(bucket)}"
    async with watch(bucket, query) as watcher:
        assert (await watcher.next())["revision"] == 2


async def test_resuming_in_another_bucket_of_the_same_name_is_a_resync(bucket: Bucket) -> None:
    await put(bucket, "a")
    query = f"?resume_after=1&bucket_created_at={await created_at(bucket)}"
    await remove(bucket)
    await create(bucket)
    for key in ("x", "y", "z"):
        await put(bucket, key)
    async with watch(bucket, query) as watcher:
        frames, code = await watcher.closed()
    assert ([frame["code"] for frame in frames], code) == (["resync"], 4409)


async def test_a_revision_that_a_bucket_created_again_has_not_reached_is_a_resync(
    bucket: Bucket,
) -> None:
    for key in ("x", "y", "z"):
        await put(bucket, key)
    await remove(bucket)
    await create(bucket)
    await put(bucket, "a")
    async with watch(bucket, "?resume_after=3") as watcher:
        frames, code = await watcher.closed()
    assert ([frame["code"] for frame in frames], code) == (["resync"], 4409)


async def test_values_that_expired_without_a_trace_are_a_resync(
    bucket_name: str, http: Http, native: Native
) -> None:
    await native.make_bucket(bucket_name, max_age=500_000_000, duplicate_window=500_000_000)
    bucket = Bucket(http, bucket_name)
    await put(bucket, "a")
    await put(bucket, "b")

    async def all_expired() -> bool:
        return (await native.state(bucket_name))["messages"] == 0

    await eventually(all_expired, "both values have expired")
    async with watch(bucket, "?resume_after=1") as watcher:
        frames, code = await watcher.closed()
    assert ([frame["code"] for frame in frames], code) == (["resync"], 4409)


async def test_a_full_bucket_that_dropped_values_is_a_resync_only_where_one_is_missed(
    bucket_name: str, http: Http, native: Native
) -> None:
    await native.make_bucket(bucket_name, discard="old", max_msgs=3)
    bucket = Bucket(http, bucket_name)
    for key in "abcde":
        await put(bucket, key)
    async with watch(bucket, "?resume_after=2") as watcher:
        assert [frame["revision"] for frame in await watcher.take(3)] == [3, 4, 5]
    async with watch(bucket, "?resume_after=1") as watcher:
        frames, code = await watcher.closed()
    assert ([frame["code"] for frame in frames], code) == (["resync"], 4409)


async def test_a_bucket_without_direct_gets_has_a_past_too(
    bucket_name: str, http: Http, native: Native
) -> None:
    await native.make_bucket(bucket_name, allow_direct=False)
    bucket = Bucket(http, bucket_name)
    for key in ("a", "b", "a"):
        await put(bucket, key)
    async with watch(bucket, "?snapshot=true") as watcher:
        assert updates(await watcher.until(ends)) == [("b", "put", 2), ("a", "put", 3)]
    async with watch(bucket, "?resume_after=2") as watcher:
        assert updates([await watcher.next()]) == [("a", "put", 3)]
