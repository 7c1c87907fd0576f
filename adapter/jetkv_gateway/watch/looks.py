"""Looks at a bucket that many watches want at once, made once for all of them.

Each watch that begins looks at its bucket two or three times. When thousands come back after a
restart, the answers to these alone would keep NATS and the worker busy. A look counts for whoever
asked before it began, and never for who comes later: what was written meanwhile is not in there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Generic, TypeVar

from jetkv_gateway.kv.filters import EVERYTHING, Filter
from jetkv_gateway.kv.model import BucketState
from jetkv_gateway.kv.store import Changes, Feed, Newest, Stamp

__all__ = ["SharedChanges"]

_PATIENCE = 0.05
"""Seconds that a look waits for the one before, so that more can share it."""

T = TypeVar("T")


class SharedChanges:
    """`kv.store.Changes`, where those who ask for the same at the same time share the answer."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._state = _Looks(changes.state)
        self._newest = _Looks(changes.newest)

    async def state(self, bucket: str) -> BucketState:
        return await self._state.look(bucket)

    async def newest(self, bucket: str) -> Newest | None:
        return await self._newest.look(bucket)

    async def first_from(self, bucket: str, revision: int) -> Stamp | None:
        return await self._changes.first_from(bucket, revision)

    def follow(
        self,
        bucket: str,
        *,
        after: int,
        latest: bool = False,
        filters: Sequence[Filter] = (EVERYTHING,),
        through: Newest | None = None,
        closely: bool = False,
    ) -> AbstractAsyncContextManager[Feed]:
        return self._changes.follow(
            bucket, after=after, latest=latest, filters=filters, through=through, closely=closely
        )

    async def available(self, timeout: float) -> None:
        await self._changes.available(timeout)


class _Look(Generic[T]):
    """One look, how many wait for it, and what it found."""

    task: asyncio.Task[None]
    found: T

    def __init__(self) -> None:
        self.callers = 0
        self.error: Exception | None = None


class _Looks(Generic[T]):
    """Looks of one kind, by bucket: at most one that has not begun."""

    def __init__(self, ask: Callable[[str], Awaitable[T]]) -> None:
        self._ask = ask
        self._next: dict[str, _Look[T]] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def look(self, bucket: str) -> T:
        """Return what a look finds that begins from now on."""
        look = self._next.get(bucket)
        if look is None:
            look = self._next[bucket] = _Look()
            look.task = asyncio.create_task(self._run(bucket, look), name=f"look at {bucket}")
        look.callers += 1
        try:
            # The last one who leaves ends it; until then it is everybody's.
            await asyncio.wait({look.task})
        finally:
            look.callers -= 1
            if not look.callers and not look.task.done():
                look.task.cancel()
                await asyncio.wait({look.task})
        look.task.result()
        error = look.error
        if error is not None:
            # It goes to each caller without the places where others have raised it, and no frame
            # keeps it.
            try:
                raise error.with_traceback(None)
            finally:
                del error, look
        return look.found

    async def _run(self, bucket: str, look: _Look[T]) -> None:
        before = self._under_way.get(bucket)
        try:
            if before is not None:
                await asyncio.wait({before}, timeout=_PATIENCE)
        finally:
            if self._next.get(bucket) is look:
                del self._next[bucket]
        self._under_way[bucket] = look.task
        try:
            look.found = await self._ask(bucket)
        except Exception as error:  # noqa: BLE001 - each caller raises it
            look.error = error.with_traceback(None)
        finally:
            if self._under_way.get(bucket) is look.task:
                del self._under_way[bucket]
