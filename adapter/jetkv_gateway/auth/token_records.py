"""The records of the bucket of tokens: their keys and their JSON. Pure.

token.NAME   a token: its hash, scopes, expiry and limits
used.NAME    when a token was last used, in seconds since 1970, right to some minutes
ticket-key   the secret that signs tickets
"""

import json
from typing import Any

from jetkv_gateway.auth.tokens import Token, check_name, grants_of, quota_of, read_time
from jetkv_gateway.kv.errors import InvalidArgument

__all__ = ["LOGIN", "TICKET_KEY", "USED", "check_moment", "read_record", "write_record"]

LOGIN = "token."
USED = "used."
TICKET_KEY = "ticket-key"


def write_record(token: Token) -> bytes:
    """Return the value of a token's record. It has the hash of the token, never the token."""
    record: dict[str, Any] = {
        "name": token.name,
        "sha256": token.digest.hex(),
        "scopes": list(token.scopes),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "requests_per_second": token.requests_per_second,
        "max_buckets": None if token.quota is None else token.quota.buckets,
        "max_stored_bytes": None if token.quota is None else token.quota.bytes,
    }
    kept = {name: value for name, value in record.items() if value is not None}
    return json.dumps(kept).encode()


def read_record(key: str, value: bytes) -> Token:
    """Read the record of a token.

    Raises:
        InvalidArgument: it is not one, so somebody else wrote it.
    """
    name = check_name(key.removeprefix(LOGIN))
    try:
        record = json.loads(value)
        digest = bytes.fromhex(record["sha256"])
        scopes = tuple(map(str, record["scopes"]))
        expires_at, rate = record.get("expires_at"), record.get("requests_per_second")
        token = Token(
            name,
            digest,
            scopes,
            expires_at=None if expires_at is None else float(expires_at),
            requests_per_second=None if rate is None else int(rate),
            quota=quota_of(_number(record, "max_buckets"), _number(record, "max_stored_bytes")),
            created_at=record.get("created_at"),
        )
        if expires_at is not None:
            check_moment(token.expires_at or 0.0)
        if token.created_at is not None:
            read_time(token.created_at)
    except _DAMAGED as error:
        raise InvalidArgument(f"the record of token {name} is damaged: {error}") from error
    if len(digest) != _DIGEST_BYTES:
        raise InvalidArgument(f"the record of token {name} is damaged: its hash has another length")
    grants_of(scopes)
    return token


_DIGEST_BYTES = 32
_LAST_MOMENT = 253_402_300_799.0
"""The end of the year 9999, in seconds since 1970."""
_DAMAGED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
"""What a record of somebody else may cause."""


def check_moment(seconds: float) -> float:
    """Return a time if it can be shown.

    Raises:
        ValueError: it is not a number, or lies before 1970 or after the year 9999.
    """
    if not 0 <= seconds <= _LAST_MOMENT:
        raise ValueError(f"{seconds!r} is no time")
    return seconds


def _number(record: dict[str, Any], name: str) -> int | None:
    value = record.get(name)
    return None if value is None else int(value)
