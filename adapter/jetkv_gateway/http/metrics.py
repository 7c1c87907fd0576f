"""The metrics of this process, or of all workers of its gateway (docs/metrics.md)."""

import platform
import time
from dataclasses import dataclass
from functools import cache, cached_property

from jetkv_gateway import __version__
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.telemetry.bucket_metrics import BucketListener, bucket_families
from jetkv_gateway.telemetry.cells import Cells, clear_gauges
from jetkv_gateway.telemetry.exemplars import ExemplarListener
from jetkv_gateway.telemetry.exposition import HISTOGRAM, Exposition
from jetkv_gateway.telemetry.families import Layout
from jetkv_gateway.telemetry.prometheus import PrometheusListener, families

__all__ = ["Metrics", "MetricsOptions", "metrics_for"]


@dataclass(frozen=True, slots=True)
class MetricsOptions:
    """What is counted besides the metrics of every gateway.

    Attributes:
        buckets: those that are a label of metrics of their own.
        exemplars: whether buckets of the duration histogram name a recorded request.
    """

    buckets: tuple[str, ...] = ()
    exemplars: bool = False


class Metrics:
    """What is counted in this process, and in the other workers.

    Attributes:
        cells: the numbers that one worker needs for all metrics.
    """

    def __init__(self, options: MetricsOptions) -> None:
        statuses = {
            resource.template: {
                method: (*route.answers, *route.error_statuses)
                for method, route in resource.routes.items()
            }
            for resource in ROUTER.resources
        }
        self._options = options
        self._layout = Layout(
            [*families(statuses), *bucket_families(options.buckets)],
            HISTOGRAM if options.exemplars else "",
        )
        self.cells = self._layout.whole
        self._cells = Cells(self._layout)
        info = {"version": __version__, "python": platform.python_version()}
        self._exposition = Exposition(self._layout, self._cells, info, time.time())

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

    @cached_property
    def listener(self) -> PrometheusListener:
        """The listener that counts the events of this process."""
        return PrometheusListener(self._layout, self._cells)

    @cached_property
    def bucket_listener(self) -> BucketListener | None:
        """The listener that counts requests by bucket, None if no bucket is named."""
        return BucketListener(self._layout, self._cells) if self._options.buckets else None

    @cached_property
    def exemplars(self) -> ExemplarListener:
        """Keeps recorded requests as exemplars."""
        return ExemplarListener(self._layout, self._cells)

    def write(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics of all workers and their content type; see `Exposition.write`."""
        return self._exposition.write(accept)


@cache
def metrics_for(options: MetricsOptions) -> Metrics:
    """Return the metrics of this process. Every gateway in it with these options counts there."""
    return Metrics(options)
