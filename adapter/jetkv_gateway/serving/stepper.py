"""Runs a request without a Task until it needs one; see `stepping`.

Call `step` only from a callback of the event loop. Inside a Task, the coroutine would look like a
part of that Task.
"""

import asyncio
import logging
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from typing import Any, Protocol, TypeVar

from jetkv_gateway.stepping import WAITS_FOR_ROOM, NeedsTask, Pending

__all__ = ["Owner", "Stepper", "start_task"]

_log = logging.getLogger("jetkv.http")

Of = TypeVar("Of", contravariant=True)

Tasks = set[asyncio.Task[None]]


class Owner(Protocol[Of]):
    """Is told what becomes of a coroutine."""

    def on_done(self, of: Of, /) -> None:
        """Handle that the coroutine has ended, in any way."""
        ...

    def on_stall(self, of: Of, /) -> None:
        """Handle that the coroutine starts to wait for other requests."""
        ...


class Stepper:
    """The base of what runs one coroutine. Set all attributes, then call `step`.

    While the coroutine waits, this is one of the server's tasks and can be cancelled.

    Attributes:
        coroutine: must handle its own errors.
        context: the context that it runs in.
        tasks: the server's tasks. It waits for them when it stops.
        owner: its methods are called with this object.
    """

    __slots__ = ("context", "coroutine", "owner", "tasks")

    coroutine: Coroutine[Any, Any, None]
    context: Context
    tasks: Tasks
    owner: Owner[Any]

    def step(self) -> None:
        """Run the coroutine until it waits again or ends."""
        try:
            awaited = self.context.run(self.coroutine.send, None)
        except StopIteration:
            self.tasks.discard(self)
            self.owner.on_done(self)
        except BaseException as error:  # noqa: BLE001 - no caller could handle it
            self._fail(error)
        else:
            if isinstance(awaited, Pending):
                awaited.resume = self.step
                self.tasks.add(self)  # type: ignore[arg-type] # it acts as a task
            elif awaited is WAITS_FOR_ROOM:
                self.owner.on_stall(self)
                self.step()
            else:
                self._become_task(awaited)

    def cancel(self) -> bool:
        """Cancel the coroutine as `asyncio.Task.cancel` does, but at once."""
        try:
            awaited = self.context.run(self.coroutine.throw, asyncio.CancelledError())
        except StopIteration:
            self.tasks.discard(self)
            self.owner.on_done(self)
        except BaseException as error:  # noqa: BLE001 - as above
            self._fail(error)
        else:
            # A coroutine may handle its cancellation slowly, in a Task.
            self._become_task(awaited)
        return True

    def _become_task(self, awaited: Any) -> None:
        self.tasks.discard(self)
        rest = _in_task(self.coroutine, awaited)
        start_task(rest, self.context, self.tasks, partial(self.owner.on_done, self))
        if awaited is WAITS_FOR_ROOM:
            self.owner.on_stall(self)

    def _fail(self, error: BaseException) -> None:
        self.tasks.discard(self)
        _log.error("a request broke off", exc_info=error)
        self.owner.on_done(self)


def start_task(
    coroutine: Coroutine[Any, Any, None],
    context: Context,
    tasks: Tasks,
    on_done: Callable[[], None],
) -> asyncio.Task[None]:
    """Run a coroutine as a Task, and return the Task.

    Args:
        coroutine, context, tasks: as for a `Stepper`.
        on_done: called when the coroutine has ended, in any way.
    """

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
    """Continue, in a Task, a coroutine that is already waiting."""
    await _resume(coroutine, awaited)


@types.coroutine
def _resume(coroutine: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    while True:
        try:
            value = None
            if not isinstance(awaited, NeedsTask):
                value = yield awaited
        except BaseException as error:  # noqa: BLE001 - the coroutine gets the error
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
