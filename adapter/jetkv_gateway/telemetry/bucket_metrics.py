"""Counts requests of the buckets that a setting names (docs/metrics.md#buckets)."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import product

from jetkv_gateway.telemetry.cells import Cells
from jetkv_gateway.telemetry.families import BUCKETS, Family, Kind, Layout
from jetkv_gateway.telemetry.prometheus import METHODS, OTHER, STATUSES

__all__ = ["BucketListener", "bucket_families"]

_SUM = len(BUCKETS) + 1
_REQUESTS = "jetkv_bucket_requests"
_SECONDS = "jetkv_bucket_request_duration_seconds"
_OFTEN = {
    "GET": ("200", "404", "503", "504"),
    "PUT": ("200", "412", "503", "504"),
    "DELETE": ("204", "412", "503", "504"),
}
_PARAMETER = "{bucket}"


def bucket_families(buckets: Sequence[str]) -> list[Family]:
    """Return the metrics with the label `bucket`; none without buckets."""
    if not buckets:
        return []
    requests = [*product(buckets, METHODS, STATUSES)]
    often = {
        (bucket, method, status)
        for bucket in buckets
        for method, statuses in _OFTEN.items()
        for status in statuses
    }
    timed = [*product(buckets, METHODS)]
    return [
        Family(
            _REQUESTS,
            Kind.COUNTER,
            "Requests for a bucket that were answered, by the buckets that the settings name",
            ("bucket", "method", "status"),
            requests,
            frozenset(requests) - often,
        ),
        Family(
            _SECONDS,
            Kind.HISTOGRAM,
            "Time from the complete head of a request for a bucket to its answer",
            ("bucket", "method"),
            timed,
            frozenset(one for one in timed if one[1] not in _OFTEN),
        ),
    ]


class BucketListener:
    """Listens to `request_ended`, and counts the requests of some buckets."""

    def __init__(self, layout: Layout, cells: Cells) -> None:
        self._cells = cells.own
        self._requests = layout.cells(_REQUESTS)
        self._seconds = layout.cells(_SECONDS)
        self._buckets = frozenset(bucket for bucket, _ in self._seconds)

    def request_ended(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        _request_id: bytes,
        _reason: str | None,
        names: tuple[str, ...],
    ) -> None:
        if not names or names[0] not in self._buckets or _PARAMETER not in (route or ""):
            return
        bucket = names[0]
        if (bucket, method) not in self._seconds:
            method = OTHER
        cells, at = self._cells, self._seconds[bucket, method]
        cells[at + bisect_left(BUCKETS, seconds)] += 1.0
        cells[at + _SUM] += seconds
        counted = self._requests.get((bucket, method, str(status)))
        cells[self._requests[bucket, method, OTHER] if counted is None else counted] += 1.0
