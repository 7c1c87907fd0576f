"""What differs between the two clients beside the transport: waiting, and background work."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar

__all__ = [
    "AsyncBackground",
    "AsyncSignal",
    "MaybeAwaitable",
    "current",
    "now",
    "resolve",
    "sleep",
]

T = TypeVar("T")

MaybeAwaitable: TypeAlias = T | Awaitable[T]

now = time.monotonic
sleep = asyncio.sleep
current = asyncio.current_task


async def resolve(value: MaybeAwaitable[T]) -> T:
    """Return what a caller's function returned, awaited when it is to be."""
    if inspect.isawaitable(value):
        return await value
    return value


class AsyncSignal:
    """A flag to wait for."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for `timeout` seconds; return whether it is set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()
        return self._event.is_set()


class AsyncBackground:
    """Work beside the caller's; whoever starts it stops it."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._work = work
        self._name = name
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._work(), name=self._name)

    def revive(self) -> bool:
        """Start in a forked child, where that can be; return whether it was."""
        return False  # an event loop does not outlive a fork

    async def stop(self, timeout: float) -> None:
        """Wait for its end for `timeout` seconds, then cancel it; it reports its errors itself."""
        task = self._task
        if task is None or task is asyncio.current_task():
            return
        await asyncio.wait({task}, timeout=timeout)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
