"""The cells of all metrics: numbers that a worker writes, and every worker can read.

Each worker has a slot of its own, so there are no locks. A slot keeps its counts when its worker
ends, and the worker that takes it over adds to them. So no count of a gateway ever goes back.
"""

from array import array
from collections.abc import Callable
from typing import Protocol, cast, overload

from jetkv_gateway.telemetry.families import Layout

__all__ = ["Cells", "Numbers", "clear_gauges"]


class Numbers(Protocol):
    """Doubles in memory of this process, or in shared memory."""

    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, at: int, /) -> float: ...
    @overload
    def __getitem__(self, at: slice, /) -> "Numbers": ...
    def __setitem__(self, at: int, value: float, /) -> None: ...
    def tolist(self) -> list[float]: ...


class Cells:
    """The cells of the workers of a gateway, until `share` those of this process alone.

    Attributes:
        own: the cells of this worker. The first one tells whether it runs.
        settle: called before the cells are read, to count what this worker has not counted yet.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.own: Numbers = array("d", bytes(8 * layout.whole))
        self._all: list[Numbers] = [self.own]
        self.settle: Callable[[], None] | None = None

    def share(self, memory: memoryview, slot: int) -> None:
        """Use shared memory from now on. Call it before anything is counted.

        Args:
            memory: the cells of all workers.
            slot: the place of this worker in it.

        Raises:
            ValueError: the memory belongs to another layout.
        """
        size = self._layout.whole
        numbers = memory.cast("B").cast("d")
        if len(numbers) % size or len(numbers) < (slot + 1) * size:
            raise ValueError("the shared memory of the metrics has another size")
        self._all = [cast(Numbers, numbers[at : at + size]) for at in range(0, len(numbers), size)]
        self.own = self._all[slot]

    def read(self) -> list[list[float]]:
        """Return the figures of each worker."""
        if self.settle is not None:
            self.settle()
        return self.part(0, self._layout.size)

    def part(self, first: int, size: int) -> list[list[float]]:
        """Return a part of the cells of each worker."""
        return [cells[first : first + size].tolist() for cells in self._all]


def clear_gauges(layout: Layout, memory: memoryview, slot: int) -> None:
    """Clear the gauges of a worker that has ended, and keep its counts."""
    numbers = cast(Numbers, memory.cast("B").cast("d"))
    for cells in layout.gauges:
        for at in cells:
            numbers[slot * layout.whole + at] = 0.0
