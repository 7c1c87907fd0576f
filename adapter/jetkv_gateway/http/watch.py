"""The watch route, as a WebSocket or as an event stream (docs/watch.md)."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from jetkv_gateway.http.auditing import note_subjects, report_audit
from jetkv_gateway.http.call import Call
from jetkv_gateway.http.frames import FrameFormat
from jetkv_gateway.http.sinks import EventSink, FrameSink, Sink
from jetkv_gateway.http.views import View
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.errors import BucketNotFound, GatewayError, InvalidArgument, UpgradeRequired
from jetkv_gateway.kv.filters import EVERYTHING, compile_filter
from jetkv_gateway.telemetry.events import EVENTS
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.hub import Hub, Watch
from jetkv_gateway.watch.pacing import TurnPacer

__all__ = [
    "MAX_FILTERS",
    "WatchHandlers",
    "make_sink",
    "read_revision",
    "serve_watch",
    "wait_turn",
    "wants_events",
]

_REVISION = re.compile(r"[0-9]{1,19}")
_RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,9})?(Z|\+00:00)")
MAX_FILTERS = 64
_GRACE_SECONDS = 5.0
_LONG_QUERY = 2048
"""Filters of this many bytes cost as much work as a watch without filters."""


@dataclass(frozen=True, slots=True)
class _WatchQuery:
    """The parameters of one watch."""

    bucket: str
    request: WatchRequest
    form: FrameFormat


class Watched(Protocol):
    """A watch of one bucket, or of several buckets."""

    @property
    def closed(self) -> bool:
        """Whether the watch has ended. Changes that were handed out before can still be sent."""
        ...

    @property
    def end(self) -> GatewayError | None:
        """The reason why the watch ended."""
        ...

    @property
    def bookmark(self) -> int | str | None:
        """The position to resume from. None if it is not known yet."""
        ...

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the watch ends."""
        ...


W = TypeVar("W", bound=Watched)


class WatchHandlers:
    """Answers watches of one bucket, over WebSockets and event streams."""

    def __init__(self, hub: Hub, pacer: TurnPacer) -> None:
        self._hub = hub
        self._pacer = pacer

    async def watch_bucket(self, call: Call, bucket: str) -> None:
        """Send frames or events until either side ends the watch.

        Raises:
            UpgradeRequired: it asks for neither kind of watch.
            GatewayError: before the upgrade, or before the answer has begun.
        """
        await wait_turn(call, self._pacer)
        filters: list[str] | list[None] = call.parameters.get("key") or [None]
        verb = Verb.WATCH.value
        note_subjects(call, ((verb, bucket, "filter", one, None) for one in filters))
        query = _read(call, bucket)
        sink = make_sink(call)
        opening = self._hub.watch(
            query.bucket,
            query.request,
            address=call.request.client,
            token=call.principal.identity,
        )

        async def send_all(watch: Watch) -> None:
            async with aclosing(watch.items()) as parts:
                async for items in parts:
                    await sink.send(items, query.form)

        await serve_watch(call, sink, opening, send_all)


async def wait_turn(call: Call, pacer: TurnPacer) -> None:
    """Wait until the event loop has time to start a watch."""
    await pacer.wait(1 + len(call.query) // _LONG_QUERY)


def make_sink(call: Call) -> Sink:
    """Return the sink for a watcher.

    Raises:
        UpgradeRequired: it asks for neither kind of watch.
    """
    if call.request.is_websocket:
        return FrameSink(call)
    if wants_events(call):
        return EventSink(call)
    raise UpgradeRequired


async def serve_watch(
    call: Call,
    sink: Sink,
    opening: AbstractAsyncContextManager[W],
    send_all: Callable[[W], Coroutine[Any, Any, None]],
) -> None:
    """Open a watch, and send its changes until either side ends it.

    Raises:
        GatewayError: before the upgrade, or before the answer has begun.
    """
    # A watch may last for days, so free what it does not need.
    call.drop_query()
    if call.method == "HEAD":
        await sink.begin()
        await sink.finish(None)
        return
    # If the peer is gone, sending raises OSError, and there is nobody to tell.
    with suppress(OSError):
        try:
            async with opening as watch:
                await sink.begin()
                call.drop_headers()
                # When the server stops, it closes WebSockets itself.
                stopping = None if call.request.is_websocket else call.request.stopping
                with _reported(call, sink.transport):
                    told, denial = await _run_watch(call, watch, sink, send_all(watch), stopping)
                    if told:
                        await _finish(sink, denial or watch.end)
        except BucketNotFound as error:
            # The error is known before the upgrade. It is sent after it, since clients expect it
            # there.
            await sink.begin()
            await sink.finish(error)


@contextmanager
def _reported(call: Call, transport: str) -> Iterator[None]:
    if EVENTS.watch_opened is not None:
        EVENTS.watch_opened(transport)
    try:
        yield
    finally:
        if EVENTS.watch_closed is not None:
            EVENTS.watch_closed(transport)
        if EVENTS.audited is not None:
            report_audit(call, 200 if transport == "sse" else 101, ended=True)


async def _run_watch(
    call: Call,
    watch: Watched,
    sink: Sink,
    sending: Coroutine[Any, Any, None],
    stopping: asyncio.Event | None,
) -> tuple[bool, GatewayError | None]:
    """Send changes until the watcher is gone, may not see them any more, or the watch has ended.

    Returns:
        Whether the watcher may still be connected, so that it can be told the reason; and why it
        may not see the changes any more, if that is the reason.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def end(*_: object) -> None:
        if not ended.done():
            ended.set_result(None)

    denials: list[GatewayError] = []

    def deny(error: GatewayError) -> None:
        denials.append(error)
        end()

    task = loop.create_task(sending)
    hold = None if call.standing is None else call.standing.hold(call, deny)
    watch.on_end(end)
    left = asyncio.ensure_future(sink.wait_closed())
    waits: list[asyncio.Future[Any]] = [task, left]
    if stopping is not None:
        waits.append(loop.create_task(stopping.wait()))
    for each in waits:
        each.add_done_callback(end)
    alive = sink.keep_alive(lambda: watch.bookmark)
    if alive is not None:
        waits.append(loop.create_task(alive))
    try:
        # A single future costs less memory than `asyncio.wait`, and a watch may last for days.
        await ended
        if watch.closed and not denials:
            # Changes that are queued may still be sent, unless the watcher has stopped reading.
            await asyncio.wait(
                {task, left}, timeout=_GRACE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
    finally:
        if hold is not None:
            hold.release()
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    if not task.cancelled():
        task.result()
    return left.cancelled(), denials[0] if denials else None


async def _finish(sink: Sink, reason: GatewayError | None) -> None:
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await sink.finish(reason)
    except TimeoutError:
        sink.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await sink.wait_closed()


def _read(call: Call, bucket: str) -> _WatchQuery:
    """Read the parameters of a watch.

    Raises:
        InvalidArgument: a filter or parameter breaks a rule (docs/watch.md).
        PermissionDenied: the caller may read no key of the bucket.
    """
    given = [key for key in call.parameters.get("key", []) if key]
    if len(given) > MAX_FILTERS:
        raise InvalidArgument(f"query parameter 'key' is given over {MAX_FILTERS} times")
    keys = dict.fromkeys(given)
    snapshot = call.flag("snapshot")
    resume_after = read_revision(call.parameter("resume_after"), "query parameter 'resume_after'")
    if snapshot and resume_after is not None:
        raise InvalidArgument("either snapshot=true or resume_after, not both")
    last_event = call.headers.get(b"last-event-id", b"").decode("latin-1") or None
    if last_event is not None and wants_events(call):
        # A browser that reconnects repeats its URL, so this revision is the newer one.
        resume_after = read_revision(last_event, "header Last-Event-ID")
    else:
        last_event = None
    filters = tuple([compile_filter(key) for key in keys]) or (EVERYTHING,)
    return _WatchQuery(
        bucket=bucket,
        request=WatchRequest(
            filters=call.narrow(Verb.WATCH, bucket, filters),
            snapshot=snapshot,
            resume_after=resume_after,
            created_at=_timestamp(call.parameter("bucket_created_at")),
            ignore_deletes=call.flag("ignore_deletes"),
            # A browser gives up for good if it is refused when it reconnects.
            wait_for_nats=last_event is not None,
        ),
        form=FrameFormat(bucket, text=call.view is View.JSON, meta_only=call.flag("meta_only")),
    )


def read_revision(text: str | None, part: str) -> int | None:
    """Return a revision, or None without a text.

    Raises:
        InvalidArgument: it is not one; `part` names it.
    """
    if text is None:
        return None
    if _REVISION.fullmatch(text) is None:
        raise InvalidArgument(f"{part} must be a revision, a decimal number")
    return int(text)


def _timestamp(text: str | None) -> str | None:
    if text is not None and _RFC_3339.fullmatch(text) is None:
        raise InvalidArgument(
            "query parameter 'bucket_created_at' must be the created_at of a bucket, in UTC"
        )
    return text


def wants_events(call: Call) -> bool:
    """Return whether a request asks for an event stream."""
    return (
        not call.request.is_websocket
        and b"text/event-stream" in call.headers.get(b"accept", b"").lower()
    )
