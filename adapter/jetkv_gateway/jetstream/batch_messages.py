"""The messages of an atomic batch. Pure."""

import secrets
from collections.abc import Sequence
from functools import lru_cache

from jetkv_gateway.jetstream.api import (
    BATCH_COMMIT,
    BATCH_ID,
    BATCH_PLACE,
    CONTENT_TYPE,
    EXPECTED_NEWEST,
    EXPECTED_REVISION,
    EXPECTED_STREAM,
    EXPECTED_SUBJECT,
    MESSAGE_ID,
    OPERATION,
    REQUEST,
    ROLLUP,
    TTL,
)
from jetkv_gateway.jetstream.batch_plan import Plan, with_ids
from jetkv_gateway.jetstream.headers import write_headers
from jetkv_gateway.jetstream.names import BucketNames
from jetkv_gateway.kv.batches import Op
from jetkv_gateway.kv.commands import Delete, Put
from jetkv_gateway.kv.errors import ValueTooLarge
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.kv.ttl import written_ttl

__all__ = ["check_messages", "check_sizes", "id_of", "messages_of"]


_BATCH_ID = BATCH_ID.encode()
_BATCH_PLACE = BATCH_PLACE.encode()
_BATCH_COMMIT = BATCH_COMMIT.encode()
_EXPECTED_REVISION = EXPECTED_REVISION.encode()
_EXPECTED_SUBJECT = EXPECTED_SUBJECT.encode()
_EXPECTED_NEWEST = EXPECTED_NEWEST.encode()
_MESSAGE_ID = MESSAGE_ID.encode()
_REQUEST = REQUEST.encode()
_ROLLUP = ROLLUP.encode()
_TTL = TTL.encode()


def id_of(identity: Idempotency, op: int | None) -> str:
    """Return a message id of a batch.

    Args:
        op: the number of the op with this id; None for the first message.
    """
    return identity.scope if op is None else f"{identity.scope}.{op}"


def check_sizes(ops: Sequence[Op], limit: int) -> None:
    """Refuse a value of more than `limit` bytes.

    Raises:
        ValueTooLarge: its details name the item.
    """
    for number, op in enumerate(ops):
        if isinstance(op, Put) and len(op.value) > limit:
            raise _too_large(number, op, limit)


def _too_large(number: int, op: Op, limit: int) -> ValueTooLarge:
    error = ValueTooLarge(limit)
    error.details = {"limit_bytes": limit, "index": number, "key": op.key}
    return error


def check_messages(
    ops: Sequence[Op], plan: Plan, messages: Sequence[tuple[bytes, bytes, bytes]], limit: int | None
) -> None:
    """Refuse a message that is too large for the bucket: the server would not name the item.

    Args:
        limit: bytes of a value with its headers; None for no limit.

    Raises:
        ValueTooLarge: its details name the item.
    """
    if limit is None:
        return
    for planned, (_, payload, headers) in zip(plan.messages, messages, strict=True):
        if len(payload) + len(headers) > limit:
            raise _too_large(planned.op, ops[planned.op], limit - len(headers))


@lru_cache(maxsize=1024)
def _shared(stream: str, content_type: str | None, operation: str | None) -> bytes:
    """Return the headers that many messages have in common, without the end of the block."""
    headers = {EXPECTED_STREAM: stream}
    if content_type is not None:
        headers[CONTENT_TYPE] = content_type
    if operation is not None:
        headers[OPERATION] = operation
    if operation == "PURGE":
        headers[ROLLUP] = "sub"
    return write_headers(headers)[:-2]


def messages_of(
    names: BucketNames, ops: Sequence[Op], plan: Plan, identity: Idempotency
) -> list[tuple[bytes, bytes, bytes]]:
    """Return subject, payload and header block of each message of a try.

    Args:
        identity: identifies the tries of the batch; its content, if any, identifies the request.
    """
    # Each try has its own batch id, because messages of an earlier try may still be in flight.
    batch = b"%b: %b\r\n%b: " % (
        _BATCH_ID,
        secrets.token_hex(11).encode(),
        _BATCH_PLACE,
    )
    written, stream = names.publish_prefix, names.stream
    messages = []
    named = frozenset(with_ids(ops))
    for place, (number, expected, guarded) in enumerate(plan.messages, 1):
        op = ops[number]
        if isinstance(op, Put):
            block = _shared(stream, op.content_type, None)
        else:
            assert isinstance(op, Delete), "a check is no message"
            block = _shared(stream, None, "PURGE" if op.purge else "DEL")
        block = b"%b%b%d\r\n" % (block, batch, place)
        if expected is not None:
            block += b"%b: %d\r\n" % (_EXPECTED_REVISION, expected)
            if guarded != number:
                other = names.subject_prefix + ops[guarded].tokens
                block += b"%b: %b\r\n" % (_EXPECTED_SUBJECT, other.encode())
        if isinstance(op, Put) and op.ttl is not None:
            block += b"%b: %b\r\n" % (_TTL, written_ttl(op.ttl).encode())
            if op.rolls_up:
                block += b"%b: sub\r\n" % _ROLLUP
        if place == 1 or number in named:
            message_id = id_of(identity, None if place == 1 else number)
            block += b"%b: %b\r\n" % (_MESSAGE_ID, message_id.encode())
            if identity.content:
                block += b"%b: %b\r\n" % (_REQUEST, identity.content.encode())
        if place == 1 and plan.newest is not None:
            block += b"%b: %d\r\n" % (_EXPECTED_NEWEST, plan.newest)
        messages.append(((written + op.tokens).encode(), op.value, block))
    last = len(messages) - 1
    for place, (subject, payload, block) in enumerate(messages):
        end = b"\r\n" if place < last else b"%b: 1\r\n\r\n" % _BATCH_COMMIT
        messages[place] = subject, payload, block + end
    return messages
