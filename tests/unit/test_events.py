"""Events, and the cells and figures that metrics make of them."""

from array import array

import pytest

from jetkv_gateway.telemetry.cells import Cells, clear_gauges
from jetkv_gateway.telemetry.events import Events
from jetkv_gateway.telemetry.exposition import Exposition
from jetkv_gateway.telemetry.families import Family, Kind, Layout
from jetkv_gateway.telemetry.prometheus import PrometheusListener, families


class Heard:
    """A listener to one event."""

    def __init__(self) -> None:
        self.times = 0

    def retried(self, times: int) -> None:
        self.times += times


def test_an_event_without_a_listener_is_none() -> None:
    events = Events()
    events.add(Heard())
    assert events.retried is not None
    assert events.feed_rebuilt is None


def test_all_listeners_hear_an_event() -> None:
    events, listeners = Events(), [Heard(), Heard()]
    for one in listeners:
        events.add(one)
    assert events.retried is not None
    events.retried(3)
    assert [one.times for one in listeners] == [3, 3]


def test_a_listener_that_two_gateways_add_hears_each_event_once_until_both_remove_it() -> None:
    events, one = Events(), Heard()
    events.add(one)
    events.add(one)
    events.remove(one)
    assert events.retried is not None
    events.retried(1)
    events.remove(one)
    assert one.times == 1
    assert events.retried is None


@pytest.fixture
def layout() -> Layout:
    return Layout(
        [
            Family("c", Kind.COUNTER, "a counter"),
            Family("largest", Kind.MAX, "a gauge"),
            Family("all", Kind.SUM, "a gauge"),
            Family("every", Kind.MIN, "a gauge"),
        ]
    )


def shared(layout: Layout, workers: int) -> tuple[memoryview, list[Cells]]:
    memory = memoryview(array("d", bytes(8 * layout.size * workers)))
    cells = [Cells(layout) for _ in range(workers)]
    for slot, one in enumerate(cells):
        one.share(memory, slot)
    return memory, cells


def lines(layout: Layout, cells: Cells) -> dict[str, str]:
    text, _ = Exposition(layout, cells, {}, 0.0).write("")
    pairs = [line.split() for line in text.decode().splitlines() if not line.startswith("#")]
    return dict(pairs)


def test_the_counts_of_workers_add_up_and_gauges_are_joined_as_they_say(layout: Layout) -> None:
    _, workers = shared(layout, 2)
    for count, one in zip((1.0, 2.0), workers, strict=True):
        one.own[0] = 1.0
        for name in layout.families:
            one.own[layout.first(name)] = count
    found = [lines(layout, one) for one in workers]
    assert found[0] == found[1]
    figures = {name: found[0][name] for name in ("c_total", "largest", "all", "every")}
    assert figures == {"c_total": "3.0", "largest": "2.0", "all": "3.0", "every": "1.0"}


def test_a_worker_that_ended_keeps_its_counts_and_loses_its_gauges(layout: Layout) -> None:
    memory, (one, other) = shared(layout, 2)
    for cells in (one, other):
        cells.own[0] = 1.0
        for name in layout.families:
            cells.own[layout.first(name)] = 1.0
    clear_gauges(layout, memory, 0)
    found = lines(layout, other)
    figures = {name: found[name] for name in ("c_total", "all", "every")}
    assert figures == {"c_total": "2.0", "all": "1.0", "every": "1.0"}


def test_memory_of_another_layout_is_refused(layout: Layout) -> None:
    memory = memoryview(array("d", bytes(8 * (layout.size + 1))))
    with pytest.raises(ValueError, match="another size"):
        Cells(layout).share(memory, 0)


def test_a_value_on_a_bound_is_in_its_bucket() -> None:
    layout = Layout(families({"/r": {"GET": (200,)}}))
    cells = Cells(layout)
    listener = PrometheusListener(layout, cells)
    for seconds in (0.001, 0.0011, 60.0):
        listener.request_ended("GET", "/r", 200, seconds, b"", None, ())
    found = lines(layout, cells)
    name = 'jetkv_http_request_duration_seconds_bucket{method="GET",route="/r",le="%s"}'
    assert [found[name % bound] for bound in ("0.0005", "0.001", "0.0025", "10.0", "+Inf")] == [
        "0.0",
        "1.0",
        "2.0",
        "2.0",
        "3.0",
    ]


def test_a_status_or_a_method_that_nobody_foresaw_is_counted_as_other() -> None:
    layout = Layout(families({"/r": {"GET": (200,)}}))
    cells = Cells(layout)
    PrometheusListener(layout, cells).request_ended("BREW", "/r", 418, 0.0, b"", None, ())
    name = 'jetkv_http_requests_total{method="other",route="/r",status="other"}'
    assert lines(layout, cells)[name] == "1.0"
