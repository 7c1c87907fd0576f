"""Waiting and background work of the async client. `_sync/runtime.py` is its counterpart."""

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
    """Return the result of a caller's function; await it if the function is async."""
    if inspect.isawaitable(value):
        return await value
    return value


class AsyncSignal:
    """A flag that a task can wait for; the counterpart of `threading.Event`."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    def clear(self) -> None:
        self._event.clear()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait until the flag is set, at most `timeout` seconds; return whether it is set."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._event.wait()
        return self._event.is_set()


class AsyncBackground:
    """A task that runs in the background. The object that starts it must stop it."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._work = work
        self._name = name
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._work(), name=self._name)

    def revive(self) -> bool:
        """Start in a forked child, if possible; return whether it started."""
        return False  # An event loop does not survive a fork.

    async def stop(self, timeout: float) -> None:
        """Wait `timeout` seconds for the task to end, then cancel it.

        An error of the task is ignored here: the task itself reports its errors.
        """
        task = self._task
        if task is None or task is asyncio.current_task():
            return
        await asyncio.wait({task}, timeout=timeout)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
