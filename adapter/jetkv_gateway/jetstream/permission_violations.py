"""Finds the requests that a server certainly refused because of a missing permission.

The server reports each refused publish by its subject, and permissions can change on an open
connection. If several requests on one subject are in flight, a report does not tell which one was
refused: another one may be applied and its reply on the way. A PING settles this. When its PONG is
here, all reports about earlier requests are here too. If there are as many reports as unanswered
requests, every one of them was refused. If there are fewer, the requests keep waiting for their
replies and deadlines.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

__all__ = ["PermissionViolations"]

_PATIENCE = 2.0


class PermissionViolations:
    """Counts the server's reports between one PING and the next.

    Args:
        barrier: sends a PING and waits for its PONG, which completes the future; raises
            `TimeoutError`.
        sent: returns the number of the next request.
        resolve: called after a PONG with the reports by subject, and with the first and the last
            number (exclusive) of the requests that they may belong to.
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
        """Count a report."""
        # A report behind a PONG belongs to a request that was sent after its PING.
        counts = self._next if self._pong is not None and self._pong.done() else self._current
        counts[subject] = counts.get(subject, 0) + 1
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="nats-permission-violations")

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
