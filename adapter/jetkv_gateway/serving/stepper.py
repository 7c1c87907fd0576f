"""A request run without a Task, until it needs one; see `stepping`.

Only a callback of the event loop may step: inside a Task, what is stepped would be taken for a part
of that one.
"""

import asyncio
import logging
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import Any, Generic, TypeVar

from jetkv_gateway.stepping import WAITS_FOR_ROOM, NeedsTask, Pending

__all__ = ["Stepper", "start_task"]

_log = logging.getLogger("jetkv.http")

T = TypeVar("T")

Tasks = set[asyncio.Task[None]]


class Stepper(Generic[T]):
    """Runs a coroutine; while it waits it stands among the tasks, and is cancelled as they are.

    Args:
        coroutine: it handles its own errors.
        context: that all of it runs in.
        tasks: of the server, which waits for them when it stops.
        on_done: called with `of` once it has ended, however that was.
        on_stall: called with `of` once it says that it waits until others have ended.
        of: what is run.
    """

    __slots__ = ("_context", "_coroutine", "_of", "_on_done", "_on_stall", "_tasks")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, None],
        context: Context,
        tasks: Tasks,
        on_done: Callable[[T], None],
        on_stall: Callable[[T], None],
        of: T,
    ) -> None:
        self._coroutine = coroutine
        self._context = context
        self._tasks = tasks
        self._on_done = on_done
        self._on_stall = on_stall
        self._of = of

    def step(self) -> None:
        """Go on until the coroutine waits again, or has ended."""
        try:
            awaited = self._context.run(self._coroutine.send, None)
        except StopIteration:
            self._tasks.discard(self)
            self._on_done(self._of)
        except BaseException as error:  # noqa: BLE001 - nobody above could do anything about it
            self._fail(error)
        else:
            if isinstance(awaited, Pending):
                awaited.resume = self.step
                self._tasks.add(self)  # type: ignore[arg-type] # it stands for a task
            else:
                self._become_task(awaited)

    def cancel(self) -> bool:
        """Have the coroutine end, as `asyncio.Task.cancel` does, and at once."""
        try:
            awaited = self._context.run(self._coroutine.throw, asyncio.CancelledError())
        except StopIteration:
            self._tasks.discard(self)
            self._on_done(self._of)
        except BaseException as error:  # noqa: BLE001 - as above
            self._fail(error)
        else:
            # What it does in the face of that, it may take its time for.
            self._become_task(awaited)
        return True

    def _become_task(self, awaited: Any) -> None:
        self._tasks.discard(self)
        rest = _in_task(self._coroutine, awaited)
        start_task(rest, self._context, self._tasks, partial(self._on_done, self._of))
        if awaited is WAITS_FOR_ROOM:
            self._on_stall(self._of)

    def _fail(self, error: BaseException) -> None:
        self._tasks.discard(self)
        _log.error("a request broke off", exc_info=error)
        self._on_done(self._of)


def start_task(
    coroutine: Coroutine[Any, Any, None],
    context: Context,
    tasks: Tasks,
    on_done: Callable[[], None],
) -> asyncio.Task[None]:
    """Run a coroutine as a Task, and return it; the others are as for `Stepper`."""

    def end(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a request broke off", exc_info=error)
        on_done()

    task = asyncio.get_running_loop().create_task(coroutine, context=context)
    tasks.add(task)
    task.add_done_callback(end)
    return task


async def _in_task(coroutine: Coroutine[Any, Any, None], awaited: Any) -> None:
    """Run on, in a Task, a coroutine that waits for something already."""
    await _resume(coroutine, awaited)


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    while True:
        try:
            value = None
            if not isinstance(awaited, NeedsTask):
                value = yield awaited
        except BaseException as error:  # noqa: BLE001 - it is handed on, and nothing kept of it
            resume: Callable[[Any], Any] = coroutine.throw
            value = error
        else:
            resume = coroutine.send
        try:
            awaited = resume(value)
        except StopIteration:
            return
        finally:
            del value
