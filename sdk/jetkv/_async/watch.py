"""A watch: one session over as many connections as it takes."""

from collections import deque
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from jetkv._async.runtime import AsyncSignal
from jetkv._core.retry import Again, jitter
from jetkv._core.session import SILENCE_SECONDS, SnapshotEnd, WatchSession
from jetkv._core.wire import Answer, Broken, TransportError
from jetkv.errors import JetKVError
from jetkv.models import Update

if TYPE_CHECKING:
    from jetkv._async.client import AsyncClient
    from jetkv._async.transport import Stream

__all__ = ["AsyncWatch"]

T = TypeVar("T")


class AsyncWatch(Generic[T]):
    """An iterator over updates; made by `bucket.watch(…)`.

    On leaving `with` or the loop the connection is closed; `close` (of the async client:
    `aclose`) does it from elsewhere, such as another thread, and ends the loop.
    """

    def __init__(self, client: "AsyncClient", bucket: str, session: WatchSession[T]) -> None:
        self._client = client
        self._bucket = bucket
        self._session = session
        self._pending: deque[Update[T | None] | SnapshotEnd] = deque()
        self._stream: Stream | None = None
        self._created_at: datetime | None = None
        self._place = session.last_revision
        self._tried = 0
        self._closing = AsyncSignal()

    @property
    def last_revision(self) -> int | None:
        """Where this watch stands: a later one with `resume_after` goes on here.

        It counts what was returned, not what has come and waits. None before it is open.
        """
        return self._place

    @property
    def synced(self) -> bool:
        """Whether the snapshot is complete: all of it has been returned."""
        return self._session.synced and not any(
            isinstance(item, SnapshotEnd) for item in islice(self._pending, 1, None)
        )

    async def __aenter__(self) -> Self:
        while not (self._placed or self._closing.is_set()):
            await self._step()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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

    def __del__(self) -> None:
        self._drop()

    @property
    def _placed(self) -> bool:
        """Whether what is written from now on will be seen."""
        return self._session.opened or (self._session.definite and self._stream is not None)

    async def _next(self) -> Update[T | None] | SnapshotEnd:
        while not self._pending:
            if self._closing.is_set():
                raise StopAsyncIteration
            try:
                await self._step()
            except JetKVError:
                await self.aclose()
                raise
        item = self._pending.popleft()
        # With nothing left, a bookmark may be further on.
        self._place = item.revision if self._pending else self._session.last_revision
        return item

    async def _step(self) -> None:
        """Take one step: open a connection, read what has come, or wait for the next try.

        Raises:
            JetKVError: the watch cannot begin, or cannot go on.
        """
        try:
            stream = self._stream or await self._open()
            if stream is None:
                return
            self._session.check()
            chunk = await stream.read()
            if not chunk:
                raise Broken("the gateway closed the connection")
            self._pending.extend(self._session.feed(chunk))
            if not self._pending:
                self._place = self._session.last_revision
        except TransportError as failure:
            self._drop()
            if self._closing.is_set():
                return
            await self._again(failure)

    async def _open(self) -> "Stream | None":
        if self._created_at is None:
            self._created_at = (await self._client.kv().bucket_info(self._bucket)).created_at
        request = self._session.request(self._created_at)
        stream = await self._client._transport.stream(request, SILENCE_SECONDS)
        if stream.status == 200 and stream.headers.get("Content-Type", "").startswith(
            "text/event-stream"
        ):
            self._stream = stream
            if self._closing.is_set():
                self._drop()
            return self._stream
        await self._again(await stream.answer())
        return None

    async def _again(self, outcome: Answer | TransportError) -> None:
        """Wait before the next connection.

        Raises:
            JetKVError: there will be none.
        """
        verdict = self._session.judge(outcome, self._client._address)
        assert verdict.error is not None
        self._tried += 1
        first = not self._session.opened
        if verdict.again is not Again.YES or (
            first and self._tried >= self._client._retry.attempts
        ):
            raise verdict.error from (outcome if isinstance(outcome, TransportError) else None)
        await self._closing.wait(self._session.delay(verdict.at_least, jitter()))

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()
