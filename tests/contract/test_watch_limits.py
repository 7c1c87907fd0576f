"""How many may watch, and what happens to those who do not keep up (docs/watch.md#limits)."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import Answer, Bucket, Http
from tests.support.native import Native
from tests.support.raw import Wire
from tests.support.waiting import eventually
from tests.support.watching import (
    UPGRADE,
    EventStream,
    Frame,
    Watcher,
    streaming,
    unread,
    watch_path,
    watching,
)

EVENTS = ("Accept: text/event-stream",)
VALUE = "x" * 256 * 1024
WRITES = 30


@pytest.fixture
def bucket(make_bucket) -> Bucket:
    """A bucket that keeps history: with one revision a key, a fast second write hides the first."""
    return make_bucket(history=20)


@pytest.fixture(scope="module")
def narrow(nats: NatsServer) -> Iterator[Http]:
    """A gateway that lets next to nothing wait for a watcher."""
    with running_gateway(nats.url, watch_queue=16, watch_queue_bytes=64 * 1024) as http:
        yield http


async def ask(http: Http, bucket: str, *lines: str) -> Answer:
    def asked() -> Answer:
        with Wire(http) as wire:
            return wire.request("GET", watch_path(bucket), *lines)

    return await asyncio.to_thread(asked)


async def consumers(native: Native, bucket: Bucket) -> int:
    count: int = (await native.state(bucket.name))["consumer_count"]
    return count


async def put(bucket: Bucket, key: str, value: str = "v") -> None:
    answer = await asyncio.to_thread(bucket.put, key, value)
    assert answer.status == 200, answer


def of_client(writer: asyncio.StreamWriter) -> Callable[[], bool]:
    """Return what tells whether the gateway's end of a connection is still held by a process.

    The kernel keeps what was written, so a peer that does not read sees no end.
    """
    address, peer = writer.get_extra_info("sockname")[1], writer.get_extra_info("peername")[1]
    # There may be thousands of connections, and this is asked again and again.
    ends = f":{peer:04X} 0100007F:{address:04X} "

    def is_held() -> bool:
        _, found, fields = Path("/proc/net/tcp").read_text().partition(ends)
        return bool(found) and fields.split(maxsplit=7)[6] != "0"

    return is_held


# --- how many


@pytest.mark.parametrize("kind", ["websocket", "events"])
@pytest.mark.parametrize("setting", ["max_watches", "max_watches_per_address"])
async def test_one_watch_too_many_is_429(
    nats: NatsServer, bucket: Bucket, setting: str, kind: str
) -> None:
    with running_gateway(nats.url, **{setting: 2}) as http:
        async with watching(http, bucket.name), streaming(http, bucket.name) as stream:
            assert stream.status == 200
            answer = await ask(http, bucket.name, *(UPGRADE if kind == "websocket" else EVENTS))
    assert (answer.status, answer.json["code"]) == (429, "resource_exhausted")
    assert answer.json["retryable"] is True
    assert answer.headers["retry-after"] == str(answer.json["retry_after"]) == "1"
    assert answer.headers["x-request-id"] == answer.json["request_id"]


async def test_limits_hold_for_all_buckets_together(nats: NatsServer, make_bucket) -> None:
    one, other = make_bucket(), make_bucket()
    with running_gateway(nats.url, max_watches=1) as http:
        async with watching(http, one.name):
            assert (await ask(http, other.name, *UPGRADE)).status == 429


async def test_the_watchers_who_are_there_do_not_notice(nats: NatsServer, bucket: Bucket) -> None:
    with running_gateway(nats.url, max_watches=1) as http:
        async with watching(http, bucket.name) as watcher:
            assert (await ask(http, bucket.name, *UPGRADE)).status == 429
            await put(bucket, "k")
            assert (await watcher.next())["key"] == "k"


@pytest.mark.parametrize("kind", ["websocket", "events"])
@pytest.mark.parametrize("setting", ["max_watches", "max_watches_per_address"])
async def test_the_place_of_a_watcher_who_left_is_free_again(
    nats: NatsServer, bucket: Bucket, setting: str, kind: str
) -> None:
    with running_gateway(nats.url, **{setting: 1}) as http:

        async def admitted() -> bool:
            answer = await ask(http, bucket.name, *UPGRADE)
            assert answer.status in (101, 429)
            return answer.status == 101

        opened = watching if kind == "websocket" else streaming
        async with opened(http, bucket.name):
            assert not await admitted()
        await eventually(admitted, "there is room again")
        await eventually(admitted, "and once more")


@pytest.mark.parametrize("lines", [UPGRADE, EVENTS], ids=["websocket", "events"])
async def test_a_watch_that_came_to_nothing_takes_no_place(
    nats: NatsServer, bucket: Bucket, lines: tuple[str, ...]
) -> None:
    with running_gateway(nats.url, max_watches=1) as http:
        async with watching(http, "no-such-bucket") as watcher:
            assert (await watcher.closed())[1] == 4404
        for _ in range(3):
            async with streaming(http, "no-such-bucket") as stream:
                assert (await stream.take(1))[0]["code"] == "not_found"

        async def admitted() -> bool:
            async with unread(http, bucket.name, lines=lines):
                return True

        assert await admitted()


async def test_0_means_no_limit(nats: NatsServer, bucket: Bucket) -> None:
    with running_gateway(nats.url, max_watches=0, max_watches_per_address=0) as http:
        async with AsyncExitStack() as stack:
            for _ in range(5):
                await stack.enter_async_context(watching(http, bucket.name))


# --- one for all


async def test_however_many_watch_there_is_one_consumer(bucket: Bucket, native: Native) -> None:
    queries = ["", "?key=a.*", "?key=a", "?key=user-*", "?snapshot=true"]
    async with AsyncExitStack() as stack:
        watchers: list[Watcher] = []
        for number in range(50):
            query = queries[number % len(queries)]
            watchers.append(
                await stack.enter_async_context(watching(bucket.http, bucket.name, query))
            )
        for watcher in watchers[4::5]:
            assert (await watcher.next())["type"] == "kv_snapshot_end"

        async def is_one() -> bool:
            return await consumers(native, bucket) == 1

        await eventually(is_one, "those of the snapshots are gone")
        await put(bucket, "a")
        for number, watcher in enumerate(watchers):
            if number % 5 in (0, 2, 4):
                assert (await watcher.next())["key"] == "a"

    async def is_gone() -> bool:
        return await consumers(native, bucket) == 0

    await eventually(is_gone, "the last one has taken it along", 5)


@pytest.mark.parametrize("lines", [UPGRADE, EVENTS], ids=["websocket", "events"])
async def test_watchers_who_break_off_without_a_word_leave_nothing_behind(
    bucket: Bucket, native: Native, lines: tuple[str, ...]
) -> None:
    async with AsyncExitStack() as stack:
        for number in range(200):
            query = "?snapshot=true" if number % 2 else ""
            opened = unread(bucket.http, bucket.name, query, lines=lines)
            _, writer = await stack.enter_async_context(opened)
            if number % 3 == 0:
                # A reset instead of an orderly end.
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert await consumers(native, bucket) >= 1

    async def is_gone() -> bool:
        return await consumers(native, bucket) == 0

    await eventually(is_gone, "no consumer is left", 5)


# --- slow readers


async def write(bucket: Bucket, watcher: Watcher) -> list[Frame]:
    """Write far more than the kernel takes in, no faster than `watcher` reads."""
    frames = []
    for number in range(WRITES):
        await put(bucket, f"k.{number}", VALUE)
        frames.append(await watcher.next())
    return frames


async def frames_of(
    reader: asyncio.StreamReader, last: Callable[[Frame], bool] = lambda _frame: False
) -> tuple[list[Frame], int | None]:
    """Frames of a WebSocket up to the first that `last` accepts, or its close and the code."""
    frames: list[Frame] = []
    async with asyncio.timeout(10):
        while not frames or not last(frames[-1]):
            opcode, size = await reader.readexactly(2)
            if size > 125:
                size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
            payload = await reader.readexactly(size)
            if opcode == 0x88:
                return frames, int.from_bytes(payload[:2], "big")
            if opcode == 0x81:
                frames.append(json.loads(payload))
    return frames, None


def revisions(frames: list[Frame]) -> list[int]:
    return [frame["revision"] for frame in frames]


SLOW = {"type": "error", "message": "slow consumer", "code": "slow_consumer"}


async def test_a_slow_reader_is_told_so_and_closed_with_1013(narrow: Http, bucket: Bucket) -> None:
    async with watching(narrow, bucket.name) as quick, unread(narrow, bucket.name) as (late, _):
        await write(bucket, quick)
        frames, code = await frames_of(late)
    assert (frames[-1], code) == (SLOW, 1013)
    assert revisions(frames[:-1]) == list(range(1, len(frames)))
    assert len(frames) < WRITES


async def test_others_get_everything_while_one_is_slow(narrow: Http, bucket: Bucket) -> None:
    async with (
        watching(narrow, bucket.name) as quick,
        watching(narrow, bucket.name, "?key=k.*&meta_only=true") as other,
        unread(narrow, bucket.name),
    ):
        assert revisions(await write(bucket, quick)) == list(range(1, WRITES + 1))
        assert revisions(await other.take(WRITES)) == list(range(1, WRITES + 1))


async def test_a_slow_reader_gets_the_rest_when_it_resumes(narrow: Http, bucket: Bucket) -> None:
    async with watching(narrow, bucket.name) as quick, unread(narrow, bucket.name) as (late, _):
        await write(bucket, quick)
        frames, _ = await frames_of(late)
    seen = revisions(frames[:-1])
    async with watching(narrow, bucket.name, f"?resume_after={seen[-1]}") as watcher:
        seen += revisions(await watcher.take(WRITES - len(seen)))
    assert seen == list(range(1, WRITES + 1))


async def test_a_slow_event_stream_is_told_so_and_can_resume_where_it_was(
    narrow: Http, bucket: Bucket
) -> None:
    async with (
        watching(narrow, bucket.name) as quick,
        unread(narrow, bucket.name, lines=EVENTS) as (reader, writer),
    ):
        await write(bucket, quick)
        late = EventStream(reader, writer, 200, {})
        frames = []
        while (event := await late.next()) is not None:
            frames.append(event.frame)
        assert late.ended
    assert frames[-1] == SLOW
    seen = revisions(frames[:-1])
    assert late.last_id == str(seen[-1]), "the id stands"
    assert len(seen) < WRITES
    async with streaming(narrow, bucket.name, Last_Event_ID=late.last_id) as stream:
        seen += revisions(await stream.take(WRITES - len(seen)))
    assert seen == list(range(1, WRITES + 1))


async def test_a_reader_that_takes_in_nothing_at_all_is_cut_off_after_a_while(
    narrow: Http, bucket: Bucket
) -> None:
    async with (
        watching(narrow, bucket.name) as quick,
        unread(narrow, bucket.name) as (_, of_websocket),
        unread(narrow, bucket.name, lines=EVENTS) as (_, of_events),
    ):
        held = [of_client(of_websocket), of_client(of_events)]
        assert all(is_held() for is_held in held)
        await write(bucket, quick)

        async def let_go() -> bool:
            # The kernel lists all connections of the machine each time.
            await asyncio.sleep(0.1)
            return not any(is_held() for is_held in held)

        await eventually(let_go, "both connections are ended", 15)
        await put(bucket, "k")
        assert (await quick.next())["key"] == "k"


async def test_reading_a_long_past_slowly_is_not_too_slow(narrow: Http, bucket: Bucket) -> None:
    for number in range(WRITES):
        await put(bucket, f"k.{number}", VALUE)
    async with unread(narrow, bucket.name, "?resume_after=0") as (late, _):
        async with watching(narrow, bucket.name) as quick:
            # More than may wait for a reader, while this one is still in the past.
            for number in range(40):
                await put(bucket, f"new.{number}")
                await quick.next()
        frames, code = await frames_of(late, lambda frame: frame["revision"] == WRITES + 40)
    assert code is None
    assert revisions(frames) == list(range(1, WRITES + 41))
