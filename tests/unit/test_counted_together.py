"""What ends in one turn of the event loop is counted together, and to the same figures."""

from bisect import bisect_left
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.telemetry.cells import Cells
from jetkv_gateway.telemetry.families import BUCKETS, Layout
from jetkv_gateway.telemetry.prometheus import OTHER, PrometheusListener, families

ROUTE = "/keys/{key...}"
REQUESTS = "jetkv_http_requests"
TIMES = "jetkv_http_request_duration_seconds"
CALLS = "jetkv_nats_request_duration_seconds"
FAILURES = "jetkv_nats_errors"


class _Worker:
    def __init__(self) -> None:
        self.layout = Layout(families({ROUTE: {"GET": [200, 404]}}))
        self.cells = Cells(self.layout)
        self.listener = PrometheusListener(self.layout, self.cells)
        self.soon: list[Callable[[], None]] = []
        self.listener.call_soon = self.soon.append

    def answered(self, seconds: float, method: str = "GET", status: int = 200) -> None:
        self.listener.request_ended(method, ROUTE, status, seconds, b"id", None, ("k",))

    def figures(self, family: str, *labels: str) -> list[float]:
        """The cells of a series."""
        first = self.layout.cells(family)[labels]
        return self.cells.own[first : first + self.layout.families[family].cells].tolist()


def _histogram(times: list[float]) -> list[float]:
    counts = [0.0] * (len(BUCKETS) + 1)
    for seconds in times:
        counts[bisect_left(BUCKETS, seconds)] += 1
    return [*counts, pytest.approx(sum(times))]


_SECONDS = st.one_of(st.sampled_from([0.0, *BUCKETS, 60.0]), st.floats(0, 20))


@given(turns=st.lists(st.lists(_SECONDS, max_size=20), max_size=4))
def test_any_number_of_times_in_a_turn_is_counted_as_one_by_one(turns: list[list[float]]) -> None:
    worker = _Worker()
    for turn in turns:
        for seconds in turn:
            worker.answered(seconds)
            worker.listener.nats_call_ended("get", seconds, None)
        worker.listener.settle()
    every = [seconds for turn in turns for seconds in turn]
    assert worker.figures(REQUESTS, "GET", ROUTE, "200") == [len(every)]
    assert worker.figures(TIMES, "GET", ROUTE) == _histogram(every)
    assert worker.figures(CALLS, "get") == _histogram(every)


def test_a_turn_is_settled_once_whatever_ends_in_it() -> None:
    worker = _Worker()
    for _ in range(3):
        worker.listener.nats_call_ended("get", 0.001, None)
        worker.answered(0.002)
        worker.answered(0.002, status=404)
    assert worker.soon == [worker.listener.settle]
    worker.soon.pop()()
    worker.answered(0.002)
    assert worker.soon == [worker.listener.settle]


def test_what_clients_choose_is_counted_as_other() -> None:
    worker = _Worker()
    for method, status in (("BREW", 418), ("BREW", 418), ("STEEP", 200), ("GET", 418)):
        worker.answered(0.1, method, status)
    worker.listener.nats_call_ended("brew", 0.1, None)
    worker.listener.settle()
    assert worker.figures(REQUESTS, OTHER, ROUTE, OTHER) == [2]
    assert worker.figures(REQUESTS, OTHER, ROUTE, "200") == [1]
    assert worker.figures(REQUESTS, "GET", ROUTE, OTHER) == [1]
    assert worker.figures(TIMES, OTHER, ROUTE) == _histogram([0.1] * 3)
    assert worker.figures(CALLS, OTHER) == _histogram([0.1])


def test_a_call_that_fails_is_counted_by_its_failure_too() -> None:
    worker = _Worker()
    worker.listener.nats_call_ended("publish", 5.0, "timeout")
    worker.listener.nats_call_ended("publish", 0.001, None)
    assert worker.cells.read() == [worker.cells.own[: worker.layout.size].tolist()]
    assert worker.figures(FAILURES, "timeout") == [1]
    assert worker.figures(CALLS, "publish") == _histogram([5.0, 0.001])
