"""Shares work between callers that want the same result, and limits how many run at a time.

Callers that wait for a turn and want the same result share the next run. They never join a run that
has begun: it may have missed what was written before their call.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from jetkv_gateway.kv.errors import TooManyRequests

__all__ = ["SharedRuns"]

_CALLERS_WAITING = 64

T = TypeVar("T")


class SharedRuns(Generic[T]):
    """Runs by key.

    Args:
        what: the name of the work, for errors.
        at_once: the number of runs at the same time.
        wait: seconds that another run waits for its turn.
    """

    def __init__(self, what: str, *, at_once: int, wait: float) -> None:
        self._what = what
        self._turns = asyncio.Semaphore(at_once)
        self._wait = wait
        self._to_begin: dict[Hashable, _Run[T]] = {}
        self._running: dict[Hashable, _Run[T]] = {}

    async def result(self, wanted: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `make`, which callers with the same key share.

        Raises:
            TooManyRequests: too many callers wait, or there was no turn in time.
        """
        if sum(run.callers for run in self._to_begin.values()) >= _CALLERS_WAITING:
            raise TooManyRequests(f"too many {self._what} at once")
        run = self._to_begin.get(wanted)
        if run is None or not run.callers:
            run = self._to_begin[wanted] = _Run()
            run.task = asyncio.create_task(self._run(run, wanted, make))
        return await run.result()

    async def _run(self, run: "_Run[T]", wanted: Hashable, make: Callable[[], Awaitable[T]]) -> T:
        def begun() -> None:
            if self._to_begin.get(wanted) is run:
                del self._to_begin[wanted]

        deadline = asyncio.get_running_loop().time() + self._wait
        try:
            if wanted in self._running:
                # Side by side, two of the same take twice as long as one after the other.
                await asyncio.wait({self._running[wanted].task}, timeout=self._wait / 2)
            async with self._turn(deadline):
                begun()
                self._running[wanted] = run
                return await make()
        finally:
            begun()
            if self._running.get(wanted) is run:
                del self._running[wanted]

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it within the context.

        Raises:
            TooManyRequests: there was no turn in time.
        """
        async with self._turn(asyncio.get_running_loop().time() + self._wait):
            yield

    @asynccontextmanager
    async def _turn(self, deadline: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout_at(deadline):
                await self._turns.acquire()
        except TimeoutError:
            raise TooManyRequests(f"too many {self._what} at once") from None
        try:
            yield
        finally:
            self._turns.release()


class _Run(Generic[T]):
    """One run, and the number of callers that wait for its result."""

    task: asyncio.Task[T]

    def __init__(self) -> None:
        self.callers = 0

    async def result(self) -> T:
        """Wait for the result; the last caller to leave cancels the run."""
        self.callers += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self.callers -= 1
            if not self.callers and not self.task.done():
                self.task.cancel()
                await asyncio.wait({self.task})
