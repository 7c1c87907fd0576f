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

_PATIENCE = 0.05
"""Seconds that a look waits for the one before, so that more can share it."""

W = TypeVar("W")
T = TypeVar("T")


class _Lookup(Generic[W, T]):
    """One look, who waits for it, and what it found."""

    task: asyncio.Task[None]
    found: T

    def __init__(self) -> None:
        self.callers = 0
        self.wishes: list[W] = []
        self.over = asyncio.Event()
        self.error: Exception | None = None


class CoalescedLookups(Generic[W, T]):
    """Lookups of one kind, by bucket: at most one that has not begun.

    Args:
        ask: looks at a bucket, for all who have that wish.
    """

    def __init__(self, ask: Callable[[str, list[W]], Awaitable[T]]) -> None:
        self._ask = ask
        self._next: dict[str, _Lookup[W, T]] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def look(self, bucket: str, wish: W) -> T:
        """Return what a look finds that begins from now on."""
        look = self._next.get(bucket)
        if look is None:
            look = self._next[bucket] = _Lookup()
            look.task = asyncio.create_task(self._run(bucket, look), name=f"look at {bucket}")
        look.callers += 1
        look.wishes.append(wish)
        try:
            # The last one who leaves ends it; until then it is everybody's.
            await look.over.wait()
        finally:
            look.callers -= 1
            if not look.callers and not look.over.is_set():
                # Whoever comes meanwhile begins another one.
                self._is_begun(bucket, look)
                look.task.cancel()
                await asyncio.wait({look.task})
        error = look.error
        if error is not None:
            # It goes to each caller without the places where others have raised it, and no frame
            # keeps it.
            try:
                raise error.with_traceback(None)
            finally:
                del error, look
        return look.found

    async def _run(self, bucket: str, look: _Lookup[W, T]) -> None:
        try:
            before = self._under_way.get(bucket)
            if before is not None:
                await asyncio.wait({before}, timeout=_PATIENCE)
            self._is_begun(bucket, look)
            self._under_way[bucket] = look.task
            look.found = await self._ask(bucket, look.wishes)
        except asyncio.CancelledError:
            look.error = Unavailable("the gateway stops")
            raise
        except Exception as error:  # noqa: BLE001 - each caller raises it
            look.error = error.with_traceback(None)
        finally:
            look.over.set()
            if self._under_way.get(bucket) is look.task:
                del self._under_way[bucket]

    def _is_begun(self, bucket: str, look: _Lookup[W, T]) -> None:
        if self._next.get(bucket) is look:
            del self._next[bucket]
