"""A share of each turn of the event loop, for work that many ask for at once.

Thousands of watches come back within a second of a restart, and any one of them may have as many
filters as a URL holds. Each is some work before anything waits; all of it in one turn of the loop
would stop everybody else for as long.
"""

import asyncio
from collections import deque

__all__ = ["TurnPacer"]


class TurnPacer:
    """Lets in as much work in each turn as fits, first come first served.

    Args:
        weight: of the work in a turn; what weighs more takes the rest of one.
    """

    def __init__(self, weight: int) -> None:
        self._weight = weight
        self._left = weight
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._next: asyncio.Handle | None = None

    async def wait(self, weight: int) -> None:
        """Wait for a turn with room for so much work, which is not at all where there is some."""
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._left = self._weight
            self._next = loop.call_soon(self._turn)
        elif self._waiting or self._left <= 0:
            turn = loop.create_future()
            self._waiting.append((weight, turn))
            await turn
            return
        self._left -= weight

    def _turn(self) -> None:
        self._next = None
        if not self._waiting:
            return
        self._left = self._weight
        while self._waiting and self._left > 0:
            weight, turn = self._waiting.popleft()
            if not turn.done():
                self._left -= weight
                turn.set_result(None)
        self._next = asyncio.get_running_loop().call_soon(self._turn)
