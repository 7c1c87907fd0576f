"""Waiting for what needs no call."""

from collections.abc import Callable

from tests.support.waiting import eventually


async def soon(condition: Callable[[], object], what: str, seconds: float = 10.0) -> None:
    """Wait until `condition` holds while the loop goes on; fail with `what` when it does not."""

    async def holds() -> object:
        return condition()

    await eventually(holds, what, seconds)
