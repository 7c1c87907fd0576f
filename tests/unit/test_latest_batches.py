"""The batches of readers of the newest values: they fit, or have a limit of bytes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.jetstream import latest_batches
from jetkv_gateway.jetstream.credits import ReadCredits
from jetkv_gateway.jetstream.latest_batches import LatestBatches

KIB = 1024
MIB = 1024 * KIB


@given(
    st.integers(1, 128), st.integers(KIB, 64 * MIB), st.integers(0, 64 * MIB), st.integers(1, 1000)
)
def test_a_batch_has_a_limit_that_every_message_fits_into_or_is_small_in_the_worst_case(
    most: int, largest: int, average: int, budget: int
) -> None:
    credits = ReadCredits(budget * KIB)
    messages, size = LatestBatches(credits).batch("b", most, largest, average)
    assert 1 <= messages <= most
    if size is None:
        assert messages == 1 or messages * largest <= credits.bulk.capacity
    else:
        assert size > largest


def test_small_messages_come_many_at_a_time_and_large_ones_as_few_as_fit() -> None:
    batches = LatestBatches(ReadCredits())
    assert batches.batch("b", 64, MIB, 200) == (64, MIB + 128 * KIB)
    assert batches.batch("b", 64, MIB, 8 * KIB) == (8, MIB + 128 * KIB)
    assert batches.batch("b", 64, MIB, 500 * KIB) == (4, None)
    # Where the bucket's limit is low, even the largest messages fit.
    assert batches.batch("b", 64, 10 * KIB, 200) == (64, None)


async def test_a_bucket_whose_messages_exceeded_a_batch_gets_small_ones_for_some_minutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = LatestBatches(ReadCredits())
    batches.note_exceeded("b")
    assert batches.batch("b", 64, MIB, 200) == (4, None)
    assert batches.batch("other", 64, MIB, 200).bytes
    clock: Any = type("Clock", (), {"time": staticmethod(lambda: 1e9)})
    monkeypatch.setattr(latest_batches.asyncio, "get_running_loop", lambda: clock)
    assert batches.batch("b", 64, MIB, 200).messages == 64


async def test_what_is_remembered_of_buckets_is_bounded() -> None:
    batches = LatestBatches(ReadCredits())
    for n in range(3000):
        batches.note_exceeded(f"b{n}")
    assert len(batches._exceeded) <= 1024
    assert batches.batch("b2999", 64, MIB, 200).bytes is None
    assert batches.batch("b0", 64, MIB, 200).bytes is not None
