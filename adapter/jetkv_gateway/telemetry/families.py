"""The metrics of a gateway: names, labels, and the series of each. Pure.

All series are known at start, so that no request can add one, and each has fixed cells: numbers in
memory that the workers of a gateway share.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["BUCKETS", "EXEMPLAR_CELLS", "Family", "Kind", "Layout"]

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets of all histograms, in seconds. A read takes a fraction of the first
one in the gateway, and the last one is the default of `request_timeout` with a retry.
"""

EXEMPLAR_CELLS = 8
"""Four for the trace, two for the span, then seconds of the request, and its time since 1970."""

_HISTOGRAM_CELLS = len(BUCKETS) + 2
"""A cell for each bucket, one for larger values, and the sum."""


class Kind(Enum):
    """How the cells of a series become figures, and how those of several workers are joined."""

    COUNTER = "counter"
    HISTOGRAM = "histogram"
    SUM = "gauge, the sum of all workers"
    MAX = "gauge, the largest of all workers"
    MIN = "gauge, the smallest of all workers"

    @property
    def is_gauge(self) -> bool:
        return self in (Kind.SUM, Kind.MAX, Kind.MIN)


@dataclass(frozen=True, slots=True)
class Family:
    """A metric with all its series.

    Attributes:
        name: without the suffix `_total`.
        series: the values of the labels, for each series.
        rare: series that appear when they are not 0. The others appear from the start.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    series: Sequence[tuple[str, ...]] = ((),)
    rare: frozenset[tuple[str, ...]] = field(default_factory=frozenset)

    @property
    def cells(self) -> int:
        """The cells of one series."""
        return _HISTOGRAM_CELLS if self.kind is Kind.HISTOGRAM else 1


class Layout:
    """Where the cells of each series are.

    Args:
        exemplars: the histogram whose buckets have exemplars, or "".

    Attributes:
        families: by name.
        size: the number of cells of one worker that have figures. The first cell tells whether the
            worker runs.
        whole: the number of all cells of one worker, with those of exemplars behind the figures.
        gauges: ranges of cells that are void when their worker ends.
        exemplars: the first cell of the exemplars of each series.
    """

    def __init__(self, families: Iterable[Family], exemplars: str = "") -> None:
        self.families = {family.name: family for family in families}
        self._first: dict[str, int] = {}
        self.size = 1
        self.gauges = [range(1)]
        for family in self.families.values():
            self._first[family.name] = first = self.size
            self.size += len(family.series) * family.cells
            if family.kind.is_gauge:
                self.gauges.append(range(first, self.size))
        self.whole = self.size
        self.exemplars: dict[tuple[str, ...], int] = {}
        if exemplars:
            family = self.families[exemplars]
            # Rare series have none, so that the memory stays small.
            for labels in family.series:
                if labels not in family.rare:
                    self.exemplars[labels] = self.whole
                    self.whole += EXEMPLAR_CELLS * (len(BUCKETS) + 1)

    def first(self, name: str) -> int:
        """Return the first cell of a family."""
        return self._first[name]

    def cells(self, name: str) -> dict[tuple[str, ...], int]:
        """Return the first cell of each series of a family."""
        family, first = self.families[name], self._first[name]
        return {labels: first + at * family.cells for at, labels in enumerate(family.series)}
