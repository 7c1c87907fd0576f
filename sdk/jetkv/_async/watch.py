"""A watch: one session over as many connections as it takes."""

import math
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from jetkv._async.runtime import AsyncSignal, now
from jetkv._core import requests
from jetkv._core.answers import read_bucket
from jetkv._core.handles import OfOneProcess
from jetkv._core.retry import Again, jitter
from jetkv._core.session import SILENCE_SECONDS, Came, SnapshotEnd, WatchSession
from jetkv._core.wire import Answer, Broken, TransportError
from jetkv.errors import ClientClosedError, InvalidArgumentError, JetKVError
from jetkv.models import Update

if TYPE_CHECKING:
    from jetkv._async.client import AsyncClient
    from jetkv._async.transport import Stream

__all__ = ["AsyncWatch"]

T = TypeVar("T")


class AsyncWatch(OfOneProcess, Generic[T]):
    """An iterator over updates; made by `bucket.watch(…)`.

    On leaving `with` the connection is closed, and so it is on leaving a loop over a watch that
    has no name. `close` (of the async client: `aclose`) does it from elsewhere, such as another
    thread, and ends the loop. One thread or task reads a watch at a time.

    One that began with a snapshot heals itself where the gateway cannot show all that happened
    while a connection was down (`resync`: values expired or were removed without a trace). It takes
    a new snapshot and returns what differs from what it has returned: an update of each key that
    changed, in the order of their revisions, then a delete with the reason `vanished` for each key
    that is gone. For that it remembers the keys that it returned as live, some 200 bytes each,
    unless it was made with `ignore_deletes=True`.
    """

    def __init__(
        self,
        client: "AsyncClient",
        bucket: str,
        session: WatchSession[T],
        created_at: datetime | None = None,
    ) -> None:
        self._client = client
        self._bucket = bucket
        self._session = session
        self._pending: deque[Came[T]] = deque()
        self._stream: Stream | None = None
        self._created_at = created_at
        self._place = session.last_revision
        self._tried = 0
        self._begun_at = math.inf
        self._opened_at = math.inf
        self._closing = AsyncSignal()
        self._reading = False
        self._complete = False
        self._healed = True
        self._orphaned = False
        client._watches.add(self)

    @property
    def last_revision(self) -> int | None:
        """Where this watch stands: a later one with `resume_after` goes on here.

        It counts what was returned, not what has come and waits. None before it is open. While a
        new snapshot is returned it stands still: what is gone comes last.
        """
        return self._place

    @property
    def synced(self) -> bool:
        """Whether the snapshot is complete: all of it has been returned.

        It is False again while a new one is taken.
        """
        if not self._pending:
            return self._complete and not self._session.healing
        ends = isinstance(self._pending[0].item, SnapshotEnd)
        return (ends or self._complete) and self._healed

    @property
    def bucket_created_at(self) -> datetime | None:
        """Of which bucket `last_revision` is a place; None before it is open."""
        return self._created_at

    async def snapshot(self) -> list[Update[T | None]]:
        """Return all of the snapshot, once it is complete; a loop then has what comes after.

        Of keys that changed while it was read, an older update may come before a newer one, or
        before a delete.

        Raises:
            InvalidArgumentError: the watch was not made with `snapshot=True`, or is further on.
            WatchLostError: as the loop.
            ClientClosedError: the watch was closed meanwhile.
        """
        if self._complete or not self._session.snapshot:
            raise InvalidArgumentError(
                "this watch has no snapshot to come", hint="watch(snapshot=True), then this first"
            )
        found: list[Update[T | None]] = []
        while not self._complete:
            try:
                item = await self._next()
            except StopAsyncIteration:
                raise ClientClosedError("the watch was closed before its snapshot") from None
            if isinstance(item, Update):
                found.append(item)
        return found

    async def __aenter__(self) -> Self:
        while not (self._placed or self._closing.is_set()):
            await self._step()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update[T | None]:
        while True:
            item = await self._next()
            if isinstance(item, Update):
                return item

    async def aclose(self) -> None:
        """End the watch: a loop over it stops, wherever it runs."""
        self._closing.set()
        self._drop()

    async def _leave_client(self) -> None:
        """End it with its client, which whoever iterates is told."""
        self._orphaned = not self._closing.is_set()
        await self.aclose()

    def __del__(self) -> None:
        self._drop()

    @property
    def _placed(self) -> bool:
        """Whether what is written from now on will be seen."""
        return self._session.opened or (self._session.definite and self._stream is not None)

    async def _next(self) -> Update[T | None] | SnapshotEnd:
        if self._reading:
            raise InvalidArgumentError(
                "a watch is read by one thread or task at a time", hint="make one for each"
            )
        self._reading = True
        try:
            await self._fill()
        finally:
            self._reading = False
        return self._pop()

    def _pop(self) -> Update[T | None] | SnapshotEnd:
        """Return the next of what has come; there is one."""
        item, place = self._pending.popleft()
        self._complete = self._complete or isinstance(item, SnapshotEnd)
        if self._pending:
            self._healed = place is not None
            self._place = self._place if place is None else place
        else:
            self._caught_up()
        return item

    def _caught_up(self) -> None:
        # With nothing left, a bookmark may be further on.
        self._place = self._session.last_revision
        self._healed = not self._session.healing

    async def _fill(self) -> None:
        while not self._pending:
            if self._orphaned:
                raise ClientClosedError("the client is closed", hint="make another one")
            if self._closing.is_set():
                raise StopAsyncIteration
            try:
                await self._step()
            except JetKVError:
                await self.aclose()
                raise

    async def _step(self) -> None:
        """Take one step: open a connection, read what has come, or wait for the next try.

        Raises:
            JetKVError: the watch cannot begin, or cannot go on.
        """
        try:
            stream = self._stream
            if stream is None:
                await self._open()
                return
            self._session.check()
            chunk = await stream.read()
            if not chunk:
                raise Broken("the gateway closed the connection")
            self._pending.extend(self._session.feed(chunk))
            if not self._pending:
                self._caught_up()
        except TransportError as failure:
            self._drop()
            if not self._pending:
                self._caught_up()
            if not self._closing.is_set():
                await self._again(failure)

    async def _open(self) -> None:
        """Ask for the bucket's description, or once that is there, for the events."""
        self._begun_at = min(self._begun_at, now())
        info = requests.get_bucket(self._bucket)
        created_at = None if self._session.in_doubt else self._created_at
        request = info if created_at is None else self._session.request(created_at)
        # Known from here on, so that closing the watch ends whatever is waited for.
        stream = self._stream = self._client._transport.stream()
        if self._closing.is_set():
            raise Broken("the watch was closed")
        within = SILENCE_SECONDS if self._session.opened else self._client._timeout
        await stream.open(request, within, SILENCE_SECONDS)
        if created_at is not None and _is_event_stream(stream.status, stream.headers):
            self._opened_at = now()
            return
        answer = await stream.answer()
        self._drop()
        if created_at is not None or answer.status != 200:
            await self._again(answer)
            return
        found = read_bucket(answer, info).created_at
        if self._created_at is not None:
            self._session.check_bucket(self._created_at, found)
        self._created_at = found

    async def _again(self, outcome: Answer | TransportError) -> None:
        """Wait before the next connection.

        Raises:
            JetKVError: there will be none.
        """
        # Of a client that is closed there is nothing to wait for.
        self._client._transport.ready()
        verdict = self._session.judge(outcome, self._client._address)
        assert verdict.error is not None
        self._tried += 1
        stood, self._opened_at = now() - self._opened_at, math.inf
        delay = self._session.delay(verdict.at_least, jitter(), stood)
        retry = self._client._retry
        late = verdict.not_now and now() + delay > self._begun_at + retry.patience
        if verdict.again is not Again.YES or (
            not self._session.opened and (late or self._tried >= retry.attempts)
        ):
            raise verdict.error from (outcome if isinstance(outcome, TransportError) else None)
        await self._closing.wait(delay)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()


def _is_event_stream(status: int, headers: Mapping[str, str]) -> bool:
    return status == 200 and headers.get("content-type", "").startswith("text/event-stream")
