"""The watch route, as a WebSocket and as an event stream (contract 1.5, 2.9)."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from jetkv_gateway.http.call import SOCKET, STOPPING, Call, Receive, Send
from jetkv_gateway.http.frames import Form
from jetkv_gateway.http.origins import isolation
from jetkv_gateway.http.sinks import EventSink, FrameSink, Sink, TextSink
from jetkv_gateway.http.views import View
from jetkv_gateway.kv.errors import BucketNotFound, InvalidArgument, UpgradeRequired
from jetkv_gateway.kv.filters import EVERYTHING, compile_filter
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.hub import Hub, Watch

__all__ = ["SUBPROTOCOL", "Watches"]

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

    async def websocket(self, call: Call, bucket: str, send: Send) -> None:
        """Answer a handshake, then send frames until either side ends it.

        Args:
            call: answers what is refused before the upgrade.
            send: of the connection itself.

        Raises:
            GatewayError: before the upgrade.
        """
        asked = _read(call, bucket)
        await call.receive_through()
        socket = call.scope.get(SOCKET)
        sink: Sink = FrameSink(socket, asked.form) if socket else TextSink(send, asked.form)

        async def accept() -> None:
            offered = call.scope.get("subprotocols", ())
            call.started = True
            await send(
                {
                    "type": "websocket.accept",
                    "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None,
                    "headers": call.answer_headers,
                }
            )

        gone = _Gone(call.receive_through, "websocket.disconnect")
        await self._serve(asked, sink, accept, gone, None)

    async def watch_bucket(self, call: Call, bucket: str) -> None:
        """Send events until either side ends it.

        Raises:
            UpgradeRequired: it asks for neither kind of watch.
            GatewayError: before the answer has begun.
        """
        asked = _read(call, bucket)
        if not _wants_events(call):
            raise UpgradeRequired
        scope = call.scope
        sink = EventSink(scope, call.send_through, asked.form, isolation=isolation(call))
        if call.method == "HEAD":
            await sink.begin()
            await sink.finish(None)
            return
        gone = _Gone(call.receive_through, "http.disconnect")
        await self._serve(asked, sink, sink.begin, gone, scope.get(STOPPING))

    async def _serve(
        self,
        asked: _Asked,
        sink: Sink,
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
                    if await _pump(watch, sink, gone, stopping):
                        await _finish(sink, watch, gone)
            except BucketNotFound as error:
                # Known before the upgrade, and said after it: there is where clients look for it.
                await begin()
                await sink.finish(error)


class _Gone:
    """Waits until a peer is gone; what it sends is of no interest."""

    def __init__(self, receive: Receive, last: str) -> None:
        self._receive = receive
        self._last = last

    async def wait(self) -> None:
        while (await self._receive())["type"] != self._last:
            pass


async def _pump(watch: Watch, sink: Sink, gone: _Gone, stopping: asyncio.Event | None) -> bool:
    """Send what a watcher is owed until it is gone or the watch is over.

    Returns:
        Whether there may be somebody to say a last word to.
    """

    async def send_all() -> None:
        async with aclosing(watch.items()) as parts:
            async for items in parts:
                await sink.send(items)

    ended = asyncio.Event()
    watch.on_end(ended.set)
    pump, left = asyncio.create_task(send_all()), asyncio.create_task(gone.wait())
    over = [asyncio.create_task(event.wait()) for event in (ended, stopping) if event is not None]
    beside = asyncio.create_task(sink.keep_alive(watch))
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


async def _finish(sink: Sink, watch: Watch, gone: _Gone) -> None:
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await sink.finish(watch.session.end)
    except TimeoutError:
        sink.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await gone.wait()


def _read(call: Call, bucket: str) -> _Asked:
    """Read what is asked for.

    Raises:
        InvalidArgument: a filter or parameter breaks a rule (docs/watch.md).
    """
    keys = [key for key in call.parameters.get("key", []) if key]
    if len(keys) > _MAX_FILTERS:
        raise InvalidArgument(f"query parameter 'key' is given over {_MAX_FILTERS} times")
    snapshot = call.flag("snapshot")
    resume_after = _revision(call.parameter("resume_after"), "query parameter 'resume_after'")
    if snapshot and resume_after is not None:
        raise InvalidArgument("either snapshot=true or resume_after, not both")
    last_event = call.headers.get(b"last-event-id", b"").decode("latin-1") or None
    if last_event is not None and _wants_events(call):
        # A browser that comes back repeats its URL, so this is the newer wish.
        resume_after = _revision(last_event, "header Last-Event-ID")
    else:
        last_event = None
    client = call.scope.get("client")
    return _Asked(
        bucket=bucket,
        request=WatchRequest(
            filters=tuple(compile_filter(key) for key in keys) or (EVERYTHING,),
            snapshot=snapshot,
            resume_after=resume_after,
            created_at=_moment(call.parameter("bucket_created_at")),
            ignore_deletes=call.flag("ignore_deletes"),
            # A browser that comes back and is refused gives up for good.
            patient=last_event is not None,
        ),
        form=Form(bucket, text=call.view is View.JSON, meta_only=call.flag("meta_only")),
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


def _wants_events(call: Call) -> bool:
    return (
        call.scope["type"] == "http"
        and b"text/event-stream" in call.headers.get(b"accept", b"").lower()
    )
