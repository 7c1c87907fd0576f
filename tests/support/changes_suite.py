"""What `kv.store.Changes` has to do, as tests that any implementation of it can be put to.

The buckets in memory that the tests of watches use pass these tests, and JetStream does. So a
watch that works on the one works on the other.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from jetkv_gateway.kv.errors import BucketNotFound, Unavailable
from jetkv_gateway.kv.filters import EVERYTHING, Filter, compile_filter
from jetkv_gateway.kv.keys import encode
from jetkv_gateway.kv.model import Change, Operation
from jetkv_gateway.kv.store import Changes, Feed, FeedBatch

SECONDS = 10
ODD = "user:1 of 2"
"""A key that is stored under another name."""


class World(ABC):
    """A bucket that keeps one revision of each key, and the changes of it under test."""

    changes: Changes
    bucket: str

    @abstractmethod
    async def put(self, key: str, value: bytes = b"v") -> int: ...

    @abstractmethod
    async def delete(self, key: str) -> int: ...

    @abstractmethod
    async def remove_bucket(self) -> None: ...

    @abstractmethod
    async def feeds(self) -> int:
        """Return how many feeds of the bucket are open."""

    async def put_all(self, *keys: str) -> list[int]:
        return [await self.put(key) for key in keys]


class Reader:
    """A feed, and what it has delivered so far."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.changes: list[Change] = []
        self.batches: list[FeedBatch] = []

    @property
    def revisions(self) -> list[int]:
        return [change.revision for change in self.changes]

    @property
    def reached(self) -> int:
        return self.batches[-1].reached if self.batches else 0

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not condition():
                await self.read()

    async def read(self) -> None:
        batch = await self.feed.read()
        self.batches.append(batch)
        self.changes += batch.changes

    async def until_reached(self, revision: int) -> None:
        await self.until(lambda: self.reached >= revision)


class ChangesSuite(ABC):
    """Subclass this as `Test…`, and give it a fixture `world`."""

    @pytest.fixture
    @abstractmethod
    def world(self) -> World: ...

    @asynccontextmanager
    async def reading(
        self, world: World, after: int = 0, *, filters: Sequence[Filter] = (EVERYTHING,)
    ) -> AsyncIterator[Reader]:
        async with world.changes.follow(world.bucket, after=after, filters=filters) as feed:
            yield Reader(feed)

    async def test_the_state_of_an_empty_bucket_names_no_revision(self, world: World) -> None:
        state = await world.changes.state(world.bucket)
        assert (state.first, state.last) == (1, 0)
        assert state.silent_loss is None
        assert state.age >= 0

    async def test_the_state_names_the_first_revision_that_is_left_and_the_last(
        self, world: World
    ) -> None:
        before = await world.changes.state(world.bucket)
        await world.put_all("a", "b", "a")
        state = await world.changes.state(world.bucket)
        assert (state.first, state.last) == (2, 3)
        assert state.created_at == before.created_at
        assert 0 <= state.first_age <= state.age + 1
        assert state.now >= before.now

    async def test_an_empty_bucket_has_no_newest_revision(self, world: World) -> None:
        assert await world.changes.newest(world.bucket) is None

    async def test_the_newest_revision_comes_with_the_name_it_is_stored_under(
        self, world: World
    ) -> None:
        await world.put_all("a", ODD)
        assert await world.changes.newest(world.bucket) == (2, encode(ODD))
        await world.delete("a")
        assert await world.changes.newest(world.bucket) == (3, "a")

    async def test_the_first_revision_from_another_on_is_the_next_that_is_stored(
        self, world: World
    ) -> None:
        await world.put_all("a", "b", "a", "c")
        found = [
            await world.changes.first_at_or_after(world.bucket, number) for number in (1, 3, 5)
        ]
        assert [stamp and stamp.revision for stamp in found] == [2, 3, None]
        assert found[0] is not None
        assert found[1] is not None
        assert found[0].stored_at <= found[1].stored_at

    @pytest.mark.parametrize("asked", ["state", "newest", "first_from", "follow"])
    async def test_a_bucket_that_does_not_exist_is_not_found(
        self, world: World, asked: str
    ) -> None:
        changes, bucket = world.changes, "nowhere"

        async def follow() -> None:
            async with changes.follow(bucket, after=0):
                pytest.fail("it was opened")

        calls = {
            "state": lambda: changes.state(bucket),
            "newest": lambda: changes.newest(bucket),
            "first_from": lambda: changes.first_at_or_after(bucket, 1),
            "follow": follow,
        }
        with pytest.raises(BucketNotFound):
            await calls[asked]()

    async def test_a_feed_delivers_what_is_stored_after_its_revision_and_then_what_comes(
        self, world: World
    ) -> None:
        await world.put_all("a", "b", "c")
        async with self.reading(world, after=1) as reader:
            await reader.until_reached(3)
            await world.put("d")
            await world.delete("b")
            await reader.until_reached(5)
        assert reader.revisions == [2, 3, 4, 5]

    async def test_a_change_names_its_key_value_and_operation(self, world: World) -> None:
        await world.put(ODD, b"\x00value")
        async with self.reading(world) as reader:
            await reader.until_reached(1)
            await world.delete(ODD)
            await reader.until_reached(2)
        assert [(one.key, one.value, one.operation) for one in reader.changes] == [
            (ODD, b"\x00value", Operation.PUT),
            (ODD, b"", Operation.DELETE),
        ]

    async def test_a_value_that_was_written_over_before_the_feed_began_is_not_delivered(
        self, world: World
    ) -> None:
        await world.put_all("a", "b", "a")
        async with self.reading(world) as reader:
            await reader.until_reached(3)
        assert reader.revisions == [2, 3]

    async def test_the_latest_change_of_each_key_comes_first_whatever_the_revision(
        self, world: World
    ) -> None:
        await world.put_all("a", "b", "a")
        await world.delete("b")
        async with world.changes.follow(world.bucket, after=99, latest=True) as feed:
            reader = Reader(feed)
            await reader.until_reached(4)
            await world.put("c")
            await reader.until_reached(5)
        assert reader.revisions == [3, 4, 5]

    async def test_a_feed_delivers_every_change_that_one_of_its_filters_wants(
        self, world: World
    ) -> None:
        filters = [compile_filter("a.*"), compile_filter("c")]
        await world.put_all("a.1", "b", "c", "a.2")
        async with self.reading(world, filters=filters) as reader:
            await reader.until(lambda: {"a.1", "a.2", "c"} <= {one.key for one in reader.changes})
        assert "b" not in {one.key for one in reader.changes}

    async def test_a_feed_reaches_the_revision_it_has_to_whatever_its_filters(
        self, world: World
    ) -> None:
        await world.put_all("a", "b", "c")
        newest = await world.changes.newest(world.bucket)
        async with world.changes.follow(
            world.bucket, after=0, filters=[compile_filter("a")], through=newest
        ) as feed:
            reader = Reader(feed)
            await reader.until_reached(3)
        assert "a" in {one.key for one in reader.changes}

    async def test_a_feed_says_within_seconds_that_nothing_has_happened(self, world: World) -> None:
        await world.put("a")
        async with self.reading(world, after=1) as reader:
            await reader.until(lambda: len(reader.batches) > 1 and not reader.batches[-1].changes)
        assert reader.changes == []

    async def test_what_a_feed_says_of_its_place_and_time_never_goes_back(
        self, world: World
    ) -> None:
        async with self.reading(world) as reader:
            for number in range(1, 6):
                await world.put("k")
                await reader.until_reached(number)
            now = asyncio.get_running_loop().time()
        for one, other in pairwise(reader.batches):
            assert one.reached <= other.reached
            assert one.as_of <= other.as_of
        assert reader.batches[-1].as_of <= now

    async def test_two_feeds_deliver_the_same_changes(self, world: World) -> None:
        async with self.reading(world) as one, self.reading(world) as other:
            await world.put_all("a", "b", "c")
            await one.until_reached(3)
            await other.until_reached(3)
        assert one.revisions == other.revisions == [1, 2, 3]

    async def test_a_feed_of_a_bucket_that_is_deleted_ends(self, world: World) -> None:
        async with self.reading(world) as reader:
            await reader.read()
            await world.remove_bucket()
            with pytest.raises(Unavailable):
                await reader.until(lambda: False)

    async def test_a_feed_is_gone_when_its_reader_leaves(self, world: World) -> None:
        async with self.reading(world):
            assert await world.feeds() == 1
        assert await world.feeds() == 0

    async def test_what_can_be_asked_now_is_not_waited_for(self, world: World) -> None:
        async with asyncio.timeout(SECONDS):
            await world.changes.wait_available(3600)
