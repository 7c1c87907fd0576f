"""What anybody stores in a bucket is skipped or shown, one way everywhere, and disturbs nobody."""

import asyncio
import base64
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from nats.aio.msg import Msg

from jetkv.testing import LocalNats
from tests.support.hostile import BLOCKS, MESSAGES, Hostile, commands, publish_raw, stored
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.native import Native
from tests.support.waiting import soon
from tests.support.watching import Frame, streaming, watching

NAMED = [message for message in MESSAGES if message.named]
LIVE = [message for message in MESSAGES if message.live and message.indexed]
UNSURE = {message.shown() for message in MESSAGES if not message.indexed}
_AT_MOST = 2.0
"""Seconds that another bucket's write may take meanwhile; a deaf worker takes six and more."""


def _name(message: Hostile) -> str:
    return message.shown()[:20].encode("ascii", "backslashreplace").decode()


@pytest.fixture(scope="module")
def hostile(http: Http, nats: LocalNats) -> Iterator[Bucket]:
    """A bucket that holds all of them."""
    bucket = Bucket(http, f"hostile-{time.monotonic_ns()}")
    assert http.post(BUCKETS, {"name": bucket.name, "history": 5}).status == 201
    publish_raw(nats.port, commands(bucket.name, MESSAGES))
    yield bucket
    http.delete(bucket.path)


@pytest.fixture
async def filled(hostile: Bucket, native: Native) -> Bucket:
    await stored(native, hostile.name, len(MESSAGES))
    return hostile


@pytest.fixture(autouse=True)
def _nobody_else_is_disturbed(make_bucket) -> Iterator[None]:
    """Another bucket's writes go on while each of these tests runs."""
    with _writing(make_bucket()):
        yield


@contextmanager
def _writing(other: Bucket) -> Iterator[None]:
    told: list[tuple[int, float]] = []
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            start = time.monotonic()
            told.append((other.put("k", "v").status, time.monotonic() - start))
            over.wait(0.005)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert {status for status, _ in told} == {200}
    assert max(seconds for _, seconds in told) < _AT_MOST


def _seen(frames: list[Frame]) -> list[tuple[str, bool, bytes]]:
    """(key, live, value) of updates, as a watch has them."""
    return [
        (frame["key"], frame["operation"] == "put", base64.b64decode(frame["value"]))
        for frame in frames
        if frame["type"] == "kv_update"
    ]


def _owed(messages: list[Hostile]) -> list[tuple[str, bool, bytes]]:
    return [(m.shown(), m.live, m.data if m.live else b"") for m in messages]


@pytest.mark.parametrize("message", NAMED, ids=_name)
@pytest.mark.parametrize("consistency", ["strong", "eventual"])
async def test_a_get_reads_it(filled: Bucket, message: Hostile, consistency: str) -> None:
    answer = filled.get(message.shown(), f"?consistency={consistency}")
    assert answer.status == (200 if message.live else 404), answer
    if message.live:
        assert answer.value == message.data
        assert answer.json["revision"] == MESSAGES.index(message) + 1
        assert not answer.json["created_at"].startswith("1999")
        raw = filled.get(message.shown(), f"?consistency={consistency}&values=raw")
        assert (raw.status, raw.body) == (200, message.data)
        assert raw.headers["content-type"] == (message.type or "application/octet-stream")
        assert "set-cookie" not in raw.headers


@pytest.mark.parametrize("message", NAMED, ids=_name)
async def test_a_history_reads_it(filled: Bucket, message: Hostile) -> None:
    answer = filled.history(message.shown())
    assert answer.status == 200, answer
    (entry,) = answer.json["entries"]
    assert (entry["operation"] == "put") is message.live
    assert entry["revision"] == MESSAGES.index(message) + 1


@pytest.mark.parametrize("message", NAMED, ids=_name)
async def test_a_write_reads_it(
    make_bucket, native: Native, nats: LocalNats, message: Hostile
) -> None:
    bucket = make_bucket()
    publish_raw(nats.port, commands(bucket.name, [message]))
    await stored(native, bucket.name, 1)
    created = bucket.put(message.shown(), "new", If_None_Match="*")
    assert created.status == (412 if message.live else 200), created
    assert (
        bucket.put(message.shown(), "newer", If_Match=str(1 if message.live else 2)).status == 200
    )


async def test_a_list_shows_what_is_live(filled: Bucket) -> None:
    found = filled.keys()
    assert found == sorted(found, key=str.encode)
    assert {*found} - UNSURE == {message.shown() for message in LIVE}
    assert filled.keys("cut.*") == ["cut.\ufffd\ufffd"]


async def test_a_list_is_complete_behind_a_subject_that_json_cannot_say(
    make_bucket, native: Native, nats: LocalNats
) -> None:
    bucket = make_bucket()
    bucket.put("user.1", "v")
    publish_raw(nats.port, commands(bucket.name, [Hostile(b"user.\xff"), Hostile(b"\xff.\xfe")]))
    await stored(native, bucket.name, 3)
    start = time.monotonic()
    assert bucket.keys("user.1") == ["user.1"]
    assert bucket.keys("user.*") == ["user.1", "user.\ufffd"]
    async with watching(bucket.http, bucket.name, "?snapshot=true&key=user.1") as watcher:
        frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end", 5)
    assert [frame["key"] for frame in frames[:-1]] == ["user.1"]
    assert time.monotonic() - start < _AT_MOST


@pytest.fixture
def empty(make_bucket) -> Bucket:
    return make_bucket(history=5)


async def test_a_watch_shows_each_as_it_comes(empty: Bucket, nats: LocalNats) -> None:
    async with (
        watching(empty.http, empty.name) as socket,
        streaming(empty.http, empty.name) as events,
    ):
        publish_raw(nats.port, commands(empty.name, MESSAGES))
        assert _seen(await socket.take(len(MESSAGES))) == _owed(MESSAGES)
        assert _seen(await events.take(len(MESSAGES))) == _owed(MESSAGES)
        empty.put("after", "them")
        assert (await socket.next())["key"] == "after"
        event = await events.next()
        assert event is not None
        assert (event.frame["key"], event.id) == ("after", str(len(MESSAGES) + 1))


async def test_a_snapshot_shows_what_is_live(filled: Bucket) -> None:
    async with watching(filled.http, filled.name, "?snapshot=true") as watcher:
        frames = await watcher.until(lambda frame: frame["type"] == "kv_snapshot_end")
    assert [seen for seen in _seen(frames) if seen[0] not in UNSURE] == _owed(LIVE)
    assert frames[-1]["revision"] == len(MESSAGES)
    async with streaming(filled.http, filled.name, "?snapshot=true") as events:
        seen = _seen(await events.take(len(LIVE)))
        assert [each for each in seen if each[0] not in UNSURE] == _owed(LIVE)[: len(seen)]


@pytest.mark.parametrize("after", [0, 1, len(MESSAGES) // 2, len(MESSAGES) - 1])
async def test_a_resumed_watch_shows_all_that_follows(filled: Bucket, after: int) -> None:
    owed = _owed(MESSAGES[after:])
    async with watching(filled.http, filled.name, f"?resume_after={after}") as watcher:
        assert _seen(await watcher.take(len(owed))) == owed
    async with streaming(filled.http, filled.name, Last_Event_ID=str(after)) as events:
        assert _seen(await events.take(len(owed))) == owed


@pytest.mark.parametrize(
    "words", [b"", b"hello", b"\xff\xfe", b"[1]", b'{"seq":"1"}', b'{"error":1}']
)
async def test_an_answer_that_is_not_jetstreams_leaves_a_write_unknown_and_is_no_500(
    empty: Bucket, native: Native, words: bytes
) -> None:
    async def meddle(message: Msg) -> None:
        await message.respond(words)

    await native.client.subscribe(f"$KV.{empty.name}.>", cb=meddle)
    await native.settled()
    for number in range(10):
        answer = await asyncio.to_thread(empty.put, "k", str(number))
        assert answer.status in (200, 504), answer
        if answer.status == 504:
            assert answer.json["details"]["outcome"] == "unknown"
        sent = str(number).encode()
        await soon(lambda sent=sent: empty.get("k").value == sent, "it is applied")


async def test_each_kind_is_counted_and_logged_once(
    make_bucket, nats: LocalNats, native: Native, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = make_bucket(history=5)
    http = bucket.http
    before = _figure(http, "headers"), _figure(http, "subject")
    unsound = [m for m in BLOCKS if m.headers in (b"NATS/1.0", b"NATS/1.0\r\n")]
    for _ in range(3):
        publish_raw(
            nats.port, commands(bucket.name, [*unsound, Hostile(b"\xff"), Hostile(b"\xfe")])
        )
    await stored(native, bucket.name, 12)
    logger = logging.getLogger("jetkv.nats")
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.WARNING, logger.name):
            async with watching(http, bucket.name, "?resume_after=0") as watcher:
                await watcher.take(12)
    finally:
        logger.removeHandler(caplog.handler)
    assert _figure(http, "headers") >= before[0] + 6
    assert _figure(http, "subject") >= before[1] + 6
    said = {text for text in caplog.messages if bucket.name in text and "cannot parse" in text}
    assert len(said) == 2, said


def _figure(http: Http, part: str) -> float:
    name = f'jetkv_unreadable_total{{part="{part}"}} '
    for line in http.get("/metrics").body.decode().splitlines():
        if line.startswith(name):
            return float(line.removeprefix(name))
    return 0.0
