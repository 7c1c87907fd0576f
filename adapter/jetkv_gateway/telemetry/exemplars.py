"""An example of a request for each bucket of the duration histogram: the newest recorded one.

Its trace and its time are cells, like the figures, so that any worker can show those of all. There
is one for each bucket, so their memory is bounded whatever clients do.
"""

import time
from bisect import bisect_left

from jetkv_gateway.telemetry.cells import Cells
from jetkv_gateway.telemetry.families import BUCKETS, EXEMPLAR_CELLS, Layout
from jetkv_gateway.telemetry.trace_context import TraceContext

__all__ = ["ExemplarListener", "read_exemplars"]

_MASK = 0xFFFFFFFF
_TIME = EXEMPLAR_CELLS - 1


class ExemplarListener:
    """Keeps recorded requests. See `TraceListener.on_recorded`."""

    def __init__(self, layout: Layout, cells: Cells) -> None:
        self._places = layout.exemplars
        self._cells = cells.own

    def note(self, method: str, route: str | None, seconds: float, span: TraceContext) -> None:
        first = self._places.get((method, route or ""))
        if first is None:
            return
        first += EXEMPLAR_CELLS * bisect_left(BUCKETS, seconds)
        trace_id, span_id = int(span.trace_id, 16), int(span.span_id, 16)
        words = [trace_id >> shift & _MASK for shift in (96, 64, 32, 0)]
        words += [span_id >> shift & _MASK for shift in (32, 0)]
        cells = self._cells
        # Without a time it is void, so that no reader takes the halves of two for one.
        cells[first + _TIME] = 0.0
        for at, word in enumerate(words):
            cells[first + at] = float(word)
        cells[first + len(words)] = seconds
        cells[first + _TIME] = time.time()


def read_exemplars(cells: Cells, first: int) -> list[str]:
    """Return what stands behind the figure of each bucket of a series, or "".

    https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md#exemplars
    """
    size = EXEMPLAR_CELLS * (len(BUCKETS) + 1)
    before, after = cells.part(first, size), cells.part(first, size)
    shown = []
    for at in range(0, size, EXEMPLAR_CELLS):
        parts = [
            one[at : at + EXEMPLAR_CELLS]
            for one, again in zip(before, after, strict=True)
            if one[at + _TIME] and one[at : at + EXEMPLAR_CELLS] == again[at : at + EXEMPLAR_CELLS]
        ]
        shown.append(_written(max(parts, key=lambda one: one[_TIME])) if parts else "")
    return shown


def _written(cells: list[float]) -> str:
    words = [f"{int(word):08x}" for word in cells[:6]]
    trace, span = "".join(words[:4]), "".join(words[4:])
    return f' # {{trace_id="{trace}",span_id="{span}"}} {cells[6]} {cells[_TIME]:.3f}'
