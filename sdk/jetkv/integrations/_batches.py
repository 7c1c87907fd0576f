"""Writes of many keys, each for itself (docs/http-api.md#changing-several-keys). Does no I/O."""

import json
import secrets
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Any

from jetkv._core import fields
from jetkv._core.answers import error_of, read_document
from jetkv._core.messages import Answer, Kind, Request
from jetkv._core.requests import bucket_path
from jetkv._core.ttls import ttl_seconds
from jetkv.errors import BucketUnsuitableError, JetKVError
from jetkv.models import NEVER, TTL, BucketInfo

__all__ = ["MAX_GET", "Op", "batches", "delete_op", "put_op", "read_results", "request", "ttl_for"]

Op = dict[str, Any]

MAX_GET = 1_000
_MAX_OPS = 1_000
_MAX_BYTES = 768 * 1024
"""Of values in base64; a body may have 8 MiB. A larger value has a batch of its own."""


def ttl_for(bucket: BucketInfo, seconds: int | None) -> TTL | None:
    """Return the TTL to send with a value that lives `seconds`, or for ever if that is None.

    Raises:
        BucketUnsuitableError: the bucket has a history, or its own TTL would end the value earlier.
    """
    if bucket.history > 1:
        raise BucketUnsuitableError(
            f"bucket {bucket.name!r} has a history of {bucket.history}; values with TTLs "
            "of their own need a history of 1",
            hint="use another bucket; one that is missing is created as it has to be",
        )
    if seconds is None:
        return None if bucket.ttl is None else NEVER
    if bucket.ttl is None or bucket.ttl > timedelta(seconds=seconds):
        return seconds
    if bucket.ttl == timedelta(seconds=seconds):
        return None
    raise BucketUnsuitableError(
        f"a value cannot live {seconds} s in bucket {bucket.name!r}, whose values expire after "
        f"{bucket.ttl}",
        hint="use a shorter timeout, or a bucket without a TTL",
    )


def put_op(key: str, raw: bytes, content_type: str, ttl: TTL | None) -> Op:
    """Return the op that stores bytes."""
    op: Op = {"op": "put", "key": key, "value": b64encode(raw).decode()}
    op["content_type"] = content_type
    if ttl is not None:
        op["ttl_seconds"] = ttl_seconds(ttl)
    return op


def delete_op(key: str) -> Op:
    """Return the op that deletes a key. Its result is 0 if the key had no value."""
    return {"op": "delete", "key": key}


def batches(ops: Iterable[Op]) -> Iterator[list[Op]]:
    """Yield the ops in batches that the gateway takes, in order."""
    some: list[Op] = []
    size = 0
    for op in ops:
        its = len(op.get("value", ""))
        if some and (size + its > _MAX_BYTES or len(some) == _MAX_OPS):
            yield some
            some, size = [], 0
        some.append(op)
        size += its
    if some:
        yield some


def request(bucket: str, ops: Sequence[Op]) -> Request:
    """Return the request that applies ops, each for itself."""
    body = json.dumps({"ops": list(ops), "atomic": False}, separators=(",", ":")).encode()
    return Request(
        "POST",
        f"{bucket_path(bucket)}/batch",
        Kind.KEYED,
        f"batch of {len(ops)} keys in bucket {bucket!r}",
        {"Content-Type": "application/json", "Idempotency-Key": secrets.token_urlsafe(16)},
        body,
        how_to_check="do it again: every write of the batch can be repeated",
        large=True,
    )


def read_results(answer: Answer, sent: Request, ops: Sequence[Op]) -> list[int | JetKVError]:
    """Return for each op the new revision, 0 for a delete of nothing, or its error.

    Raises:
        JetKVError: the whole batch was refused.
    """

    def read(document: dict[str, Any]) -> list[int | JetKVError]:
        found = fields.array(document, "results")
        if len(found) != len(ops) or not all(isinstance(one, dict) for one in found):
            raise fields.FieldError("results must have one object for each op")
        return [_result(op, one, sent) for op, one in zip(ops, found, strict=True)]

    return read_document(answer, sent, read)


def _result(op: Op, found: dict[str, Any], sent: Request) -> int | JetKVError:
    status = fields.integer(found, "status")
    if status == 200:
        return fields.revision(found, 0)
    fields.string(found, "error")
    body = {"retryable": False, "request_id": "", **found}
    one = Request(
        "POST", "", Kind.KEYED, f"{op['op']} of {op['key']!r}", how_to_check=sent.how_to_check
    )
    return error_of(Answer(status, {}, json.dumps(body).encode()), one)
