"""The budget of what is under way from NATS: never exceeded, and everybody's turn comes."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.connection import Connection, NatsOptions
from jetkv_gateway.jetstream.credits import IN_FLIGHT_BYTES, CreditPool, CreditRequest, ReadCredits
from jetkv_gateway.jetstream.read_sizes import ReadSizes
from jetkv_gateway.kv.errors import TooManyRequests, Unavailable
from jetkv_gateway.stepping import Pending

MIB = 1024 * 1024
MAX_PENDING = 64 * MIB
"""What nats-server has for a connection before it ends it, by default."""


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def filled(pool: CreditPool, amount: int) -> int:
    """Take of a lane until there is no room; return how often."""
    times = 0
    while pool.try_acquire(amount):
        times += 1
    return times


async def test_the_first_to_ask_is_served_first_even_before_a_smaller_one() -> None:
    pool = ReadCredits(150).large
    held = await pool.acquire(12)
    served: list[str] = []

    async def take(name: str, amount: int) -> None:
        await pool.acquire(amount)
        served.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(take("large", 14))
        await turns()
        assert pool.try_acquire(1) == 0
        group.create_task(take("small", 1))
        await turns()
        assert served == []
        pool.release(held)
    assert served == ["large", "small"]


async def test_a_read_that_asks_for_more_than_its_lane_has_is_alone_in_it() -> None:
    pool = ReadCredits(150).large
    assert await pool.acquire(40) == 40
    assert pool.try_acquire(1) == 0
    pool.release(40)
    assert pool.try_acquire(10) == 10
    assert pool.try_acquire(40) == 0


async def test_a_read_that_asks_for_more_than_all_gets_all_but_what_live_feeds_have() -> None:
    credits = ReadCredits(100)
    assert await credits.small.acquire(1000) == credits.max_request
    assert credits.max_request + credits.live.capacity == 100
    assert credits.live.try_acquire(credits.live.capacity)


async def test_one_that_gives_up_waiting_lets_the_next_one_by() -> None:
    pool = ReadCredits(150).large
    await pool.acquire(10)
    large = asyncio.create_task(pool.acquire(14))
    await turns()
    small = asyncio.create_task(pool.acquire(2))
    await turns()
    large.cancel()
    async with asyncio.timeout(5):
        assert await small == 2


@pytest.mark.parametrize("later", range(2))
async def test_one_that_is_cancelled_as_its_turn_comes_takes_nothing_along(later: int) -> None:
    credits = ReadCredits(150)
    await credits.large.acquire(15)
    waiting = asyncio.create_task(credits.large.acquire(15))
    await turns()
    credits.large.release(15)
    for _ in range(later):
        await asyncio.sleep(0)
    assert waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert credits.large.try_acquire(15) == 15


async def test_a_wait_that_takes_too_long_ends_and_lets_the_next_one_by() -> None:
    pool = ReadCredits(150).large
    await pool.acquire(10)
    large = asyncio.create_task(pool.acquire(14, 0.1))
    await turns()
    small = asyncio.create_task(pool.acquire(2))
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            await large
        assert await small == 2


async def test_a_wait_without_a_task_goes_on_in_a_callback_of_its_own() -> None:
    pool = ReadCredits(150).large
    held = await pool.acquire(15)
    wait = pool.acquire(15)
    pending = wait.send(None)
    assert isinstance(pending, Pending)
    resumed: list[object] = []
    pending.resume = lambda: resumed.append(asyncio.current_task())
    pool.release(held)  # here, inside the Task of this test
    assert resumed == []
    await turns()
    assert resumed == [None]
    with pytest.raises(StopIteration) as ended:
        wait.send(None)
    assert ended.value.value == 15


async def test_small_ones_have_all_that_nobody_else_has_or_waits_for() -> None:
    credits = ReadCredits(100)
    assert filled(credits.small, 10) == 10
    waiting = asyncio.create_task(credits.large.acquire(10))
    await turns()
    # What comes back now goes to the one that waits; the small ones keep the rest.
    assert credits.small.try_acquire(1) == 0
    credits.small.release(12)
    async with asyncio.timeout(5):
        assert await waiting == 10
    assert credits.small.try_acquire(2) == 2


async def test_small_ones_do_not_wait_behind_large_ones_that_wait() -> None:
    credits = ReadCredits(100)
    assert filled(credits.large, 10) == 1
    waiting = [asyncio.create_task(credits.large.acquire(10)) for _ in range(50)]
    await turns()
    assert filled(credits.small, 10) >= 5
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert credits.waiting == 0


Asks = st.lists(
    st.tuples(st.sampled_from(["small", "large", "bulk"]), st.integers(1, 130)), max_size=40
)


@given(Asks, st.randoms(use_true_random=False), st.integers(20, 120))
def test_the_sum_never_goes_over_the_total_and_everybody_is_served(
    asks: list[tuple[str, int]], chance: random.Random, total: int
) -> None:
    async def run() -> None:
        credits = ReadCredits(total)
        held: list[tuple[CreditPool, int]] = []
        served: dict[str, list[int]] = {"small": [], "large": [], "bulk": []}
        cancelled: set[int] = set()

        async def take(number: int, name: str, amount: int) -> None:
            pool: CreditPool = getattr(credits, name)
            taken = await pool.acquire(amount)
            assert taken == min(amount, credits.max_request)
            held.append((pool, taken))
            served[name].append(number)
            # Others may have been granted theirs in the same moment.
            assert sum(amount for _, amount in held) <= total - credits.free <= total

        tasks = []
        for number, (name, amount) in enumerate(asks):
            tasks.append(asyncio.create_task(take(number, name, amount)))
            await turns()
            if held and chance.random() < 0.4:
                pool, amount = held.pop(chance.randrange(len(held)))
                pool.release(amount)
                await turns()
            if chance.random() < 0.1 and tasks[number].cancel():
                cancelled.add(number)
        for _ in range(20 * len(asks)):
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if held:
                pool, amount = held.pop(chance.randrange(len(held)))
                pool.release(amount)
        assert all(task.done() for task in tasks)
        assert [task.exception() for task in tasks if not task.cancelled()] == [None] * (
            len(tasks) - sum(task.cancelled() for task in tasks)
        )
        assert credits.free == total
        assert credits.waiting == 0
        for name, numbers in served.items():
            assert numbers == sorted(numbers)
            wanted = {number for number, ask in enumerate(asks) if ask[0] == name}
            assert set(numbers) >= wanted - cancelled

    asyncio.run(run())


# --- what was taken for small, and is not


def test_after_a_surprise_nothing_is_asked_for_until_all_is_here_and_then_less_at_a_time() -> None:
    credits = ReadCredits(100)
    assert filled(credits.small, 10) == 10
    credits.restrict_small()
    for _ in range(9):
        credits.small.release(10)
        assert credits.small.try_acquire(10) == 0
    credits.small.release(10)
    assert filled(credits.small, 10) == 2
    credits.lift_restriction()
    assert filled(credits.small, 10) == 8


async def test_a_read_that_waits_in_a_surprise_is_served_once_all_is_here() -> None:
    credits = ReadCredits(100)
    assert filled(credits.small, 10) == 10
    waiting = [asyncio.create_task(credits.small.acquire(10)) for _ in range(3)]
    await turns()
    credits.restrict_small()
    for _ in range(10):
        assert not any(task.done() for task in waiting)
        credits.small.release(10)
        await turns()
    assert [task.done() for task in waiting] == [True, True, False]
    credits.small.release(10)
    async with asyncio.timeout(5):
        await asyncio.gather(*waiting)


def test_an_answer_that_is_large_is_a_surprise_in_the_lane_of_the_small_ones_only() -> None:
    credits = ReadCredits()
    reads = ReadSizes(credits)
    reads.record_large(CreditRequest(credits.large, BOUND), now=0.0)
    assert credits.small.capacity == credits.total
    reads.record_large(CreditRequest(credits.small, BOUND), now=0.0)
    assert credits.small.capacity == 0
    for second in (10.0, 19.0):
        reads.record("b.", "b.k", 100, now=second)
        assert credits.small.capacity == 0
    reads.record("b.", "b.k", 100, now=40.0)
    assert credits.small.capacity == credits.total


# --- what is waited for no more


async def test_small_ones_that_are_late_keep_out_nobody() -> None:
    """As while a bucket has no leader, and reads of it wait."""
    credits = ReadCredits(100)
    late = credits.small.epoch
    assert filled(credits.small, 10) == 10
    waiting = [asyncio.create_task(credits.small.acquire(10)) for _ in range(12)]
    await turns()
    assert credits.has_abandoned
    credits.begin_reclaim()
    credits.small.release(10, late)
    await turns()
    newer = credits.small.epoch
    assert sum(task.done() for task in waiting) == 1
    credits.reclaim()
    await turns()
    assert sum(task.done() for task in waiting) == 10
    for _ in range(9):
        credits.small.release(10, late)  # it came, or was given up
    await turns()
    assert sum(task.done() for task in waiting) == 10
    for _ in range(12):
        credits.small.release(10, newer)
        await turns()
    assert credits.free == 100
    assert credits.small.taken == 0


async def test_what_is_granted_while_late_ones_are_reclaimed_counts_once() -> None:
    credits = ReadCredits(100)
    pool = credits.small
    late = pool.epoch
    assert filled(pool, 10) == 10

    async def read(until: asyncio.Event) -> None:
        taken = await pool.acquire(10)
        epoch = pool.epoch
        await until.wait()
        pool.release(taken, epoch)

    answered = asyncio.Event()
    reads = [asyncio.create_task(read(answered)) for _ in range(12)]
    await turns()
    credits.begin_reclaim()
    credits.reclaim()  # ten have their turn, and go on later
    credits.begin_reclaim()  # since two still wait
    reads[0].cancel()  # its turn has come, and it does not go on
    await turns()
    answered.set()
    await asyncio.gather(*reads, return_exceptions=True)
    credits.reclaim()
    for _ in range(10):
        pool.release(10, late)
    assert credits.free == credits.total
    assert pool.taken == 0
    assert filled(pool, 10) == 10


def test_what_was_left_is_kept_until_it_is_known_not_to_be_under_way() -> None:
    credits = ReadCredits(150)
    pool = credits.large
    assert pool.try_acquire(15)
    pool.abandon(15)
    assert credits.has_abandoned
    credits.begin_reclaim()
    pool.abandon(0)
    assert pool.try_acquire(1) == 0
    credits.reclaim()
    assert pool.try_acquire(15) == 15
    pool.release(15)
    assert credits.free == 150
    assert not credits.has_abandoned


async def test_nothing_is_reclaimed_on_a_connection_that_is_closed() -> None:
    js = JetStream(Connection(NatsOptions(("nats://127.0.0.1:1",))), Naming(), 5.0)
    taken = js.credits.large.try_acquire(10)
    js.abandon(js.credits.large, taken)
    assert js._reclaiming is not None
    async with asyncio.timeout(5):
        await js._reclaiming


# --- live feeds


async def test_ten_thousand_live_feeds_have_a_share_and_together_no_more_than_their_part() -> None:
    credits = ReadCredits()
    shares = [await credits.open_feed() for _ in range(10_000)]
    assert all(shares)
    assert sum(shares) == credits.live.taken <= credits.live.capacity
    assert shares[0] == 256 * 1024
    for credit in shares:
        credits.close_feed(credit)
    assert credits.free == credits.total


@settings(max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(8, 64))
def test_live_feeds_that_come_and_go_never_have_more_than_their_part(
    chance: random.Random, mib: int
) -> None:
    async def run() -> None:
        credits = ReadCredits(mib * MIB)
        shares: list[int] = []
        for _ in range(200):
            if shares and chance.random() < 0.4:
                credits.close_feed(shares.pop(chance.randrange(len(shares))))
            else:
                shares.append(await credits.open_feed())
                assert shares[-1] > 0
            assert sum(shares) == credits.live.taken <= credits.live.capacity

    asyncio.run(run())


async def test_a_live_feed_that_finds_no_share_is_told_so() -> None:
    credits = ReadCredits(8 * MIB)
    shares: list[int] = []
    while credit := await credits.open_feed():
        shares.append(credit)
    assert len(shares) > 1000
    credits.close_feed(shares.pop())
    assert await credits.open_feed() > 0


async def test_a_live_feed_gets_its_share_although_small_reads_take_all() -> None:
    credits = ReadCredits(100 * MIB)
    reads = filled(credits.small, MIB)
    opening = asyncio.create_task(credits.open_feed())
    await turns()
    assert not opening.done()
    credits.small.release(MIB)
    async with asyncio.timeout(5):
        assert await opening > 0
    assert reads == 100


# --- what a read is counted as

BOUND = 4 * MIB // 3


def test_what_is_under_way_stays_below_what_a_server_allows() -> None:
    credits = ReadCredits()
    often = (credits.large, credits.bulk, credits.live)
    # What is here may still count, beside what was asked for again.
    assert IN_FLIGHT_BYTES + sum(pool.capacity for pool in often) < MAX_PENDING - 4 * MIB
    cautious = 2 * (IN_FLIGHT_BYTES // 4 + sum(pool.capacity for pool in often))
    assert cautious < MAX_PENDING - 4 * MIB


@pytest.mark.parametrize("size", [100, MIB])
def test_a_read_takes_the_largest_that_can_come_whatever_was_seen(size: int) -> None:
    reads = ReadSizes(ReadCredits())
    assert reads.credit("b.", BOUND, "b.k").amount == BOUND
    reads.record("b.", "b.k", size, now=0.0)
    assert reads.credit("b.", BOUND, "b.k").amount == BOUND
    assert reads.credit("b.", 2 * BOUND, "b.k").amount == 2 * BOUND


def test_all_reads_of_keys_known_small_are_within_what_a_server_allows() -> None:
    credits = ReadCredits()
    reads = ReadSizes(credits)
    for number in range(200):
        reads.record("b.", f"b.{number}", 100, now=0.0)
    shares = [reads.credit("b.", BOUND, f"b.{number}") for number in range(200)]
    under_way = sum(credit.pool.try_acquire(credit.amount) for credit in shares)
    assert 32 * BOUND <= under_way <= IN_FLIGHT_BYTES


def test_a_message_waits_with_those_of_its_size_until_a_larger_one_is_written() -> None:
    credits = ReadCredits()
    reads = ReadSizes(credits)
    reads.record("b.", "b.k", 100, now=0.0)
    assert reads.credit("b.", BOUND, "b.k").pool is credits.small
    reads.record_write("b.", "b.k", MIB)
    assert reads.credit("b.", BOUND, "b.k").pool is credits.large


def test_what_is_written_large_is_read_as_large_in_a_bucket_of_small_messages() -> None:
    credits = ReadCredits()
    reads = ReadSizes(credits)
    assert reads.credit("b.", BOUND, "b.k", 200).pool is credits.small
    reads.record_write("b.", "b.k", 100)
    assert reads.credit("b.", BOUND, "b.k", 200).pool is credits.small
    reads.record_write("b.", "b.k", MIB)
    assert reads.credit("b.", BOUND, "b.k", 200).pool is credits.large


def test_a_message_that_nobody_has_read_is_as_large_as_what_was_seen_in_its_bucket() -> None:
    credits = ReadCredits()
    reads = ReadSizes(credits)
    assert reads.credit("b.", BOUND, "b.k").pool is credits.large
    assert reads.credit("b.", 4096, "b.k").pool is credits.small
    reads.record("b.", "b.other", 100, now=0.0)
    assert reads.credit("b.", BOUND, "b.k").pool is credits.small
    reads.record("b.", "b.large", MIB, now=0.0)
    assert reads.credit("b.", BOUND, "b.k").pool is credits.large
    assert reads.credit("b.", BOUND).pool is credits.large


def test_a_bucket_that_nobody_has_read_is_taken_by_what_it_usually_holds() -> None:
    credits = ReadCredits()
    reads = ReadSizes(credits)
    assert reads.credit("b.", BOUND, "b.k", 200).pool is credits.small
    assert reads.credit("b.", BOUND, "b.k", MIB).pool is credits.large
    reads.record("b.", "b.large", MIB, now=0.0)
    assert reads.credit("b.", BOUND, "b.k", 200).pool is credits.large


@pytest.mark.parametrize(("average", "is_small"), [(16 * 1024 + 100, True), (24 * 1024, False)])
def test_messages_are_mostly_small_where_their_average_is(average: int, is_small: bool) -> None:
    credits = ReadCredits()
    reads = ReadSizes(credits)
    assert (reads.credit("b.", BOUND, "b.k", average).pool is credits.small) is is_small
    assert reads.tells_apart("b.", average) is not is_small


def test_small_messages_that_were_read_say_nothing_of_others_in_a_bucket_of_large_ones() -> None:
    credits = ReadCredits()
    reads = ReadSizes(credits)
    reads.record("b.", "b.small", 100, now=0.0)
    assert reads.credit("b.", BOUND, "b.small", MIB).pool is credits.small
    assert reads.credit("b.", BOUND, "b.k", MIB).pool is credits.large
    assert reads.credit("b.", BOUND, "b.k", 200).pool is credits.small


def test_what_was_seen_is_forgotten_in_time_and_bounded_in_number() -> None:
    credits = ReadCredits()
    reads = ReadSizes(credits)
    reads.record("a.", "a.k", 100, now=1.0)
    for second in (20.0, 40.0):
        reads.record("b.", "b.other", 100, now=second)
    assert reads.credit("a.", BOUND, "a.k").pool is credits.large
    for number in range(50_000):
        reads.record("b.", f"b.{number}", 100, now=41.0)
    assert len(reads.seen) + len(reads._seen_before) < 10_000


async def test_a_read_that_finds_no_room_in_time_is_429_and_asks_nats_nothing() -> None:
    js = JetStream(Connection(NatsOptions(("nats://127.0.0.1:1",))), Naming(), 1.0)
    pool = ReadCredits(150).large
    held = pool.try_acquire(15)
    window = RetryWindow()
    window.began -= window.left - 0.05
    with pytest.raises(TooManyRequests) as refused:
        await js.call("STREAM.MSG.GET.KV_b", credit=CreditRequest(pool, 5), window=window)
    assert refused.value.retry_after == 1
    pool.release(held)
    with pytest.raises(Unavailable):
        await js.call("STREAM.MSG.GET.KV_b", credit=CreditRequest(pool, 5), window=window)
    assert pool.try_acquire(15) == 15
