"""What a token is: its format, its hash, and what it allows. Pure.

A token is `jkv_`, 32 random characters of 0-9 A-Z a-z, and 6 that are a checksum of these. The
checksum tells a misspelt token from a wrong one. Only the SHA-256 of a token is stored anywhere. A
token has 190 random bits, so its hash needs no salt and cannot be reversed by trying.
"""

import re
import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from zlib import crc32

from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.quotas import Quota
from jetkv_gateway.kv.scopes import Grants, parse_scopes

__all__ = [
    "MAX_LIFE_SECONDS",
    "MAX_RATE",
    "NAME_RULE",
    "PREFIX",
    "Token",
    "check_limits",
    "check_name",
    "digest_of",
    "grants_of",
    "is_misspelt",
    "new_token",
    "quota_of",
    "read_time",
    "token_line",
]

PREFIX = "jkv_"
MAX_LIFE_SECONDS = 3_153_600_000
MAX_RATE = 1_000_000
MAX_BUCKETS = 100_000
MAX_STORED_BYTES = 2**53 - 1
_RANDOM = 32
_CHECKSUM = 6
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_FORM = re.compile(rb"jkv_[0-9A-Za-z]{38}")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
NAME_RULE = "a token's name is 1 to 64 characters of A-Z a-z 0-9 _ . -"


@dataclass(slots=True, eq=False)
class Token:
    """What is stored of a token.

    Attributes:
        name: of its caller, for people and logs.
        digest: the SHA-256 of the token.
        scopes: what it allows, as texts.
        expires_at: in seconds since 1970; None if it does not expire.
        requests_per_second: the rate that it allows; None without a limit of its own.
        quota: how much its caller may store; None without a limit.
        created_at: RFC 3339; None if nobody knows.
        used: whether it was used since `TokenUses` looked last.
    """

    name: str
    digest: bytes
    scopes: tuple[str, ...]
    expires_at: float | None = None
    requests_per_second: int | None = None
    quota: Quota | None = None
    created_at: str | None = None
    used: bool = False
    _principal: Principal | None = field(default=None, init=False, repr=False)

    @property
    def principal(self) -> Principal:
        """The caller that has this token. It is built when the token is first used."""
        found = self._principal
        if found is None:
            found = self._principal = Principal(
                self.name,
                "token",
                grants_of(self.scopes),
                self.digest,
                self.expires_at,
                self.requests_per_second,
                quota=self.quota,
            )
        return found


@lru_cache(maxsize=1024)
def grants_of(scopes: tuple[str, ...]) -> Grants:
    """Return what scopes allow together. Tokens with the same scopes share the result.

    Raises:
        InvalidArgument: a scope breaks a rule.
    """
    return parse_scopes(scopes)


def new_token() -> str:
    """Return a random token."""
    text = "".join([secrets.choice(_ALPHABET) for _ in range(_RANDOM)])
    return PREFIX + text + _checksum(text.encode())


def is_misspelt(token: bytes) -> bool:
    """Return whether this is meant to be a token of today's format, but cannot be one."""
    if not token.startswith(b"jkv_"):
        return False
    if _FORM.fullmatch(token) is None:
        return True
    text = token[len(PREFIX) : -_CHECKSUM]
    return token[-_CHECKSUM:] != _checksum(text).encode()


def _checksum(text: bytes) -> str:
    number = crc32(text)
    digits = []
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def digest_of(token: bytes) -> bytes:
    """Return the hash of a token, in any format."""
    return sha256(token).digest()


def check_name(name: str) -> str:
    """Return the name of a token.

    Raises:
        InvalidArgument: it breaks the rule.
    """
    if _NAME.fullmatch(name) is None:
        raise InvalidArgument(NAME_RULE)
    return name


def check_limits(
    expires_in_seconds: int | None, requests_per_second: int | None, quota: Quota | None = None
) -> None:
    """Check the limits of a new token.

    Raises:
        InvalidArgument: one is out of its range.
    """
    if expires_in_seconds is not None and not 1 <= expires_in_seconds <= MAX_LIFE_SECONDS:
        raise InvalidArgument(f"expires_in_seconds must be from 1 to {MAX_LIFE_SECONDS}")
    if requests_per_second is not None and not 1 <= requests_per_second <= MAX_RATE:
        raise InvalidArgument(f"requests_per_second must be from 1 to {MAX_RATE}")
    if quota is not None:
        if quota.buckets is not None and not 0 <= quota.buckets <= MAX_BUCKETS:
            raise InvalidArgument(f"max_buckets must be from 0 to {MAX_BUCKETS}")
        if quota.bytes is not None and not 0 <= quota.bytes <= MAX_STORED_BYTES:
            raise InvalidArgument(f"max_stored_bytes must be from 0 to {MAX_STORED_BYTES}")


def quota_of(buckets: int | None, stored_bytes: int | None) -> Quota | None:
    """Return a quota, or None if both are None."""
    if buckets is None and stored_bytes is None:
        return None
    return Quota(buckets, stored_bytes)


def read_time(text: str) -> float:
    """Return the seconds since 1970 of an RFC 3339 time.

    Raises:
        ValueError: it is not one.
    """
    if _RFC_3339.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a time such as 2027-01-31T00:00:00Z")
    return datetime.fromisoformat(text).timestamp()


def token_line(name: str, token: str, scopes: Sequence[str], expires: str | None = None) -> str:
    """Return the line of a token file.

    Args:
        expires: RFC 3339.

    Raises:
        InvalidArgument: the name breaks its rule.
    """
    parts = [f"{check_name(name)}:{digest_of(token.encode()).hex()}", *scopes]
    if expires is not None:
        parts.append(f"expires={expires}")
    return " ".join(parts)
