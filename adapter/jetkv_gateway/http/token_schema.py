"""Models of the JSON of tokens and tickets."""

from typing import Annotated, Literal

from pydantic import Field as Described

from jetkv_gateway.auth.token_admin import KnownToken
from jetkv_gateway.auth.tokens import quota_of
from jetkv_gateway.http.answers import AnswerModel
from jetkv_gateway.http.strict_body import StrictBody
from jetkv_gateway.kv.quotas import Quota
from jetkv_gateway.kv.timestamps import rfc3339_second

__all__ = [
    "TicketCreate",
    "TicketOut",
    "TokenCreate",
    "TokenCreated",
    "TokenList",
    "TokenOut",
]

_MAX_URL = 16 * 1024


class TokenCreate(StrictBody):
    """A token to create."""

    name: Annotated[str, Described(description="1 to 64 of A-Z a-z 0-9 _ . -", examples=["app-1"])]
    allow: Annotated[
        list[str],
        Described(description="Scopes", examples=[["read,write:sessions/user.*"]], min_length=1),
    ]
    expires_in_seconds: Annotated[
        int | None, Described(description="Without it, the token does not expire")
    ] = None
    requests_per_second: Annotated[
        int | None, Described(description="Without it, the token has no rate of its own")
    ] = None
    max_buckets: Annotated[
        int | None, Described(description="Buckets that the caller may create")
    ] = None
    max_stored_bytes: Annotated[
        int | None, Described(description="The sum of `max_bytes` of the caller's buckets")
    ] = None

    @property
    def quota(self) -> Quota | None:
        return quota_of(self.max_buckets, self.max_stored_bytes)


class TokenOut(AnswerModel):
    """A token, without its secret."""

    name: str
    scopes: list[str]
    source: Annotated[
        Literal["bucket", "file"], Described(description="Where the gateway has it from")
    ]
    created_at: str | None = None
    expires_at: str | None = None
    expired: bool
    requests_per_second: int | None = None
    max_buckets: int | None = None
    max_stored_bytes: int | None = None
    last_used_at: Annotated[
        str | None, Described(description="Right to ten minutes; absent if it was never used")
    ] = None

    @classmethod
    def of(cls, known: KnownToken, now: float) -> "TokenOut":
        """Convert a token.

        Args:
            now: in seconds since 1970.
        """
        return cls(**_fields(known, now))


class TokenCreated(TokenOut):
    """A new token. No other answer has it."""

    token: str

    @classmethod
    def of_new(cls, secret: str, known: KnownToken, now: float) -> "TokenCreated":
        """Convert a new token."""
        return cls(token=secret, **_fields(known, now))


class TokenList(AnswerModel):
    tokens: list[TokenOut]
    count: int


class TicketCreate(StrictBody):
    """What a ticket is for."""

    url: Annotated[
        str,
        Described(
            description="Of a watch or an event stream of flags, with its query",
            max_length=_MAX_URL,
        ),
    ]


class TicketOut(AnswerModel):
    ticket: Annotated[str, Described(description="Add it to the URL as the parameter `ticket`")]


def _fields(known: KnownToken, now: float) -> dict[str, object]:
    token = known.token
    expires_at = token.expires_at
    return {
        "name": token.name,
        "scopes": list(token.scopes),
        "source": known.source,
        "created_at": token.created_at,
        "expires_at": None if expires_at is None else rfc3339_second(expires_at),
        "expired": expires_at is not None and expires_at <= now,
        "requests_per_second": token.requests_per_second,
        "max_buckets": None if token.quota is None else token.quota.buckets,
        "max_stored_bytes": None if token.quota is None else token.quota.bytes,
        "last_used_at": None if known.last_used is None else rfc3339_second(known.last_used),
    }
