"""Limits how much of request bodies is read in one turn of the event loop.

The event loop reads all data of all connections before anything else runs. With a thousand uploads,
that is a gigabyte, and a second without any answer. This module limits the bytes per turn. When the
limit is reached, a sender is paused, and senders continue in order, first come, first served. A
body that arrives in one piece with its head is not affected.
"""

import asyncio
from collections import deque
from typing import Protocol

__all__ = ["TURN_BYTES", "BodyPacer", "Sender"]

TURN_BYTES = 2 * 1024 * 1024
"""About a millisecond of work."""

_PIECE_BYTES = 256 * 1024
"""The largest amount that the event loop reads from one connection at once."""


class Sender(Protocol):
    """A connection on which a body arrives."""

    def pause_body(self) -> None:
        """Stop reading until `resume_body` is called."""
        ...

    def resume_body(self) -> None:
        """Continue reading if the body is incomplete."""
        ...


class BodyPacer:
    """Paces the bodies of a worker, in the running event loop.

    Args:
        turn_bytes: bytes that are read in one turn of the event loop.
    """

    def __init__(self, turn_bytes: int = TURN_BYTES) -> None:
        self._turn_bytes = turn_bytes
        self._left = turn_bytes
        self._resting: deque[Sender] = deque()
        self._renewing = False

    @property
    def paused(self) -> int:
        """The number of paused senders."""
        return len(self._resting)

    def note_read(self, sender: Sender, size: int) -> None:
        """Count a part of a body that is not complete."""
        self._left -= size
        if self._left < 0:
            sender.pause_body()
            self._resting.append(sender)
        if not self._renewing:
            self._renewing = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        """Start a turn: resume as many senders as fit, whatever each has sent."""
        self._left = self._turn_bytes
        for _ in range(min(len(self._resting), max(1, self._turn_bytes // _PIECE_BYTES))):
            self._resting.popleft().resume_body()
        self._renewing = bool(self._resting)
        if self._renewing:
            asyncio.get_running_loop().call_soon(self._renew)
