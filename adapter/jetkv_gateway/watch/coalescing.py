"""Answers equal questions of many watches about a bucket with one lookup.

Each new watch looks up its bucket two or three times. When thousands return after a restart, these
lookups alone would keep NATS and the worker busy. A lookup answers only the callers that asked
before it started. Later callers need a newer answer, since it must include writes made meanwhile.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from jetkv_gateway.kv.errors import Unavailable

__all__ = ["CoalescedLookups"]

_SHARE_SECONDS = 0.05
"""Seconds that a lookup waits for the one before, so that more callers can share it."""

W = TypeVar("W")
T = TypeVar("T")


class _Lookup(Generic[W, T]):
    """One lookup, its callers, and its result."""

    task: asyncio.Task[None]
    found: T

    def __init__(self) -> None:
        self.callers = 0
        self.requests: list[W] = []
        self.done = asyncio.Event()
        self.error: Exception | None = None


class CoalescedLookups(Generic[W, T]):
    """Lookups of one kind. Each bucket has at most one that has not started.

    Args:
        ask: looks up a bucket for the given requests.
    """

    def __init__(self, ask: Callable[[str, list[W]], Awaitable[T]]) -> None:
        self._ask = ask
        self._next: dict[str, _Lookup[W, T]] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    async def get(self, bucket: str, request: W) -> T:
        """Return the result of a lookup that starts after this call."""
        lookup = self._next.get(bucket)
        if lookup is None:
            lookup = self._next[bucket] = _Lookup()
            lookup.task = asyncio.create_task(self._run(bucket, lookup), name=f"look at {bucket}")
        lookup.callers += 1
        lookup.requests.append(request)
        try:
            # The last caller that leaves cancels the lookup.
            await lookup.done.wait()
        finally:
            lookup.callers -= 1
            if not lookup.callers and not lookup.done.is_set():
                # A caller that arrives meanwhile starts another lookup.
                self._mark_started(bucket, lookup)
                lookup.task.cancel()
                await asyncio.wait({lookup.task})
        error = lookup.error
        if error is not None:
            # Each caller raises the error without the tracebacks of others, and no frame keeps it.
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
