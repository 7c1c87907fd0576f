"""The watch route, as a WebSocket and as an event stream (contract 1.5, 2.9)."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response

from jetkv_gateway.http.exchange import EXCHANGE, SOCKET, STOPPING, Exchange, Receive, Scope, Send
from jetkv_gateway.http.frames import Form
from jetkv_gateway.http.paths import bucket_name, flag
from jetkv_gateway.http.readers import EventReader, FrameReader, Reader, TextReader
from jetkv_gateway.http.schema import errors, parameter
from jetkv_gateway.http.views import View
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.errors import BucketNotFound, InvalidArgument, UpgradeRequired
from jetkv_gateway.kv.filters import EVERYTHING, compile_filter
from jetkv_gateway.watch.hub import Hub, Watch
from jetkv_gateway.watch.past import WatchRequest

__all__ = ["SUBPROTOCOL", "Watches", "watch_routes"]

SUBPROTOCOL = "ironflow.v1"

_REVISION = re.compile(r"[0-9]{1,19}")
_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?(Z|\+00:00)")
_MAX_FILTERS = 64
_GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Asked:
    """One watch, as it was asked for."""

    bucket: str
    request: WatchRequest
    form: Form
    address: str


class Watches:
    """Answers watches of both kinds."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def websocket(self, exchange: Exchange, raw_bucket: bytes, send: Send) -> None:
        """Answer a handshake, then send frames until either side ends it.

        Args:
            exchange: answers what is refused before the upgrade.
            send: of the connection itself.

        Raises:
            GatewayError: before the upgrade.
        """
        asked = _read(exchange, raw_bucket)
        await exchange.receive_through()
        socket = exchange.scope.get(SOCKET)
        reader: Reader = FrameReader(socket, asked.form) if socket else TextReader(send, asked.form)

        async def accept() -> None:
            offered = exchange.scope.get("subprotocols", ())
            exchange.started = True
            await send(
                {
                    "type": "websocket.accept",
                    "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None,
                    "headers": exchange.answer_headers,
                }
            )

        gone = _Gone(exchange.receive_through, "websocket.disconnect")
        await self._serve(asked, reader, accept, gone, None)

    async def stream(self, asked: _Asked, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until either side ends it.

        Raises:
            GatewayError: before the answer has begun.
        """
        reader = EventReader(scope, send, asked.form)
        gone = _Gone(receive, "http.disconnect")
        await self._serve(asked, reader, reader.begin, gone, scope.get(STOPPING))

    async def _serve(
        self,
        asked: _Asked,
        reader: Reader,
        begin: Callable[[], Awaitable[None]],
        gone: "_Gone",
        stopping: asyncio.Event | None,
    ) -> None:
        # A peer that is gone is no trouble: there is nobody to tell, and sending raises OSError.
        with suppress(OSError):
            try:
                async with self._hub.watch(
                    asked.bucket, asked.request, address=asked.address
                ) as watch:
                    await begin()
                    if await _pump(watch, reader, gone, stopping):
                        await _finish(reader, watch, gone)
            except BucketNotFound as error:
                # Known before the upgrade, and said after it: there is where clients look for it.
                await begin()
                await reader.finish(error)


class _Gone:
    """Waits until a peer is gone; what it sends is of no interest."""

    def __init__(self, receive: Receive, last: str) -> None:
        self._receive = receive
        self._last = last

    async def wait(self) -> None:
        while (await self._receive())["type"] != self._last:
            pass


async def _pump(watch: Watch, reader: Reader, gone: _Gone, stopping: asyncio.Event | None) -> bool:
    """Send what a watcher is owed until it is gone or the watch is over.

    Returns:
        Whether there may be somebody to say a last word to.
    """

    async def send_all() -> None:
        async with aclosing(watch.items()) as parts:
            async for items in parts:
                await reader.send(items)

    ended = asyncio.Event()
    watch.on_end(ended.set)
    pump, left = asyncio.create_task(send_all()), asyncio.create_task(gone.wait())
    over = [asyncio.create_task(event.wait()) for event in (ended, stopping) if event is not None]
    beside = asyncio.create_task(reader.keep_alive(watch))
    tasks = {pump, left, beside, *over}
    try:
        await asyncio.wait({pump, left, *over}, return_when=asyncio.FIRST_COMPLETED)
        if ended.is_set():
            # What waits for it may still go out, unless it does not read any more.
            await asyncio.wait(
                {pump, left}, timeout=_GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not pump.cancelled():
        pump.result()
    return left.cancelled()


async def _finish(reader: Reader, watch: Watch, gone: _Gone) -> None:
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await reader.finish(watch.session.end)
    except TimeoutError:
        reader.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await gone.wait()


class EventStream(Response):
    """An answer that goes on until either side ends it."""

    def __init__(self, watches: Watches, asked: _Asked) -> None:
        super().__init__()
        self._watches = watches
        self._asked = asked

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._watches.stream(self._asked, scope, receive, send)


def watch_routes(watches: Watches) -> APIRouter:
    """Return the route of a GET; WebSocket handshakes do not pass through FastAPI."""
    router = APIRouter(prefix="/api/v1/kv/buckets", tags=["Watch"])

    @router.get(
        "/{bucket}/watch",
        responses={
            200: {
                "description": "Frames as server-sent events; their id is the revision",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            101: {"description": "Frames over a WebSocket"},
            **errors(400, 401, 403, 409, 426, 429, 503, 504),
        },
        response_class=Response,
        openapi_extra={"parameters": _DESCRIBED},
    )
    async def watch_bucket(request: Request, bucket: str) -> Response:
        """Changes of keys, as they happen: a WebSocket, or an event stream for `Accept`."""
        exchange: Exchange = request.scope[EXCHANGE]
        asked = _read(exchange, bucket.encode("ascii"))
        if not _wants_events(exchange):
            raise UpgradeRequired
        return EventStream(watches, asked)

    return router


_FLAG = {"enum": ["true", "false"]}
_DESCRIBED = [
    parameter("key", "query", "A filter as in listings; up to 64 times", maxLength=512),
    parameter("snapshot", "query", "Begin with what is there, then `kv_snapshot_end`", **_FLAG),
    parameter("resume_after", "query", "Begin with what changed since", pattern="^[0-9]{1,19}$"),
    parameter("bucket_created_at", "query", "The bucket that `resume_after` is a revision of"),
    parameter("ignore_deletes", "query", "Leave deletes out", **_FLAG),
    parameter("meta_only", "query", "Send sizes instead of values", **_FLAG),
    parameter("env", "query", "Accepted and ignored"),
]
_NAMES = tuple(str(described["name"]) for described in _DESCRIBED)


def _read(exchange: Exchange, raw_bucket: bytes) -> _Asked:
    """Read what is asked for.

    Raises:
        InvalidArgument: a name, filter or parameter breaks a rule of contract 1.2, 1.3, 2.9.
        PermissionDenied
    """
    bucket = bucket_name(raw_bucket)
    exchange.require(Verb.WATCH, bucket)
    given = exchange.parameter_lists(*_NAMES, repeated="key")
    keys = [key for key in given.pop("key", []) if key]
    single = {name: values[0] for name, values in given.items()}
    if len(keys) > _MAX_FILTERS:
        raise InvalidArgument(f"query parameter 'key' is given over {_MAX_FILTERS} times")
    snapshot = flag(single, "snapshot")
    resume_after = _revision(single.get("resume_after"), "query parameter 'resume_after'")
    if snapshot and resume_after is not None:
        raise InvalidArgument("either snapshot=true or resume_after, not both")
    last_event = exchange.headers.get(b"last-event-id", b"").decode("latin-1") or None
    if last_event is not None and _wants_events(exchange):
        # A browser that comes back repeats its URL, so this is the newer wish.
        resume_after = _revision(last_event, "header Last-Event-ID")
    else:
        last_event = None
    client = exchange.scope.get("client")
    return _Asked(
        bucket=bucket,
        request=WatchRequest(
            filters=tuple(compile_filter(key) for key in keys) or (EVERYTHING,),
            snapshot=snapshot,
            resume_after=resume_after,
            created_at=_moment(single.get("bucket_created_at")),
            ignore_deletes=flag(single, "ignore_deletes"),
            # A browser that comes back and is refused gives up for good.
            patient=last_event is not None,
        ),
        form=Form(bucket, text=exchange.view is View.JSON, meta_only=flag(single, "meta_only")),
        address=client[0] if client else "",
    )


def _revision(text: str | None, part: str) -> int | None:
    if text is None:
        return None
    if _REVISION.fullmatch(text) is None:
        raise InvalidArgument(f"{part} must be a revision, a decimal number")
    return int(text)


def _moment(text: str | None) -> str | None:
    if text is not None and _RFC_3339.fullmatch(text) is None:
        raise InvalidArgument(
            "query parameter 'bucket_created_at' must be the created_at of a bucket, in UTC"
        )
    return text


def _wants_events(exchange: Exchange) -> bool:
    return (
        exchange.scope["type"] == "http"
        and b"text/event-stream" in exchange.headers.get(b"accept", b"").lower()
    )
