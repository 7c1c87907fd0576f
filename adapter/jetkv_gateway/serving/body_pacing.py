"""How much of large bodies is read in one turn of the event loop, and in which order.

The event loop reads all that has arrived on every connection before anything else has its turn:
with a thousand uploads that is a gigabyte, and a second in which nobody is answered. Here each
turn takes in so many bytes. Whoever sends more than is left waits, with reading paused, and goes on
in the order in which they came: who comes first is never behind who comes later. A body that comes
with its head, in one piece, is not concerned.
"""

import asyncio
from collections import deque
from typing import Protocol

__all__ = ["TURN_BYTES", "BodyPacer", "Sender"]

TURN_BYTES = 2 * 1024 * 1024
"""About a millisecond of work."""

_PIECE_BYTES = 256 * 1024
"""The most that the event loop reads of one connection at once."""


class Sender(Protocol):
    """A connection on which a body arrives."""

    def pause_body(self) -> None:
        """Read no more of it until `go_on`."""
        ...

    def resume_body(self) -> None:
        """Read on, if a body still arrives."""
        ...


class BodyPacer:
    """The bodies of a worker as they arrive, in the running event loop.

    Args:
        turn_bytes: that one turn of the event loop takes in.
    """

    def __init__(self, turn_bytes: int = TURN_BYTES) -> None:
        self._turn_bytes = turn_bytes
        self._left = turn_bytes
        self._resting: deque[Sender] = deque()
        self._renewing = False

    @property
    def paused(self) -> int:
        """How many wait until more may be read of them."""
        return len(self._resting)

    def note_read(self, sender: Sender, size: int) -> None:
        """Note that a part of a body was read, and more is to come."""
        self._left -= size
        if self._left < 0:
            sender.pause_body()
            self._resting.append(sender)
        if not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        """Begin a turn: as many go on as there is room for, whatever each of them has sent."""
        self._left = self._turn_bytes
        for _ in range(min(len(self._resting), max(1, self._turn_bytes // _PIECE_BYTES))):
            self._resting.popleft().resume_body()
        self._renewing = bool(self._resting)
        if self._renewing:
            asyncio.get_running_loop().call_soon(self._renew)
