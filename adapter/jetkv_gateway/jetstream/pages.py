"""Pages of a listing, cut from sorted lists of keys that are cached for a while.

The first page needs a new list. A later page can use any list that was begun no earlier than the
first page: a key that is live the whole time is in each such list, and its position decides its
page. So any worker can serve any page, and a list may be dropped at any time.

Each list has a limited number of keys. So listing a million keys takes a few readings of the
bucket, not one per page, in bounded memory. Before a list serves a page, later changes are read, so
that deleted keys are left out.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Sequence
from contextlib import aclosing

from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.key_lists import KeyList, KeyWindow
from jetkv_gateway.jetstream.reader import BucketReader
from jetkv_gateway.jetstream.shared_runs import SharedRuns
from jetkv_gateway.kv.commands import Get, Include, ListPage
from jetkv_gateway.kv.cursors import Cursor, CursorScope
from jetkv_gateway.kv.errors import (
    BucketNotFound,
    CursorExpired,
    GatewayError,
    InvalidArgument,
    KeyNotFound,
)
from jetkv_gateway.kv.keys import decode
from jetkv_gateway.kv.model import Entry, KeyMeta
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.kv.store import Entries, Page

__all__ = ["JetStreamPages"]

_WINDOW = 100_000
_KEPT = 400_000
"""The limit of keys in all cached lists; a list with metadata counts four times."""
_KEPT_SECONDS = 60.0
"""Seconds since a list served a page."""
_CHANGES_FOLLOWED = 10_000
"""If there are more changes than this, a new list is cheaper than reading them."""
_OLD_SECONDS = 2.0
_OLD_TIMES = 5.0
_READS_AT_ONCE = 16
_PAGE_BYTES = 8 * 1024 * 1024
"""Bytes of values in a page: a page that would exceed them ends early, but has at least one value.
"""
_PAGES_OF_VALUES_AT_ONCE = 2


class JetStreamPages:
    """`kv.store.Pages` on JetStream.

    Args:
        runs: the listings that run at the same time.
        window: the limit of keys in a list.
        kept: the limit of keys in all cached lists.
    """

    def __init__(
        self,
        js: JetStream,
        cache: BucketCache,
        entries: Entries,
        runs: SharedRuns[KeyList],
        *,
        window: int = _WINDOW,
        kept: int = _KEPT,
    ) -> None:
        self._js = js
        self._cache = cache
        self._entries = entries
        self._window = window
        self._most = kept
        self._loop = asyncio.get_running_loop()
        self._runs = runs
        self._turns: SharedRuns[None] = SharedRuns(
            "pages of values", at_once=_PAGES_OF_VALUES_AT_ONCE, wait=10.0
        )
        self._kept: dict[CursorScope, list[KeyList]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    async def page(self, command: ListPage, retries: Retries) -> Page:
        cursor = command.cursor
        if cursor is None:
            found = await self._new_list(command)
        else:
            try:
                found = await self._list_of(command, cursor)
            except BucketNotFound:
                raise CursorExpired from None
        found.used_at = self._loop.time()
        after = cursor.after if cursor is not None else None
        picked, last = self._pick(found, after, command.limit)
        items: Sequence[str] | Sequence[KeyMeta] | Sequence[Entry] = picked
        if command.include is Include.VALUES:
            async with self._turns.turn():
                items, last_read = await self._entries_of(command.bucket, picked, retries)
            last = last_read or last
        elif command.include is Include.META:
            items = [found.metas[key] for key in picked]
        if last is None:
            return Page(items, None)
        as_of = found.as_of if cursor is None else cursor.as_of
        return Page(items, Cursor(found.created_at, as_of, last))

    def _pick(
        self, found: KeyList, after: str | None, limit: int | None
    ) -> tuple[list[str], str | None]:
        """Return the keys of a page, and the last key examined if more follow."""
        keys = found.keys
        place = 0 if after is None else bisect_right(keys, after)
        now = 0
        if found.lifetime is not None:
            now = int((self._loop.time() + found.lifetime.clock) * 1e9)
        picked: list[str] = []
        while place < len(keys) and (limit is None or len(picked) < limit):
            if found.has(keys[place], now):
                picked.append(keys[place])
            place += 1
        if place < len(keys):
            return picked, keys[place - 1]
        return picked, found.bound

    async def _list_of(self, command: ListPage, cursor: Cursor) -> KeyList:
        """Return a list for the page of a cursor."""
        info = await self._cache.stream(command.bucket)
        if info["created"] != cursor.created_at:
            raise CursorExpired
        for kept in self._kept.get(command.scope, []):
            if kept.created_at == cursor.created_at and kept.as_of >= cursor.as_of:
                last: int = info["state"]["last_seq"]
                if kept.covers(cursor.after) and await self._follow(command, kept, last):
                    return kept
        found = await self._new_list(command)
        if found.created_at != cursor.created_at:
            raise CursorExpired
        return found

    async def _follow(self, command: ListPage, kept: KeyList, last: int) -> bool:
        """Read the changes since a list was built; return whether the list is usable.

        Args:
            last: the newest revision of the bucket.
        """
        async with kept.lock:
            if last <= kept.followed:
                return True
            if last - kept.followed > _CHANGES_FOLLOWED:
                age = self._loop.time() - kept.made_at
                return age < max(_OLD_SECONDS, _OLD_TIMES * kept.seconds)
            reader = BucketReader(
                self._js, self._cache, command.bucket, command.key_filter, after=kept.followed
            )
            async with reader.opened(), aclosing(reader.parts()) as parts:
                async for part in parts:
                    for message in part:
                        kept.take(message, self._loop.time())
            kept.followed = reader.revision
        return reader.created_at == kept.created_at

    async def _new_list(self, command: ListPage) -> KeyList:
        """Build a list, or share one that others wait for."""
        after = command.cursor.after if command.cursor is not None else None
        most = self._window if command.limit is not None else None
        return await self._runs.result(
            (command.scope, after, most), lambda: self._read_list(command, after, most)
        )

    async def _read_list(self, command: ListPage, after: str | None, most: int | None) -> KeyList:
        metas = command.include is Include.META
        window = KeyWindow(command.key_filter, after, most=most, metas=metas)
        reader = BucketReader(self._js, self._cache, command.bucket, command.key_filter)
        async with reader.opened():
            found = await window.read(reader)
        if most is not None and len(found.keys) > (command.limit or 0):
            self._keep(command.scope, found)
        return found

    def _keep(self, scope: CursorScope, found: KeyList) -> None:
        """Cache a list, and drop those that have not served a page for the longest time."""
        if found.weight > self._most:
            return
        self._kept.setdefault(scope, []).insert(0, found)
        total = sum(one.weight for some in self._kept.values() for one in some)
        for kept, one in self._by_use():
            if total <= self._most:
                break
            total -= one.weight
            self._drop(kept, one)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(_KEPT_SECONDS, self._sweep)

    def _by_use(self) -> list[tuple[CursorScope, KeyList]]:
        every = [(scope, one) for scope, some in self._kept.items() for one in some]
        return sorted(every, key=lambda pair: pair[1].used_at)

    def _drop(self, scope: CursorScope, found: KeyList) -> None:
        self._kept[scope].remove(found)
        if not self._kept[scope]:
            del self._kept[scope]

    def _sweep(self) -> None:
        self._sweeper = None
        oldest = self._loop.time() - _KEPT_SECONDS
        for scope, one in self._by_use():
            if one.used_at <= oldest:
                self._drop(scope, one)
        if self._kept:
            self._sweeper = self._loop.call_later(_KEPT_SECONDS / 4, self._sweep)

    async def _entries_of(
        self, bucket: str, keys: list[str], retries: Retries
    ) -> tuple[list[Entry], str | None]:
        """Read the values of a page; return them, and the last key if it ends early."""
        found: list[Entry] = []
        size = 0
        for start in range(0, len(keys), _READS_AT_ONCE):
            some = keys[start : start + _READS_AT_ONCE]
            for entry in await self._read_together(bucket, some, retries):
                if entry is None:
                    continue
                size += entry.size
                if found and size > _PAGE_BYTES:
                    return found, found[-1].key
                found.append(entry)
        return found, None

    async def _read_together(
        self, bucket: str, keys: list[str], retries: Retries
    ) -> list[Entry | None]:
        try:
            async with asyncio.TaskGroup() as group:
                reads = [group.create_task(self._entry_of(bucket, key, retries)) for key in keys]
        except* GatewayError as failed:
            raise failed.exceptions[0] from None
        return [read.result() for read in reads]

    async def _entry_of(self, bucket: str, key: str, retries: Retries) -> Entry | None:
        try:
            return await self._entries.get(Get.of(bucket, key), retries)
        except (KeyNotFound, InvalidArgument):
            if decode(key) is not None:
                return None
        # A subject without a key is shown as it is.
        try:
            return await self._entries.get(Get(bucket, key, key), retries)
        except KeyNotFound:
            return None
