"""Turns answers of a gateway into values and errors (docs/http-api.md)."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from jetkv import errors
from jetkv._core import fields
from jetkv._core.messages import Answer, Request
from jetkv.codec import Codec
from jetkv.models import (
    BucketInfo,
    BucketWarning,
    Change,
    Entry,
    Operation,
    Placement,
    Republish,
    Touched,
    Update,
    parse_time,
)

__all__ = [
    "Decode",
    "check_status",
    "decoder",
    "entry_of",
    "error_body",
    "error_of",
    "expiry_of",
    "is_from_gateway",
    "read_bucket",
    "read_buckets",
    "read_change",
    "read_document",
    "read_entries",
    "read_entry",
    "read_features",
    "read_keys",
    "read_revision",
    "read_touched",
    "read_update",
    "retry_after",
    "shortened",
]

T = TypeVar("T")

Decode = Callable[[str, bytes], T]

_MAX_TEXT = 2_000  # characters
_MAX_ENTRIES = 64  # nats-server keeps at most as many revisions of a key

_BY_TEXT: Mapping[str, type[errors.JetKVError]] = {
    "bucket not found": errors.BucketNotFoundError,
    "key not found": errors.KeyNotFoundError,
    "key already exists": errors.KeyExistsError,
    "revision mismatch": errors.RevisionMismatchError,
    "bucket already exists": errors.BucketExistsError,
    "conditions do not hold": errors.ConditionsFailedError,
    "bucket is full": errors.BucketFullError,
    "bucket is protected": errors.BucketProtectedError,
    "cursor expired": errors.CursorExpiredError,
    "cannot be changed": errors.CannotBeChangedError,
    "would lose data": errors.WouldLoseDataError,
    "token not found": errors.TokenNotFoundError,
    "token already exists": errors.TokenExistsError,
    "token cannot be withdrawn": errors.TokenKeptError,
}
_BY_STATUS: Mapping[int, type[errors.JetKVError]] = {
    400: errors.InvalidArgumentError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.BucketUnsuitableError,
    410: errors.CursorExpiredError,
    412: errors.PreconditionFailedError,
    413: errors.ValueTooLargeError,
    429: errors.TooManyRequestsError,
    501: errors.InvalidArgumentError,
    503: errors.UnavailableError,
    408: errors.DeadlineExceededError,
    504: errors.DeadlineExceededError,
    507: errors.BucketFullError,
}


def decoder(codec: Codec[T], bucket: str) -> Decode[T]:
    """Return a function that decodes the values of a bucket; its errors name the key."""

    def decode(key: str, raw: bytes) -> T:
        try:
            return codec.decode(raw)
        except ValueError as error:
            raise errors.ValueDecodeError(
                f"the value of {key!r} in bucket {bucket!r} does not fit its type: {error}",
                hint="the error's `raw` has the bytes; kv.bucket(name, bytes) reads any value",
                raw=raw,
            ) from error

    return decode


def check_status(answer: Answer, request: Request, status: int = 200) -> None:
    """Check that an answer has the status of a success.

    Raises:
        JetKVError: it has not. The class of the error depends on the answer.
    """
    if answer.status != status:
        raise error_of(answer, request)


def error_body(answer: Answer) -> dict[str, Any] | None:
    """Return the body of an error, or None if the answer has no error in JSON."""
    try:
        body = fields.json_object(answer.body)
    except ValueError:
        return None
    return body if isinstance(body.get("error"), str) else None


def is_from_gateway(answer: Answer) -> bool:
    """Return whether a gateway wrote an error: it then has all fields that docs/http-api.md lists.

    Some proxies also send JSON with an `error`.
    """
    body = error_body(answer) or {}
    return all(
        isinstance(body.get(name), kind)
        for name, kind in (("code", str), ("retryable", bool), ("request_id", str))
    )


def error_of(answer: Answer, request: Request) -> errors.JetKVError:
    """Return the error to raise for an answer that is no success."""
    body = error_body(answer)
    if body is None or answer.status < 400:
        return _unexpected_answer(answer, request)
    kind = _BY_TEXT.get(body["error"]) or _BY_STATUS.get(answer.status)
    details = body.get("details")
    hint = body.get("hint")
    if kind is errors.DeadlineExceededError and request.how_to_check:
        kind = errors.OutcomeUnknownError
        hint = hint or request.how_to_check
    if kind is None:
        kind = errors.InvalidArgumentError if answer.status < 500 else errors.GatewayError
    if kind in (errors.RevisionMismatchError, errors.KeyExistsError) and isinstance(details, dict):
        revision = details.get("current_revision")
        known = type(revision) is int and revision > 0
        hint = hint or (f"the key is at revision {revision}" if known else None)
    if kind is errors.ValueTooLargeError and isinstance(details, dict) and request.body:
        limit = details.get("limit_bytes")
        shown = limit if isinstance(limit, int) else "unknown"
        hint = hint or f"the value has {len(request.body)} bytes, the limit is {shown}"
    if kind is errors.AuthenticationError:
        hint = hint or "use Client(url, token=…); `jetkv token create NAME` creates a token"
    return kind(
        f"{request.description}: {shortened(body['error'])}",
        hint=shortened(hint) if isinstance(hint, str) else None,
        status=answer.status,
        code=shortened(body["code"]) if isinstance(body.get("code"), str) else None,
        retryable=body.get("retryable") is True,
        request_id=answer.headers.get("x-request-id"),
        details=details if isinstance(details, dict) else None,
    )


def shortened(text: str) -> str:
    """Return a text, cut to a length that is safe to log. A gateway's own texts are shorter."""
    return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"


def _unexpected_answer(answer: Answer, request: Request) -> errors.JetKVError:
    if 300 <= answer.status < 400:
        location = shortened(answer.headers.get("location", "another address"))
        text = f"{request.description}: the answer is a redirect to {location}"
        hint = "the client does not follow redirects: give it that address"
    else:
        kind = shortened(answer.headers.get("content-type", "no content type"))
        text = (
            f"{request.description}: the answer ({answer.status}, {kind}) does not come from a "
            "jetkv gateway"
        )
        hint = "check the address, and the proxies in front of the gateway"
    return errors.UnexpectedAnswerError(
        text,
        hint=hint,
        status=answer.status,
        # A proxy that cannot reach the gateway now may reach it later.
        retryable=answer.status in (502, 503, 504) and not request.how_to_check,
        request_id=answer.headers.get("x-request-id"),
    )


def retry_after(answer: Answer) -> float:
    """Return the seconds of `Retry-After`, 0 without that header (RFC 9110 §10.2.3)."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def read_document(
    answer: Answer,
    request: Request,
    read: Callable[[dict[str, Any]], T],
    status: int = 200,
    max_values: int | None = None,
) -> T:
    check_status(answer, request, status)
    try:
        return read(fields.json_object(answer.body, max_values))
    except ValueError as error:
        raise _unexpected_answer(answer, request) from error


def expiry_of(document: Mapping[str, Any]) -> datetime | None:
    """Return when a value expires; None if it does not."""
    return parse_time(fields.string(document, "expires_at")) if "expires_at" in document else None


def entry_of(document: Any, decode: Decode[T]) -> Entry[T]:
    if not isinstance(document, dict):
        raise fields.FieldError("an entry must be a JSON object")
    return Entry(
        fields.key(document),
        fields.base64_bytes(document, "value"),
        fields.revision(document),
        Operation(fields.string(document, "operation")),
        decode,
        parse_time(fields.string(document, "created_at")),
        expiry_of(document),
    )


def read_entry(answer: Answer, request: Request, key: str, decode: Decode[T]) -> Entry[T]:
    """Return the entry of a key.

    Raises:
        KeyNotFoundError: the key has no value.
        UnexpectedAnswerError: the answer is no entry, or is the entry of another key.
        JetKVError: any other error that the gateway sent.
    """
    entry = read_document(
        answer,
        request,
        lambda document: entry_of(document, decode),
        max_values=fields.MAX_ENTRY_VALUES,
    )
    if entry.key != key or entry.operation is not Operation.PUT:
        raise _unexpected_answer(answer, request)
    return entry


def read_entries(answer: Answer, request: Request, decode: Decode[T]) -> list[Entry[T | None]]:
    return read_document(
        answer,
        request,
        lambda document: [entry_of(entry, decode) for entry in fields.array(document, "entries")],
        max_values=_MAX_ENTRIES * fields.MAX_ENTRY_VALUES,
    )


def read_revision(answer: Answer, request: Request) -> int:
    return read_document(answer, request, fields.revision)


def read_touched(answer: Answer, request: Request) -> Touched:
    return read_document(
        answer,
        request,
        lambda document: Touched(fields.revision(document), expiry_of(document)),
    )


def read_keys(answer: Answer, request: Request) -> list[str]:
    return read_document(answer, request, lambda document: fields.strings(document, "keys"))


def read_features(answer: Answer, request: Request) -> frozenset[str]:
    return read_document(
        answer, request, lambda document: frozenset(fields.strings(document, "features"))
    )


def read_update(document: Mapping[str, Any], decode: Decode[T]) -> Update[T | None]:
    """Return the update of a watch's `kv_update` frame.

    Raises:
        ValueError: the frame is not as docs/watch.md describes it.
    """
    # A newer gateway may send other reasons. They are returned as they are.
    reason: Any = fields.string(document, "reason") if "reason" in document else None
    return Update(
        fields.key(document),
        fields.base64_bytes(document, "value"),
        fields.revision(document),
        Operation(fields.string(document, "operation")),
        decode,
        reason,
        expiry_of(document),
        fields.string(document, "bucket", ""),
    )


_KNOWN_FIELDS = frozenset(BucketInfo.__slots__) - {"more", "ttl", "marker_ttl"} | {
    "ttl_seconds",
    "marker_ttl_seconds",
    "changed",
    "created",
}


def _bucket_info(document: Any) -> BucketInfo:
    if not isinstance(document, dict):
        raise fields.FieldError("a bucket must be a JSON object")
    return BucketInfo(
        name=fields.string(document, "name"),
        values=fields.integer(document, "values") if "values" in document else None,
        bytes=fields.integer(document, "bytes") if "bytes" in document else None,
        history=fields.integer(document, "history"),
        created_at=parse_time(fields.string(document, "created_at")),
        description=fields.string(document, "description", ""),
        ttl=fields.duration(document, "ttl_seconds"),
        storage=fields.string(document, "storage", "file"),
        replicas=fields.integer(document, "replicas", default=1),
        max_value_size=fields.integer(document, "max_value_size", default=0) or None,
        max_bytes=fields.integer(document, "max_bytes", default=0) or None,
        compression=fields.string(document, "compression", "none"),
        placement=_placement(fields.optional_object(document, "placement")),
        metadata=_metadata(fields.optional_object(document, "metadata")),
        republish=_republish(fields.optional_object(document, "republish")),
        expiry_markers=document.get("expiry_markers") is True,
        key_ttl=document.get("key_ttl") is True,
        batches=document.get("batches") is True,
        protected=document.get("protected") is True,
        marker_ttl=fields.duration(document, "marker_ttl_seconds"),
        warnings=tuple(map(_warning, fields.array(document, "warnings", []))),
        more={name: value for name, value in document.items() if name not in _KNOWN_FIELDS},
    )


def _placement(document: Mapping[str, Any]) -> Placement:
    tags = fields.strings(document, "tags") if "tags" in document else []
    return Placement(fields.string(document, "cluster", ""), tuple(tags))


def _metadata(document: Mapping[str, Any]) -> dict[str, str]:
    return {name: fields.string(document, name) for name in document}


def _republish(document: Mapping[str, Any]) -> Republish:
    return Republish(
        fields.string(document, "destination", ""),
        fields.string(document, "source", ">"),
        document.get("headers_only") is True,
    )


def _warning(document: Any) -> BucketWarning:
    if not isinstance(document, dict):
        raise fields.FieldError("a warning must be a JSON object")
    return BucketWarning(fields.string(document, "code"), fields.string(document, "message"))


def read_bucket(answer: Answer, request: Request, status: int = 200) -> BucketInfo:
    return read_document(answer, request, _bucket_info, status)


def read_change(answer: Answer, request: Request) -> Change:
    """Return what a PUT of a bucket has changed, or would change."""

    def read(document: Mapping[str, Any]) -> Change:
        names = fields.strings(document, "changed")
        changed = tuple(name.removesuffix("_seconds") for name in names)
        return Change(_bucket_info(document), changed, document.get("created") is True)

    return read_document(answer, request, read, 201 if answer.status == 201 else 200)


def read_buckets(answer: Answer, request: Request) -> list[BucketInfo]:
    return read_document(
        answer,
        request,
        lambda document: list(map(_bucket_info, fields.array(document, "buckets"))),
    )
