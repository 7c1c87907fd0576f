"""Sends ops to a bucket, as batches, until each of them has a result."""

import json
import secrets
import time
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jetkv._core import batches, fields, requests
from jetkv._core.answers import error_of, read_document
from jetkv._core.messages import Answer, Kind, Request
from jetkv._sync.endpoint import Endpoint
from jetkv.codec import TypedBytesCodec
from jetkv.errors import (
    BucketUnsuitableError,
    ConditionsFailedError,
    DeadlineExceededError,
    JetKVError,
    OutcomeUnknownError,
    UnavailableError,
    ValueTooLargeError,
)
from jetkv.models import Entry

__all__ = ["MAX_BYTES", "MAX_ITEMS", "Batch", "Op"]

Op = dict[str, Any]

MAX_ITEMS = 1_000
MAX_BYTES = 1024 * 1024
"""Bytes of values in a batch, in base64. A larger value has one of its own."""
_MAX_BATCH_BYTES = 7 * 1024 * 1024
"""The gateway takes batches of 8 MiB. A larger value is a request of its own."""
_PATIENCE_SECONDS = 45.0
"""How long a batch is sent again. The gateway knows its idempotency key for a minute."""
_PAUSE_SECONDS = 0.5
_TRANSIENT = (429, 503, 504)
_HOW_TO_CHECK = "run the command again: it goes on where it was"


class Batch:
    """Sends ops to one bucket. It is used by one thread.

    Args:
        endpoint: what sends the requests.
        bucket: the bucket's name.
        atomic: whether to use atomic batches, which are faster, as long as the bucket has them.
        stopped: returns whether to give up.
    """

    def __init__(
        self, endpoint: Endpoint, bucket: str, *, atomic: bool, stopped: Callable[[], bool]
    ) -> None:
        self._endpoint = endpoint
        self._bucket = bucket
        self._atomic = atomic
        self._stopped = stopped

    def send(self, ops: Sequence[Op], codings: Mapping[int, str]) -> list[int | None]:
        """Apply ops, those of one key in order, and return the revision of each.

        A revision is None where a condition does not hold, and 0 where there was nothing to delete.

        Args:
            ops: the ops.
            codings: the content encodings of those values that have one, by their places.

        Raises:
            JetKVError: an op was refused for another reason, or the gateway does not answer.
        """
        results: list[int | None] = [None] * len(ops)
        alone = {
            place
            for place, op in enumerate(ops)
            if place in codings or len(op.get("value", "")) > _MAX_BATCH_BYTES
        }
        together: list[int] = []
        for place in range(len(ops)):
            if place in alone:
                self._together(ops, together, results)
                together = []
                results[place] = self._alone(ops[place], codings.get(place))
            else:
                together.append(place)
        self._together(ops, together, results)
        return results

    def current(self, keys: Sequence[str], sizes: Sequence[int]) -> dict[str, Entry[bytes]]:
        """Return the live entries of keys.

        Args:
            keys: the keys.
            sizes: about how large their values are; few large ones are read at a time.
        """
        found: dict[str, Entry[bytes]] = {}
        some: list[str] = []
        size = 0
        for key, its in zip(keys, sizes, strict=True):
            if some and (size + its > MAX_BYTES or len(some) == MAX_ITEMS):
                found.update(self._read(some))
                some, size = [], 0
            some.append(key)
            size += its
        if some:
            found.update(self._read(some))
        return found

    def _read(self, keys: list[str]) -> Mapping[str, Entry[bytes]]:
        request, wanted = batches.get_many(self._bucket, keys)
        try:
            answer = self._patiently(request)
            return batches.read_snapshot(answer, request, wanted, lambda _key, raw: raw)
        except ValueTooLargeError:
            if len(wanted) == 1:
                raise
        half = len(wanted) // 2
        return {**self._read(wanted[:half]), **self._read(wanted[half:])}

    def _together(self, ops: Sequence[Op], places: list[int], results: list[int | None]) -> None:
        if not places:
            return
        left = places
        if self._atomic and _fits_an_atomic_batch(ops, places):
            left = self._atomically(ops, places, results)
        if left:
            for place, result in zip(left, self._each([ops[at] for at in left]), strict=True):
                results[place] = result

    def _atomically(
        self, ops: Sequence[Op], places: list[int], results: list[int | None]
    ) -> list[int]:
        """Apply ops in one batch, without those whose conditions fail; return those left to do."""
        left = places
        while left:
            request = self._request([ops[place] for place in left], atomic=True)
            try:
                revisions, _ = batches.read_revisions(self._patiently(request), request, len(left))
            except ConditionsFailedError as error:
                failed = _failed(error, len(left))
                if not failed:
                    return left
                left = [place for at, place in enumerate(left) if at not in failed]
                continue
            except (BucketUnsuitableError, ValueTooLargeError) as error:
                # One by one, each op tells what is wrong with it; or the bucket has no batches.
                self._atomic = self._atomic and isinstance(error, ValueTooLargeError)
                return left
            for place, revision in zip(left, revisions, strict=True):
                results[place] = revision
            return []
        return []

    def _each(self, ops: list[Op]) -> list[int | None]:
        request = self._request(ops, atomic=False)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            answer = self._patiently(request)
            found = read_document(answer, request, lambda document: _each_of(document, len(ops)))
            if not any(one["status"] in _TRANSIENT for one in found):
                break
            # With its idempotency key, the batch gives those that were applied their first answers.
            if time.monotonic() > deadline or self._stopped():
                break
            time.sleep(_PAUSE_SECONDS)
        return [self._result(op, one) for op, one in zip(ops, found, strict=True)]

    def _result(self, op: Op, found: Mapping[str, Any]) -> int | None:
        if found["status"] == 200:
            return fields.revision(found, 0)
        if found["status"] == 412:
            return None
        request = Request(
            "POST",
            "",
            Kind.KEYED,
            f"{op['op']} of {op['key']!r} in bucket {self._bucket!r}",
            how_to_check=_HOW_TO_CHECK,
        )
        body = {"retryable": False, "request_id": "", **found}
        raise error_of(Answer(found["status"], {}, json.dumps(body).encode()), request)

    def _alone(self, op: Op, coding: str | None) -> int | None:
        """Apply one op as a request of its own."""
        conditions = {
            "put": requests.UNCONDITIONAL,
            "create": requests.IF_ABSENT,
            "update": requests.if_revision(op.get("revision", 1)),
        }
        codec = TypedBytesCodec(op.get("content_type", "application/octet-stream"))
        value = b64decode(op["value"])
        made = requests.put_key(self._bucket, op["key"], value, codec, conditions[op["op"]])
        headers = dict(made.headers)
        if "content_type" not in op:
            del headers["Content-Type"]
        if coding is not None:
            headers["Content-Encoding"] = coding
        if "ttl_seconds" in op:
            headers["JetKV-TTL-Seconds"] = str(op["ttl_seconds"])
        request = Request(
            made.method, made.target, made.kind, made.description, headers, made.body, _HOW_TO_CHECK
        )
        answer = self._patiently(request)
        if answer.status == 412:
            return None
        return read_document(answer, request, fields.revision)

    def _request(self, ops: list[Op], *, atomic: bool) -> Request:
        body = json.dumps(
            {"ops": ops, "atomic": atomic}, ensure_ascii=False, separators=(",", ":")
        ).encode()
        return Request(
            "POST",
            f"{requests.bucket_path(self._bucket)}/batch",
            Kind.KEYED,
            f"batch of {len(ops)} keys in bucket {self._bucket!r}",
            {"Content-Type": "application/json", "Idempotency-Key": secrets.token_urlsafe(16)},
            body,
            how_to_check=_HOW_TO_CHECK,
            large=True,
        )

    def _patiently(self, request: Request) -> Answer:
        """Send a request for longer than a call of the SDK does: a gateway may restart."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                return self._endpoint.call(request)
            except (UnavailableError, OutcomeUnknownError, DeadlineExceededError) as error:
                if time.monotonic() > deadline or self._stopped() or not _may_pass(error):
                    raise
            time.sleep(_PAUSE_SECONDS)


def _may_pass(error: JetKVError) -> bool:
    """Return whether a later attempt may succeed: not with a wrong certificate."""
    return error.retryable or not isinstance(error, UnavailableError) or error.status is not None


def _fits_an_atomic_batch(ops: Sequence[Op], places: Iterable[int]) -> bool:
    keys = [
        ops[place]["key"] for place in places if ops[place]["op"] in ("put", "create", "update")
    ]
    return len(set(keys)) == len(list(places))


def _failed(error: ConditionsFailedError, count: int) -> set[int]:
    """Return the places of the ops whose conditions do not hold."""
    listed = error.details.get("failed") if error.details else None
    places = {one.get("index") for one in listed or [] if isinstance(one, dict)}
    return {place for place in places if isinstance(place, int) and 0 <= place < count}


def _each_of(document: dict[str, Any], count: int) -> list[dict[str, Any]]:
    found = fields.array(document, "results")
    if len(found) != count or not all(isinstance(one, dict) for one in found):
        raise fields.FieldError("results must have one object for each op")
    for one in found:
        if fields.integer(one, "status") != 200:
            fields.string(one, "error")
    return found
