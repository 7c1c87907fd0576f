"""TTLs of single keys on JetStream: which ones a bucket accepts, and touch, which renews one.

A touch is a conditional write of the same value. `kv/ttl.py` has the rules
(docs/http-api.md#ttl-per-key).
"""

import asyncio
import math
from collections.abc import Sequence

from jetkv_gateway.jetstream.api import get_sequence
from jetkv_gateway.jetstream.bucket_cache import BucketCache, WriteLimits
from jetkv_gateway.jetstream.capabilities import Capability, since
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.configs import MARKERS_SECONDS_WITH_HISTORY
from jetkv_gateway.jetstream.expiry import own_ttl
from jetkv_gateway.jetstream.names import BucketNames, names_of
from jetkv_gateway.jetstream.write_replies import LastMessage
from jetkv_gateway.jetstream.writes import Writes
from jetkv_gateway.kv.batches import Op
from jetkv_gateway.kv.commands import Put, Touch, Touched
from jetkv_gateway.kv.errors import (
    BucketUnsuitable,
    KeyNotFound,
    RevisionMismatch,
    Unavailable,
)
from jetkv_gateway.kv.model import MAX_REVISION, MUST_NOT_EXIST
from jetkv_gateway.kv.timestamps import nanoseconds_of, rfc3339
from jetkv_gateway.kv.ttl import NEVER, TtlRules

__all__ = ["Touches", "check_ttl", "check_ttls"]

_UNREACHED = MAX_REVISION - 1
"""A revision that no key is ever at."""


async def check_ttl(
    command: Put, limits: WriteLimits, buckets: BucketCache, window: RetryWindow
) -> Put:
    """Return the put with what its TTL needs.

    Raises:
        BucketUnsuitable: the bucket does not accept this TTL.
    """
    if command.ttl is None:
        return command
    drops_history = command.rolls_up or command.expected == MUST_NOT_EXIST
    try:
        _rules(limits).check(command.ttl, drops_history=drops_history)
    except BucketUnsuitable:
        # The settings may have changed a moment ago.
        limits = await buckets.fresh_limits(command.bucket, window)
        _rules(limits).check(command.ttl, drops_history=drops_history)
    # Without the rollup, an older value or tombstone would reappear when the value expires.
    return command._replace(rolls_up=limits.history > 1)


def _rules(limits: WriteLimits) -> TtlRules:
    able = limits.host.can(Capability.KEY_TTL)
    max_age = math.inf if limits.lifetime is None else limits.lifetime.max_age
    return TtlRules(
        history=limits.history,
        shortest=limits.shortest_ttl,
        expires=max_age != math.inf,
        since=None if able else since(Capability.KEY_TTL),
        markers=min(max_age, MARKERS_SECONDS_WITH_HISTORY),
    )


def check_ttls(ops: Sequence[Op], limits: WriteLimits) -> tuple[Op, ...]:
    """Return the ops of a batch with what their TTLs need.

    Raises:
        BucketUnsuitable: the bucket takes no such TTL; the text names the item.
    """
    rules, checked = _rules(limits), list(ops)
    for number, op in enumerate(ops):
        if not isinstance(op, Put) or op.ttl is None:
            continue
        try:
            rules.check(op.ttl, drops_history=op.expected == MUST_NOT_EXIST)
        except BucketUnsuitable as error:
            error.message = f"ops[{number}].ttl_seconds: {error.message}"
            raise
        checked[number] = op._replace(rolls_up=limits.history > 1)
    return tuple(checked)


class Touches:
    """Renews TTLs."""

    def __init__(self, js: JetStream, buckets: BucketCache, writes: Writes) -> None:
        self._naming = js.naming
        self._buckets = buckets
        self._writes = writes
        self._loop = asyncio.get_running_loop()

    async def touch(self, command: Touch, window: RetryWindow) -> Touched:
        """Write the value again with its TTL; retry if another write comes between.

        Raises:
            KeyNotFound, RevisionMismatch, BucketUnsuitable, IdempotencyConflict, OutcomeUnknown: as
                a put.
            GatewayError: nothing was applied.
        """
        names = names_of(self._naming, command.bucket)
        while True:
            last = await self._writes.look(names, command, window)
            limits = await self._limits(command, window)
            identity = command.identity
            if last is not None and identity is not None and last.made_by(identity):
                return self._touched(limits, last)
            try:
                put = self._renewal(command, limits, last)
                put = await check_ttl(put, limits, self._buckets, window)
            except (KeyNotFound, RevisionMismatch, BucketUnsuitable):
                # What there is now may have come after this touch.
                first = await self._first(command, limits, window)
                if first is None:
                    raise
                return first
            try:
                revision = await self._writes.apply(put, limits, window)
            except RevisionMismatch:
                if command.expected is not None:
                    raise
                if not await window.pause():
                    raise Unavailable(
                        "the key changes faster than it can be touched; nothing was applied"
                    ) from None
                continue
            return await self._done(names, put, revision, limits, window)

    async def _limits(self, command: Touch, window: RetryWindow) -> WriteLimits:
        return await self._buckets.limits(command.bucket, window)

    def _renewal(self, command: Touch, limits: WriteLimits, last: LastMessage | None) -> Put:
        """Return the write that renews the current value.

        Raises:
            KeyNotFound, RevisionMismatch, BucketUnsuitable: there is nothing to renew.
        """
        entry = None if last is None else last.entry
        current = 0 if entry is None else entry.revision
        expected = command.expected
        # With an idempotency key, ask the server first: the touch may have been applied already.
        if expected not in (None, current) and command.identity is None:
            raise RevisionMismatch(current or None)
        if last is None or entry is None or not entry.live:
            raise KeyNotFound if expected is None else RevisionMismatch(current or None)
        ttl = command.ttl
        if ttl is None:
            own = own_ttl(last.headers)
            ttl = None if own is None else NEVER if own == math.inf else int(own)
        if ttl is None and (limits.lifetime is None or limits.lifetime.max_age == math.inf):
            raise BucketUnsuitable(
                "neither the value nor the bucket has a TTL to renew",
                hint="name one with JetKV-TTL-Seconds",
            )
        return Put(
            bucket=command.bucket,
            key=command.key,
            tokens=command.tokens,
            value=entry.value,
            content_type=entry.content_type,
            content_encoding=entry.content_encoding,
            expected=current if expected is None else expected,
            identity=command.identity,
            ttl=ttl,
            rolls_up=limits.history > 1,
        )

    async def _done(
        self, names: BucketNames, put: Put, revision: int, limits: WriteLimits, window: RetryWindow
    ) -> Touched:
        if put.identity is not None:
            # It may be a retry, which gets the time of the first touch.
            return await self._stored(names, put, revision, limits, window)
        lifetime = limits.lifetime
        if lifetime is None:
            return Touched(revision, None)
        seconds = lifetime.lasts(math.inf if put.ttl == NEVER else put.ttl)
        if seconds == math.inf:
            return Touched(revision, None)
        # The answer to a write does not say when it was stored.
        now = self._loop.time() + lifetime.clock
        return Touched(revision, rfc3339(round((now + seconds) * 1000) * 1_000_000))

    async def _first(
        self, command: Touch, limits: WriteLimits, window: RetryWindow
    ) -> Touched | None:
        """Return the first answer to a touch with this idempotency key; None if there was none."""
        if command.identity is None:
            return None
        bucket, key, tokens = command.bucket, command.key, command.tokens
        # A write that no server can store asks for the id only.
        asked = Put(bucket, key, tokens, b"", expected=_UNREACHED, identity=command.identity)
        try:
            revision = await self._writes.apply(asked, limits, window)
        except RevisionMismatch:
            return None
        names = names_of(self._naming, bucket)
        return await self._stored(names, command, revision, limits, window)

    async def _stored(
        self,
        names: BucketNames,
        command: Put | Touch,
        revision: int,
        limits: WriteLimits,
        window: RetryWindow,
    ) -> Touched:
        """Return what a touch stored, without its time if another write has replaced it."""
        subject = names.subject_prefix + command.tokens
        query = get_sequence(revision)
        first = await self._writes.read(names, query, subject, command.key, window)
        return Touched(revision, None) if first is None else self._touched(limits, first)

    @staticmethod
    def _touched(limits: WriteLimits, last: LastMessage) -> Touched:
        entry, lifetime = last.entry, limits.lifetime
        if lifetime is None:
            return Touched(entry.revision, None)
        created = nanoseconds_of(entry.created_at)
        return Touched(entry.revision, lifetime.expires_at_text(created, last.headers))
