"""The values that calls about access return."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

__all__ = ["Caller", "Permission", "ScopeVerb"]

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
