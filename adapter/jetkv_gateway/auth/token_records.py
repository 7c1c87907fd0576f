"""The records of the bucket of tokens: their keys and their JSON. Pure.

token.NAME   a token: its hash, scopes, expiry and limits
used.NAME    when a token was last used, in seconds since 1970, right to some minutes
ticket-key   the secret that signs tickets
"""

import json
from typing import Any

from jetkv_gateway.auth.tokens import Token, check_name, grants_of, quota_of
from jetkv_gateway.kv.errors import InvalidArgument

__all__ = ["LOGIN", "TICKET_KEY", "USED", "read_record", "write_record"]

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
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidArgument(f"the record of token {name} is damaged: {error}") from error
    if len(digest) != _DIGEST_BYTES:
        raise InvalidArgument(f"the record of token {name} is damaged: its hash has another length")
    grants_of(scopes)
    return token


_DIGEST_BYTES = 32


def _number(record: dict[str, Any], name: str) -> int | None:
    value = record.get(name)
    return None if value is None else int(value)
