"""Requests and answers of calls that read or change several keys at once."""

import json
import secrets
from base64 import b64encode
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from jetkv._core import fields
from jetkv._core.access import is_filtered
from jetkv._core.answers import Decode, entry_of, read_document
from jetkv._core.messages import Answer, Kind, Request
from jetkv._core.requests import bucket_path, checked_key, checked_revision, encoded
from jetkv._core.ttls import ttl_seconds
from jetkv.codec import Codec
from jetkv.errors import InvalidArgumentError
from jetkv.models import TTL, Operation, Snapshot

__all__ = ["Ops", "get_many", "read_revisions", "read_snapshot"]

T = TypeVar("T")

_HOW_TO_CHECK = (
    "get the keys with get_many(): either all of them show the transaction, or no key does; it may "
    "also be applied later: update() with the revisions that you see prevents that"
)


def get_many(bucket: str, keys: Iterable[str]) -> tuple[Request, list[str]]:
    """Return the request for several keys, and the keys without repetitions.

    Raises:
        InvalidArgumentError: a key is no text or empty, or there is no key.
    """
    if isinstance(keys, str):
        raise InvalidArgumentError(
            "keys must be a list of keys, not one text", hint="for one key, use get(key)"
        )
    wanted = [checked_key(key) for key in dict.fromkeys(keys)]
    if not wanted:
        raise InvalidArgumentError("there must be at least one key")
    request = _post(bucket, {"get": wanted}, Kind.READ, f"get of {len(wanted)} keys", {}, "")
    return request, wanted


def _post(
    bucket: str,
    document: Mapping[str, Any],
    kind: Kind,
    call: str,
    headers: Mapping[str, str],
    how_to_check: str,
) -> Request:
    try:
        body = json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise InvalidArgumentError("a key must be valid Unicode") from error
    return Request(
        "POST",
        f"{bucket_path(bucket)}/batch",
        kind,
        f"{call} in bucket {bucket!r}",
        {"Content-Type": "application/json", **headers},
        body,
        how_to_check=how_to_check,
        large=True,
    )


def read_snapshot(
    answer: Answer, request: Request, keys: list[str], decode: Decode[T]
) -> Snapshot[T]:
    """Return the entries of keys.

    Raises:
        UnexpectedAnswerError: the answer does not have an entry or null for each key.
        JetKVError: any other error that the gateway sent.
    """

    def read(document: dict[str, Any]) -> Snapshot[T]:
        found = fields.array(document, "entries")
        if len(found) != len(keys):
            raise fields.FieldError("entries must have one item for each key")
        entries = [None if one is None else entry_of(one, decode) for one in found]
        for key, entry in zip(keys, entries, strict=True):
            if entry is not None and (entry.key != key or entry.operation is not Operation.PUT):
                raise fields.FieldError("an entry has another key than the one that was asked for")
        revision = fields.revision(document, minimum=0)
        present = [entry for entry in entries if entry is not None]
        return Snapshot(present, revision, filtered=is_filtered(answer))

    return read_document(answer, request, read, max_values=len(keys) * fields.MAX_ENTRY_VALUES)


def read_revisions(answer: Answer, request: Request, count: int) -> tuple[list[int], int]:
    """Return the revision of each op, and the revision of the last write."""

    def read(document: dict[str, Any]) -> tuple[list[int], int]:
        results = fields.array(document, "results")
        if len(results) != count or not all(isinstance(one, dict) for one in results):
            raise fields.FieldError("results must have one object for each op")
        revisions = [fields.revision(one, minimum=0) for one in results]
        return revisions, fields.revision(document, minimum=0)

    return read_document(answer, request, read)


class Ops(Generic[T]):
    """The ops of an atomic batch, in order. Each key may have one op.

    Args:
        bucket: the bucket's name.
        codec: how values become bytes.
    """

    def __init__(self, bucket: str, codec: Codec[T]) -> None:
        self._bucket = bucket
        self._codec = codec
        self._ops: dict[str, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self._ops)

    @property
    def keys(self) -> list[str]:
        """The keys, in the order of their ops."""
        return list(self._ops)

    def raw(self, key: str) -> bytes | None:
        """Return the bytes that an op stores, or None for an op without a value."""
        return self._ops[key].get("raw")

    def add(self, op: str, key: str, revision: int | None = None) -> None:
        """Add an op without a value.

        Raises:
            InvalidArgumentError: the key has an op already, or an argument is invalid.
        """
        self._add(key, {"op": op, "key": checked_key(key)}, revision, least=int(op != "check"))

    def add_value(
        self,
        op: str,
        key: str,
        value: T,
        revision: int | None = None,
        ttl: TTL | None = None,
    ) -> None:
        """Add an op with a value.

        Raises:
            InvalidArgumentError: as in `add`, the value does not fit the bucket's type, or the TTL
                is invalid.
        """
        checked_key(key)
        raw = encoded(self._bucket, key, value, self._codec)
        media = self._codec.content_type
        new: dict[str, Any] = {"op": op, "key": key, "raw": raw, "content_type": media}
        if ttl is not None:
            new["ttl_seconds"] = ttl_seconds(ttl)
        self._add(key, new, revision)

    def _add(self, key: str, op: dict[str, Any], revision: int | None, least: int = 1) -> None:
        if key in self._ops:
            raise InvalidArgumentError(
                f"{key!r} already has a change or a check in this transaction",
                hint="each key may have one",
            )
        if revision is not None:
            op["revision"] = 0 if revision == least == 0 else int(checked_revision(revision))
        self._ops[key] = op

    def request(self) -> Request:
        """Return the request that applies the ops."""
        ops = [
            {**op, "value": b64encode(op["raw"]).decode()} if "raw" in op else op
            for op in self._ops.values()
        ]
        sent = [{name: value for name, value in op.items() if name != "raw"} for op in ops]
        headers = {"Idempotency-Key": secrets.token_urlsafe(16)}
        call = f"transaction of {len(sent)} keys"
        return _post(self._bucket, {"ops": sent}, Kind.KEYED, call, headers, _HOW_TO_CHECK)
