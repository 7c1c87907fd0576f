"""A hub on buckets in memory, and what its watchers receive."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.kv.model import Change
from jetkv_gateway.watch.catch_up import WatchRequest
from jetkv_gateway.watch.hub import Hub, Watch, WatchLimits
from jetkv_gateway.watch.session import Item, SnapshotEnd
from tests.support.changes import MemoryChanges
from tests.support.simulated import eventually


class Seen:
    """What a watcher has got so far."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.items: list[Item] = []
        self.over = False

    @property
    def revisions(self) -> list[int]:
        return [change.revision for change in self.changes]

    @property
    def changes(self) -> list[Change]:
        return [item for item in self.items if isinstance(item, Change)]

    @property
    def ends(self) -> list[int]:
        return [item.revision for item in self.items if isinstance(item, SnapshotEnd)]

    @property
    def end(self) -> GatewayError | None:
        return self.watch.session.end

    def in_snapshot(self) -> list[Change]:
        index = next(i for i, item in enumerate(self.items) if isinstance(item, SnapshotEnd))
        return [item for item in self.items[:index] if isinstance(item, Change)]

    async def got(self, *revisions: int) -> None:
        await eventually(lambda: self.over or len(self.revisions) >= len(revisions))
        assert self.revisions == list(revisions)

    async def closed(self) -> GatewayError:
        await eventually(lambda: self.over)
        assert self.end is not None
        return self.end

    async def read(self) -> None:
        async for items in self.watch.items():
            self.items += items
        self.over = True


@asynccontextmanager
async def watching(
    hub: Hub, request: WatchRequest | None = None, *, bucket: str = "b", address: str = ""
) -> AsyncIterator[Seen]:
    async with hub.watch(bucket, request or WatchRequest(), address=address) as watch:
        seen = Seen(watch)
        reading = asyncio.create_task(seen.read())
        try:
            yield seen
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.result()


@asynccontextmanager
async def a_hub(changes: MemoryChanges, **limits: Any) -> AsyncIterator[Hub]:
    hub = Hub(changes, WatchLimits(**limits))
    try:
        yield hub
    finally:
        await hub.close()
        assert changes.feeds == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}


def at_batch(changes: MemoryChanges, number: int, call: Callable[[], object]) -> None:
    """Let feeds return one change at a time, and call something at one of these."""
    count = 0

    def batch() -> int:
        nonlocal count
        count += 1
        if count == number:
            call()
        return 1

    changes.batch = batch


def fold(known: dict[str, bytes], changes: Sequence[Change]) -> dict[str, bytes]:
    known = dict(known)
    for change in changes:
        if change.live:
            known[change.key] = change.value
        else:
            known.pop(change.key, None)
    return known
