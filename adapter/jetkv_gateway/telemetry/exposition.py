"""Writes the metrics for Prometheus, as text or as OpenMetrics.

prometheus_client writes both formats. Its own counters are not used: they share files between
processes, and an environment variable has to be set before its import for that.
"""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from jetkv_gateway.telemetry.cells import Cells
from jetkv_gateway.telemetry.families import BUCKETS, Family, Kind, Layout

__all__ = ["Exposition"]

_BOUNDS = (*map(floatToGoString, BUCKETS), "+Inf")


class Exposition(Collector):
    """The metrics of all workers of a gateway.

    Args:
        info: the labels of `jetkv_build_info`.
        created_at: when this process began to count, in seconds since 1970.
    """

    def __init__(
        self, layout: Layout, cells: Cells, info: dict[str, str], created_at: float
    ) -> None:
        self._layout = layout
        self._cells = cells
        self._info = info
        self._created_at = created_at
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def write(self, accept: str | None) -> tuple[bytes, str]:
        """Return the metrics and their content type.

        Args:
            accept: the header of the request. OpenMetrics is used if it asks for that.
        """
        encode, content_type = choose_encoder(accept or "")
        return encode(self._registry), content_type

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        workers = self._cells.read()
        totals: list[float] = [*map(sum, zip(*workers, strict=True))]
        running = [cells for cells in workers if cells[0]]
        for family in self._layout.families.values():
            yield self._metric(family, totals, running)
        yield InfoMetricFamily(
            "jetkv_build", "The version of the gateway, and of Python", value=self._info
        )

    def _metric(self, family: Family, totals: list[float], running: list[list[float]]) -> Metric:
        name, text, labels, rare = family.name, family.help, family.labels, family.rare
        cells = self._layout.cells(name).items()
        if family.kind is Kind.HISTOGRAM:
            histogram = HistogramMetricFamily(name, text, labels=labels)
            for values, at in cells:
                counts = [*accumulate(totals[at : at + len(_BOUNDS)])]
                if counts[-1] or values not in rare:
                    seconds = totals[at + len(_BOUNDS)]
                    histogram.add_metric(values, [*zip(_BOUNDS, counts, strict=True)], seconds)
            return histogram
        if family.kind is Kind.COUNTER:
            counter = CounterMetricFamily(name, text, labels=labels)
            for values, at in cells:
                if totals[at] or values not in rare:
                    created = None if labels else self._created_at
                    counter.add_metric(values, totals[at], created=created)
            return counter
        gauge = GaugeMetricFamily(name, text, labels=labels)
        for values, at in cells:
            gauge.add_metric(values, _join(family.kind, [one[at] for one in running] or [0.0]))
        return gauge


def _join(kind: Kind, figures: list[float]) -> float:
    if kind is Kind.MIN:
        return min(figures)
    return max(figures) if kind is Kind.MAX else sum(figures)
