"""Watchers that write down what they see, and come back as a sensible client does."""

import asyncio
import hashlib
import json
import random
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import quote

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.support.http import BUCKETS, Http
from tests.support.watching import EventStream, Frame, Watcher, streaming, watching
from tests.watch.promises import (
    DROPPED,
    GOING_AWAY,
    ID_ALONE,
    READ_TO_THE_END,
    SILENCE,
    SNAPSHOT_END,
    Bookmark,
    Chain,
    Session,
    Update,
)

WEB_SOCKET = "WebSocket"
EVENT_STREAM = "event stream"

_PATIENCE = 60.0
_STARTS_OVER = ("bucket_deleted", "resync")


def digest(value: str) -> str:
    """A value as it is kept: short ones as they are, since breaches are read by people."""
    return value if len(value) <= 64 else hashlib.sha256(value.encode()).hexdigest()


class Recorder:
    """One watcher, through all its connections.

    A connection that ends is followed by another one that resumes; after `bucket_deleted` and
    `resync` a new chain begins, with a snapshot.

    Args:
        gateway: where to connect now.
        kind: `WEB_SOCKET` or `EVENT_STREAM`.
        snapshot: whether to begin with one.
        since: begin without one, where the bucket's newest revision is known.
        after: begin by resuming after this revision.
        drops: after how many items each of the first connections is dropped.
        stalls_until: stop reading after a few items until this is set.
        away_after: after how many items to drop the connection and stay away until `come_back`.
    """

    def __init__(
        self,
        gateway: Callable[[], Http],
        bucket: str,
        kind: str,
        name: str,
        *,
        snapshot: bool = False,
        since: int | None = None,
        after: int | None = None,
        created_at: str | None = None,
        drops: tuple[int, ...] = (),
        stalls_until: asyncio.Event | None = None,
        away_after: int = 0,
    ) -> None:
        self.bucket = bucket
        self.kind = kind
        self.name = f"{name} ({kind})"
        self.chains: list[Chain] = []
        self.refused: list[str] = []
        self.stalled = asyncio.Event()
        self._gateway = gateway
        self._snapshot = snapshot
        self._since = since
        self._after = after
        self._created_at = created_at
        self._drops = [away_after] if away_after else list(drops)
        self._away = bool(away_after)
        self._gone = asyncio.Event()
        self._back = asyncio.Event()
        self._stalls_until = stalls_until
        self._opened = asyncio.Event()
        self._ended = asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=self.name)

    async def opened(self) -> None:
        await self._unless_failed(self._opened)

    async def has_ended_once(self) -> None:
        """Wait until the server has ended a connection."""
        await self._unless_failed(self._ended)

    @property
    def worker(self) -> str:
        """What tells the worker of its newest connection."""
        sessions = self.chains[-1].sessions if self.chains else []
        return sessions[-1].worker if sessions else ""

    async def gone_away(self) -> None:
        await self._unless_failed(self._gone)

    def come_back(self) -> None:
        self._back.set()

    async def _unless_failed(self, event: asyncio.Event) -> None:
        waiting = asyncio.create_task(event.wait())
        await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done():
            self._task.result()

    def has_reached(self, created_at: str, revision: int) -> bool:
        if self._task.done():
            self._task.result()
        chain = self.chains[-1] if self.chains else None
        return chain is not None and chain.created_at == created_at and chain.last >= revision

    async def finish(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        starts_over = True
        while True:
            if starts_over:
                await self._begin()
            session = Session(
                snapshot=self._snapshot and not self._resumes,
                after=self._position if self._resumes else None,
                asked_at=time.monotonic(),
            )
            try:
                await self._connect(session)
            except asyncio.CancelledError:
                if session.end == SILENCE:
                    session.end = READ_TO_THE_END
                raise
            except InvalidStatus as error:
                if self._connected(session):
                    raise
                self._refuse(str(error.response.status_code))
            except (OSError, InvalidHandshake, EOFError, IndexError) as error:
                # A connection that broke says so by having no other end.
                if not self._connected(session):
                    self._refuse(type(error).__name__)
            starts_over = session.end in _STARTS_OVER
            if session.end != DROPPED and self._connected(session):
                self._ended.set()
            if self._away and session.end == DROPPED:
                self._gone.set()
                await self._back.wait()
            await asyncio.sleep(0.01)

    def _refuse(self, reason: str) -> None:
        self.refused.append(reason)

    def _connected(self, session: Session) -> bool:
        return bool(self.chains[-1].sessions) and self.chains[-1].sessions[-1] is session

    async def _begin(self) -> None:
        first = not self.chains
        created_at = self._created_at if first and self._created_at else await self._look_up()
        if not first:
            self._snapshot, self._since, self._after = True, None, None
        self.chains.append(Chain(self.name, self.bucket, created_at, self._since))
        self._last_id: str | None = None
        if self._after is not None and self.kind == EVENT_STREAM:
            self._last_id = str(self._after)

    async def _look_up(self) -> str:
        while True:
            with suppress(OSError):
                http = self._gateway()
                answer = await asyncio.to_thread(http.get, f"{BUCKETS}/{self.bucket}")
                if answer.status == 200:
                    created_at: str = answer.json["created_at"]
                    return created_at
            await asyncio.sleep(0.02)

    @property
    def _position(self) -> int | None:
        """The revision to resume after."""
        if self.kind == EVENT_STREAM:
            return int(self._last_id) if self._last_id else None
        items = self.chains[-1].items
        return items[-1].revision if items else (self._after or self._since)

    @property
    def _resumes(self) -> bool:
        begun = bool(self.chains[-1].sessions)
        return self._position is not None and (begun or self._after is not None)

    async def _connect(self, session: Session) -> None:
        created_at = quote(self.chains[-1].created_at)
        query = f"?bucket_created_at={created_at}"
        if self.kind == EVENT_STREAM:
            # An EventSource repeats its address, whatever it has seen since.
            query += "&snapshot=true" if self._snapshot else ""
            await self._read_events(session, query)
        else:
            query += "&snapshot=true" if session.snapshot else ""
            query += f"&resume_after={session.after}" if session.after is not None else ""
            await self._read_frames(session, query)

    async def _read_frames(self, session: Session, query: str) -> None:
        async with watching(self._gateway(), self.bucket, query) as watcher:
            connection = watcher.connection
            assert connection.response is not None
            self._open(session, connection.response.headers["X-Request-Id"])
            try:
                await self._read_each_frame(session, watcher)
            except ConnectionClosed:
                session.close_code = connection.close_code
                if session.close_code == 1001:
                    session.end = GOING_AWAY
            finally:
                if session.close_code is None:
                    connection.transport.abort()

    async def _read_each_frame(self, session: Session, watcher: Watcher) -> None:
        drop_after = self._next_drop()
        while True:
            self._take(session, json.loads(await watcher.connection.recv()))
            if drop_after and len(session.items) >= drop_after:
                session.end = DROPPED
                return
            if self._stalls(session):
                await self._stall(watcher.connection.transport)

    async def _read_events(self, session: Session, query: str) -> None:
        headers = {"Last_Event_ID": self._last_id} if self._last_id else {}
        async with streaming(self._gateway(), self.bucket, query, **headers) as stream:
            if stream.status != 200:
                self._refuse(str(stream.status))
                return
            self._open(session, stream.headers["x-request-id"])
            try:
                await self._read_each_event(session, stream)
            finally:
                session.last_id = stream.last_id
                if stream.last_id is not None:
                    self._last_id = stream.last_id
                stream.writer.transport.abort()

    async def _read_each_event(self, session: Session, stream: EventStream) -> None:
        drop_after = self._next_drop()
        while (event := await stream.block(_PATIENCE)) is not None:
            if event.data:
                if event.frame["type"] != "error":
                    assert event.id == str(event.frame["revision"])
                self._take(session, event.frame)
            elif event.id:
                session.items.append(Bookmark(int(event.id), ID_ALONE))
            if drop_after and len(session.items) >= drop_after:
                session.end = DROPPED
                return
            if self._stalls(session):
                await self._stall(stream.writer.transport)
        if stream.ended and session.end not in ("bucket_deleted", "resync", "slow_consumer"):
            session.end = GOING_AWAY

    def _open(self, session: Session, request_id: str) -> None:
        session.worker = request_id.partition("-")[0]
        self.chains[-1].sessions.append(session)
        self._opened.set()

    def _next_drop(self) -> int:
        return self._drops.pop(0) if self._drops else 0

    def _take(self, session: Session, frame: Frame) -> None:
        if frame["type"] == "kv_update":
            session.items.append(
                Update(frame["revision"], frame["key"], frame["operation"], digest(frame["value"]))
            )
        elif frame["type"] == "kv_snapshot_end":
            session.items.append(Bookmark(frame["revision"], SNAPSHOT_END))
        else:
            session.end = frame["code"]

    def _stalls(self, session: Session) -> bool:
        return (
            self._stalls_until is not None
            and not self._stalls_until.is_set()
            and len(session.items) >= 3
        )

    async def _stall(self, transport: asyncio.Transport) -> None:
        assert self._stalls_until is not None
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        transport.pause_reading()
        self.stalled.set()
        await self._stalls_until.wait()
        transport.resume_reading()


def drops(seed: str, count: int = 10) -> tuple[int, ...]:
    """After how many items a restless reader goes; the first is within its snapshot."""
    chance = random.Random(seed)
    return (chance.randint(1, 60), *(chance.randint(1, 40) for _ in range(count - 1)))
