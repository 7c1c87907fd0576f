"""Finds out what a server remembers of an atomic batch, by its message ids.

The first message of a batch has the batch's id. A delete that writes only if there is something to
delete has its own id, and so has the first op that certainly writes. With these ids, the first
answer can be reconstructed even after the values were replaced.
"""

import asyncio
from collections.abc import Mapping, Sequence

from jetkv_gateway.jetstream.api import (
    EXPECTED_REVISION,
    EXPECTED_STREAM,
    MESSAGE_ID,
    REQUEST,
    ROLLUP,
    TTL,
    get_sequence,
    message_headers,
)
from jetkv_gateway.jetstream.batch_messages import id_of
from jetkv_gateway.jetstream.batch_plan import is_optional, numbered, with_ids
from jetkv_gateway.jetstream.bucket_cache import BucketCache, WriteLimits
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.errors import MISMATCHES
from jetkv_gateway.jetstream.headers import write_headers
from jetkv_gateway.jetstream.names import BucketNames, names_of
from jetkv_gateway.kv.batches import Applied, BatchWrite, Check, Op
from jetkv_gateway.kv.errors import IdempotencyConflict, KeyNotFound, OutcomeUnknown
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.kv.model import MAX_REVISION

__all__ = ["BatchIds"]

_AT_ONCE = 32
_NOT_KNOWN_ALONE = frozenset({10111, 10165, 10166})
"""The codes with which a server without replicas refuses the probe after it has checked its id."""

_HOW_TO_CHECK = "read the keys: all of them show the batch, or none does"
_FORGOTTEN = (
    "the batch was applied, but NATS does not know any more which of its deletes found a key"
)


class BatchIds:
    """Asks servers which batches they remember."""

    def __init__(self, js: JetStream, buckets: BucketCache) -> None:
        self._js = js
        self._buckets = buckets

    async def applied(
        self,
        command: BatchWrite,
        identity: Idempotency,
        limits: WriteLimits,
        window: RetryWindow,
        *,
        named: bool,
    ) -> Applied | None:
        """Return the result of a batch with this identity; None if the server knows none.

        Args:
            named: whether the caller chose the identity, so that another batch may have it too.

        Raises:
            IdempotencyConflict: it was another batch, if that is still stored.
            GatewayError: the server could not be asked.
        """
        names, ops = names_of(self._js.naming, command.bucket), command.ops
        tokens = next(op.tokens for op in ops)
        first = await self._ask(names, tokens, id_of(identity, None), limits, window)
        if first is None:
            return None
        opened_by = await self._first_message(names, first, identity, window, named=named)
        found = await self._ask_all(names, tokens, identity, with_ids(ops), limits, window)
        fixed = {number: op.expected for number, op in enumerate(ops) if isinstance(op, Check)}
        for number, revision in found.items():
            if revision is None:
                fixed[number] = 0
        opener = _opener([one for one in found if found[one] is None], found, ops, opened_by)
        del fixed[opener]
        revisions = numbered(len(ops), fixed, first)
        written = len(ops) - len(fixed)
        return Applied(revisions, first + written - 1)

    async def _ask_all(
        self,
        names: BucketNames,
        tokens: str,
        identity: Idempotency,
        numbers: Sequence[int],
        limits: WriteLimits,
        window: RetryWindow,
    ) -> dict[int, int | None]:
        """Return the remembered revision for the own id of each op."""
        found: dict[int, int | None] = dict.fromkeys(numbers)
        left = iter(numbers)

        async def ask() -> None:
            for number in left:
                message_id = id_of(identity, number)
                found[number] = await self._ask(names, tokens, message_id, limits, window)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(numbers))):
                    group.create_task(ask())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return found

    async def _first_message(
        self,
        names: BucketNames,
        revision: int,
        identity: Idempotency,
        window: RetryWindow,
        *,
        named: bool,
    ) -> str | None:
        """Return the tokens of the key that a batch's first message wrote; None if it is gone."""
        credit = self._buckets.credit(names)
        try:
            reply = await self._js.call(
                names.get, get_sequence(revision), window=window, credit=credit
            )
        except KeyNotFound:
            return None
        message = reply["message"]
        headers = message_headers(message.get("hdrs"))
        if headers.get(MESSAGE_ID) != identity.scope:
            return None
        if named and headers.get(REQUEST) != identity.content:
            raise IdempotencyConflict(revision)
        tokens: str = message["subject"][len(names.subject_prefix) :]
        return tokens

    async def _ask(
        self,
        names: BucketNames,
        tokens: str,
        message_id: str,
        limits: WriteLimits,
        window: RetryWindow,
    ) -> int | None:
        """Return the revision that the server remembers for a message id, or None.

        The probe is a message that the server refuses for a reason it checks after the id, so it
        never stores it. A server without replicas gets an invalid TTL, a replicated stream a
        condition that cannot hold. Each one works only there.
        """
        probe = {TTL: "none", ROLLUP: "none"}
        unknown = _NOT_KNOWN_ALONE
        if limits.replicated:
            probe = {EXPECTED_REVISION: str(MAX_REVISION - 1)}
            unknown = MISMATCHES
        headers = {EXPECTED_STREAM: names.stream, MESSAGE_ID: message_id, **probe}
        answer = await self._js.publish(
            names.stream,
            (names.publish_prefix + tokens).encode(),
            b"",
            write_headers(headers),
            _HOW_TO_CHECK,
            window,
            self._js.retry_timeout,
        )
        if "error" not in answer:
            if answer.get("duplicate") and answer["seq"]:
                revision: int = answer["seq"]
                return revision
        elif answer["error"].get("err_code") in unknown:
            return None
        raise OutcomeUnknown(_HOW_TO_CHECK)


def _opener(
    unknown: Sequence[int],
    found: Mapping[int, int | None],
    ops: Sequence[Op],
    opened_by: str | None,
) -> int:
    """Return the number of the op that wrote the batch's first message.

    That message has the id of the batch and no id of its own. So it is the first op that could have
    its own id and is not known by it, and it comes before all ops that are.

    Args:
        unknown: the numbers of the ops that are not known, in order.
        opened_by: the tokens of the key that the first message wrote; None if it is gone.

    Raises:
        OutcomeUnknown: several ops are possible.
    """
    for number in unknown:
        if not is_optional(ops[number]):
            return number  # it wrote for certain, and would be known by an id of its own
    known = min((number for number in found if found[number] is not None), default=len(ops))
    could = [number for number in unknown if number < known]
    if opened_by is not None:
        could = [number for number in could if ops[number].tokens == opened_by]
    if len(could) != 1:
        # Another retry would find out no more.
        error = OutcomeUnknown("read the keys")
        error.message, error.details = _FORGOTTEN, {"outcome": "applied"}
        raise error
    return could[0]
