"""What a client of a watch may send over its WebSocket."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import suppress

import pytest

from jetkv_gateway.embedded import NatsServer
from jetkv_gateway.serving.rate_limit import RateLimit
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.native import Native
from tests.support.raw import Wire
from tests.support.waiting import eventually
from tests.support.watching import UPGRADE, unread, updates, watch_path, watching


@pytest.fixture
def errors_logged(http: Http) -> Iterator[list[logging.LogRecord]]:
    """What is logged as an error while the test runs; the gateway runs in this process."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = records.append  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in (None, "jetkv", "uvicorn")]
    for logger in loggers:
        logger.addHandler(handler)
    yield records
    for logger in loggers:
        logger.removeHandler(handler)


async def test_texts_and_bytes_of_a_client_are_ignored(bucket: Bucket) -> None:
    async with watching(bucket.http, bucket.name) as watcher:
        for message in ("hello", b"\xff\x00", '{"type":"subscribe"}', "", b"", "x" * 4096):
            await watcher.connection.send(message)
        await watcher.connection.send(["in ", "three ", "parts ä"])
        await (await watcher.connection.ping())
        await asyncio.to_thread(bucket.put, "k", "v")
        assert updates([await watcher.next()]) == [("k", "put", 1)]


async def test_a_clients_ping_is_answered(bucket: Bucket) -> None:
    async with watching(bucket.http, bucket.name) as watcher, asyncio.timeout(10):
        await (await watcher.connection.ping(b"there?"))


@pytest.mark.parametrize("message", ["x" * 4097, b"x" * 4097, ["x" * 2048, "x" * 2048, "x"]])
async def test_a_message_over_4096_bytes_closes_with_1009(bucket: Bucket, message) -> None:
    async with watching(bucket.http, bucket.name) as watcher:
        await watcher.connection.send(message)
        assert await watcher.closed() == ([], 1009)


@pytest.mark.parametrize("message", [b"\xff", [b"fine \xc3", b"\x28"], b"cut off \xc3"])
async def test_a_text_that_is_not_utf8_closes_with_1007_and_is_no_error_of_ours(
    bucket: Bucket, errors_logged: list[logging.LogRecord], message
) -> None:
    async with watching(bucket.http, bucket.name) as watcher:
        await watcher.connection.send(message, text=True)
        assert await watcher.closed() == ([], 1007)
    assert errors_logged == []


async def test_a_character_cut_in_two_by_fragments_is_fine(bucket: Bucket) -> None:
    async with watching(bucket.http, bucket.name) as watcher:
        await watcher.connection.send([b"\xc3", b"\xa4"], text=True)
        await asyncio.to_thread(bucket.put, "k", "v")
        assert updates([await watcher.next()]) == [("k", "put", 1)]


@pytest.mark.parametrize(
    "frame",
    [b"\x81\x01x", b"\xf1\x80\x00\x00\x00\x00", b"\x83\x80\x00\x00\x00\x00"],
    ids=["not masked", "reserved bits", "reserved opcode"],
)
async def test_a_broken_frame_ends_the_watch_and_is_no_error_of_ours(
    bucket: Bucket, errors_logged: list[logging.LogRecord], frame: bytes
) -> None:
    async with unread(bucket.http, bucket.name) as (reader, writer):
        writer.write(frame)
        async with asyncio.timeout(10):
            head = await reader.readexactly(4)
            writer.write_eof()
            await reader.read(-1)
        assert head[0] == 0x88, "a close frame"
        assert int.from_bytes(head[2:], "big") == 1002
    assert errors_logged == []


def test_what_is_sent_together_with_the_handshake_is_not_lost(bucket: Bucket) -> None:
    ping = b"\x89\x82\0\0\0\0hi"
    with Wire(bucket.http) as wire:
        head = [f"GET {watch_path(bucket.name)} HTTP/1.1", "Host: localhost", *UPGRADE, "", ""]
        wire.send("\r\n".join(head).encode() + ping)
        assert wire.answer().status == 101
        assert wire.read(4) == b"\x8a\x02hi"


async def test_a_client_that_sends_as_fast_as_it_can_is_ended_with_1008_and_others_are_served(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RateLimit, "PATIENCE_SECONDS", 0.0)

    async def send(writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while True:
                writer.write(b"\x81\x80\0\0\0\0" * 10_000)
                await writer.drain()

    async with (
        watching(bucket.http, bucket.name, "?key=k") as watcher,
        unread(bucket.http, bucket.name, "?key=other") as (reader, writer),
    ):
        sending = asyncio.create_task(send(writer))
        async with asyncio.timeout(20):
            for revision in range(1, 11):
                await asyncio.to_thread(bucket.put, "k", "v")
                assert updates([await watcher.next()]) == [("k", "put", revision)]
            first, size = await reader.readexactly(2)
            payload = await reader.readexactly(size)
            assert (first, payload[:2]) == (0x88, (1008).to_bytes(2, "big"))
        sending.cancel()


async def test_a_client_that_answers_no_ping_is_dropped_and_its_consumer_goes(
    nats: NatsServer, native: Native, bucket: Bucket
) -> None:
    with running_gateway(nats.url, watch_ping_seconds=0.2) as http:
        async with unread(http, bucket.name) as (reader, _), asyncio.timeout(10):
            assert (await native.state(bucket.name))["consumer_count"] == 1
            received = await reader.read(-1)
        assert received.startswith(b"\x89"), "a ping"

        async def no_consumer() -> bool:
            return (await native.state(bucket.name))["consumer_count"] == 0

        await eventually(no_consumer, "the consumer is gone", 5)


async def test_a_client_that_answers_pings_stays(nats: NatsServer, bucket: Bucket) -> None:
    with running_gateway(nats.url, watch_ping_seconds=0.5) as http:
        async with watching(http, bucket.name) as watcher:
            with pytest.raises(TimeoutError):
                await watcher.next(timeout=1.2)
            await asyncio.to_thread(bucket.put, "k", "v")
            assert updates([await watcher.next()]) == [("k", "put", 1)]
