"""Answers as values and errors (docs/http-api.md)."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jetkv import errors
from jetkv._core import fields
from jetkv._core.wire import Answer, Request
from jetkv.codec import Codec
from jetkv.models import (
    BucketInfo,
    BucketWarning,
    Entry,
    Operation,
    Placement,
    Republish,
    Update,
    parse_time,
)

__all__ = [
    "Decode",
    "brief",
    "check",
    "decoder",
    "error_of",
    "is_gateways",
    "read_bucket",
    "read_buckets",
    "read_entries",
    "read_entry",
    "read_features",
    "read_keys",
    "read_revision",
    "read_update",
    "retry_after",
    "said",
]

T = TypeVar("T")

Decode = Callable[[str, bytes], T]

_LONGEST_TEXT = 2_000
_MOST_ENTRIES = 64  # of a history, which nats-server keeps no longer

_BY_TEXT: Mapping[str, type[errors.JetKVError]] = {
    "bucket not found": errors.BucketNotFoundError,
    "key not found": errors.KeyNotFoundError,
    "key already exists": errors.KeyExistsError,
    "revision mismatch": errors.RevisionMismatchError,
    "bucket already exists": errors.BucketExistsError,
    "bucket is full": errors.BucketFullError,
    "bucket is protected": errors.BucketProtectedError,
    "cannot be changed": errors.CannotBeChangedError,
    "would lose data": errors.WouldLoseDataError,
}
_BY_STATUS: Mapping[int, type[errors.JetKVError]] = {
    400: errors.InvalidArgumentError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.BucketUnsuitableError,
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
    """Return what decodes the values of a bucket, and says which one does not fit."""

    def decode(key: str, raw: bytes) -> T:
        try:
            return codec.decode(raw)
        except ValueError as error:
            raise errors.ValueDecodeError(
                f"the value of {key!r} in bucket {bucket!r} does not fit: {error}",
                hint="`raw` of this error has the bytes; kv.bucket(name, bytes) reads any value",
                raw=raw,
            ) from error

    return decode


def check(answer: Answer, request: Request, status: int = 200) -> None:
    """Check that a request did what it should.

    Raises:
        JetKVError: it did not; the one that the answer stands for.
    """
    if answer.status != status:
        raise error_of(answer, request)


def said(answer: Answer) -> dict[str, Any] | None:
    """Return the body of an error, None for an answer that says none in JSON."""
    try:
        body = fields.document(answer.body)
    except ValueError:
        return None
    return body if isinstance(body.get("error"), str) else None


def is_gateways(answer: Answer) -> bool:
    """Return whether an error is a gateway's own word: it has all that docs/http-api.md promises.

    Proxies say `error` in JSON, too.
    """
    body = said(answer) or {}
    return all(
        isinstance(body.get(name), kind)
        for name, kind in (("code", str), ("retryable", bool), ("request_id", str))
    )


def error_of(answer: Answer, request: Request) -> errors.JetKVError:
    """Return the error that an answer stands for."""
    body = said(answer)
    if body is None or answer.status < 400:
        return _not_ours(answer, request)
    kind = _BY_TEXT.get(body["error"]) or _BY_STATUS.get(answer.status)
    details = body.get("details")
    hint = body.get("hint")
    if kind is errors.DeadlineExceededError and request.check:
        kind = errors.OutcomeUnknownError
        hint = hint or request.check
    if kind is None:
        kind = errors.InvalidArgumentError if answer.status < 500 else errors.GatewayError
    if kind in (errors.RevisionMismatchError, errors.KeyExistsError) and isinstance(details, dict):
        revision = details.get("current_revision")
        known = type(revision) is int and revision > 0
        hint = hint or (f"it is at revision {revision}" if known else None)
    if kind is errors.ValueTooLargeError and isinstance(details, dict) and request.body:
        limit = details.get("limit_bytes")
        said_so = limit if isinstance(limit, int) else "unknown"
        hint = hint or f"it has {len(request.body)} bytes, the limit is {said_so}"
    if kind is errors.AuthenticationError:
        hint = hint or "Client(url, token=…); `jetkv token new NAME` makes one"
    return kind(
        f"{request.what}: {brief(body['error'])}",
        hint=brief(hint) if isinstance(hint, str) else None,
        status=answer.status,
        code=brief(body["code"]) if isinstance(body.get("code"), str) else None,
        retryable=body.get("retryable") is True,
        request_id=answer.headers.get("x-request-id"),
        details=details if isinstance(details, dict) else None,
    )


def brief(text: str) -> str:
    """Return the beginning of a text that goes to logs; a gateway's own are shorter."""
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"


def _not_ours(answer: Answer, request: Request) -> errors.JetKVError:
    if 300 <= answer.status < 400:
        where = brief(answer.headers.get("location", "another place"))
        text = f"{request.what}: the answer is a redirect to {where}"
        hint = "give the client that address; redirects are not followed"
    else:
        kind = brief(answer.headers.get("content-type", "no content type"))
        text = f"{request.what}: the answer, {answer.status} with {kind}, is not a jetkv gateway's"
        hint = "check the address, and what stands before the gateway"
    return errors.UnexpectedAnswerError(
        text,
        hint=hint,
        status=answer.status,
        # A proxy that cannot reach its gateway may reach it later.
        retryable=answer.status in (502, 503, 504) and not request.check,
        request_id=answer.headers.get("x-request-id"),
    )


def retry_after(answer: Answer) -> float:
    """Return the seconds to wait, 0 when the answer does not say (RFC 9110 §10.2.3)."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0


def _read(
    answer: Answer,
    request: Request,
    read: Callable[[dict[str, Any]], T],
    status: int = 200,
    most: int | None = None,
) -> T:
    check(answer, request, status)
    try:
        return read(fields.document(answer.body, most))
    except ValueError as error:
        raise _not_ours(answer, request) from error


def _entry(document: Any, decode: Decode[T]) -> Entry[T]:
    if not isinstance(document, dict):
        raise fields.Misshapen("an entry is no JSON object")
    return Entry(
        fields.key(document),
        fields.data(document, "value"),
        fields.revision(document),
        Operation(fields.text(document, "operation")),
        decode,
        parse_time(fields.text(document, "created_at")),
    )


def read_entry(answer: Answer, request: Request, key: str, decode: Decode[T]) -> Entry[T]:
    """Return a live entry; one of another key is no answer to what was asked."""
    entry = _read(
        answer, request, lambda document: _entry(document, decode), most=fields.ENTRY_VALUES
    )
    if entry.key != key or entry.operation is not Operation.PUT:
        raise _not_ours(answer, request)
    return entry


def read_entries(answer: Answer, request: Request, decode: Decode[T]) -> list[Entry[T | None]]:
    return _read(
        answer,
        request,
        lambda document: [_entry(entry, decode) for entry in fields.listed(document, "entries")],
        most=_MOST_ENTRIES * fields.ENTRY_VALUES,
    )


def read_revision(answer: Answer, request: Request) -> int:
    return _read(answer, request, fields.revision)


def read_keys(answer: Answer, request: Request) -> list[str]:
    return _read(answer, request, lambda document: fields.texts(document, "keys"))


def read_features(answer: Answer, request: Request) -> frozenset[str]:
    return _read(answer, request, lambda document: frozenset(fields.texts(document, "features")))


def read_update(document: Mapping[str, Any], decode: Decode[T]) -> Update[T | None]:
    """Return a frame of a watch.

    Raises:
        ValueError: it is none.
    """
    # One that a newer gateway may have is handed on as it is.
    reason: Any = fields.text(document, "reason") if "reason" in document else None
    return Update(
        fields.key(document),
        fields.data(document, "value"),
        fields.revision(document),
        Operation(fields.text(document, "operation")),
        decode,
        reason,
    )


_KNOWN = frozenset(BucketInfo.__slots__) - {"more", "ttl", "marker_ttl"} | {
    "ttl_seconds",
    "marker_ttl_seconds",
}


def _bucket_info(document: Any) -> BucketInfo:
    if not isinstance(document, dict):
        raise fields.Misshapen("a bucket is no JSON object")
    return BucketInfo(
        name=fields.text(document, "name"),
        values=fields.whole(document, "values"),
        bytes=fields.whole(document, "bytes"),
        history=fields.whole(document, "history"),
        created_at=parse_time(fields.text(document, "created_at")),
        description=fields.text(document, "description", ""),
        ttl=fields.span(document, "ttl_seconds"),
        storage=fields.text(document, "storage", "file"),
        replicas=fields.whole(document, "replicas", default=1),
        compression=fields.text(document, "compression", "none"),
        placement=_placement(fields.nested(document, "placement")),
        metadata=_metadata(fields.nested(document, "metadata")),
        republish=_republish(fields.nested(document, "republish")),
        expiry_markers=document.get("expiry_markers") is True,
        key_ttl=document.get("key_ttl") is True,
        batches=document.get("batches") is True,
        protected=document.get("protected") is True,
        marker_ttl=fields.span(document, "marker_ttl_seconds"),
        warnings=tuple(map(_warning, fields.listed(document, "warnings", []))),
        more={name: value for name, value in document.items() if name not in _KNOWN},
    )


def _placement(document: Mapping[str, Any]) -> Placement:
    tags = fields.texts(document, "tags") if "tags" in document else []
    return Placement(fields.text(document, "cluster", ""), tuple(tags))


def _metadata(document: Mapping[str, Any]) -> dict[str, str]:
    return {name: fields.text(document, name) for name in document}


def _republish(document: Mapping[str, Any]) -> Republish:
    return Republish(
        fields.text(document, "destination", ""),
        fields.text(document, "source", ">"),
        document.get("headers_only") is True,
    )


def _warning(document: Any) -> BucketWarning:
    if not isinstance(document, dict):
        raise fields.Misshapen("a warning is no JSON object")
    return BucketWarning(fields.text(document, "code"), fields.text(document, "message"))


def read_bucket(answer: Answer, request: Request, status: int = 200) -> BucketInfo:
    return _read(answer, request, _bucket_info, status)


def read_buckets(answer: Answer, request: Request) -> list[BucketInfo]:
    return _read(
        answer,
        request,
        lambda document: list(map(_bucket_info, fields.listed(document, "buckets"))),
    )
