"""Past and present of a watch join without a gap, whatever happens meanwhile, at random."""

import asyncio
from itertools import pairwise
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from jetkv_gateway.kv.errors import SlowConsumer
from jetkv_gateway.kv.filters import compile_filter
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.session import Limits, SnapshotEnd
from tests.support.changes import MemoryBucket, MemoryChanges
from tests.support.hubs import a_hub, fold, watching
from tests.support.simulated import eventually, run


class Storm:
    """Writes, and ends feeds, at random moments: wherever a server could be slow."""

    def __init__(
        self, random: Random, bucket: MemoryBucket, *, writes: int, breaks: int = 0, lazy: float = 0
    ) -> None:
        self._random = random
        self._bucket = bucket
        bucket.history = random.choice([1, 5])
        self._writes = writes
        self._breaks = breaks
        self._lazy = lazy

    @property
    def over(self) -> bool:
        return self._writes <= 0

    def write(self) -> None:
        self._writes -= 1
        self._bucket.lazy = self._random.random() < self._lazy
        key = self._random.choice(["a", "a.1", "a.2", "b", "c"])
        if self._random.random() < 0.25:
            self._bucket.delete(key)
        else:
            self._bucket.put(key)

    async def step(self) -> None:
        for _ in range(self._random.choice([0, 0, 1, 1, 2, 5])):
            if self._writes > 0:
                self.write()
        if self._breaks > 0 and self._random.random() < 0.1:
            self._breaks -= 1
            self._random.choice([self._bucket.end_feeds, self._end_one])()
        for _ in range(self._random.choice([0, 1, 1, 3])):
            await asyncio.sleep(0)

    def _end_one(self) -> None:
        for feed in list(self._bucket.feeds)[:1]:
            feed.end()

    def batch(self) -> int:
        return self._random.choice([1, 2, 5, 100])


@settings(max_examples=400)
@given(
    seed=st.integers(0, 2**32),
    kind=st.sampled_from(["live", "snapshot", "resume"]),
    filter=st.sampled_from(["", "a", "a.*"]),
    before=st.integers(0, 12),
    queue=st.sampled_from([4096, 4096, 6]),
    breaks=st.sampled_from([0, 2]),
)
def test_past_and_present_join_without_a_gap_and_without_a_repeat(
    seed: int, kind: str, filter: str, before: int, queue: int, breaks: int
) -> None:
    run(_join(Random(seed), kind, filter, before, queue, breaks))


async def _join(
    random: Random, kind: str, filter: str, before: int, queue: int, breaks: int
) -> None:
    bucket = MemoryBucket()
    changes = MemoryChanges(b=bucket)
    storm = Storm(random, bucket, writes=before + 40, breaks=breaks, lazy=0.3)
    for _ in range(before):
        storm.write()
    keep = compile_filter(filter)
    after = random.randint(0, bucket.last) if kind == "resume" else None
    request = WatchRequest((keep,), snapshot=kind == "snapshot", resume_after=after)
    changes.batch = storm.batch
    async with a_hub(changes, queue=Limits(changes=queue)) as hub:
        changes.step = storm.step
        async with watching(hub, request) as seen:
            opened_at = bucket.last
            while not storm.over:
                await storm.step()
            await eventually(lambda: seen.over or (seen.watch.bookmark or 0) >= bucket.last)
    assert all(one < other for one, other in pairwise(seen.revisions)), seen.revisions
    assert all(keep.matches(change.key) for change in seen.changes)
    if seen.end is not None:
        # Opening takes several turns, in which the storm may write more than may wait.
        assert isinstance(seen.end, SlowConsumer)
        assert queue < 4096
        return
    wanted = [change for change in bucket.log if keep.matches(change.key)]
    base = {"live": opened_at, "snapshot": 0, "resume": after}[kind]
    known = fold({}, [change for change in wanted if change.revision <= base])
    assert fold(known, seen.changes) == fold({}, wanted)
    if kind == "live":
        assert not any(change.revision <= before for change in seen.changes)
    if kind == "resume":
        assert all(change.revision > after for change in seen.changes)
    assert len(seen.ends) == (kind == "snapshot")
    if kind == "snapshot":
        index = next(i for i, item in enumerate(seen.items) if isinstance(item, SnapshotEnd))
        assert all(change.revision <= seen.ends[0] for change in seen.in_snapshot())
        assert all(item.revision > seen.ends[0] for item in seen.items[index + 1 :])


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    filter=st.sampled_from(["", "a", "a.*"]),
    before=st.integers(1, 12),
    queue=st.sampled_from([4096, 6]),
)
def test_a_snapshot_ends_with_the_truth_of_its_revision_where_the_feed_keeps_up(
    seed: int, filter: str, before: int, queue: int
) -> None:
    async def main() -> None:
        bucket = MemoryBucket()
        changes = MemoryChanges(b=bucket)
        storm = Storm(Random(seed), bucket, writes=before + 40)
        for _ in range(before):
            storm.write()
        keep = compile_filter(filter)
        changes.batch = storm.batch
        changes.step = storm.step
        request = WatchRequest((keep,), snapshot=True)
        async with (
            a_hub(changes, queue=Limits(changes=queue)) as hub,
            watching(hub, request) as seen,
        ):
            await eventually(lambda: seen.over or seen.ends)
        if seen.over:
            assert isinstance(seen.end, SlowConsumer)
            return
        truth = fold(
            {},
            [c for c in bucket.log if c.revision <= seen.ends[0] and keep.matches(c.key)],
        )
        assert fold({}, seen.in_snapshot()) == truth

    run(main())
