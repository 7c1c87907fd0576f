"""The budget of what is under way from NATS: never exceeded, and everybody's turn comes."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.budget import READING_BYTES, Budget, Lane, Share
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.connection import Connection, NatsOptions
from jetkv_gateway.jetstream.sizes import Reads
from jetkv_gateway.kv.errors import TooManyRequests, Unavailable

MIB = 1024 * 1024
MAX_PENDING = 64 * MIB
"""What nats-server has for a connection before it ends it, by default."""


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def filled(lane: Lane, units: int) -> int:
    """Take of a lane until there is no room; return how often."""
    times = 0
    while lane.take_now(units):
        times += 1
    return times


async def test_the_first_to_ask_is_served_first_even_before_a_smaller_one() -> None:
    lane = Budget(150).large
    held = await lane.take(12)
    served: list[str] = []

    async def take(name: str, units: int) -> None:
        await lane.take(units)
        served.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(take("large", 14))
        await turns()
        assert lane.take_now(1) == 0
        group.create_task(take("small", 1))
        await turns()
        assert served == []
        lane.give(held)
    assert served == ["large", "small"]


async def test_a_read_that_asks_for_more_than_its_lane_has_is_alone_in_it() -> None:
    lane = Budget(150).large
    assert await lane.take(40) == 40
    assert lane.take_now(1) == 0
    lane.give(40)
    assert lane.take_now(10) == 10
    assert lane.take_now(40) == 0


async def test_a_read_that_asks_for_more_than_all_gets_all_but_what_live_feeds_have() -> None:
    budget = Budget(100)
    assert await budget.small.take(1000) == budget.most
    assert budget.most + budget.standing.part == 100
    assert budget.standing.take_now(budget.standing.part)


async def test_one_that_gives_up_waiting_lets_the_next_one_by() -> None:
    lane = Budget(150).large
    await lane.take(10)
    large = asyncio.create_task(lane.take(14))
    await turns()
    small = asyncio.create_task(lane.take(2))
    await turns()
    large.cancel()
    async with asyncio.timeout(5):
        assert await small == 2


async def test_one_that_is_cancelled_as_its_turn_comes_takes_nothing_along() -> None:
    budget = Budget(150)
    await budget.large.take(15)
    waiting = asyncio.create_task(budget.large.take(15))
    await turns()
    budget.large.give(15)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert budget.large.take_now(15) == 15


async def test_small_ones_have_all_that_nobody_else_has_or_waits_for() -> None:
    budget = Budget(100)
    assert filled(budget.small, 10) == 10
    waiting = asyncio.create_task(budget.large.take(10))
    await turns()
    # What comes back now goes to the one that waits; the small ones keep the rest.
    assert budget.small.take_now(1) == 0
    budget.small.give(12)
    async with asyncio.timeout(5):
        assert await waiting == 10
    assert budget.small.take_now(2) == 2


async def test_small_ones_do_not_wait_behind_large_ones_that_wait() -> None:
    budget = Budget(100)
    assert filled(budget.large, 10) == 1
    waiting = [asyncio.create_task(budget.large.take(10)) for _ in range(50)]
    await turns()
    assert filled(budget.small, 10) >= 5
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert budget.waiting == 0


Asks = st.lists(
    st.tuples(st.sampled_from(["small", "large", "feeds"]), st.integers(1, 130)), max_size=40
)


@given(Asks, st.randoms(use_true_random=False), st.integers(20, 120))
def test_the_sum_never_goes_over_the_total_and_everybody_is_served(
    asks: list[tuple[str, int]], chance: random.Random, total: int
) -> None:
    async def run() -> None:
        budget = Budget(total)
        held: list[tuple[Lane, int]] = []
        served: dict[str, list[int]] = {"small": [], "large": [], "feeds": []}
        cancelled: set[int] = set()

        async def take(number: int, name: str, units: int) -> None:
            lane: Lane = getattr(budget, name)
            taken = await lane.take(units)
            assert taken == min(units, budget.most)
            held.append((lane, taken))
            served[name].append(number)
            assert sum(units for _, units in held) == total - budget.free
            assert budget.free >= 0

        tasks = []
        for number, (name, units) in enumerate(asks):
            tasks.append(asyncio.create_task(take(number, name, units)))
            await asyncio.sleep(0)
            if held and chance.random() < 0.4:
                lane, units = held.pop(chance.randrange(len(held)))
                lane.give(units)
            if chance.random() < 0.1 and tasks[number].cancel():
                cancelled.add(number)
        for _ in range(20 * len(asks)):
            await asyncio.sleep(0)
            if held:
                lane, units = held.pop(chance.randrange(len(held)))
                lane.give(units)
        assert all(task.done() for task in tasks)
        assert budget.free == total
        assert budget.waiting == 0
        for name, numbers in served.items():
            assert numbers == sorted(numbers)
            wanted = {number for number, ask in enumerate(asks) if ask[0] == name}
            assert set(numbers) >= wanted - cancelled

    asyncio.run(run())


# --- what was taken for small, and is not


def test_after_a_surprise_nothing_is_asked_for_until_all_is_here_and_then_less_at_a_time() -> None:
    budget = Budget(100)
    assert filled(budget.small, 10) == 10
    budget.surprise()
    for _ in range(9):
        budget.small.give(10)
        assert budget.small.take_now(10) == 0
    budget.small.give(10)
    assert filled(budget.small, 10) == 2
    budget.trust()
    assert filled(budget.small, 10) == 8


async def test_a_read_that_waits_in_a_surprise_is_served_once_all_is_here() -> None:
    budget = Budget(100)
    assert filled(budget.small, 10) == 10
    waiting = [asyncio.create_task(budget.small.take(10)) for _ in range(3)]
    await turns()
    budget.surprise()
    for _ in range(10):
        assert not any(task.done() for task in waiting)
        budget.small.give(10)
        await turns()
    assert [task.done() for task in waiting] == [True, True, False]
    budget.small.give(10)
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)


def test_an_answer_that_is_large_is_a_surprise_in_the_lane_of_the_small_ones_only() -> None:
    budget = Budget()
    reads = Reads(budget)
    reads.came_large(Share(budget.large, BOUND), now=0.0)
    assert budget.small.part == budget.total
    reads.came_large(Share(budget.small, BOUND), now=0.0)
    assert budget.small.part == 0
    for second in (10.0, 19.0):
        reads.saw("b.", "b.k", 100, now=second)
        assert budget.small.part == 0
    reads.saw("b.", "b.k", 100, now=40.0)
    assert budget.small.part == budget.total


# --- what is waited for no more


async def test_small_ones_that_are_late_keep_out_nobody() -> None:
    """As while a bucket has no leader, and reads of it wait."""
    budget = Budget(100)
    late = budget.small.epoch
    assert filled(budget.small, 10) == 10
    waiting = [asyncio.create_task(budget.small.take(10)) for _ in range(12)]
    await turns()
    assert budget.unsettled
    budget.begin_settling()
    budget.small.give(10, late)
    await turns()
    newer = budget.small.epoch
    assert sum(task.done() for task in waiting) == 1
    budget.settle()
    await turns()
    assert sum(task.done() for task in waiting) == 10
    for _ in range(9):
        budget.small.give(10, late)  # it came, or was given up
    await turns()
    assert sum(task.done() for task in waiting) == 10
    for _ in range(12):
        budget.small.give(10, newer)
        await turns()
    assert budget.free == 100
    assert budget.small.taken == 0


def test_what_was_left_is_kept_until_it_is_known_not_to_be_under_way() -> None:
    budget = Budget(150)
    lane = budget.large
    assert lane.take_now(15)
    lane.leave(15)
    assert budget.unsettled
    budget.begin_settling()
    lane.leave(0)
    assert lane.take_now(1) == 0
    budget.settle()
    assert lane.take_now(15) == 15
    lane.give(15)
    assert budget.free == 150
    assert not budget.unsettled


# --- live feeds


async def test_ten_thousand_live_feeds_have_a_share_and_together_no_more_than_their_part() -> None:
    budget = Budget()
    shares = [await budget.open_feed() for _ in range(10_000)]
    assert all(shares)
    assert sum(shares) == budget.standing.taken <= budget.standing.part
    assert shares[0] == 256 * 1024
    for share in shares:
        budget.close_feed(share)
    assert budget.free == budget.total


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(8, 64))
def test_live_feeds_that_come_and_go_never_have_more_than_their_part(
    chance: random.Random, mib: int
) -> None:
    async def run() -> None:
        budget = Budget(mib * MIB)
        shares: list[int] = []
        for _ in range(200):
            if shares and chance.random() < 0.4:
                budget.close_feed(shares.pop(chance.randrange(len(shares))))
            else:
                shares.append(await budget.open_feed())
                assert shares[-1] > 0
            assert sum(shares) == budget.standing.taken <= budget.standing.part

    asyncio.run(run())


async def test_a_live_feed_that_finds_no_share_is_told_so() -> None:
    budget = Budget(8 * MIB)
    shares: list[int] = []
    while share := await budget.open_feed():
        shares.append(share)
    assert len(shares) > 1000
    budget.close_feed(shares.pop())
    assert await budget.open_feed() > 0


async def test_a_live_feed_gets_its_share_although_small_reads_take_all() -> None:
    budget = Budget(100 * MIB)
    reads = filled(budget.small, MIB)
    opening = asyncio.create_task(budget.open_feed())
    await turns()
    assert not opening.done()
    budget.small.give(MIB)
    async with asyncio.timeout(5):
        assert await opening > 0
    assert reads == 100


# --- what a read is counted as

BOUND = 4 * MIB // 3


def test_what_is_under_way_stays_below_what_a_server_allows() -> None:
    budget = Budget()
    often = (budget.large, budget.feeds, budget.standing)
    # What is here may still count, beside what was asked for again.
    assert READING_BYTES + sum(lane.part for lane in often) < MAX_PENDING - 4 * MIB
    cautious = 2 * (READING_BYTES // 4 + sum(lane.part for lane in often))
    assert cautious < MAX_PENDING - 4 * MIB


@pytest.mark.parametrize("size", [100, MIB])
def test_a_read_takes_the_largest_that_can_come_whatever_was_seen(size: int) -> None:
    reads = Reads(Budget())
    assert reads.share("b.", BOUND, "b.k").units == BOUND
    reads.saw("b.", "b.k", size, now=0.0)
    assert reads.share("b.", BOUND, "b.k").units == BOUND
    assert reads.share("b.", 2 * BOUND, "b.k").units == 2 * BOUND


def test_all_reads_of_keys_known_small_are_within_what_a_server_allows() -> None:
    budget = Budget()
    reads = Reads(budget)
    for number in range(200):
        reads.saw("b.", f"b.{number}", 100, now=0.0)
    shares = [reads.share("b.", BOUND, f"b.{number}") for number in range(200)]
    under_way = sum(share.lane.take_now(share.units) for share in shares)
    assert 32 * BOUND <= under_way <= READING_BYTES


def test_a_message_waits_with_those_of_its_size_until_a_larger_one_is_written() -> None:
    budget = Budget()
    reads = Reads(budget)
    reads.saw("b.", "b.k", 100, now=0.0)
    assert reads.share("b.", BOUND, "b.k").lane is budget.small
    reads.grows("b.", "b.k", MIB)
    assert reads.share("b.", BOUND, "b.k").lane is budget.large


def test_a_message_that_nobody_has_read_is_as_large_as_what_was_seen_in_its_bucket() -> None:
    budget = Budget()
    reads = Reads(budget)
    assert reads.share("b.", BOUND, "b.k").lane is budget.large
    assert reads.share("b.", 4096, "b.k").lane is budget.small
    reads.saw("b.", "b.other", 100, now=0.0)
    assert reads.share("b.", BOUND, "b.k").lane is budget.small
    reads.saw("b.", "b.large", MIB, now=0.0)
    assert reads.share("b.", BOUND, "b.k").lane is budget.large
    assert reads.share("b.", BOUND).lane is budget.large


def test_a_bucket_that_nobody_has_read_is_taken_by_what_it_usually_holds() -> None:
    budget = Budget()
    reads = Reads(budget)
    assert reads.share("b.", BOUND, "b.k", 200).lane is budget.small
    assert reads.share("b.", BOUND, "b.k", MIB).lane is budget.large
    reads.saw("b.", "b.large", MIB, now=0.0)
    assert reads.share("b.", BOUND, "b.k", 200).lane is budget.large


def test_small_messages_that_were_read_say_nothing_of_others_in_a_bucket_of_large_ones() -> None:
    budget = Budget()
    reads = Reads(budget)
    reads.saw("b.", "b.small", 100, now=0.0)
    assert reads.share("b.", BOUND, "b.small", MIB).lane is budget.small
    assert reads.share("b.", BOUND, "b.k", MIB).lane is budget.large
    assert reads.share("b.", BOUND, "b.k", 200).lane is budget.small


def test_what_was_seen_is_forgotten_in_time_and_bounded_in_number() -> None:
    budget = Budget()
    reads = Reads(budget)
    reads.saw("a.", "a.k", 100, now=1.0)
    for second in (20.0, 40.0):
        reads.saw("b.", "b.other", 100, now=second)
    assert reads.share("a.", BOUND, "a.k").lane is budget.large
    for number in range(50_000):
        reads.saw("b.", f"b.{number}", 100, now=41.0)
    assert len(reads._seen) + len(reads._seen_before) < 10_000


async def test_a_read_that_finds_no_room_in_time_is_429_and_asks_nats_nothing() -> None:
    js = JetStream(Connection(NatsOptions(("nats://127.0.0.1:1",))), Naming(), 1.0)
    lane = Budget(150).large
    held = lane.take_now(15)
    window = RetryWindow()
    window._end -= window.left - 0.05
    with pytest.raises(TooManyRequests) as refused:
        await js.call("STREAM.MSG.GET.KV_b", share=Share(lane, 5), window=window)
    assert refused.value.retry_after == 1
    lane.give(held)
    with pytest.raises(Unavailable):
        await js.call("STREAM.MSG.GET.KV_b", share=Share(lane, 5), window=window)
    assert lane.take_now(15) == 15
