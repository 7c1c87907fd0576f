"""Handlers of the routes for many keys of a bucket (docs/http-api.md#listing)."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import orjson

from jetkv_gateway.flags.follower import FlagFollower
from jetkv_gateway.http.call import Call
from jetkv_gateway.http.listing_query import (
    compact_command,
    delete_command,
    page_command,
    read_command,
)
from jetkv_gateway.http.ndjson import Lines, answer_lines, wants_lines
from jetkv_gateway.http.preconditions import refuse_conditions
from jetkv_gateway.http.views import View, entry_json, meta_json
from jetkv_gateway.kv.commands import DeleteKeys, Include, ListKeys, ListPage, ReadKeys
from jetkv_gateway.kv.cursors import write_cursor
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.kv.model import Entry, KeyMeta
from jetkv_gateway.kv.store import BulkDeleteProgress, BulkDeletes, Listings, Pages, Readings

__all__ = ["ListingHandlers"]

_KEYS_AT_ONCE = 2000
"""Keys that are encoded without a pause. This blocks the event loop for half a millisecond."""
_ENTRIES_AT_ONCE = 250

_LINES_BYTES = 32 * 1024
_PROGRESS_SECONDS = 1.0

_SPACES = bytes.maketrans(b"\r\n", b"  ")


_Items = Sequence[str] | Sequence[KeyMeta] | Sequence[Entry]


class ListingHandlers:
    """Handlers of `/api/v1/kv/buckets/{bucket}/keys` and of `…/compact`."""

    def __init__(
        self,
        listings: Listings,
        pages: Pages,
        readings: Readings,
        bulk_deletes: BulkDeletes,
        flags: FlagFollower,
    ) -> None:
        self._listings = listings
        self._pages = pages
        self._readings = readings
        self._bulk_deletes = bulk_deletes
        self._flags = flags
        self._turn = asyncio.Semaphore(1)

    async def list_keys(self, call: Call, bucket: str) -> None:
        lines = read_command(call, bucket)
        if lines is not None:
            await self._send_lines(call, *lines)
            return
        command, view = page_command(call, bucket)
        call.answer_json(200, await call.run_while_connected(self._document(call, command, view)))

    async def _document(self, call: Call, command: ListPage, view: View) -> bytes:
        if command.include is Include.KEYS and command.limit is None:
            keys = await self._listings.keys(ListKeys(command.bucket, command.key_filter))
            return await self._json_of("keys", keys, view)
        page = await self._pages.page(command, call)
        name = "keys" if command.include is Include.KEYS else "entries"
        body = await self._json_of(name, page.items, view)
        if page.following is not None:
            cursor = write_cursor(page.following, command.scope)
            body = b'%b,"next_cursor":"%b"}' % (body[:-1], cursor.encode("ascii"))
        return body

    async def _json_of(self, name: str, items: _Items, view: View) -> bytes:
        """Encode the answer of a listing. Encode one at a time, since each one is large."""
        async with self._turn:
            parts = []
            step = _KEYS_AT_ONCE if name == "keys" else _ENTRIES_AT_ONCE
            for start in range(0, len(items), step):
                some = items[start : start + step]
                if name == "keys":
                    parts.append(orjson.dumps(some)[1:-1])
                else:
                    parts.append(b",".join([_item_json(item, view) for item in some]))
                await asyncio.sleep(0)
            return b'{"%b":[%b],"count":%d}' % (name.encode(), b",".join(parts), len(items))

    async def _send_lines(self, call: Call, command: ReadKeys, view: View) -> None:
        async def send(lines: Lines) -> bytes:
            count, unsent = 0, bytearray()
            async with self._readings.read(command) as reading:
                async with aclosing(reading.parts()) as parts:
                    async for part in parts:
                        # Others in between: a part is worth half a millisecond or so.
                        await asyncio.sleep(0)
                        unsent += _lines(part, command.include, view)
                        # The first lines at once, the others as soon as they are worth it.
                        if not count or len(unsent) >= _LINES_BYTES:
                            await lines.send(bytes(unsent))
                            unsent.clear()
                        count += len(part)
                if unsent:
                    await lines.send(bytes(unsent))
                return b'{"type":"end","count":%d,"revision":%d}' % (count, reading.revision)

        await answer_lines(call, send)

    async def delete_keys(self, call: Call, bucket: str) -> None:
        refuse_conditions(call.headers, "on a deletion of many keys")
        command = delete_command(call, bucket)
        if wants_lines(call):
            await answer_lines(call, lambda lines: self._delete(call, command, lines))
        else:
            body = await call.run_while_connected(self._delete_while_allowed(call, command))
            call.answer_json(200, body)

    async def _delete_while_allowed(self, call: Call, command: DeleteKeys) -> bytes:
        """As `_delete`, until the caller may not delete these keys any more."""
        if call.standing is None:
            return await self._delete(call, command, None)
        denials: list[GatewayError] = []
        hold = call.standing.hold(call, denials.append)
        try:
            return await self._delete(call, command, None, denials)
        finally:
            hold.release()

    async def _delete(
        self,
        call: Call,
        command: DeleteKeys,
        lines: Lines | None,
        denials: Sequence[GatewayError] = (),
    ) -> bytes:
        """Delete keys. Return the last line, or the answer if the client wants no lines.

        Args:
            denials: has an error as soon as the deletion has to stop.
        """
        loop = asyncio.get_running_loop()
        told = loop.time()
        progress = BulkDeleteProgress(0, 0, 0)
        async with aclosing(self._bulk_deletes.delete_keys(command, call)) as steps:
            async for progress in steps:
                if denials:
                    denials[0].details = progress._asdict()
                    raise denials[0]
                if lines is not None and loop.time() - told >= _PROGRESS_SECONDS:
                    told = loop.time()
                    await lines.send(_progress_json(progress, "progress") + b"\n")
        if progress.deleted and command.bucket == self._flags.bucket:
            self._flags.wrote(progress.revision)
        return _progress_json(progress, None if lines is None else "end")

    async def compact_bucket(self, call: Call, bucket: str) -> None:
        refuse_conditions(call.headers, "on a compaction")
        command = compact_command(call, bucket)
        removed = await call.run_while_connected(self._bulk_deletes.compact(command, call))
        call.answer_json(200, b'{"removed":%d}' % removed)


def _progress_json(progress: BulkDeleteProgress, kind: str | None) -> bytes:
    fields = {"type": kind} if kind is not None else {}
    return orjson.dumps({**fields, **progress._asdict()})


def _lines(part: Sequence[KeyMeta] | Sequence[Entry], include: Include, view: View) -> bytes:
    if include is Include.KEYS:
        return b"".join([b'{"key":%b}\n' % orjson.dumps(item.key) for item in part])
    lines = [_described(item, view) for item in part]
    if view is View.JSON and include is not Include.META:
        # JSON values are sent as stored. A line break in one is white space, since in a string it
        # would be escaped.
        lines = [line.translate(_SPACES) for line in lines]
    return b"\n".join(lines) + b"\n"


def _described(item: str | KeyMeta | Entry, view: View) -> bytes:
    """Return an item with the content type and encoding of its value, where these are known."""
    line = _item_json(item, view)
    if not isinstance(item, Entry):
        return line
    more = b""
    if item.content_type is not None:
        more = b',"content_type":' + orjson.dumps(item.content_type)
    # With JSON values, the entry has it already.
    if item.content_encoding is not None and view is not View.JSON:
        more += b',"content_encoding":' + orjson.dumps(item.content_encoding)
    return b"%b%b}" % (line[:-1], more) if more else line


def _item_json(item: str | KeyMeta | Entry, view: View) -> bytes:
    if isinstance(item, KeyMeta):
        return meta_json(item)
    assert isinstance(item, Entry), "keys are made JSON together"
    return entry_json(item, view)
