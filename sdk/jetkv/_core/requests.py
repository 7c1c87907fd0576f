"""Calls as requests (docs/http-api.md)."""

import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from jetkv._core.wire import Kind, Request
from jetkv.codec import Codec
from jetkv.errors import InvalidArgumentError
from jetkv.models import Consistency, format_time

__all__ = [
    "ALWAYS",
    "CAPABILITIES",
    "IF_ABSENT",
    "Condition",
    "create_bucket",
    "delete_bucket",
    "delete_key",
    "get_bucket",
    "get_history",
    "get_key",
    "if_at",
    "list_buckets",
    "list_keys",
    "open_watch",
    "put_key",
]

_BUCKETS = "/api/v1/kv/buckets"
# Percent-encoded, they are still what they are, and no proxy on the way cleans them.
_DOTS = {".": "%2E", "..": "%2E%2E"}

_CONTENT_TYPE = re.compile(r"[\x20-\x7e]{1,255}")

CAPABILITIES = Request("GET", "/api/v1/capabilities", Kind.READ, "capabilities of the gateway")


def _bucket(name: str) -> str:
    quoted = _quoted(name, "bucket name")
    if not name:
        raise InvalidArgumentError("a bucket name is empty", hint="1 to 200 of A-Z a-z 0-9 _ -")
    return f"{_BUCKETS}/{quoted}"


def _key(key: str) -> str:
    quoted = _quoted(key, "key")
    if not key:
        raise InvalidArgumentError("a key is empty", hint="a key has 1 to 512 bytes")
    return _DOTS.get(key, quoted)


def _quoted(text: str, part: str) -> str:
    if not isinstance(text, str):
        raise InvalidArgumentError(f"a {part} is text, not {type(text).__name__}")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise InvalidArgumentError(f"a {part} is valid Unicode: {text!r}") from error


def _revision(revision: int) -> str:
    if isinstance(revision, bool) or not isinstance(revision, int) or revision < 1:
        raise InvalidArgumentError(f"a revision is a whole number from 1: {revision!r}")
    return str(revision)


@dataclass(frozen=True, slots=True)
class Condition:
    """What has to hold for a write, and what it is called."""

    verb: str
    headers: Mapping[str, str] = field(default_factory=dict)


ALWAYS = Condition("put")
IF_ABSENT = Condition("create", {"If-None-Match": "*"})


def if_at(revision: int) -> Condition:
    return Condition("update", {"If-Match": _revision(revision)})


def get_key(
    bucket: str, key: str, revision: int | None = None, consistency: Consistency = "strong"
) -> Request:
    target = f"{_bucket(bucket)}/keys/{_key(key)}"
    query = {}
    if revision is not None:
        query["revision"] = _revision(revision)
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
    condition: Condition = ALWAYS,
) -> Request:
    target = f"{_bucket(bucket)}/keys/{_key(key)}"
    if _CONTENT_TYPE.fullmatch(codec.content_type) is None:
        raise InvalidArgumentError(
            f"the content_type of {type(codec).__name__} is 1 to 255 printable ASCII characters"
        )
    headers = {
        "Content-Type": codec.content_type,
        "Idempotency-Key": secrets.token_urlsafe(16),
        **condition.headers,
    }
    try:
        body = codec.encode(value)
    except (ValueError, TypeError) as error:
        raise InvalidArgumentError(
            f"the value for {key!r} cannot be stored in bucket {bucket!r}: {error}",
            hint=f"its codec is {type(codec).__name__}; the second argument of bucket() chooses "
            "another type",
        ) from error
    return Request(
        "PUT",
        target,
        Kind.KEYED,
        f"{condition.verb} of {key!r} in bucket {bucket!r}",
        headers,
        body,
        check="get the key: your value or a new revision means that it was applied; it may still "
        "be applied later, and update() with the revision that you see guards against that",
    )


def delete_key(bucket: str, key: str, *, revision: int | None, purge: bool) -> Request:
    target = f"{_bucket(bucket)}/keys/{_key(key)}"
    headers = {"Idempotency-Key": secrets.token_urlsafe(16)}
    if revision is not None:
        headers["If-Match"] = _revision(revision)
    verb = "delete"
    if purge:
        verb, target = "purge", f"{target}?purge=true"
    return Request(
        "DELETE",
        target,
        Kind.KEYED,
        f"{verb} of {key!r} in bucket {bucket!r}",
        headers,
        check=f"get the key: if it is there, {verb} it again, with its revision",
    )


def list_keys(bucket: str, filter: str | None) -> Request:
    target = f"{_bucket(bucket)}/keys"
    if filter is not None:
        target = f"{target}?filter={_quoted(filter, 'filter')}"
    return Request("GET", target, Kind.READ, f"listing of bucket {bucket!r}", large=True)


def get_history(bucket: str, key: str) -> Request:
    target = f"{_bucket(bucket)}/history/{_key(key)}"
    what = f"history of {key!r} in bucket {bucket!r}"
    return Request("GET", target, Kind.READ, what, large=True)


def list_buckets() -> Request:
    return Request("GET", _BUCKETS, Kind.READ, "listing of buckets", large=True)


def get_bucket(name: str) -> Request:
    return Request("GET", _bucket(name), Kind.READ, f"description of bucket {name!r}")


def delete_bucket(name: str) -> Request:
    return Request(
        "DELETE",
        _bucket(name),
        Kind.WRITE,
        f"deletion of bucket {name!r}",
        check="ask for bucket_info() again",
    )


def create_bucket(name: str, *, ttl: timedelta | None, **settings: Any) -> Request:
    """Settings that are None are left to the gateway.

    Raises:
        InvalidArgumentError: the name is none, or the TTL is not of whole seconds.
    """
    _bucket(name)
    document: dict[str, Any] = {"name": name}
    if ttl is not None:
        document["ttl_seconds"] = _seconds(ttl)
    document |= {field: value for field, value in settings.items() if value is not None}
    try:
        body = json.dumps(document).encode()
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(f"settings of bucket {name!r}: {error}") from error
    return Request(
        "POST",
        _BUCKETS,
        Kind.WRITE,
        f"creation of bucket {name!r}",
        {"Content-Type": "application/json"},
        body,
        check="ask for bucket_info(), or create it again with exist_ok=True",
    )


def _seconds(ttl: timedelta) -> int:
    if not isinstance(ttl, timedelta):
        raise InvalidArgumentError(
            f"a ttl is a timedelta, not {type(ttl).__name__}",
            hint="such as timedelta(minutes=5)",
        )
    seconds, rest = divmod(ttl, timedelta(seconds=1))
    if seconds < 1 or rest:
        raise InvalidArgumentError(f"a ttl is of whole seconds, 1 or more: {ttl}")
    return seconds


def open_watch(
    bucket: str,
    filters: Iterable[str],
    *,
    snapshot: bool,
    resume_after: int | None,
    last_seen: int | None,
    created_at: datetime,
    ignore_deletes: bool,
) -> Request:
    """An event stream; `last_seen` wins over `snapshot` and `resume_after` (docs/watch.md)."""
    query: list[tuple[str, str]] = []
    for name in filters:
        if not _quoted(name, "filter"):
            raise InvalidArgumentError("a filter is empty", hint="leave it out to watch all keys")
        query.append(("key", name))
    query.append(("bucket_created_at", format_time(created_at)))
    if snapshot:
        query.append(("snapshot", "true"))
    if resume_after is not None:
        query.append(("resume_after", str(resume_after)))
    if ignore_deletes:
        query.append(("ignore_deletes", "true"))
    headers = {"Accept": "text/event-stream"}
    if last_seen is not None:
        headers["Last-Event-ID"] = str(last_seen)
    return Request(
        "GET",
        f"{_bucket(bucket)}/watch?{urlencode(query)}",
        Kind.READ,
        f"watch of bucket {bucket!r}",
        headers,
    )
