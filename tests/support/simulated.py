"""Coroutines on a clock of their own: time passes only while every task waits."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

_HOURS_ENOUGH = 6 * 3600


class _Clock(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list:
        assert timeout is not None, "every task waits for ever"
        self.now += max(timeout, 0)
        assert self.now < _HOURS_ENOUGH, "a task waits for ever"
        return super().select(0)


def _loop() -> asyncio.AbstractEventLoop:
    clock = _Clock()
    loop = asyncio.SelectorEventLoop(clock)
    loop.time = lambda: clock.now
    return loop


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(main)


def simulated(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def in_a_loop(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return in_a_loop


async def eventually(condition: Callable[[], object], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.01)
