"""`kv.store.Readings` on JetStream: reads the entries of many keys."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.reader import BucketReader, Message
from jetkv_gateway.jetstream.shared_runs import SharedRuns
from jetkv_gateway.jetstream.stored_messages import entry_of, meta_of
from jetkv_gateway.kv.commands import Include, ReadKeys
from jetkv_gateway.kv.filters import Filter
from jetkv_gateway.kv.model import Entry, KeyMeta, Operation
from jetkv_gateway.kv.store import Reading

__all__ = ["JetStreamReadings"]

_AT_ONCE = 32
"""Each reading holds a consumer and at most one batch of messages, for a long time if its reader is
slow."""


class JetStreamReadings:
    """`kv.store.Readings` on JetStream."""

    def __init__(self, js: JetStream, cache: BucketCache, *, at_once: int = _AT_ONCE) -> None:
        self._js = js
        self._cache = cache
        self._turns: SharedRuns[None] = SharedRuns("listings", at_once=at_once, wait=5.0)

    @asynccontextmanager
    async def read(self, command: ReadKeys) -> AsyncIterator[Reading]:
        bucket, key_filter, include = command
        values = include in (Include.VALUES, Include.HISTORY)
        history = include is Include.HISTORY
        reader = BucketReader(
            self._js, self._cache, bucket, key_filter, values=values, every_revision=history
        )
        async with self._turns.turn(), reader.opened():
            yield _Reading(reader, key_filter, values=values, history=history)


class _Reading:
    """`kv.store.Reading` for one reader."""

    def __init__(
        self, reader: BucketReader, key_filter: Filter, *, values: bool, history: bool
    ) -> None:
        self._reader = reader
        self._matches = key_filter.matches
        self._values = values
        self._history = history
        self._loop = asyncio.get_running_loop()

    @property
    def revision(self) -> int:
        return self._reader.revision

    async def parts(self) -> AsyncGenerator[Sequence[KeyMeta] | Sequence[Entry], None]:
        async with aclosing(self._reader.parts()) as parts:
            async for part in parts:
                found = self._entries(part) if self._values else self._metas(part)
                if found:
                    yield found

    def _metas(self, part: list[Message]) -> list[KeyMeta]:
        lifetime, now, matches = self._reader.lifetime, self._loop.time(), self._matches
        found = []
        for message in part:
            meta, operation = meta_of(message, lifetime, now)
            if operation is Operation.PUT and matches(meta.key):
                found.append(meta)
        return found

    def _entries(self, part: list[Message]) -> list[Entry]:
        lifetime, now, matches = self._reader.lifetime, self._loop.time(), self._matches
        found = []
        for message in part:
            entry = entry_of(message, lifetime, now)
            if entry is None or not (entry.live or self._history):
                continue
            if matches(entry.key):
                found.append(entry)
        return found
