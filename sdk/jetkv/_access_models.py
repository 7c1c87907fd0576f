"""The values that calls about access return."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

__all__ = ["Caller", "NewToken", "Permission", "ScopeVerb", "TokenInfo"]

ScopeVerb = Literal["read", "write", "delete", "admin", "metrics"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who the gateway takes this client for.

    Attributes:
        name: of the token or login; `anonymous` if the gateway runs with `--auth off`.
        method: how the caller proved its name, such as `token`; `none` with `--auth off`.
        scopes: what the caller may do, such as `read:sessions/user.*`.
        expires_at: when the credential expires, in UTC; None if it does not.
    """

    name: str
    method: str
    scopes: tuple[str, ...]
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Permission:
    """Whether a call is allowed. In a condition, it is true if the call is allowed.

    Attributes:
        allowed: whether it is.
        scope: a scope that allows it; None if it is not allowed.
        reason: why it is not allowed; None if it is.
    """

    allowed: bool
    scope: str | None = None
    reason: str | None = None

    def __bool__(self) -> bool:
        return self.allowed


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """What the gateway knows of a token. It does not know the token itself.

    Attributes:
        name: of the token.
        scopes: what it allows.
        source: `bucket` for a token that this API manages, `file` for one of the token file.
        expired: whether it has expired.
        created_at, expires_at: in UTC; None if it has none.
        requests_per_second: the rate that it allows; None without a rate of its own.
        max_buckets: buckets that its caller may create; None without a limit.
        max_stored_bytes: bytes that these may have; None without a limit.
        last_used_at: right to ten minutes; None if it was never used.
    """

    name: str
    scopes: tuple[str, ...]
    source: str
    expired: bool
    created_at: datetime | None = None
    expires_at: datetime | None = None
    requests_per_second: int | None = None
    max_buckets: int | None = None
    max_stored_bytes: int | None = None
    last_used_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was just created. Store it now: the gateway does not return it again.

    Attributes:
        token: the secret. It is not in the representation of this object.
        info: what the gateway knows of it.
    """

    token: str = field(repr=False)
    info: TokenInfo
