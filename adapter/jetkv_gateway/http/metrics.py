"""What a gateway counts, in Prometheus's text format (contract 2.11).

With several workers each request meets one of them, so they share files, which
`prometheus_client` reads together; `share_metrics` has to come before the workers do.
"""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

_SHARED = "PROMETHEUS_MULTIPROC_DIR"
_OURS = "JETKV_SHARED_METRICS"

# prometheus_client goes by it when it is imported, and another program's is none of ours.
if os.environ.get(_SHARED) != os.environ.get(_OURS):
    os.environ.pop(_SHARED, None)

from prometheus_client import (  # noqa: E402 - the environment comes first
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402 - as above

__all__ = ["CONTENT_TYPE", "RETRIES", "metrics_text", "share_metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST

_log = logging.getLogger("jetkv")

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - a folder of our own in there, readable by us alone

_registry = CollectorRegistry()

RETRIES = Counter(
    "jetkv_retries",
    "Tries of requests beyond their first one: nothing was applied, or once more does no harm",
    registry=_registry,
)


@contextmanager
def share_metrics() -> Iterator[None]:
    """Have the processes that are started from here on count together.

    Where there is no folder to write to, each counts for itself.
    """
    with ExitStack() as stack:
        for place in (None, _SHARED_MEMORY):
            with suppress(OSError):
                folder = stack.enter_context(
                    tempfile.TemporaryDirectory(prefix="jetkv-metrics-", dir=place)
                )
                os.environ[_SHARED] = os.environ[_OURS] = folder
                break
        else:
            _log.warning("no folder for temporary files: /metrics shows one worker at a time")
        try:
            yield
        finally:
            for name in (_SHARED, _OURS):
                os.environ.pop(name, None)


def metrics_text() -> bytes:
    """Return all figures, of all workers together."""
    registry = _registry
    if _SHARED in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # it has no types
    return generate_latest(registry)
