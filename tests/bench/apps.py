"""The two yardsticks on the gateway's own uvicorn: an app that does nothing, and the barest path.

`NOTHING` reads the request and answers a constant. `BAREST` makes one multiplexed JetStream
request a call and checks nothing: what the gateway would be without a contract.
"""

import os
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from jetkv_gateway.jetstream.requests import Multiplexer, ReplyClient

ASGI = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
BUCKET = "bench"


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
        client = ReplyClient()
        await client.connect(os.environ["BENCH_NATS"], pending_size=0)
        self.mux = await Multiplexer.open(client)


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
