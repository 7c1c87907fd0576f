"""Deletes many keys, and removes tombstones of keys without any other message.

A deletion reads the bucket (`reader`) up to the revision at which the call began, and deletes each
key on the condition that it is still at the revision that was read. So a key that is written after
the call began stays. Each delete has its own idempotency key, so a delete whose answer was lost is
sent again and counted once.

A tombstone stands alone if only tombstones are stored of its key. A purge up to its revision
removes it: anything written meanwhile is newer, so a value is never removed.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from secrets import token_hex

import orjson

from jetkv_gateway.jetstream.api import get_next, read_entry
from jetkv_gateway.jetstream.bucket_cache import BucketCache, WriteLimits
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.headers import subject_text
from jetkv_gateway.jetstream.names import BucketNames, names_of
from jetkv_gateway.jetstream.reader import BucketReader, Message
from jetkv_gateway.jetstream.shared_runs import SharedRuns
from jetkv_gateway.jetstream.stored_messages import key_of, meta_of
from jetkv_gateway.jetstream.writes import Writes
from jetkv_gateway.kv.commands import Compact, Delete, DeleteKeys
from jetkv_gateway.kv.errors import (
    BucketUnsuitable,
    GatewayError,
    KeyNotFound,
    OutcomeUnknown,
    RevisionMismatch,
    Unavailable,
    ValueTooLarge,
)
from jetkv_gateway.kv.filters import EVERYTHING
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.kv.model import Operation
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.kv.store import BulkDeleteProgress

__all__ = ["JetStreamBulkDeletes"]

_AT_ONCE = 4
_WRITES_AT_ONCE = 32
_AGAIN = "send the request again: it goes on with what is left"

_Job = Callable[[], Awaitable[int]]


class JetStreamBulkDeletes:
    """`kv.store.BulkDeletes` on JetStream."""

    def __init__(self, js: JetStream, cache: BucketCache) -> None:
        self._js = js
        self._cache = cache
        self._writes = Writes(js, cache)
        self._loop = asyncio.get_running_loop()
        self._turns: SharedRuns[None] = SharedRuns(
            "deletes of many keys", at_once=_AT_ONCE, wait=10.0
        )

    async def delete_keys(
        self, command: DeleteKeys, retries: Retries
    ) -> AsyncGenerator[BulkDeleteProgress, None]:
        bucket, key_filter = command.bucket, command.key_filter
        reader = BucketReader(self._js, self._cache, bucket, key_filter)
        call = token_hex(8)
        matched = deleted = revision = 0
        try:
            async with self._turns.turn(), reader.opened():
                limits = await self._cache.limits(bucket)
                async with aclosing(_up_to(reader)) as parts:
                    async for part in parts:
                        found = self._live(part, reader, command)
                        matched += len(found)
                        if not command.dry_run:
                            deletes = [
                                self._delete_of(one, command, limits, call, retries)
                                for one in found
                            ]
                            done, failure = await _together(deletes)
                            deleted += sum(one > 0 for one in done)
                            revision = max([revision, *done])
                            if failure is not None:
                                raise failure
                        yield BulkDeleteProgress(matched, deleted, revision or reader.as_of)
                yield BulkDeleteProgress(matched, deleted, revision or reader.as_of)
        except GatewayError as error:
            raise _partial(error, matched=matched, deleted=deleted) from error.__cause__

    def _live(
        self, part: list[Message], reader: BucketReader, command: DeleteKeys
    ) -> list[Message]:
        now, matches = self._loop.time(), command.key_filter.matches
        return [
            message
            for message in part
            if matches(key_of(message[0]))
            and meta_of(message, reader.lifetime, now).operation is Operation.PUT
        ]

    def _delete_of(
        self,
        message: Message,
        command: DeleteKeys,
        limits: WriteLimits,
        call: str,
        retries: Retries,
    ) -> _Job:
        bucket, expected, key = command.bucket, message[1], key_of(message[0])
        operation = Operation.PURGE if command.purge else Operation.DELETE
        tokens = subject_text(message[0])
        # Two subjects can show as one key, and each of them is deleted.
        identity = Idempotency.of(
            call, bucket=bucket, key=tokens, operation=operation, expected=expected
        )
        delete = Delete(bucket, key, tokens, command.purge, expected, identity)

        async def apply() -> int:
            window = RetryWindow(retries, self._loop)
            try:
                return await self._writes.apply(delete, limits, window)
            except RevisionMismatch:
                return 0  # it was written since, or is gone
            except ValueTooLarge as error:
                raise BucketUnsuitable(
                    "the bucket's max_value_size is too small for a tombstone",
                    hint="NATS counts headers, so it must be at least 256 bytes",
                ) from error

        return apply

    async def compact(self, command: Compact, retries: Retries) -> int:
        bucket = command.bucket
        reader = BucketReader(self._js, self._cache, bucket, EVERYTHING)
        removed = 0
        try:
            async with self._turns.turn(), reader.opened():
                names = names_of(self._js.naming, bucket)
                newest = int((reader.server_time - command.older_than) * 1e9)
                async with aclosing(_up_to(reader)) as parts:
                    async for part in parts:
                        found = [one for one in part if _is_tombstone(one) and one[2] <= newest]
                        keeps_history = reader.keeps_history
                        jobs = [
                            self._removal_of(one, names, retries, alone=not keeps_history)
                            for one in found
                        ]
                        done, failure = await _together(jobs)
                        removed += sum(done)
                        if failure is not None:
                            raise failure
        except GatewayError as error:
            raise _partial(error, removed=removed) from error.__cause__
        return removed

    def _removal_of(
        self, message: Message, names: BucketNames, retries: Retries, *, alone: bool
    ) -> _Job:
        """Return the call that removes a tombstone and those of the same key before it.

        Args:
            alone: whether it is known that the key has no other message.
        """
        subject = names.subject_prefix + subject_text(message[0])
        revision = message[1]

        async def remove() -> int:
            window = RetryWindow(retries, self._loop)
            if not alone and not await self._stands_alone(names, subject, revision, window):
                return 0
            reply = await self._js.call(
                f"STREAM.PURGE.{names.stream}",
                orjson.dumps({"filter": subject, "seq": revision + 1}),
                check=_AGAIN,
                window=window,
            )
            purged: int = reply["purged"]
            return purged

        return remove

    async def _stands_alone(
        self, names: BucketNames, subject: str, revision: int, window: RetryWindow
    ) -> bool:
        """Return whether only tombstones are stored of a key, up to the revision of one."""
        reached = 0
        while reached < revision:
            credit = self._cache.credit(names)
            try:
                reply = await self._js.call(
                    names.get, get_next(subject, reached + 1), window=window, credit=credit
                )
            except KeyNotFound:
                return False  # it is gone already
            entry = read_entry(reply["message"], subject, "")
            if entry is None or entry.live:
                return False
            reached = entry.revision
        return reached == revision


async def _up_to(reader: BucketReader) -> AsyncGenerator[list[Message], None]:
    """Yield what was stored when a reading began; newer messages are not for this call."""
    async with aclosing(reader.parts()) as parts:
        async for part in parts:
            if part[-1][1] <= reader.as_of:
                yield part
                continue
            part = [message for message in part if message[1] <= reader.as_of]
            if part:
                yield part
            return


def _is_tombstone(message: Message) -> bool:
    return meta_of(message, None, 0.0).operation is not Operation.PUT


async def _together(jobs: Iterable[_Job]) -> tuple[list[int], BaseException | None]:
    """Run tasks, some at a time; return the results, and the first failure."""
    limit = asyncio.Semaphore(_WRITES_AT_ONCE)

    async def run(job: _Job) -> int:
        async with limit:
            return await job()

    tasks = [asyncio.create_task(run(job)) for job in jobs]
    # Do not cancel the others: each has a deadline, and their results must be counted.
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    done = [end for end in ends if isinstance(end, int)]
    failed = [end for end in ends if isinstance(end, BaseException)]
    return done, failed[0] if failed else None


def _partial(error: GatewayError, **done: int) -> GatewayError:
    """Return an error that reports what was done before it."""
    if any(done.values()) and isinstance(error, Unavailable):
        # A 503 would say that nothing was applied, which is wrong here.
        reason, error = error.message, OutcomeUnknown(_AGAIN)
        error.message = f"not all was done: {reason}"
    if any(done.values()) or isinstance(error, OutcomeUnknown):
        error.details = {**(error.details or {}), **done}
    return error
