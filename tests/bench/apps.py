"""The yardsticks on the gateway's own uvicorn: what it would be without a contract.

`nothing` reads the request and answers a constant. `barest` makes one multiplexed JetStream
request a call and checks nothing. `broadcast` sends a constant text to all its WebSockets.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import orjson

from jetkv_gateway.jetstream.protocol import NatsProtocol
from jetkv_gateway.jetstream.requests import Multiplexer

ASGI = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
BUCKET = "bench"

_SENDS_A_TURN = 2000


async def _respond(send: Any, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _body(receive: Any) -> bytes:
    message = await receive()
    body: bytes = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    return body


async def nothing(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await _body(receive)
    await _respond(send, b'{"revision":1}')


class Barest:
    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send, self._connect)
            return
        key = scope["raw_path"].rpartition(b"/")[2].decode()
        if scope["method"] == "PUT":
            reply = await self.mux.request(f"$KV.{BUCKET}.{key}", await _body(receive), timeout=5)
            body = b'{"revision":%d}' % orjson.loads(reply.data)["seq"]
        else:
            query = b'{"last_by_subj":"$KV.%s.%s"}' % (BUCKET.encode(), key.encode())
            reply = await self.mux.request(f"$JS.API.STREAM.MSG.GET.KV_{BUCKET}", query, timeout=5)
            message = orjson.loads(reply.data)["message"]
            body = orjson.dumps(
                {
                    "key": key,
                    "value": message["data"],
                    "revision": message["seq"],
                    "created_at": message["time"],
                    "operation": "put",
                }
            )
        await _respond(send, body)

    async def _connect(self) -> None:
        link = NatsProtocol(lambda _info, _first: None, lambda _refused: None, lambda: None)
        await link.open(os.environ["BENCH_NATS"], 5)
        self.mux = await Multiplexer.open(link, "_INBOX")


class Broadcast:
    """Takes in WebSockets; `GET /?seconds=S&size=N` sends texts of N bytes to all of them.

    The answer is how many texts each was sent. Other tasks get their turn after every
    `_SENDS_A_TURN` texts: what nobody lets go out would not be a broadcast.
    """

    def __init__(self) -> None:
        self._sends: list[Any] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await self._keep(receive, send)
        else:
            query = parse_qs(scope["query_string"].decode())
            sent = await self._send(float(query["seconds"][0]), int(query["size"][0]))
            await _respond(send, b"%d" % sent)

    async def _keep(self, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        self._sends.append(send)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        self._sends.remove(send)

    async def _send(self, seconds: float, size: int) -> int:
        message = {"type": "websocket.send", "text": "x" * size}
        sends = list(self._sends)
        sent = 0
        in_turn = 0
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for send in sends:
                await send(message)
            sent += 1
            in_turn += len(sends)
            if in_turn >= _SENDS_A_TURN:
                in_turn = 0
                await asyncio.sleep(0)
        return sent


async def _lifespan(
    receive: Any, send: Any, start: Callable[[], Awaitable[None]] | None = None
) -> None:
    await receive()
    if start is not None:
        await start()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


barest = Barest()
broadcast = Broadcast()
