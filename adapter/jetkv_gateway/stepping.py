"""Waiting for one thing, in a Task or without one.

A Task and a Future for each request cost more than the rest of it. So a coroutine that waits for
nothing but one reply need not be a Task: whoever runs it (a stepper) calls `send(None)` from a
callback of the event loop, gets a `Pending` where the coroutine waits for one, and goes on in the
very callback that brings the reply. The same coroutine runs in a Task as well; there a `Pending`
waits as a Future does. Nothing in the coroutine says which of the two it is.
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
    """What ends once, by a value or by an error. One coroutine awaits it, once.

    `await` yields the object itself. A stepper sets `resume` and, when that is called, goes on with
    `send(None)`. Whoever yields something else wants a Task. A Task takes the object for a future,
    by what asyncio asks of one (see the documentation of `asyncio.isfuture`), so a coroutine that
    waits here can become a Task. One that is given up gets `CancelledError` thrown in.

    `end` and `fail` resume a stepped coroutine before they return. So they are called from a
    callback of the event loop, where no Task runs, and whoever calls them is prepared for all that
    a coroutine can do, such as another request.

    Attributes:
        done: whether it has ended, or nobody waits for it any more.
        resume: called once it has ended; it must not raise.
    """

    __slots__ = ("_error", "_value", "done", "resume")

    _value: T

    def __init__(self) -> None:
        self.done = False
        self.resume: Callable[[], object] | None = None
        self._error: BaseException | None = None

    def end(self, value: T) -> None:
        """End it by a value, unless it has ended."""
        if not self.done:
            self.done = True
            self._value = value
            resume = self.resume
            if resume is not None:
                self.resume = None
                resume()

    def fail(self, error: Exception) -> None:
        """End it by an error, which `await` raises, unless it has ended.

        Args:
            error: of this one's own, and held by nobody else: what is raised at several places
                collects their tracebacks, and what is held by who called this is a cycle.
        """
        if not self.done:
            self.done = True
            self._error = error
            # The error's traceback may lead to this frame: see `__await__`.
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
                # An error whose traceback leads back to it is a cycle: the collector's work.
                del error
        return self._value

    # What a Task asks of what it waits for.

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

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002 - as that of a future
        wake = self.resume
        if self.done or wake is None:
            return False
        self._leave()
        self._error = asyncio.CancelledError()
        wake()
        return True

    def result(self) -> None:
        """Raise where the Task that waits was cancelled; what it waits for, `await` returns."""
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
        """Take in that nobody waits any more: the coroutine was cancelled or closed."""


class NeedsTask:
    """What a stepped coroutine awaits before it does what only a Task can."""

    def __await__(self) -> Generator[Any, None, None]:
        if asyncio.current_task() is None:
            yield self


NEEDS_TASK = NeedsTask()
WAITS_FOR_ROOM = NeedsTask()
"""The same before it waits until others have ended: whoever steps it may begin others meanwhile."""


@asynccontextmanager
async def deadline(seconds: float) -> AsyncGenerator[None, None]:
    """As `asyncio.timeout`, which asks for the Task that runs: a stepped coroutine becomes one.

    Raises:
        TimeoutError: what is inside takes longer.
    """
    await NEEDS_TASK
    async with asyncio.timeout(seconds):
        yield
