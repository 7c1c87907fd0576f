"""The event stream: what a WebSocket watcher is told, for `EventSource` (docs/watch.md)."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.http.sinks import EventSink
from tests.support.gateway import running_bucket, running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.native import Native
from tests.support.scopes import ScopesAreTokens
from tests.support.tokens import new_token, token_line
from tests.support.waiting import eventually, until
from tests.support.watching import Event, EventStream, streaming, updates, watch_path, watching

APP = "https://app.example"
EVIL = "https://evil.example"
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
def bucket(make_bucket) -> Bucket:
    """A bucket that keeps history: with one revision a key, a fast second write hides the first."""
    return make_bucket(history=20)


def stream_of(bucket: Bucket, query: str = "", **headers: str):
    return streaming(bucket.http, bucket.name, query, **headers)


def ask(http: Http, bucket: str, query: str = "", **headers: str) -> Answer:
    """Ask for a stream that is refused, or ends by itself."""
    return http.get(watch_path(bucket, query), **EVENTS, **headers)


async def put(bucket: Bucket, key: str, value: str | bytes = "v") -> int:
    answer = await asyncio.to_thread(bucket.put, key, value)
    assert answer.status == 200, answer
    revision: int = answer.json["revision"]
    return revision


async def remove(bucket: Bucket) -> None:
    assert (await asyncio.to_thread(bucket.http.delete, bucket.path)).status == 204


async def bookmark(stream: EventStream) -> Event:
    """The next block with an id and no data; whatever comes before it has no data either."""
    async with asyncio.timeout(10):
        while True:
            event = await stream.block()
            assert event is not None, "the stream ended"
            assert event.data == ""
            if event.id is not None:
                return event


async def last_words(stream: EventStream) -> list[Event]:
    """All that still comes, up to the proper end of the answer."""
    events = []
    while (event := await stream.next()) is not None:
        events.append(event)
    assert stream.ended, "the connection broke before the end of the answer"
    return events


# --- the stream


async def test_a_stream_is_what_proxies_and_browsers_expect(bucket: Bucket) -> None:
    async with stream_of(bucket, X_Request_Id="mine") as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].partition(";")[0] == "text/event-stream"
        assert stream.headers["cache-control"] == "no-cache"
        assert stream.headers["x-content-type-options"] == "nosniff"
        assert stream.headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert stream.headers["cross-origin-resource-policy"] == "same-origin"
        assert stream.headers["x-accel-buffering"] == "no"
        assert stream.headers["transfer-encoding"] == "chunked"
        assert stream.headers["x-request-id"] == "mine"


async def test_a_stream_begins_by_saying_when_to_come_back(bucket: Bucket) -> None:
    async with stream_of(bucket) as stream:
        first = await stream.block()
        assert first is not None
        assert (first.retry, first.data) == (1000, "")


async def test_an_event_is_the_websockets_frame_under_its_revision(make_bucket) -> None:
    bucket = make_bucket(history=5)
    async with (
        stream_of(bucket) as stream,
        watching(bucket.http, bucket.name) as watcher,
    ):
        await put(bucket, "ä b", b"\x00\xff")
        await asyncio.to_thread(bucket.delete, "ä b")
        await put(bucket, "k", "v")
        await asyncio.to_thread(bucket.delete, "k", "?purge=true")
        for revision in range(1, 5):
            event = await stream.next()
            assert event is not None
            assert event.data == await watcher.text()
            assert event.id == str(revision)


@pytest.mark.parametrize(
    "accept", ["text/event-stream", "text/event-stream, */*;q=0.1", "Text/Event-Stream"]
)
async def test_a_client_that_accepts_events_gets_them(bucket: Bucket, accept: str) -> None:
    async with stream_of(bucket, Accept=accept) as stream:
        assert stream.status == 200


async def test_a_stream_begins_with_the_buckets_newest_revision_as_a_bookmark(
    bucket: Bucket,
) -> None:
    await put(bucket, "a")
    await put(bucket, "b")
    async with stream_of(bucket) as stream:
        assert (await bookmark(stream)).id == "2"


async def test_the_bookmark_of_an_empty_bucket_is_0(bucket: Bucket) -> None:
    async with stream_of(bucket, "?key=k") as stream:
        assert (await bookmark(stream)).id == "0"


async def test_a_reader_that_resumes_with_the_bookmark_has_missed_nothing(bucket: Bucket) -> None:
    await put(bucket, "a")
    async with stream_of(bucket) as stream:
        seen = (await bookmark(stream)).id
    await put(bucket, "b")
    async with stream_of(bucket, Last_Event_ID=seen) as stream:
        assert updates(await stream.take(1)) == [("b", "put", 2)]


async def test_a_put_that_was_acked_before_is_not_shown(bucket: Bucket) -> None:
    await put(bucket, "earlier")
    async with stream_of(bucket) as stream:
        await put(bucket, "later")
        assert updates(await stream.take(1)) == [("later", "put", 2)]


async def test_filters_and_forms_are_those_of_the_websocket(bucket: Bucket) -> None:
    query = "?key=user.*&key=x&ignore_deletes=true&meta_only=true&env=dev"
    async with stream_of(bucket, query) as stream:
        for key in ("user.a", "other", "x"):
            await put(bucket, key, "value")
            await asyncio.to_thread(bucket.delete, key)
        frames = await stream.take(2)
        assert updates(frames) == [("user.a", "put", 1), ("x", "put", 5)]
        assert [frame["size"] for frame in frames] == [5, 5]
        assert not any("value" in frame for frame in frames)


async def test_sixty_four_globs_of_the_longest_are_told_apart(bucket: Bucket) -> None:
    globs = [f"{number:02}" + "*a" * 244 for number in range(64)]
    keys = [glob.replace("*", "") for glob in globs]
    assert {len(glob) for glob in globs} == {490}
    await put(bucket, keys[7])
    query = "&".join(f"key={glob}" for glob in globs)
    async with stream_of(bucket, f"?snapshot=true&{query}") as stream:
        found, end = await stream.take(2)
        assert (found["key"], end["type"]) == (keys[7], "kv_snapshot_end")
        await put(bucket, keys[9] + "b")
        await put(bucket, keys[9][:-1])
        await put(bucket, keys[8])
        assert updates(await stream.take(1)) == [(keys[8], "put", 4)]


async def test_a_snapshot_ends_with_its_revision_as_data_and_id(bucket: Bucket) -> None:
    await put(bucket, "a")
    await put(bucket, "b")
    await put(bucket, "a")
    async with stream_of(bucket, "?snapshot=true") as stream:
        assert updates(await stream.take(2)) == [("b", "put", 2), ("a", "put", 3)]
        end = await stream.next()
        assert end is not None
        assert (end.id, end.frame) == ("3", {"type": "kv_snapshot_end", "revision": 3})


@pytest.mark.parametrize("value", ["a\nb", "a\r\nb\r", "\n\ndata: x\n\n", "\u2028\u0085"])
async def test_line_breaks_in_a_value_do_not_break_the_event(bucket: Bucket, value: str) -> None:
    text = Bucket(Http(bucket.http.host, bucket.http.port, base="/json"), bucket.name)
    async with stream_of(text) as stream:
        await put(bucket, "k", value)
        await put(bucket, "next", "x")
        frames = await stream.take(2)
        assert [frame["value"] for frame in frames] == [value, "x"]


async def test_a_large_value_arrives_whole(bucket: Bucket) -> None:
    value = "x" * 700_000
    text = Bucket(Http(bucket.http.host, bucket.http.port, base="/json"), bucket.name)
    async with stream_of(text) as stream:
        await put(bucket, "k", value)
        assert (await stream.take(1))[0]["value"] == value


async def test_a_quiet_stream_shows_that_it_stands_and_how_far_it_is(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fifteen seconds are long for a test; the gateway runs in this process.
    monkeypatch.setitem(EventSink.__init__.__kwdefaults__, "keep_alive", 0.05)
    async with stream_of(bucket, "?key=wanted") as stream:
        assert (await bookmark(stream)).id == "0"
        await put(bucket, "other")
        async with asyncio.timeout(10):
            while (event := await bookmark(stream)).id != "1":
                assert event.id == "0"
        assert event.comments == ["keep-alive"]


# --- coming back


async def test_last_event_id_resumes(bucket: Bucket) -> None:
    for key in ("a", "b", "c"):
        await put(bucket, key)
    async with stream_of(bucket, Last_Event_ID="1") as stream:
        assert updates(await stream.take(2)) == [("b", "put", 2), ("c", "put", 3)]


@pytest.mark.parametrize("query", ["?resume_after=0", "?resume_after=99"])
async def test_last_event_id_wins_over_resume_after(bucket: Bucket, query: str) -> None:
    for key in ("a", "b"):
        await put(bucket, key)
    async with stream_of(bucket, query, Last_Event_ID="1") as stream:
        assert updates(await stream.take(1)) == [("b", "put", 2)]


async def test_last_event_id_wins_over_a_snapshot_which_still_ends(make_bucket) -> None:
    bucket = make_bucket(history=1)
    for key in ("a", "b", "gone"):
        await put(bucket, key)
    await asyncio.to_thread(bucket.delete, "gone")
    async with stream_of(bucket, "?snapshot=true", Last_Event_ID="1") as stream:
        frames = await stream.take(3)
        assert updates(frames) == [("b", "put", 2), ("gone", "delete", 4)]
        assert frames[-1] == {"type": "kv_snapshot_end", "revision": 4}


async def test_resume_after_resumes_where_there_is_no_last_event_id(bucket: Bucket) -> None:
    for key in ("a", "b"):
        await put(bucket, key)
    async with stream_of(bucket, "?resume_after=1") as stream:
        assert updates(await stream.take(1)) == [("b", "put", 2)]


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "0x1", "1 2", "9" * 20])
def test_a_last_event_id_that_is_no_revision_is_400(bucket: Bucket, value: str) -> None:
    answer = ask(bucket.http, bucket.name, Last_Event_ID=value)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert "Last-Event-ID" in answer.error


async def test_an_empty_last_event_id_is_ignored(bucket: Bucket) -> None:
    await put(bucket, "a")
    async with stream_of(bucket, "?snapshot=true", Last_Event_ID="") as stream:
        assert updates(await stream.take(1)) == [("a", "put", 1)]


async def test_a_reader_who_breaks_off_again_and_again_gets_all_in_the_end(
    make_bucket,
) -> None:
    bucket = make_bucket(history=20)
    seen: list[tuple[str, str, int]] = []
    last_id = "0"
    for turn in range(5):
        await put(bucket, "k", f"{turn}")
        async with stream_of(bucket, Last_Event_ID=last_id) as stream:
            seen += updates(await stream.take(1))
            await put(bucket, "k", f"{turn} more")
            assert stream.last_id is not None
            last_id = stream.last_id
    async with stream_of(bucket, Last_Event_ID=last_id) as stream:
        seen += updates(await stream.take(5))
    assert seen == [("k", "put", revision) for revision in range(1, 11)]


# --- how it ends


@pytest.mark.parametrize("headers", [{}, {"Last_Event_ID": "1"}])
async def test_an_unknown_bucket_is_an_error_event_and_the_end(
    http: Http, headers: dict[str, str]
) -> None:
    async with streaming(http, "no-such-bucket", **headers) as stream:
        assert stream.status == 200
        events = await last_words(stream)
    frame = {"type": "error", "message": "bucket not found", "code": "not_found"}
    assert [event.frame for event in events] == [frame]
    assert events[0].id == "", "it takes the id back: no use in resuming"
    assert events[0].retry is not None


@pytest.mark.parametrize("query", ["", "?snapshot=true", "?resume_after=0"])
async def test_a_bucket_that_is_deleted_is_an_error_event_and_the_end(
    bucket: Bucket, query: str
) -> None:
    async with stream_of(bucket, query) as stream:
        await put(bucket, "k")
        while (await stream.take(1))[0]["type"] != "kv_update":
            continue
        await remove(bucket)
        last = (await last_words(stream))[-1]
    frame = {"type": "error", "message": "bucket deleted", "code": "bucket_deleted"}
    assert last.frame == frame
    assert stream.last_id == "", "it takes the id back: no use in resuming"


async def test_coming_back_with_an_id_of_the_future_is_a_resync_and_the_end(
    bucket: Bucket,
) -> None:
    async with stream_of(bucket, Last_Event_ID="5") as stream:
        events = await last_words(stream)
    assert [event.frame["code"] for event in events] == ["resync"]
    assert stream.last_id == "", "it takes the id back: no use in resuming"


async def test_after_a_resync_a_browser_begins_as_its_url_says(bucket: Bucket) -> None:
    await put(bucket, "a")
    async with stream_of(bucket, "?snapshot=true", Last_Event_ID="5") as stream:
        await last_words(stream)
    # A browser whose last id is empty sends no header.
    async with stream_of(bucket, "?snapshot=true") as stream:
        assert [frame["type"] for frame in await stream.take(2)] == ["kv_update", "kv_snapshot_end"]


async def test_a_server_that_stops_ends_the_answer_properly(
    nats: NatsServer, bucket: Bucket
) -> None:
    with ExitStack() as stack:
        http = stack.enter_context(running_gateway(nats.url))
        async with streaming(http, bucket.name) as stream:
            await put(bucket, "k")
            assert updates(await stream.take(1)) == [("k", "put", 1)]
            stopping = asyncio.create_task(asyncio.to_thread(stack.close))
            assert await last_words(stream) == []
            assert stream.last_id == "1", "it can resume there"
        await stopping


async def test_a_reader_who_leaves_takes_the_consumer_along(bucket: Bucket, native: Native) -> None:
    async with stream_of(bucket) as stream:
        assert stream.status == 200
        assert (await native.state(bucket.name))["consumer_count"] == 1

    async def no_consumer() -> bool:
        return (await native.state(bucket.name))["consumer_count"] == 0

    await eventually(no_consumer, "the consumer is gone", 5)


async def test_a_second_request_behind_a_stream_ends_both_and_leaves_nothing_behind(
    bucket: Bucket, native: Native
) -> None:
    async with stream_of(bucket) as stream:
        await bookmark(stream)
        # A stream has no end that it could wait for.
        stream.writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert await stream.next() is None

    async def no_consumer() -> bool:
        return (await native.state(bucket.name))["consumer_count"] == 0

    await eventually(no_consumer, "the consumer is gone", 5)


# --- who is refused


def test_head_has_the_headers_of_a_stream_and_ends(bucket: Bucket) -> None:
    answer = bucket.http.request("HEAD", watch_path(bucket.name), **EVENTS)
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == "text/event-stream"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_any_other_method_is_405(bucket: Bucket, method: str) -> None:
    answer = bucket.http.request(method, watch_path(bucket.name), **EVENTS)
    assert (answer.status, answer.json["code"]) == (405, "invalid_argument")


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("a.b", ""),
        ("b", "?key=a%3Eb"),
        ("b", "?key=%00"),
        ("b", "?snapshoot=true"),
        ("b", "?snapshot=1"),
        ("b", "?resume_after="),
        ("b", "?resume_after=%C2%B2"),
        ("b", "?snapshot=true&resume_after=1"),
        ("b", "?" + "&".join(["key=a"] * 65)),
    ],
)
def test_a_bad_request_is_400_and_no_stream(http: Http, name: str, query: str) -> None:
    answer = ask(http, name, query)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert answer.headers["content-type"] == "application/json"


async def test_a_stream_that_is_no_bucket_is_409(
    http: Http, native: Native, bucket_name: str
) -> None:
    await native.make_stream({"name": f"KV_{bucket_name}", "subjects": [f"other.{bucket_name}.>"]})
    answer = await asyncio.to_thread(ask, http, bucket_name)
    assert (answer.status, answer.json["code"]) == (409, "failed_precondition")


async def test_with_tokens_only_a_known_one_opens_a_stream(
    nats: NatsServer, tmp_path: Path, bucket: Bucket
) -> None:
    token = new_token()
    file = tmp_path / "tokens"
    file.write_text(token_line("alice", token) + "\n")
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        for headers in ({}, {"Authorization": "Bearer nonsense"}):
            refused = await asyncio.to_thread(ask, http, bucket.name, **headers)
            assert (refused.status, refused.json["code"]) == (401, "unauthenticated")
            assert refused.headers["www-authenticate"] == "Bearer"
        known = {"Authorization": f"Bearer {token}"}
        async with streaming(http, bucket.name, **known) as stream:
            assert stream.status == 200


def test_a_caller_that_may_not_read_is_403(nats: NatsServer, bucket: Bucket) -> None:
    with running_gateway(nats.url, authenticator=ScopesAreTokens("write:*")) as http:
        answer = ask(http, bucket.name)
    assert answer.status == 403
    assert answer.error == f"permission denied: read in bucket {bucket.name}"


@pytest.fixture(scope="module")
def open_to_app(nats: NatsServer) -> Iterator[Http]:
    with running_gateway(nats.url, cors_origins=[APP]) as http:
        yield http


async def test_a_page_of_an_allowed_origin_may_read_the_stream(
    open_to_app: Http, bucket: Bucket
) -> None:
    async with streaming(open_to_app, bucket.name, Origin=APP) as stream:
        assert stream.status == 200
        assert stream.headers["access-control-allow-origin"] == APP
        await put(bucket, "k")
        assert updates(await stream.take(1)) == [("k", "put", 1)]


async def test_a_page_of_another_origin_is_403_and_nothing_is_opened(
    open_to_app: Http, bucket: Bucket, native: Native
) -> None:
    for http in (open_to_app, bucket.http):
        answer = await asyncio.to_thread(ask, http, bucket.name, Origin=EVIL)
        assert (answer.status, answer.json["code"]) == (403, "permission_denied")
    assert (await native.state(bucket.name))["consumer_count"] == 0


# --- NATS


@pytest.mark.parametrize("query", ["", "?snapshot=true", "?resume_after=0"])
def test_while_nats_is_down_a_new_stream_is_503(own_nats: NatsServer, query: str) -> None:
    own_nats.start()
    with running_gateway(own_nats.url, buckets="b") as http:
        own_nats.stop()
        until(lambda: http.get("/ready").status == 503, "the gateway notices")
        answer = ask(http, "b", query)
    assert (answer.status, answer.json["code"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("query", ["", "?snapshot=true"])
async def test_a_reader_that_resumes_while_nats_is_down_waits_and_misses_nothing(
    own_nats: NatsServer, query: str
) -> None:
    own_nats.start()
    with running_gateway(own_nats.url) as http:
        await asyncio.to_thread(http.post, BUCKETS, {"name": "b"})
        bucket = Bucket(http, "b")
        for key in ("a", "b"):
            await put(bucket, key)
        await asyncio.to_thread(own_nats.stop)

        async def is_ready(ready: bool) -> bool:
            return ((await asyncio.to_thread(http.get, "/ready")).status == 200) == ready

        await eventually(lambda: is_ready(False), "the gateway notices")
        async with streaming(http, "b", query, Last_Event_ID="1") as stream:
            assert stream.status == 200
            await asyncio.to_thread(own_nats.start)
            await eventually(lambda: is_ready(True), "NATS is back")
            await put(bucket, "c")
            frames = []
            while len(updates(frames)) < 2:
                frames += await stream.take(1)
            assert updates(frames) == [("b", "put", 2), ("c", "put", 3)]


async def test_a_stream_lives_through_a_restart_of_nats(own_nats: NatsServer) -> None:
    with running_bucket(own_nats) as bucket:
        async with streaming(bucket.http, "b") as stream:
            await put(bucket, "before")
            assert updates(await stream.take(1)) == [("before", "put", 1)]
            await asyncio.to_thread(own_nats.stop)
            await asyncio.to_thread(own_nats.start)

            async def written() -> bool:
                answer = await asyncio.to_thread(bucket.put, "after", "v", If_None_Match="*")
                return answer.status in (200, 412)

            await eventually(written, "NATS is back")
            assert updates(await stream.take(1)) == [("after", "put", 2)]
