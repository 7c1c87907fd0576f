"""What a server remembers of an atomic batch, by the message ids that it had.

The first message of a batch has the batch's id. A delete that writes only where there is something
to delete has one of its own behind that: so the first answer can be put together again, whatever
was written over since.
"""

import asyncio

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
from jetkv_gateway.jetstream.batch_plan import is_optional, numbered
from jetkv_gateway.jetstream.bucket_cache import BucketCache, WriteLimits
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.errors import MISMATCHES
from jetkv_gateway.jetstream.headers import write_headers
from jetkv_gateway.jetstream.names import BucketNames, names_of
from jetkv_gateway.kv.batches import Applied, BatchWrite, Check
from jetkv_gateway.kv.errors import IdempotencyConflict, KeyNotFound, OutcomeUnknown
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.kv.model import MAX_REVISION

__all__ = ["BatchIds"]

_AT_ONCE = 32
_NOT_KNOWN_ALONE = frozenset({10111, 10165, 10166})
"""What a server that is the only one refuses the probe for, after it has looked at its id."""

_HOW_TO_CHECK = "read the keys: all of them show the batch, or none does"
_UNTOLD = "it was applied, and which of its deletes found something is not known any more"


class BatchIds:
    """Asks servers for the batches that they remember."""

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
        """Return what a batch with this identity did, None where the server knows of none.

        Args:
            named: whether its caller gave the identity, so that another batch may have it.

        Raises:
            IdempotencyConflict: it was another batch, as far as that is still stored.
            GatewayError: it could not be asked.
        """
        names, ops = names_of(self._js.naming, command.bucket), command.ops
        tokens = next(op.tokens for op in ops)
        first = await self._ask(names, tokens, id_of(identity, None), limits, window)
        if first is None:
            return None
        opened_by = await self._first_message(names, first, identity, window, named=named)
        deletes = [number for number, op in enumerate(ops) if is_optional(op)]
        found: dict[int, int | None] = {}
        left = iter(deletes)

        async def ask() -> None:
            for number in left:
                name = id_of(identity, number)
                found[number] = await self._ask(names, tokens, name, limits, window)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(deletes))):
                    group.create_task(ask())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        fixed = {number: op.expected for number, op in enumerate(ops) if isinstance(op, Check)}
        certain = [
            number
            for number in range(len(ops))
            if number not in fixed and (number not in found or found[number] is not None)
        ]
        # The first message has the batch's id: it may be that of a delete, without one of its own.
        untold = [one for one in deletes if found[one] is None]
        openers = [one for one in untold if not certain or one < certain[0]]
        if openers and opened_by is None:
            raise OutcomeUnknown(f"{_UNTOLD}: {_HOW_TO_CHECK}")
        for number in untold:
            if number not in openers or ops[number].tokens != opened_by:
                fixed[number] = 0
        revisions = numbered(len(ops), fixed, first)
        written = len(ops) - len(fixed)
        return Applied(revisions, first + written - 1)

    async def _first_message(
        self,
        names: BucketNames,
        revision: int,
        identity: Idempotency,
        window: RetryWindow,
        *,
        named: bool,
    ) -> str | None:
        """Return the tokens of the key that a batch's first message wrote, None if it is gone."""
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
        """Return the revision that the server remembers for a message id, None for none.

        It is asked by a message that is never stored, for a reason that it looks at after the id:
        a server that is the only one, for a TTL that cannot be; a replicated stream, for a
        condition that cannot hold. What fits one is no question to the other.
        """
        probe = {TTL: "none", ROLLUP: "none"}
        unknown = _NOT_KNOWN_ALONE
        if limits.replicated:
            probe = {EXPECTED_REVISION: str(MAX_REVISION - 1)}
            unknown = MISMATCHES
        headers = {EXPECTED_STREAM: names.stream, MESSAGE_ID: message_id, **probe}
        answer = await self._js.publish(
            names.stream,
            names.publish_prefix + tokens,
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
