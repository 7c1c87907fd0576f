"""Watches on a bucket that forgets, through outages: what is not seen ends them."""

import asyncio
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from jetkv_gateway.kv.errors import Resync, Unavailable
from jetkv_gateway.kv.filters import compile_filter
from jetkv_gateway.kv.model import SilentLoss
from jetkv_gateway.watch.catch_up import WatchRequest
from tests.support.changes import MemoryBucket, MemoryChanges
from tests.support.hubs import Seen, a_hub, watching
from tests.support.simulated import eventually, run

KEYS = "abcdef"
SHORTEST = 1.0


class Weather:
    """What happens to a bucket: writes, values that go, links that break, and time."""

    def __init__(self, random: Random, changes: MemoryChanges) -> None:
        self.random = random
        self.changes = changes
        self.bucket = changes.buckets["b"]

    async def step(self) -> None:
        random, bucket = self.random, self.bucket
        match random.choice(["put", "put", "expire", "expire", "wait", "wait", "out", "break"]):
            case "put":
                bucket.put(random.choice(KEYS))
            case "expire":
                silent_loss = bucket.silent_loss
                assert silent_loss is not None
                now = asyncio.get_running_loop().time()
                old = [
                    key
                    for key, change in bucket.stored.items()
                    if now - bucket.times[change.revision] >= silent_loss.after
                ]
                if old:
                    bucket.expire(old[0] if silent_loss.oldest_first else random.choice(old))
            case "wait":
                await asyncio.sleep(random.choice([0.01, 0.3, 1.2, 4.0]))
            case "out":
                self.changes.down = None if self.changes.down else Unavailable()
                if self.changes.down:
                    bucket.end_feeds()
            case "break":
                bucket.end_feeds()

    async def clear_up(self, seen: Seen) -> None:
        self.changes.down = None
        last = self.bucket.last
        await eventually(lambda: seen.over or (seen.watch.bookmark or 0) >= last, 900)


@settings(max_examples=500, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    resumes=st.booleans(),
    filter=st.sampled_from(["", "a"]),
    steps=st.integers(1, 25),
    lazy=st.booleans(),
    slow=st.sampled_from([0, 0.5, 2.5]),
    silent_loss=st.builds(SilentLoss, st.sampled_from([SHORTEST, 3.0]), st.booleans()),
)
def test_a_watch_that_goes_on_has_seen_the_newest_of_all_that_changed(
    seed: int,
    resumes: bool,
    filter: str,
    steps: int,
    lazy: bool,
    slow: float,
    silent_loss: SilentLoss,
) -> None:
    async def main() -> None:
        random = Random(seed)
        changes = MemoryChanges(b=MemoryBucket())
        bucket = changes.buckets["b"]
        bucket.silent_loss, bucket.history, bucket.lazy = silent_loss, 1, lazy
        changes.batch = lambda: random.choice([1, 2, 100])
        weather = Weather(random, changes)
        for _ in range(random.randint(0, 40)):
            await weather.step()
        changes.down = None
        after = random.randint(bucket.last // 2, bucket.last) if resumes else None
        since = bucket.last if after is None else after
        request = WatchRequest((compile_filter(filter),), snapshot=not resumes, resume_after=after)
        async with a_hub(changes) as hub, watching(hub, request) as seen:
            changes.step = lambda: asyncio.sleep(random.choice([0, 0, 0, slow]))
            for _ in range(steps):
                await weather.step()
            await weather.clear_up(seen)
            if seen.over:
                assert isinstance(seen.end, Resync)
                return
            newest = {change.key: change.revision for change in bucket.log}
            shown = {change.key: change.revision for change in seen.changes}
            for key, revision in newest.items():
                if revision > since and filter in ("", key):
                    # A watch with a snapshot need not report a key that is gone by then.
                    unknown = not resumes and key not in shown
                    assert unknown or shown.get(key) == revision

    run(main())


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), resumes=st.booleans())
def test_a_watch_goes_on_where_nothing_has_gone_and_nothing_was_written_over(
    seed: int, resumes: bool
) -> None:
    async def main() -> None:
        random = Random(seed)
        changes = MemoryChanges(b=MemoryBucket())
        bucket = changes.buckets["b"]
        bucket.silent_loss = SilentLoss(SHORTEST, oldest_first=False)
        for number in range(10):
            bucket.put(f"old{number}")
            await asyncio.sleep(random.choice([0, 1]))
        request = WatchRequest(resume_after=5) if resumes else WatchRequest(snapshot=True)
        async with a_hub(changes) as hub, watching(hub, request) as seen:
            for number in range(10):
                bucket.put(f"new{number}")
                await asyncio.sleep(random.choice([0, 1, 2]))
                if random.random() < 0.3:
                    with changes.outage():
                        await asyncio.sleep(random.choice([0, 3]))
            await eventually(lambda: seen.over or (seen.watch.bookmark or 0) >= 20)
            assert not seen.over
            assert seen.revisions == list(range(6 if resumes else 1, 21))

    run(main())
