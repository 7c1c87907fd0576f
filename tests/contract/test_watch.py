"""What a WebSocket watcher is told, frame by frame (docs/watch.md#frames)."""

import asyncio
import base64
import itertools
from contextlib import ExitStack
from urllib.parse import quote

import pytest
from websockets.exceptions import InvalidStatus

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import Native
from tests.support.waiting import eventually
from tests.support.watching import Frame, Watcher, state_of, updates, value_of, watching


@pytest.fixture
def bucket(make_bucket) -> Bucket:
    """A bucket that keeps history: with one revision a key, a fast second write hides the first."""
    return make_bucket(history=20)


def watch(bucket: Bucket, query: str = ""):
    return watching(bucket.http, bucket.name, query)


async def put(bucket: Bucket, key: str, value: str | bytes = "v", **headers: str) -> int:
    """Put a value; its revision."""
    answer = await asyncio.to_thread(bucket.put, key, value, **headers)
    assert answer.status == 200, answer
    revision: int = answer.json["revision"]
    return revision


async def delete(bucket: Bucket, key: str, query: str = "") -> None:
    answer = await asyncio.to_thread(bucket.delete, key, query)
    assert answer.status == 204, answer


async def remove(bucket: Bucket) -> None:
    answer = await asyncio.to_thread(bucket.http.delete, bucket.path)
    assert answer.status == 204, answer


async def create(bucket: Bucket) -> None:
    answer = await asyncio.to_thread(bucket.http.post, BUCKETS, {"name": bucket.name})
    assert answer.status == 201, answer


async def created_at(bucket: Bucket) -> str:
    info = await asyncio.to_thread(bucket.info)
    return quote(info["created_at"], safe="")


async def before(watcher: Watcher, bucket: Bucket, key: str = "the-end") -> list[Frame]:
    """All frames up to those of a put that is made now; the put's own left out."""
    await put(bucket, key)
    return (await watcher.until(lambda frame: frame.get("key") == key))[:-1]


def in_json(bucket: Bucket) -> Bucket:
    return Bucket(Http(bucket.http.host, bucket.http.port, base="/json"), bucket.name)


# --- updates


async def test_a_put_is_shown_with_exactly_the_fields_of_the_contract(bucket: Bucket) -> None:
    async with watch(bucket) as watcher:
        revision = await put(bucket, "user.alice", "value")
        assert await watcher.next() == {
            "type": "kv_update",
            "bucket": bucket.name,
            "key": "user.alice",
            "value": "dmFsdWU=",
            "revision": revision,
            "operation": "put",
        }


async def test_a_delete_has_an_empty_value_and_no_reason(bucket: Bucket) -> None:
    await put(bucket, "k", "value")
    async with watch(bucket) as watcher:
        await delete(bucket, "k")
        assert await watcher.next() == {
            "type": "kv_update",
            "bucket": bucket.name,
            "key": "k",
            "value": "",
            "revision": 2,
            "operation": "delete",
        }


async def test_a_purge_is_a_delete_that_says_so(bucket: Bucket) -> None:
    await put(bucket, "k")
    async with watch(bucket) as watcher:
        await delete(bucket, "k", "?purge=true")
        frame = await watcher.next()
        assert (frame["operation"], frame["value"]) == ("delete", "")
        assert frame["reason"] == "purge"


async def test_what_ran_out_of_time_is_a_delete_that_says_so(make_bucket, native: Native) -> None:
    bucket = make_bucket(ttl_seconds=1)
    async with watch(bucket) as watcher:
        await put(bucket, "k")
        assert (await watcher.next())["operation"] == "put"
        if native.version < (2, 11):
            # Markers came with 2.11; before, the value just goes.
            assert await before(watcher, bucket) == []
            return
        frame = await watcher.next()
        assert (frame["key"], frame["operation"], frame["value"]) == ("k", "delete", "")
        assert frame["reason"] == "expired"


async def test_a_put_that_was_acked_before_the_101_is_not_shown(bucket: Bucket) -> None:
    await put(bucket, "earlier")
    async with watch(bucket) as watcher:
        await put(bucket, "later")
        assert (await watcher.next())["key"] == "later"


async def test_a_put_right_after_the_101_is_shown_to_a_second_watcher_too(bucket: Bucket) -> None:
    async with watch(bucket) as first:
        await put(bucket, "a")
        async with watch(bucket) as second:
            await put(bucket, "b")
            assert (await second.next())["key"] == "b"
        assert [frame["key"] for frame in await first.take(2)] == ["a", "b"]


async def test_a_text_with_a_null_is_no_trouble(bucket: Bucket) -> None:
    async with watch(bucket) as watcher:
        await put(bucket, "k", b"a\x00b\r\n")
        assert value_of(await watcher.next()) == b"a\x00b\r\n"


async def test_every_byte_comes_back_in_padded_base64(bucket: Bucket) -> None:
    value = bytes(range(256))
    async with watch(bucket) as watcher:
        await put(bucket, "k", value)
        assert (await watcher.next())["value"] == base64.b64encode(value).decode()


async def test_an_empty_value_is_a_put_all_the_same(bucket: Bucket) -> None:
    async with watch(bucket) as watcher:
        await put(bucket, "k", b"")
        frame = await watcher.next()
        assert (frame["operation"], frame["value"]) == ("put", "")


@pytest.mark.parametrize(
    "key",
    [
        "a b",
        "user:42",
        "a/b",
        "..",
        ".hidden",
        "a..b",
        "ends.",
        "*",
        "a*b",
        ">",
        "ä",
        "🔑",
        '"quoted"\\',
        "%41",
        "=not=escaped=",
        "k" * 512,
    ],
)
async def test_a_key_comes_back_as_it_was_written(bucket: Bucket, key: str) -> None:
    async with watch(bucket) as watcher:
        await put(bucket, key)
        assert (await watcher.next())["key"] == key


async def test_changes_of_many_writers_come_in_revision_order_and_each_once(
    bucket: Bucket,
) -> None:
    async with watch(bucket) as watcher:

        async def write(name: str) -> None:
            for number in range(15):
                await put(bucket, f"{name}.{number}", name)

        await asyncio.gather(*(write(name) for name in "abcd"))
        revisions = [frame["revision"] for frame in await watcher.take(60)]
        assert revisions == list(range(1, 61))
        assert await before(watcher, bucket) == []


async def test_values_of_all_sizes_come_in_order_behind_a_burst_of_small_ones(
    bucket: Bucket, native: Native
) -> None:
    sizes = [10] * 600 + [150_000, 10, 200_000, 400_000, 10, 1_000_000] + [10] * 600
    async with watch(bucket) as watcher:

        async def write() -> None:
            for number, size in enumerate(sizes):
                await native.publish(f"$KV.{bucket.name}.k{number}", bytes(size))

        writing = asyncio.create_task(write())
        try:
            for number, size in enumerate(sizes):
                frame = await watcher.next()
                assert (frame["key"], len(value_of(frame))) == (f"k{number}", size)
        finally:
            writing.cancel()
            await asyncio.wait({writing})


async def test_a_refused_write_is_not_shown(bucket: Bucket) -> None:
    await put(bucket, "k")
    async with watch(bucket) as watcher:
        refused = await asyncio.to_thread(bucket.put, "k", "w", If_None_Match="*")
        assert refused.status == 412
        assert await before(watcher, bucket) == []


async def test_a_native_clients_changes_are_shown(bucket: Bucket, native: Native) -> None:
    kv = await native.kv(bucket.name)
    async with watch(bucket) as watcher:
        await kv.put("k", b"native")
        await kv.delete("k")
        await kv.purge("k")
        frames = await watcher.take(3)
        assert updates(frames) == [("k", "put", 1), ("k", "delete", 2), ("k", "delete", 3)]
        assert value_of(frames[0]) == b"native"
        assert [frame.get("reason") for frame in frames] == [None, None, "purge"]


async def test_a_value_of_the_servers_maximum_arrives_whole(bucket: Bucket) -> None:
    refused = await asyncio.to_thread(bucket.put, "k", bytes(2 * 1024 * 1024))
    assert refused.status == 413
    value = bytes(range(256)) * (refused.json["details"]["limit_bytes"] // 256)
    async with watch(bucket) as watcher:
        await put(bucket, "k", value)
        await put(bucket, "k", "small")
        frames = await watcher.take(2)
        assert [value_of(frame) for frame in frames] == [value, b"small"]


async def test_a_native_message_of_the_servers_maximum_arrives_whole(
    bucket: Bucket, native: Native
) -> None:
    value = b"x" * native.client.max_payload
    async with watch(bucket) as watcher:
        await native.publish(f"$KV.{bucket.name}.k", value)
        assert value_of(await watcher.next()) == value


async def test_a_bucket_is_called_by_its_name_without_the_servers_prefix(
    nats: NatsServer, native: Native, bucket_name: str
) -> None:
    await native.make_bucket(f"APP_{bucket_name}")
    with running_gateway(nats.url, bucket_prefix="APP_") as http:
        bucket = Bucket(http, bucket_name)
        async with watch(bucket) as watcher:
            await put(bucket, "k")
            assert (await watcher.next())["bucket"] == bucket_name


async def test_the_environment_of_the_official_clients_is_accepted(bucket: Bucket) -> None:
    async with watch(bucket, "?env=production") as watcher:
        await put(bucket, "k")
        assert (await watcher.next())["key"] == "k"


# --- filters


@pytest.mark.parametrize(
    ("filters", "keys", "wanted"),
    [
        ("user.a", "user,user.b,user.a.x,xuser.a,user.a", "user.a"),
        ("a b", "a b.x,ab,a b", "a b"),
        ("user.*", "user.a,user.a.b,user,users.a,user.z", "user.a,user.z"),
        ("user:*", "user:1,user:1.x,user.2,xuser:3,user:9", "user:1,user:9"),
        ("user-*", "user-1,user,user-1.x,user-b", "user-1,user-b"),
        ("user-*.name", "user-1.name,user-1,user-1.mail,user-2.name", "user-1.name,user-2.name"),
        ("*.name", "a.name,name,a.b.name,b.name", "a.name,b.name"),
        ("*", "a,a.b,b", "a,b"),
        ("user.>", "user,user.a,users.a,user.a.b", "user.a,user.a.b"),
        ("*.b.>", "a.b,a.b.c,b.c.d,x.b.c.d", "a.b.c,x.b.c.d"),
        (">", "a,a.b,a:b", "a,a.b,a:b"),
        ("", "a,a.b,a:b", "a,a.b,a:b"),
        ("user.", "user,user.a,users.x,user.a.b", "user.a,user.a.b"),
        ("user:", "user,user:1,users:1,user:1.x", "user:1,user:1.x"),
        ("user/", "user,user/1,users/1,user/1/x", "user/1,user/1/x"),
        ("user-", "user,user-1,users-1,user-1.x", "user-1,user-1.x"),
        ("user.*,user.a,>", "user.a,x,user.b", "user.a,x,user.b"),
        ("user.*,user.a", "user.a,x,user.b", "user.a,user.b"),
        ("a.>,b", "a,b,a.x,c,b", "b,a.x,b"),
        ("*.x,a.*", "a.x,b.x,a.b,c.c,a.c", "a.x,b.x,a.b,a.c"),
        ("a,b", "a,c,b,d,a", "a,b,a"),
        ("user-*,user.", "user-1,user,user.1", "user-1,user.1"),
    ],
)
async def test_a_watcher_sees_the_keys_of_its_filters_and_each_change_once(
    bucket: Bucket, filters: str, keys: str, wanted: str
) -> None:
    written, expected = keys.split(","), wanted.split(",")
    query = "&".join(f"key={quote(text, safe='')}" for text in filters.split(","))
    # The last key is always a wanted one: nothing can be on its way behind it.
    async with watch(bucket, f"?{query}") as watcher:
        for key in written:
            await put(bucket, key)
        frames = await watcher.take(len(expected))
        assert [frame["key"] for frame in frames] == expected
        revisions = [frame["revision"] for frame in frames]
        assert revisions == sorted(set(revisions))
        assert revisions[-1] == len(written)


async def test_a_filter_holds_for_deletes_too(bucket: Bucket) -> None:
    await put(bucket, "a.k")
    await put(bucket, "b.k")
    async with watch(bucket, "?key=b.*") as watcher:
        await delete(bucket, "a.k")
        await delete(bucket, "b.k")
        assert updates([await watcher.next()]) == [("b.k", "delete", 4)]


async def test_watchers_with_other_filters_do_not_disturb_each_other(bucket: Bucket) -> None:
    async with watch(bucket, "?key=a.*") as of_a, watch(bucket, "?key=b") as of_b:
        async with watch(bucket) as of_all:
            for key in ("a.1", "b", "a.2", "b"):
                await put(bucket, key)
            assert [frame["key"] for frame in await of_all.take(4)] == ["a.1", "b", "a.2", "b"]
        assert [frame["key"] for frame in await of_a.take(2)] == ["a.1", "a.2"]
        assert [frame["revision"] for frame in await of_b.take(2)] == [2, 4]


# --- snapshot


def ends(frame: Frame) -> bool:
    return frame["type"] == "kv_snapshot_end"


async def test_a_snapshot_has_the_live_values_in_revision_order_and_then_its_end(
    bucket: Bucket,
) -> None:
    for key, value in (("a", "old"), ("b", "b"), ("gone", "x"), ("a", "new")):
        await put(bucket, key, value)
    await delete(bucket, "gone")
    async with watch(bucket, "?snapshot=true") as watcher:
        frames = await watcher.until(ends)
        assert updates(frames) == [("b", "put", 2), ("a", "put", 4)]
        assert [value_of(frame) for frame in frames[:-1]] == [b"b", b"new"]
        assert frames[-1] == {"type": "kv_snapshot_end", "revision": 5}


async def test_a_snapshot_of_a_bucket_with_history_has_only_the_newest(make_bucket) -> None:
    bucket = make_bucket(history=10)
    for key, value in (("a", "1"), ("b", "1"), ("a", "2"), ("b", "2")):
        await put(bucket, key, value)
    async with watch(bucket, "?snapshot=true") as watcher:
        frames = await watcher.until(ends)
        assert updates(frames) == [("a", "put", 3), ("b", "put", 4)]


async def test_after_the_snapshot_come_the_changes(bucket: Bucket) -> None:
    await put(bucket, "a")
    async with watch(bucket, "?snapshot=true") as watcher:
        assert len(await watcher.until(ends)) == 2
        await put(bucket, "a")
        await delete(bucket, "a")
        assert updates(await watcher.take(2)) == [("a", "put", 2), ("a", "delete", 3)]


async def test_the_snapshot_of_an_empty_bucket_is_its_end(bucket: Bucket) -> None:
    async with watch(bucket, "?snapshot=true") as watcher:
        assert await watcher.next() == {"type": "kv_snapshot_end", "revision": 0}
        await put(bucket, "k")
        assert (await watcher.next())["revision"] == 1


async def test_the_snapshot_of_a_bucket_with_nothing_but_deletes_is_its_end(
    bucket: Bucket,
) -> None:
    await put(bucket, "k")
    await delete(bucket, "k")
    async with watch(bucket, "?snapshot=true") as watcher:
        assert await watcher.next() == {"type": "kv_snapshot_end", "revision": 2}


@pytest.mark.parametrize("query", ["key=user.*", "key=user.b&key=user.a", "key=user-*&key=user."])
async def test_a_snapshot_has_only_what_the_filters_want(bucket: Bucket, query: str) -> None:
    for key in ("user.a", "x", "user.b", "y"):
        await put(bucket, key)
    async with watch(bucket, f"?snapshot=true&{query}") as watcher:
        frames = await watcher.until(ends)
        assert [frame["key"] for frame in frames[:-1]] == ["user.a", "user.b"]
        assert frames[-1]["revision"] == 4
        await put(bucket, "z")
        await put(bucket, "user.a")
        assert (await watcher.next())["revision"] == 6


async def test_a_snapshot_of_as_many_keys_as_there_can_be_filters(bucket: Bucket) -> None:
    for number in range(66):
        await put(bucket, f"k{number}")
    query = "&".join(f"key=k{number}" for number in range(64))
    async with watch(bucket, f"?snapshot=true&{query}") as watcher:
        frames = await watcher.until(ends)
        assert [frame["revision"] for frame in frames] == [*range(1, 65), 66]


async def test_a_snapshot_that_nothing_matches_still_has_an_end(bucket: Bucket) -> None:
    await put(bucket, "k")
    async with watch(bucket, "?snapshot=true&key=other") as watcher:
        assert await watcher.next() == {"type": "kv_snapshot_end", "revision": 1}


async def test_snapshot_false_is_no_snapshot(bucket: Bucket) -> None:
    await put(bucket, "a")
    async with watch(bucket, "?snapshot=false") as watcher:
        await put(bucket, "b")
        assert (await watcher.next())["key"] == "b"


async def test_a_snapshot_of_many_keys_is_complete(bucket: Bucket, native: Native) -> None:
    kv = await native.kv(bucket.name)
    for number in range(700):
        await kv.put(f"k.{number}", b"%d" % number)
    async with watch(bucket, "?snapshot=true") as watcher:
        frames = await watcher.until(ends)
        assert [frame["revision"] for frame in frames] == [*range(1, 701), 700]


async def test_a_snapshot_taken_while_all_is_written_over_ends_in_the_same_state(
    bucket: Bucket, native: Native
) -> None:
    kv = await native.kv(bucket.name)
    for number in range(100):
        await kv.put(f"k.{number}", b"first")

    async def write() -> None:
        for turn, number in itertools.product(range(5), range(100)):
            if turn == 4 and number % 7 == 0:
                await kv.delete(f"k.{number}")
            else:
                await kv.put(f"k.{number}", f"{turn}".encode())

    writing = asyncio.create_task(write())
    try:
        async with watch(bucket, "?snapshot=true") as watcher:
            await writing
            frames = [*await watcher.until(ends), *await before(watcher, bucket)]
            revisions = [revision for _, _, revision in updates(frames)]
            assert revisions == sorted(set(revisions))
            newest = base64.b64encode(b"4").decode()
            assert state_of(frames) == {f"k.{n}": newest for n in range(100) if n % 7}
    finally:
        writing.cancel()


# --- resume


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


async def test_a_revision_that_a_bucket_made_anew_has_not_reached_is_a_resync(
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


# --- forms


async def test_without_deletes_only_puts_are_shown(bucket: Bucket) -> None:
    async with watch(bucket, "?ignore_deletes=true") as watcher:
        await put(bucket, "a")
        await delete(bucket, "a")
        await put(bucket, "a")
        await delete(bucket, "a", "?purge=true")
        await put(bucket, "b")
        assert updates(await watcher.take(3)) == [("a", "put", 1), ("a", "put", 3), ("b", "put", 5)]


async def test_without_deletes_a_resumed_watch_has_none_either(make_bucket) -> None:
    bucket = make_bucket(history=10)
    await put(bucket, "a")
    await delete(bucket, "a")
    await put(bucket, "b")
    async with watch(bucket, "?ignore_deletes=true&resume_after=0") as watcher:
        assert updates(await watcher.take(2)) == [("a", "put", 1), ("b", "put", 3)]


async def test_without_values_the_size_is_shown(bucket: Bucket) -> None:
    async with watch(bucket, "?meta_only=true") as watcher:
        await put(bucket, "k", "value")
        await delete(bucket, "k")
        base = {"type": "kv_update", "bucket": bucket.name, "key": "k"}
        assert await watcher.take(2) == [
            {**base, "size": 5, "revision": 1, "operation": "put"},
            {**base, "size": 0, "revision": 2, "operation": "delete"},
        ]


async def test_forms_do_not_get_mixed_up_between_watchers(bucket: Bucket) -> None:
    async with (
        watch(bucket, "?meta_only=true") as meta,
        watch(in_json(bucket)) as text,
        watch(bucket) as plain,
    ):
        await put(bucket, "k", "value")
        assert "value" not in await meta.next()
        assert (await text.next())["value"] == "value"
        assert (await plain.next())["value"] == "dmFsdWU="


async def test_under_the_json_base_the_value_is_the_stored_text(bucket: Bucket) -> None:
    async with watch(in_json(bucket)) as watcher:
        for value in ('{"role": "admin"}', "plain", "42", "", "ä\n"):
            await put(bucket, "k", value, Content_Type="application/json")
        frames = await watcher.take(5)
        values = [frame["value"] for frame in frames]
        assert values == ['{"role": "admin"}', "plain", "42", "", "ä\n"]
        assert {frame["encoding"] for frame in frames} == {"text"}


async def test_under_the_json_base_what_is_no_text_is_base64_and_says_so(bucket: Bucket) -> None:
    async with watch(in_json(bucket)) as watcher:
        await put(bucket, "k", b"\xff\x00")
        frame = await watcher.next()
        assert (value_of(frame), frame["encoding"]) == (b"\xff\x00", "base64")


async def test_under_the_json_base_a_delete_is_the_same(bucket: Bucket) -> None:
    await put(bucket, "k")
    async with watch(in_json(bucket)) as watcher:
        await delete(bucket, "k")
        frame = await watcher.next()
        assert (frame["operation"], frame["value"]) == ("delete", "")
        assert "encoding" not in frame


async def test_the_stored_text_is_in_the_snapshot_too(bucket: Bucket) -> None:
    await put(bucket, "k", "text")
    async with watch(in_json(bucket), "?snapshot=true") as watcher:
        assert (await watcher.next())["value"] == "text"


# --- how it ends


@pytest.mark.parametrize("query", ["", "?snapshot=true", "?resume_after=0"])
async def test_an_unknown_bucket_is_one_error_frame_and_4404(http: Http, query: str) -> None:
    async with watching(http, "no-such-bucket", query) as watcher:
        frames, code = await watcher.closed()
    assert frames == [{"type": "error", "message": "bucket not found", "code": "not_found"}]
    assert code == 4404


DELETED = [{"type": "error", "message": "bucket deleted", "code": "bucket_deleted"}]


@pytest.mark.parametrize("query", ["", "?key=k", "?snapshot=true", "?resume_after=0"])
async def test_a_bucket_that_is_deleted_is_one_error_frame_and_4410(
    bucket: Bucket, query: str
) -> None:
    async with watch(bucket, query) as watcher:
        await put(bucket, "k")
        await watcher.until(lambda frame: frame.get("revision") == 1 and not ends(frame))
        await remove(bucket)
        frames, code = await watcher.closed()
    assert [frame for frame in frames if not ends(frame)] == DELETED
    assert code == 4410


async def test_a_bucket_that_another_client_deletes_is_the_same(
    bucket: Bucket, native: Native
) -> None:
    async with watch(bucket) as watcher:
        await native.api(f"STREAM.DELETE.KV_{bucket.name}")
        assert await watcher.closed() == (DELETED, 4410)


async def test_a_bucket_that_is_made_anew_at_once_was_deleted_all_the_same(
    bucket: Bucket,
) -> None:
    await put(bucket, "old")
    async with watch(bucket) as watcher:
        await remove(bucket)
        await create(bucket)
        await put(bucket, "new")
        assert await watcher.closed() == (DELETED, 4410)


async def test_a_watch_of_the_bucket_made_anew_sees_its_changes(bucket: Bucket) -> None:
    async with watch(bucket) as old:
        await remove(bucket)
        await create(bucket)
        async with watch(bucket) as new:
            await put(bucket, "k")
            assert updates([await new.next()]) == [("k", "put", 1)]
            assert await old.closed() == (DELETED, 4410)


async def test_watchers_of_another_bucket_do_not_notice(make_bucket) -> None:
    one, other = make_bucket(), make_bucket()
    async with watch(one) as watcher, watch(other) as ended:
        await remove(other)
        assert (await ended.closed())[1] == 4410
        await put(one, "k")
        assert updates([await watcher.next()]) == [("k", "put", 1)]


@pytest.mark.parametrize("query", ["", "?snapshot=true"])
async def test_a_server_that_stops_closes_with_1001_and_no_word(
    nats: NatsServer, bucket: Bucket, query: str
) -> None:
    with ExitStack() as stack:
        http = stack.enter_context(running_gateway(nats.url))
        async with watching(http, bucket.name, query) as watcher:
            await put(bucket, "k")
            await watcher.until(lambda frame: frame["type"] == "kv_update")
            stopping = asyncio.create_task(asyncio.to_thread(stack.close))
            frames, code = await watcher.closed()
        await stopping
    assert ([frame for frame in frames if not ends(frame)], code) == ([], 1001)


async def test_a_stream_that_is_no_bucket_is_refused_before_the_upgrade(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_stream({"name": f"KV_{bucket_name}", "subjects": [f"other.{bucket_name}.>"]})
    with pytest.raises(InvalidStatus) as refused:
        async with watching(http, bucket_name):
            pass
    response = refused.value.response
    answer = Answer(response.status_code, dict(response.headers), response.body or b"")
    assert (answer.status, answer.json["code"]) == (409, "failed_precondition")


async def test_a_client_that_closes_gets_its_close_back(bucket: Bucket) -> None:
    async with watch(bucket) as watcher:
        await watcher.connection.close(1000)
        assert watcher.connection.close_code == 1000
