"""What watches missed, read for many of them at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from random import Random

import pytest

from jetkv_gateway.kv.errors import Unavailable
from jetkv_gateway.kv.filters import EVERYTHING, Filter, compile_filter
from jetkv_gateway.kv.model import Change, Operation
from jetkv_gateway.kv.store import FeedBatch, NewestRevision
from jetkv_gateway.watch.shared import SharedChanges
from tests.support.changes import Unasked


class Stored(Unasked):
    """A bucket that counts its reads and returns a few changes at a time."""

    def __init__(self, keys: Sequence[str], *, size: int = 10) -> None:
        self.changes = [
            Change(key, b"v" * size, revision, Operation.PUT)
            for revision, key in enumerate(keys, 1)
        ]
        self.error: Exception | None = None
        self.opened: list[tuple[int, tuple[str, ...]]] = []
        self.open = 0

    @property
    def last(self) -> int:
        return len(self.changes)

    async def newest(self, bucket: str) -> NewestRevision | None:
        return NewestRevision(self.last, self.changes[-1].key)

    @asynccontextmanager
    async def follow(
        self,
        bucket: str,
        *,
        after: int,
        latest: bool = False,
        filters: Sequence[Filter] = (EVERYTHING,),
        through: NewestRevision | None = None,
        fast_heartbeat: bool = False,
    ) -> AsyncIterator["Part"]:
        self.opened.append((after, tuple(sorted(keep.text for keep in filters))))
        self.open += 1
        try:
            yield Part(self, after, filters)
        finally:
            self.open -= 1


class Part:
    """What one feed delivers."""

    def __init__(self, stored: Stored, after: int, filters: Sequence[Filter]) -> None:
        self.stored = stored
        self.reached = after
        self.filters = filters

    async def read(self) -> FeedBatch:
        await asyncio.sleep(0)
        if self.stored.error is not None:
            raise self.stored.error
        some = self.stored.changes[self.reached : self.reached + 7]
        self.reached += len(some)
        wanted = [one for one in some if any(keep.matches(one.key) for keep in self.filters)]
        return FeedBatch(wanted, self.reached, 5.0, _expired([one.revision for one in wanted]))


def _expired(revisions: list[int]) -> frozenset[int]:
    return frozenset(revision for revision in revisions if revision % 3 == 0)


async def caught_up(shared: SharedChanges, after: int, *filters: str) -> list[int]:
    """Return the revisions that a watch reads."""
    compiled = tuple(compile_filter(text) for text in filters)
    newest = await shared.newest("b")
    assert newest is not None
    found: list[int] = []
    async with shared.follow("b", after=after, filters=compiled, through=newest) as feed:
        reached = after
        while reached < newest.revision:
            changes, reached, as_of, expired = await feed.read()
            assert as_of == 5.0
            some = [one.revision for one in changes if any(f.matches(one.key) for f in compiled)]
            assert expired >= _expired(some)
            found += some
            await asyncio.sleep(0)
    return found


async def test_those_that_come_back_together_are_read_for_together() -> None:
    stored = Stored([f"g{number % 5}.k" for number in range(100)])
    shared = SharedChanges(stored)
    watches = [caught_up(shared, 40 + number % 5, f"g{number % 5}.>") for number in range(200)]
    found = await asyncio.gather(*watches)
    assert stored.opened == [(40, ("g0.>", "g1.>", "g2.>", "g3.>", "g4.>"))]
    for number, revisions in enumerate(found):
        first = 40 + number % 5
        assert revisions == [r for r in range(first + 1, 101) if (r - 1) % 5 == number % 5]
    assert stored.open == 0


@pytest.mark.parametrize("seed", range(20))
async def test_each_gets_what_it_would_get_alone(seed: int) -> None:
    random = Random(seed)
    keys = [f"{random.choice('abc')}.{random.choice('de')}{random.choice('fg')}" for _ in range(90)]
    stored = Stored(keys, size=random.choice([10, 10_000]))
    choices = ["", "a.>", "*.df", "b.eg", "c.df", "a.*", "c.", "*.e*"]
    if seed % 2:
        choices += [f"other{number}" for number in range(60)]
    shared = SharedChanges(stored)
    wanted = [
        (random.randrange(90), random.choices(choices, k=random.choice([1, 1, 3])))
        for _ in range(40)
    ]
    together = await asyncio.gather(*(caught_up(shared, after, *some) for after, some in wanted))
    for (after, some), found in zip(wanted, together, strict=True):
        assert found == await caught_up(SharedChanges(stored), after, *some)
    assert stored.open == 0


async def test_one_alone_reads_at_its_own_pace() -> None:
    stored = Stored(["a", "b", "a"])
    assert await caught_up(SharedChanges(stored), 0, "a") == [1, 3]
    assert stored.opened == [(0, ("a",))]


async def test_a_watch_that_has_missed_much_reads_alone() -> None:
    stored = Stored(["a"] * 5000)
    shared = SharedChanges(stored)
    found = await asyncio.gather(*(caught_up(shared, after, "a") for after in (0, 1, 4990, 4995)))
    assert [len(each) for each in found] == [5000, 4999, 10, 5]
    assert sorted(after for after, _ in stored.opened) == [0, 1, 4990]


async def test_what_is_too_large_to_be_kept_for_all_each_reads_alone() -> None:
    stored = Stored(["a"] * 100, size=20_000)
    shared = SharedChanges(stored)
    found = await asyncio.gather(*(caught_up(shared, 10, "a") for _ in range(3)))
    assert found == [list(range(11, 101))] * 3
    begins = [after for after, _ in stored.opened]
    assert begins[0] == 10
    assert len(begins) == 4
    assert len(set(begins[1:])) == 1
    assert 10 < begins[1] < 50


async def test_an_error_comes_to_all_and_the_next_try_is_free_of_it() -> None:
    stored = Stored(["a"] * 10)
    stored.error = Unavailable("away")
    shared = SharedChanges(stored)
    watches = [caught_up(shared, 3, "a") for _ in range(5)]
    found = await asyncio.gather(*watches, return_exceptions=True)
    assert [str(each) for each in found] == ["away"] * 5
    stored.error = None
    assert await caught_up(shared, 3, "a") == list(range(4, 11))
    assert stored.open == 0


async def test_with_much_still_kept_for_slow_readers_others_read_alone() -> None:
    stored = Stored(["a"] * 40, size=10_000)
    shared = SharedChanges(stored)
    newest = await shared.newest("b")
    leave = asyncio.Event()
    begun = 0

    async def hold() -> None:
        nonlocal begun
        async with shared.follow("b", after=0, through=newest) as feed:
            await feed.read()
            begun += 1
            await leave.wait()

    slow: list[asyncio.Task[None]] = []
    for _ in range(30):
        slow += [asyncio.create_task(hold()) for _ in range(2)]
        async with asyncio.timeout(5):
            while begun < len(slow):  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0)
    together = len(stored.opened)
    assert 30 < together < 60, "some were read for together, and the later ones were not"
    leave.set()
    await asyncio.gather(*slow)
    await asyncio.gather(*(caught_up(shared, 0, "a") for _ in range(2)))
    assert len(stored.opened) == together + 1


async def test_a_watch_that_leaves_before_a_read_is_over_leaves_nothing_open() -> None:
    stored = Stored(["a"] * 40)
    shared = SharedChanges(stored)
    watches = [asyncio.create_task(caught_up(shared, 0, "a")) for _ in range(4)]
    async with asyncio.timeout(5):
        while not stored.opened:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)
    for watch in watches:
        watch.cancel()
    await asyncio.wait(watches)
    assert stored.open == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}
