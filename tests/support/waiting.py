"""Waiting for a condition, with a deadline."""

import asyncio
import time
from collections.abc import Awaitable, Callable


def until(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait until `condition` holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(0.01)


async def eventually(
    condition: Callable[[], Awaitable[object]], what: str, seconds: float = 10.0
) -> None:
    """Wait until an async `condition` holds; fail with `what` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        await asyncio.sleep(0.01)


async def soon(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """As `eventually`, for a condition that needs no await."""

    async def holds() -> object:
        return condition()

    await eventually(holds, what, seconds)
