# Made from sdk/jetkv/_async/watch_reader.py by `make format`. Edit that file.
"""The inner part of a watch: one session over as many connections as it takes."""

import math
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Generic, TypeVar

from jetkv._core import requests
from jetkv._core.answers import read_bucket
from jetkv._core.log import log_watch_end, log_watch_lost, log_watch_open
from jetkv._core.messages import Answer, Broken, TransportError
from jetkv._core.retry import Resend, jitter
from jetkv._core.session_base import SILENCE_SECONDS, Position, Received, Session, SnapshotEnd
from jetkv._sync.endpoint import Endpoint
from jetkv._sync.runtime import Signal, now
from jetkv.errors import ClientClosedError, JetKVError
from jetkv.models import Update

if TYPE_CHECKING:
    from jetkv._sync.transport import Stream

__all__ = ["WatchReader"]

T = TypeVar("T")


class WatchReader(Generic[T]):
    """Reads a watch step by step.

    `Watch` reads one item at a time from it. `Flags` makes the steps itself, because it
    has to know when the gateway was last heard from. One thread or task reads; `close` may be
    called from any other.

    Args:
        endpoint: the gateway.
        session: the state of the watch.
        created_at: when the bucket was created, if the caller knows it.

    Attributes:
        filtered: whether the caller may not read all keys that the watch asks for; False until the
            watch is open.
        pending: what has been received and not yet been returned by `pop`.
        position: the revision, or the bookmark, that a reader has reached which has received
            everything that `pop` returned; None until it is known. While a new snapshot is returned
            it does not change: the deletes of that snapshot come last.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        session: Session[T],
        created_at: datetime | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._session = session
        self._stream: Stream | None = None
        self._attempts = 0
        self._lost = False
        self._started_at = math.inf
        self._connected_at = math.inf
        self._closing = Signal()
        self._client_closed = False
        self._snapshot_returned = False
        self._in_sync = True
        self.pending: deque[Received[T]] = deque()
        self._created: dict[str, datetime] = {}
        self._to_describe: list[str] = []
        if created_at is None:
            self._to_describe = list(session.buckets)
        else:
            self._created[session.buckets[0]] = created_at
        self.position: Position | None = session.position
        self.filtered = False
        endpoint.add_watch(self)

    @property
    def created_at(self) -> datetime | None:
        """When the bucket, or the first of several, was created; None until it is known."""
        return self._created.get(self._session.buckets[0])

    @property
    def connected(self) -> bool:
        """Whether there is a connection, or an attempt to make one."""
        return self._stream is not None

    @property
    def opened(self) -> bool:
        """Whether the watch will see everything that is written from now on."""
        return self._session.opened or (self._session.has_fixed_start and self.connected)

    @property
    def closed(self) -> bool:
        return self._closing.is_set()

    @property
    def has_snapshot(self) -> bool:
        """Whether the watch started with `snapshot=True`."""
        return self._session.snapshot

    @property
    def snapshot_returned(self) -> bool:
        """Whether `pop` has returned all of the first snapshot."""
        return self._snapshot_returned

    @property
    def synced(self) -> bool:
        """Whether `pop` has returned all of the newest snapshot."""
        if not self.pending:
            return self._snapshot_returned and not self._session.resyncing
        is_end = isinstance(self.pending[0].item, SnapshotEnd)
        return (is_end or self._snapshot_returned) and self._in_sync

    def fill(self) -> None:
        """Make steps until something is pending.

        Raises:
            StopIteration: the watch was closed.
            ClientClosedError: the client was closed.
            JetKVError: the watch cannot start, or cannot go on.
        """
        while not self.pending:
            if self._client_closed:
                raise ClientClosedError("the client is closed", hint="make another client")
            if self._closing.is_set():
                raise StopIteration
            try:
                self.step()
            except JetKVError as error:
                if self._session.opened and not self._client_closed:
                    log_watch_end(self._session.buckets, error)
                self.close()
                raise

    def pop(self) -> Update[T | None] | SnapshotEnd:
        """Return the next pending item; there must be one."""
        item, position = self.pending.popleft()
        self._snapshot_returned = self._snapshot_returned or isinstance(item, SnapshotEnd)
        if self.pending:
            self._in_sync = position is not None
            self.position = self.position if position is None else position
        else:
            self._catch_up()
        return item

    def _catch_up(self) -> None:
        # Nothing is pending, so the position is the session's, which a bookmark may have moved.
        self.position = self._session.position
        self._in_sync = not self._session.resyncing

    def step(self) -> None:
        """Open a connection, read what has arrived, or wait before the next attempt.

        Raises:
            JetKVError: the watch cannot start, or cannot go on.
        """
        try:
            stream = self._stream
            if stream is None:
                self._open()
                return
            self._session.check()
            chunk = stream.read()
            if not chunk:
                raise Broken("the gateway closed the connection")
            self.pending.extend(self._session.feed(chunk))
            if not self.pending:
                self._catch_up()
        except TransportError as failure:
            self._drop()
            if not self.pending:
                self._catch_up()
            if not self._closing.is_set():
                self._retry(failure)

    def _open(self) -> None:
        """Request the description of a bucket, or, once all are known, the events."""
        self._started_at = min(self._started_at, now())
        if self._session.must_check_bucket and not self._to_describe:
            self._to_describe = list(self._session.buckets)
        described = self._to_describe[0] if self._to_describe else None
        if described is not None:
            request = requests.get_bucket(described)
        else:
            request = self._session.request(self._created[self._session.buckets[0]])
        # Stored before it opens, so that `close` can end the attempt.
        stream = self._stream = self._endpoint.stream()
        if self._closing.is_set():
            raise Broken("the watch was closed")
        timeout = SILENCE_SECONDS if self._session.opened else self._endpoint.timeout
        stream.open(request, timeout, SILENCE_SECONDS)
        if described is None and _is_event_stream(stream.status, stream.headers):
            self._connected_at = now()
            if self._lost:
                self._lost = False
                log_watch_open(self._session.buckets)
            self.filtered = "jetkv-filtered" in stream.headers
            return
        answer = stream.answer()
        self._drop()
        if described is None or answer.status != 200:
            self._retry(answer, described)
            return
        found = read_bucket(answer, request).created_at
        if described in self._created:
            self._session.check_bucket(self._created[described], found, described)
        self._created[described] = found
        del self._to_describe[0]

    def _retry(self, outcome: Answer | TransportError, bucket: str | None = None) -> None:
        """Wait before the next connection.

        Args:
            outcome: how the last one ended.
            bucket: the one whose description was requested; None for the events.

        Raises:
            JetKVError: there will be none.
        """
        self._endpoint.check_open()
        verdict = self._session.judge(outcome, self._endpoint.address, bucket)
        assert verdict.error is not None
        self._attempts += 1
        lasted, self._connected_at = now() - self._connected_at, math.inf
        delay = self._session.delay(verdict.min_delay, jitter(), lasted)
        retry = self._endpoint.retry
        too_late = verdict.unavailable and now() + delay > self._started_at + retry.patience
        if verdict.resend is not Resend.YES or (
            not self._session.opened and (too_late or self._attempts >= retry.attempts)
        ):
            raise verdict.error from (outcome if isinstance(outcome, TransportError) else None)
        self._lost = True
        log_watch_lost(self._session.buckets, verdict.error, delay)
        self._closing.wait(delay)

    def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.abort()

    def close(self) -> None:
        """Close the connection and end every wait, from any thread."""
        self._closing.set()
        self._drop()

    def client_closed(self) -> None:
        """Close, and have `fill` raise `ClientClosedError`."""
        self._client_closed = not self._closing.is_set()
        self.close()

    def __del__(self) -> None:
        self._drop()


def _is_event_stream(status: int, headers: Mapping[str, str]) -> bool:
    return status == 200 and headers.get("content-type", "").startswith("text/event-stream")
