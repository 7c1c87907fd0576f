"""Batches: one request reads or changes several keys (docs/http-api.md#batches). Pure.

The JSON body becomes one command. Every item is validated here, once, and an error names the item
and the rule. So nothing of an invalid batch is sent.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from typing import Any, NamedTuple

import orjson
from pybase64 import b64decode

from jetkv_gateway.kv.commands import Delete, Put
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.filter_sets import NOTHING
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.kv.keys import check_bucket, encode
from jetkv_gateway.kv.media import storable_type
from jetkv_gateway.kv.model import MAX_REVISION, MUST_NOT_EXIST, Entry
from jetkv_gateway.kv.rawjson import has_long_numbers, raw_members
from jetkv_gateway.kv.ttl import MAX_TTL_SECONDS, NEVER

__all__ = [
    "MAX_BODY_BYTES",
    "MAX_ITEMS",
    "MAX_VALUE_BYTES",
    "Applied",
    "BatchGet",
    "BatchWrite",
    "Check",
    "Op",
    "Snapshot",
    "read_batch",
]

MAX_ITEMS = 1000
"""The limit of NATS for the messages of an atomic batch (ADR-50)."""

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Bytes of JSON."""

MAX_VALUE_BYTES = 64 * 1024 * 1024
"""Bytes of all values in the answer to a batch get."""

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"


class Check(NamedTuple):
    """A condition without a write.

    Attributes:
        tokens: the key as NATS stores it.
        expected: the revision that the key must be at, `MUST_NOT_EXIST` for no live value.
    """

    bucket: str
    key: str
    tokens: str
    expected: int


Op = Put | Delete | Check
"""An item of a batch that writes."""


class BatchGet(NamedTuple):
    """Read the live values of several keys as of one moment.

    Attributes:
        keys: in the order of the request; a key may occur twice.
        tokens: the keys as NATS stores them.
    """

    bucket: str
    keys: tuple[str, ...]
    tokens: tuple[str, ...]

    def only(self, wanted: Sequence[bool]) -> "BatchGet":
        """Return the command for some of the keys.

        Without any key, it reads what no key is stored as, since the answer has a revision.

        Args:
            wanted: whether each key is wanted, in their order.
        """
        keys, tokens = compress(self.keys, wanted), compress(self.tokens, wanted)
        return BatchGet(self.bucket, tuple(keys) or ("",), tuple(tokens) or NOTHING.subjects)


class BatchWrite(NamedTuple):
    """Change several keys.

    Attributes:
        atomic: whether all ops are applied or none; otherwise the ops are independent.
        identity: identifies retries of an atomic batch; None if the caller sent no idempotency key.
            In other batches, each op has its own identity.
    """

    bucket: str
    ops: tuple[Op, ...]
    atomic: bool = True
    identity: Idempotency | None = None


class Snapshot(NamedTuple):
    """The values of keys at one moment.

    Attributes:
        entries: the live entry of each key in the request, or None.
        revision: the newest revision of the bucket at that moment.
    """

    entries: list[Entry | None]
    revision: int


class Applied(NamedTuple):
    """The result of an atomic batch.

    Attributes:
        revisions: for each op: the revision of its write, 0 for a delete of an absent key, the
            checked revision for a check.
        revision: of the last write; without writes, the revision at which the checks held.
    """

    revisions: tuple[int, ...]
    revision: int


def read_batch(body: bytes, bucket: str, idempotency_key: str | None) -> BatchGet | BatchWrite:
    """Parse the body of a request.

    Raises:
        InvalidArgument: the body is invalid; the text names the item and the rule.
    """
    check_bucket(bucket)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"invalid JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidArgument("invalid batch: must be a JSON object with 'get' or 'ops'")
    if ("get" in document) == ("ops" in document):
        raise InvalidArgument("invalid batch: must have exactly one of 'get' and 'ops'")
    if "get" in document:
        _known("batch", document, _GET_FIELDS)
        return _read_get(document["get"], bucket)
    _known("batch", document, _OPS_FIELDS)
    atomic = document.get("atomic", True)
    if not isinstance(atomic, bool):
        raise InvalidArgument("invalid atomic: must be true or false")
    ops = document["ops"]
    _count("ops", ops)
    raw = None
    if b'"json"' in body and has_long_numbers(body):
        raw = raw_members(body.decode(), "ops", "json")
    read = tuple(
        [
            _read_op(number, op, bucket, None if raw is None else raw[number])
            for number, op in enumerate(ops)
        ]
    )
    if atomic:
        _once_each(read)
    return _named(BatchWrite(bucket, read, atomic), idempotency_key)


def _read_get(keys: Any, bucket: str) -> BatchGet:
    _count("get", keys)
    tokens = [_tokens(f"get[{number}]", key) for number, key in enumerate(keys)]
    return BatchGet(bucket, tuple(keys), tuple(tokens))


def _count(name: str, items: Any) -> None:
    if not isinstance(items, list):
        raise InvalidArgument(f"invalid {name}: must be an array")
    if not 1 <= len(items) <= MAX_ITEMS:
        raise InvalidArgument(f"invalid {name}: must have 1 to {MAX_ITEMS} items")


def _known(where: str, given: dict[str, Any], known: Mapping[str, object]) -> None:
    if not given.keys() <= known.keys():
        unknown = next(name for name in given if name not in known)
        raise InvalidArgument(
            f"{where}: unknown field {unknown[:100]!r}", hint=f"known here: {', '.join(known)}"
        )


def _tokens(where: str, key: Any) -> str:
    if type(key) is not str:
        raise InvalidArgument(f"{where}: must be a string")
    try:
        return encode(key)
    except InvalidArgument as error:
        raise InvalidArgument(f"{where}: {error.message}", hint=error.hint) from None


def _read_op(number: int, given: Any, bucket: str, raw: Mapping[str, str] | None) -> Op:
    where = f"ops[{number}]"
    if not isinstance(given, dict):
        raise InvalidArgument(f"{where}: must be an object")
    kind = given.get("op")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise InvalidArgument(f"{where}.op: must be one of {', '.join(_READERS)}")
    read, fields = reader
    if not given.keys() <= fields.keys():
        _known(where, given, fields)
    if "key" not in given:
        raise InvalidArgument(f"{where}.key: is missing")
    key = given["key"]
    return read(where, given, bucket, key, _tokens(f"{where}.key", key), raw)


def _read_put(
    where: str,
    given: dict[str, Any],
    bucket: str,
    key: str,
    tokens: str,
    raw: Mapping[str, str] | None,
) -> Put:
    value, media = _value(where, given, raw)
    if "content_type" in given:
        named = given["content_type"]
        if type(named) is not str:
            raise InvalidArgument(f"{where}.content_type: must be a string")
        media = storable_type(named)
    expected = None
    if given["op"] == "create":
        expected = MUST_NOT_EXIST
    elif given["op"] == "update":
        if "revision" not in given:
            raise InvalidArgument(f"{where}.revision: is missing")
        expected = _revision(where, given["revision"], least=1)
    ttl = _ttl(where, given["ttl_seconds"]) if "ttl_seconds" in given else None
    return Put(bucket, key, tokens, value, media, None, expected, ttl=ttl)


def _value(
    where: str, given: dict[str, Any], raw: Mapping[str, str] | None
) -> tuple[bytes, str | None]:
    """Return an op's value, and its content type if the op names none."""
    names = [name for name in ("value", "text", "json") if name in given]
    if len(names) != 1:
        raise InvalidArgument(f"{where}: must have exactly one of 'value', 'text' and 'json'")
    name = names[0]
    content = given[name]
    if name == "json":
        # Keep the text as sent if this parser would shorten a number.
        return (orjson.dumps(content) if raw is None else raw["json"].encode()), _JSON
    if type(content) is not str:
        raise InvalidArgument(f"{where}.{name}: must be a string")
    if name == "text":
        return content.encode(), _TEXT
    try:
        return b64decode(content, validate=True), None
    except ValueError:
        pass
    raise InvalidArgument(f"{where}.value: must be standard base64 with padding")


def _read_delete(
    where: str,
    given: dict[str, Any],
    bucket: str,
    key: str,
    tokens: str,
    _raw: Mapping[str, str] | None,
) -> Delete:
    expected = None
    if "revision" in given:
        expected = _revision(where, given["revision"], least=1)
    return Delete(bucket, key, tokens, given["op"] == "purge", expected)


def _read_check(
    where: str,
    given: dict[str, Any],
    bucket: str,
    key: str,
    tokens: str,
    _raw: Mapping[str, str] | None,
) -> Check:
    if "revision" not in given:
        raise InvalidArgument(f"{where}.revision: is missing")
    return Check(bucket, key, tokens, _revision(where, given["revision"], least=0))


def _revision(where: str, number: Any, *, least: int) -> int:
    if type(number) is not int or not least <= number <= MAX_REVISION:
        raise InvalidArgument(f"{where}.revision: must be an integer from {least} to 2^63 - 1")
    return number


def _ttl(where: str, ttl: Any) -> int:
    """Return a TTL in seconds, or `NEVER`."""
    if ttl == "never":
        return NEVER
    if type(ttl) is not int or not 1 <= ttl <= MAX_TTL_SECONDS:
        raise InvalidArgument(
            f"{where}.ttl_seconds: must be an integer from 1 to {MAX_TTL_SECONDS}, or 'never'"
        )
    return ttl


_GET_FIELDS: Mapping[str, object] = {"get": None}
_OPS_FIELDS: Mapping[str, object] = {"ops": None, "atomic": None}
_PUT_FIELDS = ("op", "key", "value", "text", "json", "content_type", "ttl_seconds")
_CHECK_FIELDS = dict.fromkeys(("op", "key", "revision"))

_Reader = Callable[[str, dict[str, Any], str, str, str, Mapping[str, str] | None], Op]
_READERS: Mapping[str, tuple[_Reader, Mapping[str, object]]] = {
    "put": (_read_put, dict.fromkeys(_PUT_FIELDS)),
    "create": (_read_put, dict.fromkeys(_PUT_FIELDS)),
    "update": (_read_put, dict.fromkeys((*_PUT_FIELDS, "revision"))),
    "delete": (_read_delete, _CHECK_FIELDS),
    "purge": (_read_delete, _CHECK_FIELDS),
    "check": (_read_check, _CHECK_FIELDS),
}
"""The name of an op → its parser, and the fields that it may have."""


def _once_each(ops: Iterable[Op]) -> None:
    """Refuse a key that occurs twice: NATS accepts one condition per key in an atomic batch."""
    places: dict[str, int] = {}
    for number, op in enumerate(ops):
        first = places.setdefault(op.key, number)
        if first != number:
            raise InvalidArgument(
                f"ops[{number}].key: is the key of ops[{first}], too",
                hint='an atomic batch names a key once; "atomic": false takes several',
            )


def _named(batch: BatchWrite, name: str | None) -> BatchWrite:
    """Return a batch with the identity from its caller's idempotency key."""
    if not batch.atomic:
        for number, op in enumerate(batch.ops):
            if isinstance(op, Check):
                raise InvalidArgument(
                    f"ops[{number}].op: check has no meaning where atomic is false"
                )
    if name is None:
        return batch
    if not batch.atomic:
        ops = [_named_op(op, f"{name}.{number}") for number, op in enumerate(batch.ops)]
        return batch._replace(ops=tuple(ops))
    identity = Idempotency.of_many(name, bucket=batch.bucket, parts=map(_content, batch.ops))
    return batch._replace(identity=identity)


def _named_op(op: Op, name: str) -> Op:
    if isinstance(op, Put):
        return Put.of(
            op.bucket,
            op.key,
            op.value,
            content_type=op.content_type,
            expected=op.expected,
            idempotency_key=name,
            ttl=op.ttl,
        )
    assert isinstance(op, Delete), "a check has been refused"
    return Delete.of(op.bucket, op.key, purge=op.purge, expected=op.expected, idempotency_key=name)


def _content(op: Op) -> bytes:
    """Return the content of an op in a form that is unique for it."""
    if isinstance(op, Check):
        fields: tuple[Any, ...] = "check", op.key, op.expected
    elif isinstance(op, Delete):
        fields = op.operation, op.key, op.expected
    else:
        fields = op.operation, op.key, op.expected, op.content_type, op.ttl, len(op.value)
    value = op.value if isinstance(op, Put) else b""
    return orjson.dumps(fields) + value
