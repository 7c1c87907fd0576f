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
        try:
            async with self.turn():
                self._begun(run, wanted)
                return await make()
        finally:
            self._begun(run, wanted)

    def _begun(self, run: "_Run[T]", wanted: Hashable) -> None:
        if self._to_begin.get(wanted) is run:
            del self._to_begin[wanted]

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold it within the context.

        Raises:
            TooManyRequests: there was no turn in time.
        """
        try:
            async with asyncio.timeout(self._wait):
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
