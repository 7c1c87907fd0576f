"""Moments as text, as nats-server writes them."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.jetstream.expiry import seconds_of
from jetkv_gateway.kv.timestamps import rfc3339


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_500_000_000, "1970-01-01T00:00:01.5Z"),
        (1_764_410_137_872_769_441, "2025-11-29T09:55:37.872769441Z"),
        (10_000_000_000, "1970-01-01T00:00:10Z"),
    ],
)
def test_a_moment_has_no_more_digits_than_it_needs(nanoseconds: int, text: str) -> None:
    assert rfc3339(nanoseconds) == text


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_moment_is_read_as_it_was_written(microseconds: int) -> None:
    text = rfc3339(microseconds * 1000)
    assert datetime.fromisoformat(text).timestamp() == seconds_of(text)
    assert round(seconds_of(text) * 1_000_000) == microseconds
