"""What many watches want of a bucket at once, asked for once for all of them.

Each watch that begins looks at its bucket two or three times. When thousands come back after a
restart, the answers to these alone would keep NATS and the worker busy. A look counts for whoever
asked before it began, and never for who comes later: what was written meanwhile is not in there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from jetkv_gateway.kv.errors import Unavailable

__all__ = ["CoalescedLookups"]

_SHARE_SECONDS = 0.05
"""Seconds that a look waits for the one before, so that more can share it."""

W = TypeVar("W")
T = TypeVar("T")


class _Lookup(Generic[W, T]):
    """One look, who waits for it, and what it found."""

    task: asyncio.Task[None]
    found: T

    def __init__(self) -> None:
        self.callers = 0
        self.requests: list[W] = []
        self.done = asyncio.Event()
        self.error: Exception | None = None


class CoalescedLookups(Generic[W, T]):
    """Lookups of one kind, by bucket: at most one that has not begun.

    Args:
        ask: looks at a bucket, for all who have that wish.
    """

    def __init__(self, ask: Callable[[str, list[W]], Awaitable[T]]) -> None:
        self._ask = ask
        self._next: dict[str, _Lookup[W, T]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    async def get(self, bucket: str, request: W) -> T:
        """Return what a look finds that begins from now on."""
        lookup = self._next.get(bucket)
        if lookup is None:
            lookup = self._next[bucket] = _Lookup()
            lookup.task = asyncio.create_task(self._run(bucket, lookup), name=f"look at {bucket}")
        lookup.callers += 1
        lookup.requests.append(request)
        try:
            # The last one who leaves ends it; until then it is everybody's.
            await lookup.done.wait()
        finally:
            lookup.callers -= 1
            if not lookup.callers and not lookup.done.is_set():
                # Whoever comes meanwhile begins another one.
                self._mark_started(bucket, lookup)
                lookup.task.cancel()
                await asyncio.wait({lookup.task})
        error = lookup.error
        if error is not None:
            # It goes to each caller without the places where others have raised it, and no frame
            # keeps it.
            try:
                raise error.with_traceback(None)
            finally:
                del error, lookup
        return lookup.found

    async def _run(self, bucket: str, lookup: _Lookup[W, T]) -> None:
        try:
            before = self._running.get(bucket)
            if before is not None:
                await asyncio.wait({before}, timeout=_SHARE_SECONDS)
            self._mark_started(bucket, lookup)
            self._running[bucket] = lookup.task
            lookup.found = await self._ask(bucket, lookup.requests)
        except asyncio.CancelledError:
            lookup.error = Unavailable("the gateway stops")
            raise
        except Exception as error:  # noqa: BLE001 - each caller raises it
            lookup.error = error.with_traceback(None)
        finally:
            lookup.done.set()
            if self._running.get(bucket) is lookup.task:
                del self._running[bucket]

    def _mark_started(self, bucket: str, lookup: _Lookup[W, T]) -> None:
        if self._next.get(bucket) is lookup:
            del self._next[bucket]
