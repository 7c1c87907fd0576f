"""Which requests a server refused for want of a permission: only what is certain.

The server complains by subject, once for each publish that it refused, and permissions can change
while a connection stands. So with several requests on one subject under way, a complaint alone does
not say whose it is: another one may be applied, its answer on the way. A PING settles it. What the
server has to say to all that was sent before has come when the PONG has, and then there are either
as many complaints as requests without an answer, and every one of them was refused; or fewer, and
the requests are left to their answers and their deadlines.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

__all__ = ["PermissionViolations"]

_PATIENCE = 2.0


class PermissionViolations:
    """Counts complaints between one PING and the next.

    Args:
        barrier: sends a PING and waits for its PONG, which ends the future; raises `TimeoutError`.
        sent: returns the number of the next request.
        resolve: takes, at a PONG, complaints by subject, and the first and the last number (not
            included) of the requests that they can belong to.
    """

    def __init__(
        self,
        barrier: Callable[[asyncio.Future[bool], float], Awaitable[None]],
        sent: Callable[[], int],
        resolve: Callable[[dict[str, int], int, int], None],
    ) -> None:
        self._barrier = barrier
        self._sent = sent
        self._resolve = resolve
        self._resolved = 0
        self._current: dict[str, int] = {}
        self._next: dict[str, int] = {}
        self._pong: asyncio.Future[bool] | None = None
        self._task: asyncio.Task[None] | None = None

    def add(self, subject: str) -> None:
        """Take in a complaint."""
        # What comes behind a PONG is about what was sent behind its PING.
        counts = self._next if self._pong is not None and self._pong.done() else self._current
        counts[subject] = counts.get(subject, 0) + 1
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="nats-refusals")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._current:
                self._pong = asyncio.get_running_loop().create_future()
                before = self._sent()
                with suppress(TimeoutError):
                    await self._barrier(self._pong, _PATIENCE)
                    self._resolve(self._current, self._resolved, before)
                self._resolved = before
                self._current, self._next = self._next, {}
        finally:
            self._pong = self._task = None
