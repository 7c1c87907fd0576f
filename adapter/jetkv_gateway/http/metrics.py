"""The metrics of this process, or of all workers of its gateway (docs/metrics.md)."""

import platform
import time

from jetkv_gateway import __version__
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.telemetry.cells import Cells, clear_gauges
from jetkv_gateway.telemetry.exposition import Exposition
from jetkv_gateway.telemetry.families import Layout
from jetkv_gateway.telemetry.prometheus import PrometheusListener, families

__all__ = ["METRICS", "Metrics"]


class Metrics:
    """What is counted in this process, and in the other workers.

    Attributes:
        cells: the numbers that one worker needs for all metrics.
    """

    def __init__(self) -> None:
        statuses = {
            resource.template: {
                method: (*route.answers, *route.error_statuses)
                for method, route in resource.routes.items()
            }
            for resource in ROUTER.resources
        }
        self._layout = Layout(families(statuses))
        self.cells = self._layout.size
        self._cells = Cells(self._layout)
        info = {"version": __version__, "python": platform.python_version()}
        self._exposition = Exposition(self._layout, self._cells, info, time.time())
        self._listener: PrometheusListener | None = None

    def share(self, memory: memoryview, slot: int) -> None:
        """Count in the memory that all workers share. Call it before anything is counted.

        Args:
            memory: `cells` doubles for each worker.
            slot: the place of this worker.

        Raises:
            ValueError: another version of the gateway has made the memory.
        """
        self._cells.share(memory, slot)

    def clear_gauges(self, memory: memoryview, slot: int) -> None:
        """Clear the gauges of a worker that has ended, and keep its counts."""
        clear_gauges(self._layout, memory, slot)

    @property
    def listener(self) -> PrometheusListener:
        """The listener that counts the events of this process."""
        if self._listener is None:
            self._listener = PrometheusListener(self._layout, self._cells)
        return self._listener

    def write(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics of all workers and their content type; see `Exposition.write`."""
        return self._exposition.write(accept)


METRICS = Metrics()
"""The metrics of this process. Every gateway in it counts here."""
