"""The requests of the SDK's calls (docs/http-api.md)."""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

from jetkv._core.messages import Kind, Request
from jetkv._core.ttls import ttl_headers
from jetkv.codec import Codec
from jetkv.errors import InvalidArgumentError
from jetkv.models import TTL, BucketSettings, Consistency, Placement, Republish

__all__ = [
    "CAPABILITIES",
    "IF_ABSENT",
    "UNCONDITIONAL",
    "Condition",
    "bucket_path",
    "checked_key",
    "checked_revision",
    "checked_text",
    "create_bucket",
    "delete_bucket",
    "delete_key",
    "encoded",
    "ensure_bucket",
    "get_bucket",
    "get_history",
    "get_key",
    "if_revision",
    "list_buckets",
    "list_keys",
    "put_key",
    "touch_key",
]

_BUCKETS = "/api/v1/kv/buckets"
# Proxies remove the path segments `.` and `..`, unless their dots are percent-encoded.
_DOT_SEGMENTS = {".": "%2E", "..": "%2E%2E"}

_CONTENT_TYPE = re.compile(r"[\x20-\x7e]{1,255}")

CAPABILITIES = Request("GET", "/api/v1/capabilities", Kind.READ, "capabilities of the gateway")


def bucket_path(name: str) -> str:
    quoted = _quoted(name, "bucket name")
    if not name:
        raise InvalidArgumentError(
            "a bucket name must not be empty", hint="use 1 to 200 of A-Z a-z 0-9 _ -"
        )
    return f"{_BUCKETS}/{quoted}"


def _key_segment(key: str) -> str:
    quoted = _quoted(key, "key")
    if not key:
        raise InvalidArgumentError("a key must not be empty", hint="use 1 to 512 bytes")
    return _DOT_SEGMENTS.get(key, quoted)


def checked_key(key: str) -> str:
    """Return a key that can be sent.

    Raises:
        InvalidArgumentError: it is no text, or empty.
    """
    _key_segment(key)
    return key


def _quoted(text: str, part: str) -> str:
    if not isinstance(text, str):
        raise InvalidArgumentError(f"a {part} must be text, not {type(text).__name__}")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"a {part} must be valid Unicode: {text!r}") from error


def checked_text(text: str, part: str) -> str:
    """Return a text that can be sent.

    Raises:
        InvalidArgumentError: it is no text, or no valid Unicode.
    """
    _quoted(text, part)
    return text


def checked_revision(revision: int) -> str:
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 1:
        raise InvalidArgumentError(f"a revision must be a whole number from 1, not {revision!r}")
    return str(revision)


@dataclass(frozen=True, slots=True)
class Condition:
    """The condition of a write.

    Attributes:
        verb: the name of the call, for errors.
        headers: the HTTP headers that state the condition.
    """

    verb: str
    headers: Mapping[str, str] = field(default_factory=dict)


UNCONDITIONAL = Condition("put")
IF_ABSENT = Condition("create", {"If-None-Match": "*"})


def if_revision(revision: int) -> Condition:
    return Condition("update", {"If-Match": checked_revision(revision)})


def get_key(
    bucket: str, key: str, revision: int | None = None, consistency: Consistency = "strong"
) -> Request:
    target = f"{bucket_path(bucket)}/keys/{_key_segment(key)}"
    query = {}
    if revision is not None:
        query["revision"] = checked_revision(revision)
    if consistency != "strong":
        query["consistency"] = consistency
    if query:
        target = f"{target}?{urlencode(query)}"
    return Request("GET", target, Kind.READ, f"get of {key!r} in bucket {bucket!r}", large=True)


def put_key(
    bucket: str,
    key: str,
    value: Any,
    codec: Codec[Any],
    condition: Condition = UNCONDITIONAL,
    ttl: TTL | None = None,
) -> Request:
    target = f"{bucket_path(bucket)}/keys/{_key_segment(key)}"
    body = encoded(bucket, key, value, codec)
    headers = {
        "Content-Type": codec.content_type,
        "Idempotency-Key": secrets.token_urlsafe(16),
        **condition.headers,
        **ttl_headers(ttl),
    }
    return Request(
        "PUT",
        target,
        Kind.KEYED,
        f"{condition.verb} of {key!r} in bucket {bucket!r}",
        headers,
        body,
        how_to_check="get the key: if it has your value or a new revision, the write was applied; "
        "it may also be applied later: update() with the revision that you see prevents that",
    )


def touch_key(bucket: str, key: str, ttl: TTL | None, revision: int | None) -> Request:
    target = f"{bucket_path(bucket)}/touch/{_key_segment(key)}"
    headers = {"Idempotency-Key": secrets.token_urlsafe(16), **ttl_headers(ttl)}
    if revision is not None:
        headers["If-Match"] = checked_revision(revision)
    return Request(
        "POST",
        target,
        Kind.KEYED,
        f"touch of {key!r} in bucket {bucket!r}",
        headers,
        how_to_check="touch the key again: a touch never brings an old value back",
    )


def encoded(bucket: str, key: str, value: Any, codec: Codec[Any]) -> bytes:
    """Return the bytes of a value.

    Raises:
        InvalidArgumentError: the value does not fit the bucket's type, or the codec's content type
            cannot be sent.
    """
    if _CONTENT_TYPE.fullmatch(codec.content_type) is None:
        raise InvalidArgumentError(
            f"the content_type of {type(codec).__name__} must be 1 to 255 printable ASCII "
            f"characters, not {codec.content_type!r}"
        )
    try:
        return codec.encode(value)
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError(
            f"the value for {key!r} cannot be stored in bucket {bucket!r}: {error}",
            hint=f"the bucket's codec is {type(codec).__name__}; to store another type, pass it to "
            "bucket() as the second argument",
        ) from error


def delete_key(bucket: str, key: str, *, revision: int | None, purge: bool) -> Request:
    target = f"{bucket_path(bucket)}/keys/{_key_segment(key)}"
    headers = {"Idempotency-Key": secrets.token_urlsafe(16)}
    if revision is not None:
        headers["If-Match"] = checked_revision(revision)
    verb = "delete"
    if purge:
        verb, target = "purge", f"{target}?purge=true"
    return Request(
        "DELETE",
        target,
        Kind.KEYED,
        f"{verb} of {key!r} in bucket {bucket!r}",
        headers,
        how_to_check=f"get the key: if it is there, {verb} it again, with its revision",
    )


def list_keys(bucket: str, filter: str | None, prefix: str | None = None) -> Request:
    target = f"{bucket_path(bucket)}/keys"
    if filter is not None and prefix is not None:
        raise InvalidArgumentError("either a filter or a prefix, not both")
    if filter is not None:
        target = f"{target}?filter={_quoted(filter, 'filter')}"
    if prefix is not None:
        target = f"{target}?prefix={_quoted(prefix, 'prefix')}"
    return Request("GET", target, Kind.READ, f"listing of bucket {bucket!r}", large=True)


def get_history(bucket: str, key: str) -> Request:
    target = f"{bucket_path(bucket)}/history/{_key_segment(key)}"
    description = f"history of {key!r} in bucket {bucket!r}"
    return Request("GET", target, Kind.READ, description, large=True)


def list_buckets() -> Request:
    return Request("GET", _BUCKETS, Kind.READ, "listing of buckets", large=True)


def get_bucket(name: str) -> Request:
    return Request("GET", bucket_path(name), Kind.READ, f"description of bucket {name!r}")


def delete_bucket(name: str) -> Request:
    return Request(
        "DELETE",
        bucket_path(name),
        Kind.WRITE,
        f"deletion of bucket {name!r}",
        how_to_check="call bucket_info()",
    )


def create_bucket(name: str, *, ttl: timedelta | None, **settings: Any) -> Request:
    """Return the request that creates a bucket. The gateway chooses every setting that is None.

    Raises:
        InvalidArgumentError: the name is no text or empty, the TTL is not a number of whole
            seconds, or a setting cannot be JSON.
    """
    bucket_path(name)  # checks the name
    document: dict[str, Any] = {"name": name}
    if ttl is not None:
        document["ttl_seconds"] = _seconds(ttl)
    return Request(
        "POST",
        _BUCKETS,
        Kind.WRITE,
        f"creation of bucket {name!r}",
        {"Content-Type": "application/json"},
        _settings_json(name, document, settings),
        how_to_check="call bucket_info(), or create the bucket again with exist_ok=True",
    )


def ensure_bucket(
    name: str, settings: Mapping[str, Any], *, allow_data_loss: bool, dry_run: bool
) -> Request:
    """Return the request that gives a bucket its settings. What is None stays as it is.

    Raises:
        InvalidArgumentError: as `create_bucket`.
        TypeError: there is no such setting.
    """
    unknown = settings.keys() - BucketSettings.__annotations__.keys()
    if unknown:
        raise TypeError(f"unknown settings of a bucket: {', '.join(sorted(unknown))}")
    document: dict[str, Any] = {}
    ttl = settings.get("ttl")
    if ttl is not None:
        document["ttl_seconds"] = _seconds(ttl) if ttl != timedelta() else 0
    query = {"dry_run": dry_run, "allow_data_loss": allow_data_loss}
    flags = urlencode({flag: "true" for flag, on in query.items() if on})
    return Request(
        "PUT",
        f"{bucket_path(name)}{'?' if flags else ''}{flags}",
        Kind.READ if dry_run else Kind.WRITE,
        f"{'plan' if dry_run else 'change'} of bucket {name!r}",
        {"Content-Type": "application/json"},
        _settings_json(name, document, {**settings, "ttl": None}),
        how_to_check="" if dry_run else "call bucket_info(), or ensure_bucket() again",
    )


def _settings_json(name: str, document: dict[str, Any], settings: Mapping[str, Any]) -> bytes:
    for setting, value in settings.items():
        if isinstance(value, Placement | Republish):
            document[setting] = _parts(value)
        elif value is not None:
            document[setting] = dict(value) if isinstance(value, Mapping) else value
    try:
        return json.dumps(document).encode()
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"a setting of bucket {name!r} cannot be sent as JSON: {error}"
        ) from error


def _parts(value: Placement | Republish) -> dict[str, Any]:
    if isinstance(value, Republish) and not value.destination:
        return {}
    return {part: given for part, given in asdict(value).items() if given}


def _seconds(ttl: timedelta) -> int:
    if not isinstance(ttl, timedelta):
        raise InvalidArgumentError(
            f"a ttl must be a timedelta, not {type(ttl).__name__}",
            hint="for example timedelta(minutes=5)",
        )
    seconds, rest = divmod(ttl, timedelta(seconds=1))
    if seconds < 1 or rest:
        raise InvalidArgumentError(f"a ttl must be 1 s or more, in whole seconds: {ttl}")
    return seconds
