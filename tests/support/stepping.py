"""Coroutines that are stepped from callbacks of the event loop, without a Task."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from jetkv_gateway.stepping import Pending

T = TypeVar("T")


class Stepped:
    """A coroutine that waits for nothing but `Pending`; make it in a callback."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.over = False
        self.value: Any = None
        self.error: Exception | None = None
        self.step()

    def step(self) -> None:
        try:
            waited_for = self._coroutine.send(None)
        except StopIteration as end:
            self.over, self.value = True, end.value
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.over, self.error = True, error
        else:
            assert isinstance(waited_for, Pending)
            waited_for.resume = self.step

    def close(self) -> None:
        self._coroutine.close()


async def in_a_callback(act: Callable[[], T]) -> T:
    """Return what `act` returns in a callback of the event loop, where no Task runs."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def call() -> None:
        assert asyncio.current_task() is None
        try:
            future.set_result(act())
        except BaseException as error:  # noqa: BLE001 - the test gets it
            future.set_exception(error)

    loop.call_soon(call)
    return await future
