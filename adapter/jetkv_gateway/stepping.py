"""Lets a coroutine wait for one reply, with or without a Task.

A Task and a Future per request cost more than the rest of the request. A coroutine that waits only
for one reply needs neither. A stepper runs it: it calls `send(None)` from a callback of the event
loop, gets a `Pending` when the coroutine waits, and continues in the callback that brings the
reply. The same coroutine also runs in a Task, where a `Pending` acts like a Future. The coroutine
does not know the difference.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from contextvars import Context
from functools import partial
from typing import Any, Generic, TypeVar

__all__ = ["NEEDS_TASK", "WAITS_FOR_ROOM", "NeedsTask", "Pending", "deadline"]

T = TypeVar("T")


class Pending(Generic[T]):
    """A result that arrives once, as a value or an error. One coroutine awaits it, once.

    `await` yields this object. A stepper sets `resume`, and calls `send(None)` when `resume` is
    called. A coroutine that yields another object needs a Task. A Task treats this object as a
    future, by the attributes that asyncio checks (see `asyncio.isfuture`), so a coroutine that
    waits here can be moved to a Task. Cancelling the wait raises `CancelledError` in the coroutine.

    `end` and `fail` resume a stepped coroutine before they return. So call them from a callback of
    the event loop, where no Task runs, and expect any effect of a coroutine, such as another
    request.

    Attributes:
        done: whether it has ended, or the coroutine no longer waits.
        resume: called when it ends. It must not raise.
    """

    __slots__ = ("_error", "_value", "done", "resume")

    _value: T

    def __init__(self) -> None:
        self.done = False
        self.resume: Callable[[], object] | None = None
        self._error: BaseException | None = None

    def end(self, value: T) -> None:
        """End it with a value, unless it has ended."""
        if not self.done:
            self.done = True
            self._value = value
            resume = self.resume
            if resume is not None:
                self.resume = None
                resume()

    def fail(self, error: Exception) -> None:
        """End it with an error, which `await` raises, unless it has ended.

        Args:
            error: must be a separate object without other references. A shared error collects the
                tracebacks of all places that raise it, and one that the caller keeps forms a
                reference cycle.
        """
        if not self.done:
            self.done = True
            self._error = error
            # The error's traceback may refer to this frame; see `__await__`.
            del error
            resume = self.resume
            if resume is not None:
                self.resume = None
                resume()

    def __await__(self) -> Generator[Any, None, T]:
        if not self.done:
            try:
                yield self
            except BaseException:
                self._leave()
                raise
        error = self._error
        if error is not None:
            self._error = None
            try:
                raise error
            finally:
                # An error whose traceback refers back to it would be a reference cycle.
                del error
        return self._value

    # The attributes that a Task uses of the object that it waits for.

    @property
    def _asyncio_future_blocking(self) -> bool:
        return True

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, _: bool) -> None:
        pass

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def add_done_callback(
        self, callback: Callable[["Pending[T]"], None], *, context: Context | None = None
    ) -> None:
        wake: Callable[[], object] = partial(
            self.get_loop().call_soon, callback, self, context=context
        )
        if self.done:
            wake()
        else:
            self.resume = wake

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - a future has it
        wake = self.resume
        if self.done or wake is None:
            return False
        self._leave()
        self._error = asyncio.CancelledError()
        wake()
        return True

    def result(self) -> None:
        """Raise if the waiting Task was cancelled. `await` returns the value."""
        if isinstance(self._error, asyncio.CancelledError):
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error

    def _leave(self) -> None:
        if not self.done:
            self.done = True
            self.resume = None
            self.forgotten()

    def forgotten(self) -> None:
        """Handle that the coroutine was cancelled or closed, and no longer waits."""


class NeedsTask:
    """Await this in a stepped coroutine before you use features that need a Task."""

    def __await__(self) -> Generator[Any, None, None]:
        if asyncio.current_task() is None:
            yield self


NEEDS_TASK = NeedsTask()
WAITS_FOR_ROOM = NeedsTask()
"""Await this before waiting for other requests to end. The stepper may then start others. The
coroutine goes on without a Task.
"""


@asynccontextmanager
async def deadline(seconds: float) -> AsyncGenerator[None, None]:
    """Limit the time as `asyncio.timeout` does.

    It needs a Task, so a stepped coroutine becomes one.

    Raises:
        TimeoutError: the block takes longer.
    """
    await NEEDS_TASK
    async with asyncio.timeout(seconds):
        yield
