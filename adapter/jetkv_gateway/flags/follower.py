"""Keeps the flags of a bucket current by one watch, so that an evaluation asks NATS nothing.

It starts with the first evaluation. From then on, it holds a watch of the bucket, or looks for the
bucket several times a second if there is none. While NATS is away, the last known flags stay.
"""

import asyncio
import copy
import logging
from collections.abc import Callable
from contextlib import aclosing, suppress
from contextvars import Context
from time import monotonic

from jetkv_gateway.flags.table import NO_BUCKET, FlagTable, Place
from jetkv_gateway.kv.errors import BucketNotFound, GatewayError, InternalError, Unavailable
from jetkv_gateway.kv.timestamps import nanoseconds_of
from jetkv_gateway.stepping import NEEDS_TASK
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.hub import Hub, Watch
from jetkv_gateway.watch.session import SnapshotEnd

__all__ = ["FlagFollower"]

_log = logging.getLogger("jetkv.flags")

_LOAD_SECONDS = 5.0
_WRITTEN_SECONDS = 1.0
_PAUSE_SECONDS = 0.05
_LOOK_SECONDS = 0.3
"""Seconds between two looks for a bucket that does not exist, and between tries."""
_REFUSED_SECONDS = 5.0
_UNASKED_SECONDS = 60.0
"""Without a bucket, nobody looks for it after so many seconds without an evaluation."""
_TURN_SECONDS = 0.005


class FlagFollower:
    """The flags of one bucket.

    Attributes:
        bucket: its name.
        current: the flags; None until they are known, and while they may be older than what this
            worker has written.
        asked: set it when the flags are used.
    """

    def __init__(self, hub: Hub, bucket: str) -> None:
        self.bucket = bucket
        self.current: FlagTable | None = None
        self.asked = False
        self._hub = hub
        self._table: FlagTable | None = None
        self._watch: Watch | None = None
        self._error: GatewayError | None = None
        self._written = 0
        self._news = asyncio.Event()
        self._poked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        hub.close_first(self.close)

    @property
    def stale(self) -> bool:
        """Whether the flags may be out of date, since nobody can follow the bucket now."""
        watch = self._watch
        if watch is None:
            return self._error is not None
        return watch.live_feed.error is not None

    async def read(self) -> FlagTable:
        """Return the flags, as new as the writes of this worker where that takes no long time.

        Raises:
            GatewayError: they are not known.
        """
        if self.current is not None:
            return self.current
        await NEEDS_TASK
        self._start()
        if self._table is None:
            if not await self._wait(lambda: self._settled, _LOAD_SECONDS):
                raise Unavailable("the flags are not read yet")
        elif await self._wait(lambda: self.current is not None, _WRITTEN_SECONDS):
            pass
        elif self._table is not None:
            # The bucket cannot be followed now. Let others not wait, too.
            self._written, self.current = 0, self._table
        if self._table is not None:
            return self._table
        # All callers get this error.
        raise copy.copy(self._error) or Unavailable

    def wrote(self, revision: int) -> None:
        """Note that this worker has written to the bucket: later evaluations see that."""
        if self._task is not None and revision > 0:
            self._written = max(self._written, revision)
            self._set_current()
            if self.current is None:
                self._poked.set()

    async def reached(self, place: Place, seconds: float) -> bool:
        """Return whether the flags are as new as a place within some time."""
        return await self._wait(lambda: self._is_at(place), seconds)

    async def left(self, place: Place, seconds: float) -> None:
        """Wait some time for the flags of another bucket than that of a place."""
        await self._wait(
            lambda: self._table is not None and self._table.place.bucket != place.bucket, seconds
        )

    async def close(self) -> None:
        """Follow the bucket no longer."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    @property
    def _settled(self) -> bool:
        return self._table is not None or self._error is not None

    def _is_at(self, place: Place) -> bool:
        return self._table is not None and self._table.place >= place

    async def _wait(self, done: Callable[[], bool], seconds: float) -> bool:
        if done():
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not done():
                    self._news.clear()
                    await self._news.wait()
        return done()

    def _start(self) -> None:
        self.asked = True
        if self._task is None or self._task.done():
            # It outlives the request that starts it.
            self._task = asyncio.get_running_loop().create_task(
                self._run(), name=f"flags {self.bucket}", context=Context()
            )

    async def _run(self) -> None:
        try:
            asked_at = monotonic()
            while True:
                pause, written = _PAUSE_SECONDS, self._written
                try:
                    await self._follow()
                except BucketNotFound:
                    self._lack(written)
                    if self.asked:
                        self.asked, asked_at = False, monotonic()
                    elif monotonic() - asked_at > _UNASKED_SECONDS:
                        break
                    pause = _LOOK_SECONDS
                except GatewayError as error:
                    self._fail(error)
                    pause = _LOOK_SECONDS if error.retryable else _REFUSED_SECONDS
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._poked.wait()
                self._poked.clear()
        except Exception:  # noqa: BLE001 - it must not end unnoticed
            _log.exception("the flags of bucket %s cannot be followed", self.bucket)
            self._fail(InternalError())
        self._table = self.current = None

    async def _follow(self) -> None:
        """Follow the bucket until its watch ends.

        Raises:
            GatewayError
        """
        async with self._hub.open(self.bucket, WatchRequest(snapshot=True)) as watch:
            created_at = watch.live_feed.created_at
            assert created_at is not None, "the watch is open"
            table = FlagTable(nanoseconds_of(created_at), created_at)
            began = monotonic()
            try:
                async with aclosing(watch.items()) as parts:
                    async for items in parts:
                        for item in items:
                            if isinstance(item, SnapshotEnd):
                                table.reach(item.revision)
                                self._load(table, watch)
                            else:
                                table.apply(item)
                            if monotonic() - began > _TURN_SECONDS:
                                await asyncio.sleep(0)
                                began = monotonic()
                        if self._table is table:
                            self._move()
            finally:
                self._watch = None
            end = watch.end
        if end is not None and end.retryable:
            raise copy.copy(end)

    def _load(self, table: FlagTable, watch: Watch) -> None:
        if self._table is None or self._table.place.bucket != table.place.bucket:
            # The revisions of another bucket mean nothing in this one.
            self._written = 0
        self._table, self._watch, self._error = table, watch, None
        self._move()

    def _lack(self, written: int) -> None:
        """Have no flags, since there is no bucket.

        Args:
            written: the newest revision of this worker before NATS said so. A later one is in a
                bucket that was created meanwhile.
        """
        self._error = None
        if self._table is None or self._table.place != NO_BUCKET:
            self._table = FlagTable()
        if self._written == written:
            self._written = 0
        self._move()

    def _fail(self, error: GatewayError) -> None:
        if self._error is None:
            level = logging.INFO if error.retryable else logging.WARNING
            _log.log(level, "flags of bucket %s: %s", self.bucket, error.message)
        self._error = error
        if not error.retryable:
            self._table = self.current = None
        self._news.set()

    def _move(self) -> None:
        self._set_current()
        self._news.set()

    def _set_current(self) -> None:
        table = self._table
        if table is not None and table.place.revision < self._written:
            table = None
        self.current = table
