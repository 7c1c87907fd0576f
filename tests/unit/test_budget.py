"""Budgets that many share: nobody waits for one who waits, and nothing is lost."""

import asyncio

import pytest

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.budget import Budget, Hold, Reads, Share
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.connection import Connection, NatsOptions
from jetkv_gateway.kv.errors import TooManyRequests, Unavailable

MIB = 1024 * 1024


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_who_asks_first_is_served_first_also_before_a_smaller_one() -> None:
    budget = Budget(10)
    held = await budget.take(8)
    served: list[str] = []

    async def take(name: str, units: int) -> None:
        await budget.take(units)
        served.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(take("large", 9))
        await turns()
        assert budget.take_now(1) == 0
        group.create_task(take("small", 1))
        await turns()
        assert served == []
        budget.give(held)
    assert served == ["large", "small"]


async def test_who_asks_for_more_than_all_gets_all() -> None:
    budget = Budget(10)
    assert await budget.take(1000) == 10
    assert budget.take_now(1) == 0
    budget.give(10)
    assert budget.take_now(10) == 10


async def test_one_that_gives_up_waiting_lets_the_next_one_by() -> None:
    budget = Budget(10)
    await budget.take(8)
    large = asyncio.create_task(budget.take(5))
    await turns()
    small = asyncio.create_task(budget.take(2))
    await turns()
    large.cancel()
    async with asyncio.timeout(5):
        assert await small == 2


async def test_one_that_is_cancelled_as_its_turn_comes_takes_nothing_along() -> None:
    budget = Budget(10)
    await budget.take(10)
    waiting = asyncio.create_task(budget.take(10))
    await turns()
    budget.give(10)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.take_now(10) == 10


# --- what is held


def test_what_is_held_is_given_back_in_parts_and_once() -> None:
    budget = Budget(10)
    hold = Hold(budget, budget.take_now(8))
    hold.keep(3)
    assert budget.take_now(7) == 7
    budget.give(7)
    hold.keep(5)
    for _ in range(2):
        hold.keep(0)
    assert (budget.take_now(10), budget.take_now(1)) == (10, 0)


def test_what_is_held_moves_where_there_is_room() -> None:
    budget, other = Budget(10), Budget(10)
    hold = Hold(budget, budget.take_now(8))
    taken = other.take_now(5)
    hold.move(other)
    assert budget.take_now(3) == 0
    other.give(taken)
    hold.move(other)
    assert budget.take_now(10) == 10
    assert other.take_now(3) == 0
    hold.keep(0)
    assert other.take_now(10) == 10


# --- what a read is counted as


def test_a_message_that_nobody_has_read_counts_as_the_largest() -> None:
    assert Reads().unknown("b.", 2 * MIB).units == 2 * MIB


def test_a_message_counts_as_it_was_seen_until_a_larger_one_is_written() -> None:
    reads = Reads()
    reads.saw("b.", "b.k", 100, now=0.0)
    small = reads.known("b.k")
    assert small is not None
    assert 100 <= small.units < 4096
    reads.grows("b.", "b.k", MIB)
    large = reads.known("b.k")
    assert large is not None
    assert large.units >= MIB
    assert large.budget is not small.budget
    reads.grows("b.", "b.unread", MIB)
    assert reads.known("b.unread") is None


def test_what_was_seen_is_forgotten_in_time_and_bounded_in_number() -> None:
    reads = Reads()
    reads.saw("b.", "b.k", 100, now=1.0)
    for second in (20.0, 40.0):
        reads.saw("b.", "b.other", 100, now=second)
    assert reads.known("b.k") is None
    for number in range(50_000):
        reads.saw("b.", f"b.{number}", 100, now=41.0)
    assert sum(reads.known(f"b.{number}") is not None for number in range(50_000)) < 10_000


def test_large_reads_of_one_bucket_do_not_stand_before_small_ones_of_another() -> None:
    reads = Reads()
    reads.saw("small.", "small.k", 100, now=0.0)
    reads.saw("large.", "large.k", MIB, now=0.0)
    large = reads.unknown("large.", 2 * MIB)
    while large.budget.take_now(large.units):
        pass
    for share in (reads.unknown("small.", 2 * MIB), reads.known("small.k")):
        assert share is not None
        assert share.budget.take_now(share.units)


def test_histories_of_large_values_do_not_stand_before_those_of_a_bucket_of_small_ones() -> None:
    reads = Reads()
    large, small = reads.of_history(MIB), reads.of_history(4096)
    while large.budget.take_now(large.units):
        pass
    assert small.budget.take_now(small.units)
    for other in (reads.unknown("small.", 4096), reads.unknown("large.", MIB)):
        # Nor does one that is read slowly stand before a GET.
        assert other.budget not in (large.budget, small.budget)


async def test_a_read_that_finds_no_room_in_time_is_429_and_asks_nats_nothing() -> None:
    js = JetStream(Connection(NatsOptions(("nats://127.0.0.1:1",))), Naming(), 1.0)
    budget = Budget(10)
    held = budget.take_now(10)
    window = RetryWindow()
    window._end -= window.left - 0.05
    with pytest.raises(TooManyRequests) as refused:
        await js.call("STREAM.MSG.GET.KV_b", share=Share(budget, 5), window=window)
    assert refused.value.retry_after == 1
    budget.give(held)
    with pytest.raises(Unavailable):
        await js.call("STREAM.MSG.GET.KV_b", share=Share(budget, 5), window=window)
    assert budget.take_now(10) == 10
