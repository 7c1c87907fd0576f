"""One watch over several buckets (docs/watch.md#several-buckets)."""

import asyncio
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest

from tests.support.http import Bucket, Http
from tests.support.watching import EventStream, Frame, streaming, updates, watch_path, watching

EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
def pair(make_bucket) -> tuple[Bucket, Bucket]:
    """Two buckets that keep history: a fast second write of a key does not hide the first."""
    return make_bucket(history=20), make_bucket(history=20)


def query(*watched: str, **more: str) -> str:
    given = [f"watch={quote(one, safe='')}" for one in watched]
    given += [f"{name}={quote(value, safe='')}" for name, value in more.items()]
    return "?" + "&".join(given)


def all_of(*buckets: Bucket, **more: str) -> str:
    return query(*[bucket.name for bucket in buckets], **more)


async def put(bucket: Bucket, key: str, value: str = "v") -> int:
    answer = await asyncio.to_thread(bucket.put, key, value)
    assert answer.status == 200, answer
    revision: int = answer.json["revision"]
    return revision


async def delete(bucket: Bucket) -> None:
    assert (await asyncio.to_thread(bucket.http.delete, bucket.path)).status == 204


def of(bucket: Bucket, frames: list[Frame]) -> list[tuple[str, str, int]]:
    return updates([frame for frame in frames if frame.get("bucket") == bucket.name])


def refusal(http: Http, asked: str, **headers: str) -> tuple[int, str]:
    answer = http.get(watch_path("", asked), **EVENTS, **headers)
    return answer.status, answer.error


@asynccontextmanager
async def told(http: Http, asked: str, **headers: str):
    """An event stream that certainly watches: its first bookmark has come."""
    async with streaming(http, "", asked, **headers) as stream:
        assert stream.status == 200
        while stream.last_id is None:
            assert await stream.block() is not None, "the stream ended"
        yield stream


async def end_of(stream: EventStream) -> Frame:
    event = await stream.next()
    assert event is not None, "the stream ended"
    return event.frame


# --- frames


async def test_changes_of_all_buckets_come_over_one_websocket(pair, http: Http) -> None:
    a, b = pair
    async with watching(http, "", all_of(a, b)) as watcher:
        await put(a, "x", "1")
        await put(b, "y", "2")
        frames = await watcher.take(2)
    assert of(a, frames) == [("x", "put", 1)]
    assert of(b, frames) == [("y", "put", 1)]
    assert all(frame["bookmark"] for frame in frames)


async def test_changes_of_all_buckets_come_over_one_event_stream(pair, http: Http) -> None:
    a, b = pair
    async with told(http, all_of(a, b)) as stream:
        await put(a, "x")
        await put(b, "y")
        frames = await stream.take(2)
    assert of(a, frames) == [("x", "put", 1)]
    assert of(b, frames) == [("y", "put", 1)]
    assert "bookmark" not in frames[0]


async def test_each_bucket_has_its_own_filter(pair, http: Http) -> None:
    a, b = pair
    async with watching(http, "", query(f"{a.name}/user.*", f"{b.name}/x")) as watcher:
        for bucket in pair:
            for key in ("user.1", "x"):
                await put(bucket, key)
        frames = await watcher.take(2)
    assert of(a, frames) == [("user.1", "put", 1)]
    assert of(b, frames) == [("x", "put", 2)]


async def test_several_filters_of_one_bucket_show_each_change_once(bucket, http: Http) -> None:
    name = bucket.name
    async with watching(http, "", query(f"{name}/a*", f"{name}/*b", f"{name}/z")) as watcher:
        for key in ("ab", "no", "z"):
            await put(bucket, key)
        frames = await watcher.take(2)
    assert updates(frames) == [("ab", "put", 1), ("z", "put", 3)]


async def test_a_key_with_slashes_can_be_watched(pair, http: Http) -> None:
    a, b = pair
    async with watching(http, "", query(f"{a.name}/path/to/", b.name)) as watcher:
        await put(a, "path/to/it")
        assert updates([await watcher.next()]) == [("path/to/it", "put", 1)]


async def test_under_the_json_base_values_are_text(pair, http: Http) -> None:
    a, b = pair
    readable = Http(http.host, http.port, base="/json")
    async with watching(readable, "", all_of(a, b)) as watcher:
        await put(b, "x", '{"n":1}')
        assert (await watcher.next())["value"] == '{"n":1}'


async def test_deletes_can_be_left_out_and_values_be_sizes(pair, http: Http) -> None:
    a, b = pair
    asked = all_of(a, b, ignore_deletes="true", meta_only="true")
    async with watching(http, "", asked) as watcher:
        await put(a, "x", "four")
        await asyncio.to_thread(a.delete, "x")
        await put(a, "y", "sixsix")
        frames = await watcher.take(2)
    assert [(frame["key"], frame["size"]) for frame in frames] == [("x", 4), ("y", 6)]


# --- snapshots


async def test_a_snapshot_shows_all_buckets_and_ends_once(pair, http: Http) -> None:
    a, b = pair
    await put(a, "x")
    await put(a, "x")
    await put(b, "y")
    async with watching(http, "", all_of(a, b, snapshot="true")) as watcher:
        frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
        await put(b, "z")
        later = await watcher.next()
    assert of(a, frames) == [("x", "put", 2)]
    assert of(b, frames) == [("y", "put", 1)]
    assert frames[-1]["revisions"] == {a.name: 2, b.name: 1}
    assert updates([later]) == [("z", "put", 2)]


async def test_a_snapshot_of_empty_buckets_ends_at_once(pair, http: Http) -> None:
    a, b = pair
    async with watching(http, "", all_of(a, b, snapshot="true")) as watcher:
        end = await watcher.next()
    assert end["type"] == "kv_snapshot_end"
    assert end["revisions"] == {a.name: 0, b.name: 0}


async def test_a_snapshot_that_breaks_off_goes_on_where_it_stood(pair, http: Http) -> None:
    a, b = pair
    for number in range(3):
        await put(a, f"a{number}")
        await put(b, f"b{number}")
    asked = all_of(a, b, snapshot="true")
    async with watching(http, "", asked) as watcher:
        seen = await watcher.take(2)
    async with watching(http, "", f"{asked}&resume={seen[-1]['bookmark']}") as watcher:
        seen += await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
    assert of(a, seen) == [(f"a{number}", "put", number + 1) for number in range(3)]
    assert of(b, seen) == [(f"b{number}", "put", number + 1) for number in range(3)]
    assert seen[-1]["revisions"] == {a.name: 3, b.name: 3}


# --- resuming


async def test_a_bookmark_goes_on_in_each_bucket_without_a_loss(pair, http: Http) -> None:
    a, b = pair
    async with watching(http, "", all_of(a, b)) as watcher:
        await put(a, "x")
        bookmark = (await watcher.next())["bookmark"]
    await put(a, "x2")
    await put(b, "y")
    await put(b, "y2")
    async with watching(http, "", all_of(a, b, resume=bookmark)) as watcher:
        await put(a, "x3")
        frames = await watcher.take(4)
    assert of(a, frames) == [("x2", "put", 2), ("x3", "put", 3)]
    assert of(b, frames) == [("y", "put", 1), ("y2", "put", 2)]


async def test_a_browser_that_reconnects_misses_nothing(pair, http: Http) -> None:
    a, b = pair
    asked = all_of(a, b, snapshot="true")
    await put(a, "x")
    async with told(http, asked) as stream:
        frames = []
        while not frames or frames[-1]["type"] != "kv_snapshot_end":
            frames.append(await end_of(stream))
        last_id = stream.last_id
    await put(a, "x2")
    await put(b, "y")
    async with streaming(http, "", asked, Last_Event_ID=last_id) as stream:
        frames = await stream.take(2)
    assert of(a, frames) == [("x2", "put", 2)]
    assert of(b, frames) == [("y", "put", 1)]


async def test_the_first_bookmark_comes_before_anything_happens(pair, http: Http) -> None:
    a, b = pair
    await put(a, "old")
    async with told(http, all_of(a, b)) as stream:
        bookmark = stream.last_id
    await put(a, "x")
    await put(b, "y")
    async with watching(http, "", all_of(a, b, resume=bookmark)) as watcher:
        frames = await watcher.take(2)
    assert of(a, frames) == [("x", "put", 2)]
    assert of(b, frames) == [("y", "put", 1)]


async def test_the_order_of_the_buckets_in_the_url_may_change(pair, http: Http) -> None:
    a, b = pair
    async with watching(http, "", all_of(a, b)) as watcher:
        await put(a, "x")
        bookmark = (await watcher.next())["bookmark"]
    await put(b, "y")
    async with watching(http, "", all_of(b, a, resume=bookmark)) as watcher:
        assert updates([await watcher.next()]) == [("y", "put", 1)]


async def test_a_bookmark_of_a_bucket_created_again_ends_with_resync(pair, http: Http) -> None:
    a, b = pair
    async with watching(http, "", all_of(a, b)) as watcher:
        await put(b, "y")
        bookmark = (await watcher.next())["bookmark"]
    await delete(b)
    await asyncio.to_thread(http.post, b.path.removesuffix(f"/{b.name}"), {"name": b.name})
    await put(b, "y")
    await put(b, "z")
    async with watching(http, "", all_of(a, b, resume=bookmark)) as watcher:
        frames, code = await watcher.closed()
    assert (frames[-1]["code"], frames[-1]["bucket"], code) == ("resync", b.name, 4409)


async def test_order_and_uniqueness_hold_in_each_bucket_under_load(pair, http: Http) -> None:
    a, b = pair

    async def write(bucket: Bucket) -> None:
        for number in range(60):
            await put(bucket, f"k{number % 7}")

    seen: list[Frame] = []

    def complete() -> bool:
        return all(of(bucket, seen)[-1:] and of(bucket, seen)[-1][2] == 60 for bucket in pair)

    writing = asyncio.gather(write(a), write(b))
    # Cut off again and again, so that bookmarks of every state are used.
    while not complete():
        resume = f"&resume={seen[-1]['bookmark']}" if seen else ""
        asked = all_of(a, b, snapshot="true") + resume
        # Without a bound on its queue, the client reads on, and so sees the close at once.
        async with watching(http, "", asked, max_queue=None) as watcher:
            for _ in range(11):
                if not complete():
                    seen.append(await watcher.next())
    await writing
    for bucket in pair:
        revisions = [revision for _, _, revision in of(bucket, seen)]
        assert revisions == sorted(set(revisions))
        assert revisions[-1] == 60


# --- endings


async def test_a_bucket_that_is_deleted_ends_the_watch_and_is_named(pair, http: Http) -> None:
    a, b = pair
    async with watching(http, "", all_of(a, b)) as watcher:
        await put(a, "x")
        await watcher.next()
        await delete(b)
        frames, code = await watcher.closed()
    assert frames[-1] == {
        "type": "error",
        "message": "bucket deleted",
        "code": "bucket_deleted",
        "bucket": b.name,
    }
    assert code == 4410


async def test_an_unknown_bucket_is_named_after_the_upgrade(bucket, http: Http) -> None:
    async with watching(http, "", query(bucket.name, "no-such")) as watcher:
        frames, code = await watcher.closed()
    assert (frames[-1]["message"], frames[-1]["bucket"], code) == (
        "bucket not found",
        "no-such",
        4404,
    )


async def test_an_event_stream_names_an_unknown_bucket(bucket, http: Http) -> None:
    async with streaming(http, "", query(bucket.name, "no-such")) as stream:
        event = await stream.next()
        assert event is not None
        assert event.frame["bucket"] == "no-such"
        assert await stream.next() is None
        assert stream.ended


async def test_a_plain_get_is_asked_to_upgrade(bucket, http: Http) -> None:
    assert http.get(watch_path("", query(bucket.name))).status == 426


# --- bad input


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("", "'watch' is missing"),
        ("?watch=", "'watch' is missing"),
        ("?watch=/x", "invalid bucket name"),
        ("?watch=no.dots", "invalid bucket name"),
        ("?watch=b/a.>.b", "filter"),
        ("?watch=b/%01", "filter"),
        ("?watch=b&key=x", "'key'"),
        ("?watch=b&resume_after=3", "'resume_after'"),
        ("?watch=b&snapshot=yes", "'snapshot' must be true or false"),
        ("?watch=b&resume=17", "not a bookmark"),
        ("?watch=b&resume=", "not a bookmark"),
        ("?watch=b&resume=1-00000000-5", "other buckets"),
        ("?" + "&".join(f"watch=b/k{number}" for number in range(65)), "over 64 times"),
    ],
)
def test_what_breaks_a_rule_is_refused_before_the_watch(http: Http, asked: str, says: str) -> None:
    status, error = refusal(http, asked)
    assert status == 400
    assert says in error


async def test_a_bookmark_of_other_buckets_is_refused(pair, bucket, http: Http) -> None:
    async with told(http, all_of(*pair)) as stream:
        bookmark = stream.last_id
    assert bookmark is not None
    status, error = refusal(http, all_of(pair[0], bucket), Last_Event_ID=bookmark)
    assert (status, error) == (
        400,
        "header Last-Event-ID is the bookmark of a watch over other buckets",
    )
