"""Single keys on JetStream: get, put, delete, history. The hot path."""

import asyncio
import math
from collections.abc import AsyncGenerator

from jetkv_gateway.jetstream.answers import read_ack
from jetkv_gateway.jetstream.api import (
    get_next,
    get_sequence,
    read_entry,
)
from jetkv_gateway.jetstream.bucket_cache import BucketCache, WriteLimits
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.direct import DirectReads
from jetkv_gateway.jetstream.errors import nothing_applied
from jetkv_gateway.jetstream.expiry import may_have_ttl
from jetkv_gateway.jetstream.names import (
    BucketNames,
    KeyNames,
    kept_key_names,
    key_names_of,
    names_of,
)
from jetkv_gateway.jetstream.read_sizes import SMALL
from jetkv_gateway.jetstream.request_errors import RequestFailed
from jetkv_gateway.jetstream.ttl import Touches, check_ttl
from jetkv_gateway.jetstream.write_replies import is_new
from jetkv_gateway.jetstream.writes import Writes
from jetkv_gateway.jetstream.written_headers import shared_headers, with_first_id
from jetkv_gateway.kv.commands import Delete, Get, History, Put, Touch, Touched
from jetkv_gateway.kv.errors import (
    BucketNotFound,
    BucketUnsuitable,
    DeadlineExceeded,
    KeyNotFound,
    RevisionMismatch,
    ValueTooLarge,
)
from jetkv_gateway.kv.model import Consistency, Entry, Operation
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.kv.timestamps import nanoseconds_of, rfc3339

__all__ = ["JetStreamEntries"]

_STARTED_CREDIT_SECONDS = 30.0

_SMALL_VALUE = SMALL // 2
"""Bytes. The sizes of larger values are recorded when they are written, for the next read."""

# Looked up once: of an enum, that takes as long as a call before Python 3.12.
_STRONG, _PUT = Consistency.STRONG, Operation.PUT


class JetStreamEntries:
    """`kv.store.Entries` on JetStream."""

    def __init__(self, js: JetStream, buckets: BucketCache) -> None:
        self._js = js
        self._naming = js.naming
        self._connection = js.connection
        self._sizes = js.read_sizes
        self._buckets = buckets
        self._limits = buckets.cached
        self._direct = DirectReads(js, buckets)
        self._writes = Writes(js, buckets)
        self._touches = Touches(js, buckets, self._writes)
        self._loop = asyncio.get_running_loop()

    async def get(self, command: Get, retries: Retries) -> Entry:
        bucket, key, tokens, revision, consistency = command
        direct, sizes, began = self._direct, self._sizes, self._loop.time()
        limits, is_recorded = self._limits.get(bucket), False
        # If every condition below is false, `way` and `names` are set and still valid.
        if (
            limits is None
            or limits.until < began
            or (way := limits.direct_read) is None
            or way.era is not self._connection.era
            or (sizes.large_in and way.bucket.subject_prefix in sizes.large_in)
            or revision is not None
            or consistency is not _STRONG
            or (
                names := kept_key_names.get((way.bucket, tokens))
                or key_names_of(self._naming, bucket, tokens)
            ).subject
            in direct.absent
        ):
            names = key_names_of(self._naming, bucket, tokens)
            limits = self._buckets.known_limits(bucket, began)
            strong, newest = consistency is _STRONG, revision is None
            way = direct.choose(names, limits, strong=strong, newest=newest)
            average = None if limits is None else limits.average_size
            is_recorded = sizes.tells_apart(names.bucket.subject_prefix, average)
        window: RetryWindow | None = None  # most reads need none
        found: tuple[Entry | None, bytes | str | None] | None = None
        if way is not None:
            pool, amount = way.credit
            taken = pool.try_acquire(amount)
            if not taken:
                window = RetryWindow(retries, self._loop, began)
                taken = await direct.wait_for_credit(way, names, window)
            if taken:
                epoch, failure = pool.epoch, None
                query = names.newest if revision is None else get_sequence(revision)
                try:
                    data, block = await way.mux.ask(
                        way.bucket.direct, query, timeout=way.timeout, operation="direct_get"
                    )
                except asyncio.CancelledError:
                    self._js.abandon(pool, taken)
                    taken = 0
                    raise
                except RequestFailed as error:
                    taken, failure = direct.failed(error, way, names, taken)
                else:
                    found = direct.judge(data, block, way, names, key)
                finally:
                    if taken:
                        pool.release(taken, epoch)
                if failure is not None:
                    window = window or RetryWindow(retries, self._loop, began)
                    try:
                        await direct.prepare_retry(failure, window)
                    finally:
                        del failure  # the error references this frame: this avoids a cycle
        if found is None:
            window = window or RetryWindow(retries, self._loop, began)
            found = await self._ask_leader(command, names, limits, window)
        entry, headers = found
        if revision is None:
            size = len(entry.data) if entry is not None else 0
            if is_recorded or size > SMALL or began > sizes.until:
                sizes.record(names.bucket.subject_prefix, names.subject, size, began)
        if entry is None or entry.operation is not _PUT:
            await self._buckets.limits(bucket, window or RetryWindow(retries, self._loop, began))
            raise KeyNotFound
        if (
            limits is None
            or (
                limits.lifetime is not None
                and (headers is not None or limits.lifetime.max_age != math.inf)
            )
            or entry.expires_at is not None  # by an earlier read of the same entry
        ):
            window = window or RetryWindow(retries, self._loop, began)
            if await self._has_expired(bucket, entry, headers, window):
                if entry.consistency is _STRONG:
                    raise KeyNotFound
                # The replica may be behind, and the key may have a newer value.
                return await self.get(command._replace(consistency=_STRONG), retries)
        return entry

    async def _ask_leader(
        self, command: Get, names: KeyNames, limits: WriteLimits | None, window: RetryWindow
    ) -> tuple[Entry | None, str | None]:
        """Return a message as the leader has it, None if it has none.

        And its headers as base64, if there may be a TTL in them.
        """
        newest = command.revision is None
        query = names.newest if command.revision is None else get_sequence(command.revision)
        credit = self._buckets.credit(names.bucket, names.subject if newest else None)
        entry: Entry | None = None
        headers = None
        try:
            reply = await self._js.call(names.bucket.get, query, window=window, credit=credit)
            entry = read_entry(reply["message"], names.subject, command.key)
            headers = reply["message"].get("hdrs")
            headers = headers if may_have_ttl(headers) else None
        except KeyNotFound:
            pass
        strong = command.consistency is _STRONG
        if newest and strong and limits is not None and limits.direct_server is not None:
            self._direct.record_absence(names.subject, there=entry is not None)
        return entry, headers

    async def _has_expired(
        self, bucket: str, entry: Entry, headers: str | bytes | None, window: RetryWindow
    ) -> bool:
        """Set when a value expires; return whether that time is past."""
        buckets = self._buckets
        limits = await buckets.limits(bucket, window)
        end = None
        if limits.lifetime is not None:
            end = limits.lifetime.expires_at(nanoseconds_of(entry.created_at), headers)
        expires_at = None if end is None else rfc3339(end)
        if expires_at != entry.expires_at:
            entry.expires_at = expires_at
            if entry.shown is not None:
                entry.shown = {}
        if limits.lifetime is None or end is None:
            return False
        return limits.lifetime.clock + self._loop.time() >= end / 1e9 and (
            await buckets.is_expired(bucket, entry, headers, window)
        )

    async def put(self, command: Put, retries: Retries) -> int:
        bucket, _, tokens, value, content_type, coding, expected, identity, ttl, rolls_up = command
        buckets, began = self._buckets, self._loop.time()
        limits = self._limits.get(bucket)
        # What `known_limits` looks at first, without a call.
        if (
            limits is None
            or limits.until < began
            or limits.connected_server is not self._connection.connected_server
        ):
            limits = buckets.known_limits(bucket, began)
        try:
            if (
                limits is not None
                and len(value) <= _SMALL_VALUE
                and (limits.value_limit is None or len(value) <= limits.value_limit)
                and expected is None
                and ttl is None
                and not rolls_up
            ):
                # Nearly every write: one try, and no state of it. The rest is for all others, and
                # goes on from what came of such a try.
                names = key_names_of(self._naming, bucket, tokens)
                stream = names.bucket.stream
                headers = shared_headers(stream, content_type, coding)
                wait = None  # without an id, there is no other try after this time
                if identity is not None:
                    headers = with_first_id(headers, identity)
                    # What `try_timeout` returns for a window that begins now.
                    wait = self._js.retry_timeout
                try:
                    data, _ = await self._js.send(names.publish, value, headers, wait)
                    answer = read_ack(data, stream)
                    if is_new(answer, identity):
                        stored: int = answer["seq"]
                        return stored
                except RequestFailed as failed:
                    window = RetryWindow(retries, self._loop, began)
                    return await self._writes.go_on(command, limits, window, failed)
                window = RetryWindow(retries, self._loop, began)
                return await self._writes.go_on(command, limits, window, answer)
            window = RetryWindow(retries, self._loop, began)
            if limits is None:
                limits = await buckets.fresh_limits(bucket, window)
            if len(value) > _SMALL_VALUE:
                prefix = names_of(self._naming, bucket).subject_prefix
                size = len(value) * 4 // 3
                self._js.read_sizes.record_write(prefix, prefix + tokens, size)
            if limits.value_limit is not None and len(value) > limits.value_limit:
                await self._check_size(bucket, len(value), window)
            if ttl is not None:
                command = await check_ttl(command, limits, buckets, window)
            return await self._writes.apply(command, limits, window)
        except BucketNotFound:
            self._buckets.forget(bucket)
            raise
        except DeadlineExceeded as error:
            raise nothing_applied(error) from error.__cause__

    async def touch(self, command: Touch, retries: Retries) -> Touched:
        try:
            return await self._touches.touch(command, RetryWindow(retries, self._loop))
        except BucketNotFound:
            self._buckets.forget(command.bucket)
            raise
        except DeadlineExceeded as error:
            raise nothing_applied(error) from error.__cause__

    async def delete(self, command: Delete, retries: Retries) -> int:
        try:
            return await self._delete(command, RetryWindow(retries, self._loop))
        except BucketNotFound:
            self._buckets.forget(command.bucket)
            raise
        except DeadlineExceeded as error:
            raise nothing_applied(error) from error.__cause__
        except ValueTooLarge as error:
            raise BucketUnsuitable(
                "the bucket's max_value_size is too small for a tombstone",
                hint="NATS counts headers, so it must be at least 256 bytes",
            ) from error

    async def _delete(self, command: Delete, window: RetryWindow) -> int:
        names = names_of(self._naming, command.bucket)
        expected, identity = command.expected, command.identity
        last = await self._writes.look(names, command, window)
        current = last.entry if last is not None else None
        if last is not None and identity is not None and last.made_by(identity):
            return last.entry.revision
        limits = await self._buckets.limits(command.bucket, window)
        live = current is not None and current.live
        revision = current.revision if current is not None else None
        if expected is None:
            if live:
                return await self._writes.apply(command, limits, window)
            if command.purge and current is not None and current.operation is Operation.DELETE:
                # There is a tombstone already, so drop the history before it and write nothing.
                await self._drop_history(names, command.tokens, current.revision)
            return 0
        holds = live and revision == expected
        if not holds and (identity is None or revision == expected):
            raise RevisionMismatch(revision)
        # Where it does not hold, it may have been applied all the same, and was written over since.
        return await self._writes.apply(command, limits, window)

    async def history(self, command: History, retries: Retries) -> AsyncGenerator[Entry, None]:
        bucket, key, tokens = command
        names = names_of(self._naming, bucket)
        window = RetryWindow(retries, self._loop)
        last = await self._writes.last(names, tokens, key, window)
        newest = last.entry.revision if last is not None else 0
        subject, size = (
            names.subject_prefix + tokens,
            len(last.entry.data) if last is not None else 0,
        )
        self._js.read_sizes.record(names.subject_prefix, subject, size, self._loop.time())
        del last  # release its value
        reached, started = 0, False
        while reached < newest:
            found = await self._next(names, tokens, key, reached + 1, window, started=started)
            if found is None:
                break
            entry, headers = found
            del found
            if entry.revision > newest:
                break
            reached = entry.revision
            if entry.live and await self._has_expired(bucket, entry, headers, window):
                continue
            started = True
            yield entry
            del entry
            # The client may have taken a long time to read the entry.
            window = RetryWindow(retries, self._loop)
        if not started:
            await self._buckets.limits(bucket, window)
            raise KeyNotFound

    async def _next(
        self,
        names: BucketNames,
        tokens: str,
        key: str,
        revision: int,
        window: RetryWindow,
        *,
        started: bool,
    ) -> tuple[Entry, str | None] | None:
        """Return the first entry of a key at or after a revision, and its headers as base64.

        Args:
            started: whether the response has begun. It then waits longer for credit, because it
                cannot be retried.
        """
        subject = names.subject_prefix + tokens
        credit = self._buckets.credit(names)
        credit_timeout = _STARTED_CREDIT_SECONDS if started else None
        try:
            reply = await self._js.call(
                names.get,
                get_next(subject, revision),
                window=window,
                credit=credit,
                credit_timeout=credit_timeout,
            )
        except KeyNotFound:
            return None
        message = reply["message"]
        entry = read_entry(message, subject, key)
        return None if entry is None else (entry, message.get("hdrs"))

    async def _check_size(self, bucket: str, size: int, window: RetryWindow) -> None:
        """Refuse a value by the current limit, which may have been raised since it was cached."""
        limit = (await self._buckets.fresh_limits(bucket, window)).value_limit
        if limit is not None and size > limit:
            raise ValueTooLarge(limit)

    async def _drop_history(self, names: BucketNames, tokens: str, tombstone: int) -> None:
        """Remove everything before a tombstone. The sequence protects newer values."""
        await self._js.call(
            f"STREAM.PURGE.{names.stream}",
            b'{"filter":"%s","seq":%d}' % ((names.subject_prefix + tokens).encode(), tombstone),
            check="read the key's history: after the purge it holds only a tombstone",
        )
