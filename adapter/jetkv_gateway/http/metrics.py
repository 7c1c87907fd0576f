"""The metrics of a gateway, in Prometheus's text format (docs/http-api.md#health-and-metrics).

Each request reaches only one of several workers, so the workers write to shared files, which
`prometheus_client` adds up. Call `share_metrics` before the workers start.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

_SHARED = "PROMETHEUS_MULTIPROC_DIR"
_SHARED_BY_JETKV = "JETKV_SHARED_METRICS"

# prometheus_client reads this variable on import. Ignore one that another program has set.
if os.environ.get(_SHARED) != os.environ.get(_SHARED_BY_JETKV):
    os.environ.pop(_SHARED, None)

from prometheus_client import (  # noqa: E402 - the environment must be set first
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402 - as above

from jetkv_gateway.kv.unreadable import on_unreadable  # noqa: E402 - as above

__all__ = ["CONTENT_TYPE", "RETRIES", "UNREADABLE", "metrics_text", "share_metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST

_registry = CollectorRegistry()

RETRIES = Counter(
    "jetkv_retries",
    "Tries of requests beyond their first one: nothing was applied, or once more does no harm",
    registry=_registry,
)

UNREADABLE = Counter(
    "jetkv_unreadable",
    "What NATS delivered and cannot be read, by its part: it is skipped, or shown as far as it can",
    ["part"],
    registry=_registry,
)
on_unreadable(lambda part: UNREADABLE.labels(part).inc())


@contextmanager
def share_metrics() -> Iterator[None]:
    """Let the processes that start inside this context share their metrics."""
    with tempfile.TemporaryDirectory(prefix="jetkv-metrics-") as folder:
        os.environ[_SHARED] = os.environ[_SHARED_BY_JETKV] = folder
        try:
            yield
        finally:
            del os.environ[_SHARED], os.environ[_SHARED_BY_JETKV]


def metrics_text() -> bytes:
    """Return the metrics of all workers."""
    registry = _registry
    if _SHARED in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # it has no types
    return generate_latest(registry)
