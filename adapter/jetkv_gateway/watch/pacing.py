"""Limits the work per turn of the event loop when many start at once.

Thousands of watches return within a second of a restart, and each may have as many filters as a URL
holds. Each one needs some work before it first waits. All of that in one turn of the event loop
would block everything else.
"""

import asyncio
from collections import deque

__all__ = ["TurnPacer"]


class TurnPacer:
    """Admits as much work per turn as fits, first come, first served.

    Args:
        weight: of the work in one turn. Heavier work takes the rest of a turn.
    """

    def __init__(self, weight: int) -> None:
        self._weight = weight
        self._left = weight
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._next: asyncio.Handle | None = None

    async def wait(self, weight: int) -> None:
        """Wait for a turn with room for this weight. It returns at once if there is room now."""
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
