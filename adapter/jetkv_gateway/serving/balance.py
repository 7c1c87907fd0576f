"""Distributes the connections of one listening socket among workers.

The kernel wakes all workers, and the fastest one gets a connection, so one worker may get nearly
all of them. So the workers publish their numbers of connections in shared memory. A worker with
more than its share leaves a connection to the others for a moment (`serving/acceptor.py`).

A worker that hangs would keep a small number. If a worker does not take a connection in time, the
others skip it until its heartbeat number changes. There are no locks. Each worker writes its own
two numbers and reads the others. An outdated number only means that a connection goes to the wrong
worker.
"""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["CELLS", "Balance", "Cells", "clear_slot"]

CELLS = 2
"""Numbers per worker: its connections plus one, and its heartbeat. 0 marks an unused slot."""

_EMPTY = 0
_SLACK = 1 / 16
"""A worker may exceed its share by this part without waiting."""
_HEARTBEATS = 1 << 30


class Cells(Protocol):
    """Shared memory: `multiprocessing.RawArray` of unsigned integers, or any list."""

    def __getitem__(self, at: slice, /) -> Sequence[int]: ...
    def __setitem__(self, at: int, value: int, /) -> None: ...


def clear_slot(cells: Cells, slot: int) -> None:
    """Clear the slot of a worker that has ended or stopped accepting."""
    cells[slot * CELLS] = _EMPTY


class Balance:
    """One worker's view of all workers.

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
        """Publish this worker's number of connections and its heartbeat."""
        self._heartbeat = (self._heartbeat + 1) % _HEARTBEATS
        self._cells[self._slot * CELLS + 1] = self._heartbeat
        self._cells[self._slot * CELLS] = connections + 1

    def should_accept(self, connections: int) -> bool:
        """Return whether this worker should accept the next connection."""
        others = self._others()
        total = connections + sum(others.values())
        return connections < (1 + _SLACK) * (total + 1) / (len(others) + 1)

    def others_alive(self) -> bool:
        """Return whether any other heartbeat has changed since the last call."""
        heartbeats = self._cells[1::CELLS]
        heard = sum(heartbeats) - heartbeats[self._slot]
        before, self._heard = self._heard, heard
        return heard != before

    def skip_idle(self, connections: int) -> None:
        """Skip workers that did not take their turn, until their heartbeat changes."""
        heartbeats = self._cells[1::CELLS]
        for slot, count in self._others().items():
            if count < connections:
                self._passed_over[slot] = heartbeats[slot]

    def leave(self) -> None:
        """Leave all connections to the others until the next `publish`."""
        clear_slot(self._cells, self._slot)

    def _others(self) -> dict[int, int]:
        """Return the connections of the other active workers, by slot."""
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
