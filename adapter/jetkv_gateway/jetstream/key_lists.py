"""Sorted lists of a bucket's live keys, or of the smallest ones after a key.

Long work is done in slices, and the event loop runs between two slices.
"""

import asyncio
import random
from bisect import bisect, bisect_left
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice

from jetkv_gateway.jetstream.expiry import Lifetime
from jetkv_gateway.jetstream.reader import BucketReader, Message
from jetkv_gateway.jetstream.stored_messages import key_of, meta_of
from jetkv_gateway.kv.filters import Filter
from jetkv_gateway.kv.keys import plain
from jetkv_gateway.kv.model import KeyMeta, Operation

__all__ = ["KeyList", "KeyWindow", "sorted_in_parts"]

_SLICE = 250

_Subject = str | bytes
"""A key that equals its subject, or the bytes of a subject, because two subjects can decode to one
key."""


@dataclass(slots=True, eq=False)
class KeyList:
    """The live keys after one key, up to another, as of a moment.

    Attributes:
        created_at: of the bucket.
        as_of: the newest revision when the list was begun; newer keys may be missing.
        after: the key before the first one; None at the very beginning.
        bound: the last key that the list covers; None if it covers all.
        keys: sorted by their UTF-8 bytes.
        metas: metadata by key; unless `all_metas`, only of values that expire.
        all_metas: whether the metadata of all keys was requested.
        lifetime: of the bucket's values.
        followed: changes up to this revision are in `gone` and `metas`.
        gone: keys that were deleted since.
        used_at: the time of the event loop when it last served a page.
        seconds: the time that it took to build.
        lock: held while changes are read.
    """

    created_at: str
    as_of: int
    after: str | None
    bound: str | None
    keys: list[str]
    metas: dict[str, KeyMeta]
    all_metas: bool
    lifetime: Lifetime | None
    followed: int
    used_at: float
    seconds: float
    made_at: float = 0.0
    gone: set[str] = field(default_factory=set)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def weight(self) -> int:
        """Its memory, in keys."""
        return len(self.keys) + 3 * len(self.metas) + 1

    def covers(self, after: str | None) -> bool:
        """Return whether it has the keys after a key, or at least one of them."""
        if self.after is not None and (after is None or after < self.after):
            return False
        return self.bound is None or after is None or after < self.bound

    def take(self, message: Message, now: float) -> None:
        """Apply a later change. Keys that are not in the list are not added."""
        stored = meta_of(message, self.lifetime, now)
        key = stored.meta.key
        place = bisect_left(self.keys, key)
        if place == len(self.keys) or self.keys[place] != key:
            return
        if stored.operation is not Operation.PUT:
            self.gone.add(key)
            return
        self.gone.discard(key)
        if self.all_metas or stored.meta.expires_at is not None:
            self.metas[key] = stored.meta
        else:
            self.metas.pop(key, None)

    def has(self, key: str, server_time: int) -> bool:
        """Return whether a key of the list is live.

        Args:
            server_time: nanoseconds since 1970.
        """
        if key in self.gone:
            return False
        meta = self.metas.get(key)
        return meta is None or meta.expires_at is None or meta.expires_at > server_time


class KeyWindow:
    """Collects the smallest live keys after a key, from messages in revision order.

    Args:
        most: the largest number of keys; None for all.
        metas: whether metadata is wanted too.
    """

    def __init__(
        self, key_filter: Filter, after: str | None, *, most: int | None, metas: bool
    ) -> None:
        self._matches = key_filter.matches
        self._after = after
        self._most = most
        self._metas = metas
        self._found: dict[_Subject, KeyMeta | str] = {}
        self.bound: str | None = None

    async def read(self, reader: BucketReader) -> KeyList:
        """Return the list for what a reading delivers."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with aclosing(reader.parts()) as parts:
            async for part in parts:
                now = loop.time()
                for message in part:
                    self._take(message, reader.lifetime, now)
                if self._most is not None and len(self._found) > self._most * 3 // 2:
                    await self._shrink(self._most)
                await asyncio.sleep(0)
        keys = await self._sorted()
        if self._most is not None and len(keys) > self._most:
            await self._shrink(self._most)
            keys = await self._sorted()
        metas = {one.key: one for one in self._found.values() if isinstance(one, KeyMeta)}
        return KeyList(
            created_at=reader.created_at,
            as_of=reader.as_of,
            after=self._after,
            bound=self.bound,
            keys=keys,
            metas=metas,
            all_metas=self._metas,
            lifetime=reader.lifetime,
            followed=reader.revision,
            used_at=loop.time(),
            seconds=loop.time() - began,
            made_at=loop.time(),
        )

    def _take(self, message: Message, lifetime: Lifetime | None, now: float) -> None:
        subject = message[0]
        key = key_of(subject)
        if self._after is not None and key <= self._after:
            return
        if (self.bound is not None and key > self.bound) or not self._matches(key):
            return
        name: _Subject = key if plain(subject) else subject
        stored = meta_of(message, lifetime, now)
        if stored.operation is not Operation.PUT:
            self._found.pop(name, None)
        else:
            whole = self._metas or stored.meta.expires_at is not None
            self._found[name] = stored.meta if whole else key

    async def _shrink(self, most: int) -> None:
        """Drop all but the smallest keys."""
        keys = await self._sorted()
        if len(keys) > most:
            self.bound = bound = keys[most - 1]
            kept: dict[_Subject, KeyMeta | str] = {}
            items = iter(self._found.items())
            while some := list(islice(items, _SLICE)):
                kept.update((name, one) for name, one in some if _key(one) <= bound)
                await asyncio.sleep(0)
            self._found = kept

    async def _sorted(self) -> list[str]:
        return await sorted_in_parts(map(_key, self._found.values()))


def _key(one: KeyMeta | str) -> str:
    return one if isinstance(one, str) else one.key


async def sorted_in_parts(keys: Iterable[str]) -> list[str]:
    """Return distinct keys sorted by their UTF-8 bytes."""
    every: list[str] = []
    rest = iter(keys)
    while some := list(islice(rest, _SLICE)):
        every += some
        await asyncio.sleep(0)
    # A sample of the keys splits them into ranges, so that each range can be sorted in one slice.
    borders = sorted(random.sample(every, len(every) // _SLICE))
    ranges: list[list[str]] = [[] for _ in range(len(borders) + 1)]
    rest = iter(every)
    while some := list(islice(rest, _SLICE)):
        for key in some:
            ranges[bisect(borders, key)].append(key)
        await asyncio.sleep(0)
    found: list[str] = []
    for some in ranges:
        # Code points sort like UTF-8 bytes.
        found += sorted(set(some))
        await asyncio.sleep(0)
    return found
