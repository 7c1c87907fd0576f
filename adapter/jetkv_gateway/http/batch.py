"""Batches: several keys read or changed by one request (docs/http-api.md#batches)."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from jetkv_gateway.flags.follower import FlagFollower
from jetkv_gateway.http.auditing import Subject, note_subjects
from jetkv_gateway.http.call import JSON_LINE, Call, ClientGone
from jetkv_gateway.http.preconditions import idempotency_key, refuse_conditions
from jetkv_gateway.http.reporting import report_error
from jetkv_gateway.http.views import View, choose_view, entry_json
from jetkv_gateway.kv.access import Verb, conceal_revisions, denial
from jetkv_gateway.kv.batches import BatchGet, BatchWrite, Check, Op, Snapshot, read_batch
from jetkv_gateway.kv.commands import Delete
from jetkv_gateway.kv.errors import (
    BucketNotFound,
    GatewayError,
    InvalidArgument,
    PreconditionFailed,
)
from jetkv_gateway.kv.scopes import FULL, ScopeVerb
from jetkv_gateway.kv.store import Batches, Entries

__all__ = ["BatchHandlers"]

_PIECE = 256 * 1024
"""Bytes of an answer that are encoded and sent at a time. A smaller answer is sent in one piece."""

_AT_ONCE = 32
"""Writes of one non-atomic batch that run at the same time."""

_SLOWEST = 256 * 1024
"""Bytes per second. A client that reads a large answer more slowly would block others for too long.
"""

_SEND_SECONDS = 30.0


class BatchHandlers:
    """The handlers of the routes for batches."""

    def __init__(self, batches: Batches, entries: Entries, flags: FlagFollower) -> None:
        self._batches = batches
        self._entries = entries
        self._flags = flags

    async def batch(self, call: Call, bucket: str) -> None:
        hint = "an op has a 'revision' of its own"
        refuse_conditions(call.headers, "on a batch", hint=hint)
        name = idempotency_key(call.headers, call.principal.identity)
        command = read_batch(call.request.body, bucket, name)
        note_subjects(call, _subjects(command))
        if call.rates:
            call.charge(len(command.keys if isinstance(command, BatchGet) else command.ops))
        if isinstance(command, BatchGet):
            await self._get(call, command)
            return
        if call.parameter("values") is not None:
            raise InvalidArgument("query parameter 'values' has no meaning without 'get'")
        if command.atomic:
            if call.principal.grants is not FULL:
                for op in command.ops:
                    call.require(_verb(op), bucket, op.key)
            applied = await self._batches.apply(command, call)
            if bucket == self._flags.bucket:
                self._flags.wrote(applied.revision)
            results = b",".join([b'{"revision":%d}' % one for one in applied.revisions])
            call.answer_json(200, b'{"results":[%b],"revision":%d}' % (results, applied.revision))
            return
        each = await self._each(call, command)
        note_subjects(call, _subjects(command, each))
        call.answer_json(200, orjson.dumps({"results": each}))

    async def _get(self, call: Call, command: BatchGet) -> None:
        view = choose_view(call.parameter("values"), None, call.view)
        if view is View.RAW:
            raise InvalidArgument("query parameter 'values' must be base64 or json here")
        readable = _readable(call, command)
        if readable is not None:
            keys = zip(command.keys, readable, strict=True)
            verb = Verb.READ.value
            note_subjects(
                call,
                ((verb, command.bucket, "key", key, None if may else 403) for key, may in keys),
            )
            command = command.only(readable)
        async with self._batches.snapshot(command, call) as snapshot:
            if readable is not None:
                entries = iter(snapshot.entries)
                snapshot = Snapshot(
                    [next(entries) if one else None for one in readable], snapshot.revision
                )
            size = sum([0 if one is None else one.size for one in snapshot.entries])
            if size <= _PIECE:
                call.answer_json(200, b"".join(_snapshot_json(snapshot, view)))
                return
            try:
                async with asyncio.timeout(_SEND_SECONDS + size / _SLOWEST):
                    await _send(call, snapshot, view)
            except (ConnectionError, TimeoutError):
                raise ClientGone from None

    async def _each(self, call: Call, command: BatchWrite) -> list[dict[str, Any]]:
        """Run ops independently of each other, but those of one key in order."""
        ops = command.ops
        results: list[dict[str, Any]] = [{} for _ in ops]
        keys: dict[str, list[int]] = {}
        for number, op in enumerate(ops):
            keys.setdefault(op.key, []).append(number)
        left = iter(keys.values())

        async def work() -> None:
            for numbers in left:
                for number in numbers:
                    if not results[number]:
                        results[number] = await self._result(call, ops[number])

        # Run the first op alone, so that a missing bucket fails all of them with one request.
        results[0] = await self._result(call, ops[0], first=True)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(keys))):
                group.create_task(work())
        return results

    async def _result(self, call: Call, op: Op, *, first: bool = False) -> dict[str, Any]:
        try:
            call.require(_verb(op), op.bucket, op.key)
            if isinstance(op, Delete):
                revision = await self._entries.delete(op, call)
            else:
                assert not isinstance(op, Check), "refused when it was read"
                revision = await self._entries.put(op, call)
        except GatewayError as error:
            if first and isinstance(error, BucketNotFound):
                raise
            report_error(error)
            if isinstance(error, PreconditionFailed):
                conceal_revisions(error, call.principal.grants, op.bucket, op.key)
            failed = {"status": error.status, "error": error.message, "code": error.code}
            return failed if error.details is None else {**failed, "details": error.details}
        if op.bucket == self._flags.bucket:
            self._flags.wrote(revision)
        return {"status": 200, "revision": revision}


def _readable(call: Call, command: BatchGet) -> list[bool] | None:
    """Return which of the keys the caller may read, or None if it may read all of them.

    Raises:
        PermissionDenied: it may read no key of the bucket.
    """
    grants, bucket = call.principal.grants, command.bucket
    if grants.covers(ScopeVerb.READ, bucket):
        return None
    if not grants.touches(ScopeVerb.READ, bucket):
        raise denial(Verb.READ, bucket)
    readable = [grants.allows(ScopeVerb.READ, bucket, key) for key in command.keys]
    if all(readable):
        return None
    call.mark_filtered()
    return readable


def _subjects(
    command: BatchGet | BatchWrite, results: Sequence[Mapping[str, Any]] = ()
) -> Iterator[Subject]:
    """Yield what the audit log is told of a batch: each of its keys, with the status of each op."""
    if isinstance(command, BatchGet):
        for key in command.keys:
            yield Verb.READ.value, command.bucket, "key", key, None
    else:
        for number, op in enumerate(command.ops):
            status = results[number]["status"] if results else None
            yield _verb(op).value, op.bucket, "key", op.key, status


def _verb(op: Op) -> Verb:
    """Return the permission that an op needs."""
    if isinstance(op, Check):
        return Verb.READ
    return Verb.DELETE if isinstance(op, Delete) else Verb.WRITE


def _snapshot_json(snapshot: Snapshot, view: View) -> Iterator[bytes]:
    """Yield the parts of an answer. Each entry is freed when its part is encoded."""
    entries = snapshot.entries
    before = b'{"entries":['
    for place, entry in enumerate(entries):
        yield before + (b"null" if entry is None else entry_json(entry, view))
        entries[place] = entry = None
        before = b","
    yield b'],"revision":%d}' % snapshot.revision


async def _send(call: Call, snapshot: Snapshot, view: View) -> None:
    """Send an answer in parts."""
    await call.begin(200, JSON_LINE)
    unsent = bytearray()
    for part in _snapshot_json(snapshot, view):
        unsent += part
        if len(unsent) >= _PIECE:
            await call.request.send(bytes(unsent))
            unsent.clear()
    await call.request.send(bytes(unsent))
    await call.end()
