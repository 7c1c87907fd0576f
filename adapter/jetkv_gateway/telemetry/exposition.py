"""Writes the metrics for Prometheus, in its text format or as OpenMetrics.

prometheus_client can do that too, but a scrape of all series would then block the event loop for 15
to 50 milliseconds. Here everything but the figures is written once, and a scrape takes about two.

https://prometheus.io/docs/instrumenting/exposition_formats/
https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md
"""

from collections.abc import Iterator
from itertools import accumulate

from jetkv_gateway.telemetry.cells import Cells
from jetkv_gateway.telemetry.exemplars import read_exemplars
from jetkv_gateway.telemetry.families import BUCKETS, Family, Kind, Layout

__all__ = ["HISTOGRAM", "Exposition"]

HISTOGRAM = "jetkv_http_request_duration_seconds"
"""The histogram that has exemplars if traces are on."""

_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_ASKS_FOR_OPENMETRICS = "application/openmetrics-text"

_BOUNDS = (*map(str, BUCKETS), "+Inf")
_SUM = len(_BOUNDS)


class Exposition:
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
        self._info = f"jetkv_build_info{_labels(tuple(info), tuple(info.values()))} 1.0"
        self._created_at = created_at
        self._exemplars = {
            layout.cells(HISTOGRAM)[labels]: first for labels, first in layout.exemplars.items()
        }
        self._series = [
            (family, _written(family, layout.cells(family.name)))
            for family in layout.families.values()
        ]

    def write(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their content type.

        Args:
            accept: the header of the request. OpenMetrics is used if it asks for that.
        """
        openmetrics = _ASKS_FOR_OPENMETRICS in accept
        lines = [*self._lines(openmetrics=openmetrics), ""]
        return "\n".join(lines).encode(), _OPENMETRICS if openmetrics else _TEXT

    def _lines(self, *, openmetrics: bool) -> Iterator[str]:
        workers = self._cells.read()
        totals: list[float] = workers[0]
        if len(workers) > 1:
            totals = [*map(sum, zip(*workers, strict=True))]
        running = [cells for cells in workers if cells[0]]
        for family, series in self._series:
            name, kind = family.name, family.kind
            if kind is Kind.HISTOGRAM:
                yield from _head(name, "histogram", family.help)
                for at, rare, names in series:
                    counts = [*accumulate(totals[at : at + _SUM])]
                    if counts[-1] or not rare:
                        figures = (*counts, counts[-1], totals[at + _SUM])
                        lines = [
                            f"{name}{figure}" for name, figure in zip(names, figures, strict=True)
                        ]
                        exemplars = self._exemplars.get(at) if openmetrics else None
                        if exemplars is not None and counts[-1]:
                            behind = read_exemplars(self._cells, exemplars)
                            lines[: len(behind)] = map("".join, zip(lines, behind, strict=False))
                        yield from lines
            elif kind is Kind.COUNTER:
                yield from _head(
                    name if openmetrics else _ended(name, "total"), "counter", family.help
                )
                for at, rare, names in series:
                    if totals[at] or not rare:
                        yield f"{names[0]}{totals[at]}"
                if not family.labels:
                    if not openmetrics:
                        yield from _head(f"{name}_created", "gauge", family.help)
                    yield f"{name}_created {self._created_at}"
            else:
                yield from _head(name, "gauge", family.help)
                for at, _, names in series:
                    yield f"{names[0]}{_join(kind, [cells[at] for cells in running] or [0.0])}"
        name, kind_of = ("jetkv_build", "info") if openmetrics else ("jetkv_build_info", "gauge")
        yield from _head(name, kind_of, "The versions of the gateway and of Python")
        yield self._info
        if openmetrics:
            yield "# EOF"


def _head(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _written(
    family: Family, cells: dict[tuple[str, ...], int]
) -> list[tuple[int, bool, list[str]]]:
    """Return the first cell of each series, whether it is rare, and its lines up to the figure."""
    name, labels = family.name, family.labels
    written = []
    for values, at in cells.items():
        if family.kind is Kind.HISTOGRAM:
            names = [
                f"{name}_bucket{_labels((*labels, 'le'), (*values, bound))} " for bound in _BOUNDS
            ]
            names += [f"{name}_{end}{_labels(labels, values)} " for end in ("count", "sum")]
        else:
            shown = _ended(name, "total") if family.kind is Kind.COUNTER else name
            names = [f"{shown}{_labels(labels, values)} "]
        written.append((at, values in family.rare, names))
    return written


def _ended(name: str, end: str) -> str:
    return f"{name}_{end}"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    if not names:
        return ""
    pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _join(kind: Kind, figures: list[float]) -> float:
    if kind is Kind.MIN:
        return min(figures)
    return max(figures) if kind is Kind.MAX else sum(figures)
