"""Work for many watchers or filters is done in parts, and other tasks run in between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest

from jetkv_gateway.kv.filters import compile_filter
from jetkv_gateway.watch import live
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.hub import Hub
from tests.support.changes import MemoryBucket, MemoryChanges
from tests.support.hubs import Seen, a_hub, watching
from tests.support.simulated import eventually, simulated

LIKE_A_1 = ["*.*", "a.*", "*.1", "a.>", "*.1*", "a*.*"]


@asynccontextmanager
async def half_offered(
    monkeypatch: pytest.MonkeyPatch, at_work: Callable[[Hub, list[Seen]], Awaitable[None]]
) -> AsyncIterator[None]:
    """Have a change offered to a group of watchers at a time, and call something in each pause."""
    monkeypatch.setattr(live, "_OFFERS_PER_TURN", 0)
    monkeypatch.setattr(live, "_TESTS_A_PART", 0)
    changes = MemoryChanges(b=MemoryBucket())
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(a_hub(changes))
        watchers = [
            await stack.enter_async_context(
                watching(hub, WatchRequest(filters=(compile_filter(text),)))
            )
            for text in LIKE_A_1
        ]
        changes.buckets["b"].put("b", "a.1")
        for _ in range(1000):
            await asyncio.sleep(0)
            come = [2 in seen.revisions for seen in watchers]
            if all(come):
                break
            if any(come):
                await at_work(hub, watchers)
        assert all(come)
        changes.buckets["b"].put("a.1")
        for seen in watchers:
            await seen.got(2, 3)
        yield


@simulated
async def test_others_have_turns_while_many_filters_are_asked_about_a_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[int] = []

    async def count(_hub: Hub, watchers: list[Seen]) -> None:
        turns.append(sum(2 in seen.revisions for seen in watchers))

    async with half_offered(monkeypatch, count):
        pass
    assert len(set(turns)) > len(LIKE_A_1) // 2, "it came to all of them at once"


@simulated
async def test_no_bookmark_runs_ahead_of_a_change_that_is_being_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ahead: list[Seen] = []
    half = 0

    async def look(_hub: Hub, watchers: list[Seen]) -> None:
        nonlocal half
        without = [seen for seen in watchers if 2 not in seen.revisions]
        half += bool(without)
        ahead.extend(
            seen
            for seen in without
            if (seen.watch.bookmark or 0) >= 2 and seen.watch.session.position < 2
        )

    async with half_offered(monkeypatch, look):
        pass
    assert half
    assert not ahead


@pytest.mark.parametrize(
    "request_",
    [WatchRequest(snapshot=True), WatchRequest(resume_after=1), WatchRequest(resume_after=0)],
    ids=["snapshot", "resume", "resume from the start"],
)
@simulated
async def test_a_watcher_that_joins_while_a_change_is_being_offered_gets_it_once(
    request_: WatchRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined: list[Seen] = []
    stack = AsyncExitStack()

    async def join(hub: Hub, _watchers: list[Seen]) -> None:
        joined.append(await stack.enter_async_context(watching(hub, request_)))
        await eventually(lambda: joined[-1].revisions)

    async with half_offered(monkeypatch, join), stack:
        assert joined
        for seen in joined:
            await eventually(lambda seen=seen: 3 in seen.revisions)
            assert [revision for revision in seen.revisions if revision > 1] == [2, 3]


@simulated
async def test_others_have_turns_while_many_filters_are_asked_about_the_past() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    bucket = changes.buckets["b"]
    bucket.put(*(f"k{number}" for number in range(2000)))
    changes.batch = lambda: 2000
    filters = tuple(compile_filter(f"*{number}*") for number in range(60))
    request = WatchRequest(filters=filters, snapshot=True)
    turns = 0
    async with a_hub(changes) as hub, watching(hub, request) as seen:
        for _ in range(1000):
            turns += 1
            await asyncio.sleep(0)
            if seen.ends:
                break
        assert seen.ends
    assert turns > 2000 * 60 // 8000


@simulated
async def test_a_thousand_watches_that_come_back_at_once_look_at_their_bucket_a_few_times() -> None:
    changes = MemoryChanges(b=MemoryBucket())
    changes.buckets["b"].put("a", "b")
    looks = Counter[str]()
    changes.after = {name: partial(looks.update, [name]) for name in ("state", "newest")}
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(a_hub(changes))
        back = [
            stack.enter_async_context(watching(hub, WatchRequest(resume_after=1)))
            for _ in range(1000)
        ]
        for seen in await asyncio.gather(*back):
            await seen.got(2)
    assert looks["state"] < 30
    assert looks["newest"] < 30


@simulated
async def test_others_have_turns_while_many_changes_are_offered_to_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live, "_OFFERS_PER_TURN", 100)
    changes = MemoryChanges(b=MemoryBucket())
    changes.batch = lambda: 100
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(a_hub(changes))
        watchers = [await stack.enter_async_context(watching(hub)) for _ in range(50)]
        changes.buckets["b"].put(*(f"k{number}" for number in range(100)))
        most, before = 0, 0
        while before < 50 * 100:
            await asyncio.sleep(0)
            come = sum(len(seen.revisions) for seen in watchers)
            most, before = max(most, come - before), come
        assert most <= 2 * 100
