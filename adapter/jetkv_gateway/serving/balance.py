"""How the workers on one listening socket share its connections out.

The kernel wakes them all and lets the quickest have a connection, so that one may well get nearly
all. They tell each other how many they have, in a few bytes of shared memory, and one that has more
than its share leaves a connection to the others for a moment (`serving/acceptor.py`).

A worker that hangs has a small share for ever. One that leaves a connection where it is for too
long is passed over until it gives a sign of life, which it does by a number that it keeps changing.
Nothing is locked: each writes its own two numbers and reads those of the others, and a number that
is a moment old costs a connection in the wrong place, no more.
"""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["CELLS", "Balance", "Cells", "clear_slot"]

CELLS = 2
"""Numbers for each worker: its connections, counted from 1, and its sign of life. 0 connections
is a place where no worker is."""

_EMPTY = 0
_SLACK = 1 / 16
"""Of a fair share: so much more is not worth a wait."""
_HEARTBEATS = 1 << 30


class Cells(Protocol):
    """Shared memory: `multiprocessing.RawArray` of unsigned integers, or any list."""

    def __getitem__(self, at: slice, /) -> Sequence[int]: ...
    def __setitem__(self, at: int, value: int, /) -> None: ...


def clear_slot(cells: Cells, slot: int) -> None:
    """Have a worker that is gone, or accepts no longer, count no more."""
    cells[slot * CELLS] = _EMPTY


class Balance:
    """One worker's view of all.

    Args:
        cells: of all workers, `CELLS` each.
        slot: this worker's.
    """

    def __init__(self, cells: Cells, slot: int) -> None:
        self._cells = cells
        self._slot = slot
        self._heartbeat = cells[:][slot * CELLS + 1]
        self._heard = 0
        self._passed_over: dict[int, int] = {}

    def publish(self, connections: int) -> None:
        """Tell the others how many this one has, and that it lives."""
        self._heartbeat = (self._heartbeat + 1) % _HEARTBEATS
        self._cells[self._slot * CELLS + 1] = self._heartbeat
        self._cells[self._slot * CELLS] = connections + 1

    def should_accept(self, connections: int) -> bool:
        """Return whether one more connection is this worker's to accept."""
        others = self._others()
        total = connections + sum(others.values())
        return connections < (1 + _SLACK) * (total + 1) / (len(others) + 1)

    def others_alive(self) -> bool:
        """Return whether any other has given a sign of life since this was asked last."""
        heartbeats = self._cells[1::CELLS]
        heard = sum(heartbeats) - heartbeats[self._slot]
        before, self._heard = self._heard, heard
        return heard != before

    def skip_idle(self, connections: int) -> None:
        """Count no more who had their turn and did not take it, until they give a sign of life."""
        heartbeats = self._cells[1::CELLS]
        for slot, count in self._others().items():
            if count < connections:
                self._passed_over[slot] = heartbeats[slot]

    def leave(self) -> None:
        """Accept no more, until `show`: all that comes is for the others."""
        clear_slot(self._cells, self._slot)

    def _others(self) -> dict[int, int]:
        """Return the connections of the others that count, by their places."""
        counts, heartbeats = self._cells[::CELLS], self._cells[1::CELLS]
        others = {}
        for slot, count in enumerate(counts):
            if count == _EMPTY or slot == self._slot:
                continue
            if self._passed_over.get(slot) == heartbeats[slot]:
                continue
            self._passed_over.pop(slot, None)
            others[slot] = count - 1
        return others
