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

__all__ = ["CELLS", "Balance", "Cells", "vacate"]

CELLS = 2
"""Numbers for each worker: its connections, counted from 1, and its sign of life. 0 connections
is a place where no worker is."""

_NOBODY = 0
_SLACK = 1 / 16
"""Of a fair share: so much more is not worth a wait."""
_SIGNS = 1 << 30


class Cells(Protocol):
    """Shared memory: `multiprocessing.RawArray` of unsigned integers, or any list."""

    def __getitem__(self, at: slice, /) -> Sequence[int]: ...
    def __setitem__(self, at: int, value: int, /) -> None: ...


def vacate(cells: Cells, place: int) -> None:
    """Have a worker that is gone, or accepts no longer, count no more."""
    cells[place * CELLS] = _NOBODY


class Balance:
    """One worker's view of all.

    Args:
        cells: of all workers, `CELLS` each.
        place: this worker's.
    """

    def __init__(self, cells: Cells, place: int) -> None:
        self._cells = cells
        self._place = place
        self._sign = cells[:][place * CELLS + 1]
        self._heard = 0
        self._passed_over: dict[int, int] = {}

    def show(self, connections: int) -> None:
        """Tell the others how many this one has, and that it lives."""
        self._sign = (self._sign + 1) % _SIGNS
        self._cells[self._place * CELLS + 1] = self._sign
        self._cells[self._place * CELLS] = connections + 1

    def is_turn(self, connections: int) -> bool:
        """Return whether one more connection is this worker's to accept."""
        others = self._others()
        total = connections + sum(others.values())
        return connections < (1 + _SLACK) * (total + 1) / (len(others) + 1)

    def has_heard(self) -> bool:
        """Return whether any other has given a sign of life since this was asked last."""
        signs = self._cells[1::CELLS]
        heard = sum(signs) - signs[self._place]
        before, self._heard = self._heard, heard
        return heard != before

    def pass_over(self, connections: int) -> None:
        """Count no more who had their turn and did not take it, until they give a sign of life."""
        signs = self._cells[1::CELLS]
        for place, theirs in self._others().items():
            if theirs < connections:
                self._passed_over[place] = signs[place]

    def leave(self) -> None:
        """Accept no more, until `show`: all that comes is for the others."""
        vacate(self._cells, self._place)

    def _others(self) -> dict[int, int]:
        """Return the connections of the others that count, by their places."""
        counts, signs = self._cells[::CELLS], self._cells[1::CELLS]
        others = {}
        for place, count in enumerate(counts):
            if count == _NOBODY or place == self._place:
                continue
            if self._passed_over.get(place) == signs[place]:
                continue
            self._passed_over.pop(place, None)
            others[place] = count - 1
        return others
