"""A budget that many share: bytes asked for and not yet here."""

import asyncio
from collections import deque

__all__ = ["Budget"]


class Budget:
    """So many units for all; who asks first is served first.

    Args:
        total: units; who asks for more than that gets all of them.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, units: int) -> int:
        """Wait until that much is free, and return what was taken: `give` it back."""
        units = min(units, self._total)
        if not self._waiting and units <= self._free:
            self._free -= units
            return units
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((units, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(units)
            raise
        return units

    def give(self, units: int) -> None:
        """Give back what was taken."""
        self._free += units
        while self._waiting:
            units, turn = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif units <= self._free:
                self._waiting.popleft()
                self._free -= units
                turn.set_result(None)
            else:
                return
