"""The least that one key over HTTP costs, with handlers that are ordinary coroutines.

The HTTP protocol takes the first step of a handler by itself, and each reply of NATS takes the next
one: no ASGI, no Task, no Future. Nothing is checked; there is a GET and a PUT of one key.

    BENCH_NATS=nats://127.0.0.1:4222 [BENCH_DIRECT=1] python -m tests.bench.floors.steps PORT

BENCH_DIRECT=1 reads by DIRECT.GET, raw bytes; else by STREAM.MSG.GET, base64 in JSON.
"""

import os
import sys
from binascii import b2a_base64
from collections.abc import Coroutine, Generator
from typing import Any

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tests.bench.floors.wire import FloorWire, open_wire

_DIRECT = os.environ.get("BENCH_DIRECT") == "1"
_wire: FloorWire


class Asked:
    """A request to NATS, to be awaited by a handler."""

    __slots__ = ("answer", "headers", "payload", "subject")

    answer: tuple[bytes, bytes]

    def __init__(self, subject: bytes, payload: bytes = b"", headers: bytes = b"") -> None:
        self.subject = subject
        self.payload = payload
        self.headers = headers

    def __await__(self) -> Generator["Asked", None, tuple[bytes, bytes]]:
        yield self
        return self.answer


def advance(handler: Coroutine[Asked, None, None]) -> None:
    """Take a handler to its next request, or to its end."""
    try:
        asked = handler.send(None)
    except StopIteration:
        return

    def answered(block: bytes, payload: bytes) -> None:
        asked.answer = block, payload
        advance(handler)

    _wire.ask(asked.subject, asked.payload, answered, asked.headers)


def _value_of(block: bytes, name: bytes) -> bytes:
    at = block.index(name) + len(name)
    return block[at : block.index(b"\r\n", at)]


async def _read(bucket: bytes, key: bytes) -> tuple[bytes, bytes, bytes]:
    """Return revision, time, and the value in base64."""
    if _DIRECT:
        subject = b"$JS.API.DIRECT.GET.KV_%s.$KV.%s.%s" % (bucket, bucket, key)
        block, value = await Asked(subject)
        return (
            _value_of(block, b"Nats-Sequence: "),
            _value_of(block, b"Nats-Time-Stamp: "),
            b2a_base64(value, newline=False),
        )
    query = b'{"last_by_subj":"$KV.%s.%s"}' % (bucket, key)
    _, reply = await Asked(b"$JS.API.STREAM.MSG.GET.KV_%s" % bucket, query)
    message = orjson.loads(reply)["message"]
    return b"%d" % message["seq"], message["time"].encode(), message.get("data", "").encode()


async def _write(bucket: bytes, key: bytes, value: bytes) -> int:
    block = b"NATS/1.0\r\nNats-Expected-Stream: KV_%s\r\n\r\n" % bucket
    _, ack = await Asked(b"$KV.%s.%s" % (bucket, key), value, block)
    revision: int = orjson.loads(ack)["seq"]
    return revision


class Stepping(HttpToolsProtocol):
    """uvicorn's protocol up to the end of a request, and nothing of it behind that."""

    def on_headers_complete(self) -> None:
        self.method = self.parser.get_method()
        self.fields = dict(self.headers)
        self.body: list[bytes] = []

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        advance(self._handle(self.method, self.url, b"".join(self.body)))

    async def _handle(self, method: bytes, path: bytes, body: bytes) -> None:
        parts = path.split(b"/", 7)
        bucket, key = parts[5], parts[7]
        if method == b"GET":
            revision, created, value = await _read(bucket, key)
            self._answer(
                revision,
                b'{"key":"%s","value":"%s","revision":%s,"created_at":"%s","operation":"put"}'
                % (key, value, revision, created),
            )
        else:
            number = await _write(bucket, key, body)
            self._answer(b"%d" % number, b'{"revision":%d}' % number)

    def _answer(self, revision: bytes, body: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                b'etag: "%s"\r\ncontent-length: %d\r\nx-request-id: 0123456789abcdef\r\n\r\n%s'
                % (revision, len(body), body)
            )


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    global _wire
    assert scope["type"] == "lifespan"
    await receive()
    _wire = await open_wire(os.environ["BENCH_NATS"])
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        http=Stepping,
        loop="uvloop",
        access_log=False,
        log_level="warning",
    )
