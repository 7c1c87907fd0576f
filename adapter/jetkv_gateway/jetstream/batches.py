"""Batches on JetStream: reads and changes several keys as of one moment."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from jetkv_gateway.jetstream.atomic import AtomicBatches
from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.errors import nothing_applied
from jetkv_gateway.jetstream.snapshots import Snapshots
from jetkv_gateway.kv.batches import Applied, BatchGet, BatchWrite, Snapshot
from jetkv_gateway.kv.errors import BucketNotFound, DeadlineExceeded
from jetkv_gateway.kv.model import Entry
from jetkv_gateway.kv.retries import Retries

__all__ = ["JetStreamBatches"]


class JetStreamBatches:
    """`kv.store.Batches` on JetStream."""

    def __init__(self, js: JetStream, buckets: BucketCache) -> None:
        self._snapshots = Snapshots(js, buckets)
        self._atomic = AtomicBatches(js, buckets, self._snapshots)
        self._buckets = buckets
        self._loop = asyncio.get_running_loop()

    @asynccontextmanager
    async def snapshot(self, command: BatchGet, retries: Retries) -> AsyncGenerator[Snapshot, None]:
        window = RetryWindow(retries, self._loop)
        keys = dict(zip(command.tokens, command.keys, strict=True))
        async with self._snapshots.collect(command.bucket, keys, window) as found:
            newest = found.newest
            yield Snapshot([_live(newest.get(one)) for one in command.tokens], found.revision)

    async def apply(self, command: BatchWrite, retries: Retries) -> Applied:
        try:
            return await self._atomic.apply(command, RetryWindow(retries, self._loop))
        except BucketNotFound:
            self._buckets.forget(command.bucket)
            raise
        except DeadlineExceeded as error:
            raise nothing_applied(error) from error.__cause__


def _live(entry: Entry | None) -> Entry | None:
    return entry if entry is not None and entry.live else None
