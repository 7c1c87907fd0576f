"""The span in the message of a write."""

from collections.abc import Iterator

import pytest

from jetkv_gateway.jetstream.headers import read_headers, write_headers
from jetkv_gateway.jetstream.requests import HEADER_RESERVE
from jetkv_gateway.jetstream.trace_headers import with_trace_context
from jetkv_gateway.telemetry.events import EVENTS

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


class Names:
    def write_context(self) -> bytes:
        return TRACEPARENT.encode()


@pytest.fixture(autouse=True)
def _named() -> Iterator[None]:
    listener = Names()
    EVENTS.add(listener)
    yield
    EVENTS.remove(listener)


def test_the_span_is_one_more_header() -> None:
    block = with_trace_context(write_headers({"A": "b"}))
    assert read_headers(block) == {"A": "b", "traceparent": TRACEPARENT}


def test_a_block_that_has_no_room_stays_as_it_is_and_no_block_grows_over_the_reserve() -> None:
    sizes = []
    for length in range(900, HEADER_RESERVE - 20):
        block = write_headers({"A": "b" * length})
        assert len(with_trace_context(block)) <= HEADER_RESERVE
        sizes.append(len(with_trace_context(block)) - len(block))
    assert set(sizes) == {0, len(f"traceparent: {TRACEPARENT}\r\n")}
