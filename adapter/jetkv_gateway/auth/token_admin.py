"""Creates, lists and withdraws tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import time

from jetkv_gateway.auth.token_bucket import TokenBucket
from jetkv_gateway.auth.token_file import TokenFile
from jetkv_gateway.auth.token_records import LOGIN, write_record
from jetkv_gateway.auth.token_uses import TokenUses
from jetkv_gateway.auth.tokens import (
    Token,
    check_limits,
    check_name,
    digest_of,
    grants_of,
    new_token,
    read_time,
)
from jetkv_gateway.kv.errors import (
    KeyExists,
    RevisionMismatch,
    TokenExists,
    TokenKept,
    TokenNotFound,
    Unavailable,
)
from jetkv_gateway.kv.quotas import Quota
from jetkv_gateway.kv.scopes import FULL
from jetkv_gateway.kv.timestamps import rfc3339_second
from jetkv_gateway.kv.token_store import TokenStore

__all__ = ["KnownToken", "TokenAdmin", "make_token", "store_token"]

_REACH_SECONDS = 2.0
_TRIES = 5


@dataclass(frozen=True, slots=True)
class KnownToken:
    """A token, and what else is known of it.

    Attributes:
        source: `file` or `bucket`.
        last_used: in seconds since 1970, right to some minutes; None if it was never used.
    """

    token: Token
    source: str
    last_used: float | None


def make_token(
    name: str,
    scopes: Sequence[str],
    expires_in_seconds: int | None,
    requests_per_second: int | None,
    quota: Quota | None = None,
) -> tuple[str, Token]:
    """Return a new token, and its record.

    Raises:
        InvalidArgument: a value breaks a rule.
    """
    check_name(name)
    check_limits(expires_in_seconds, requests_per_second, quota)
    texts = tuple(dict.fromkeys(scopes))
    grants_of(texts)
    secret, now = new_token(), time()
    token = Token(
        name,
        digest_of(secret.encode()),
        texts,
        expires_at=None if expires_in_seconds is None else float(int(now) + expires_in_seconds),
        requests_per_second=requests_per_second,
        quota=quota,
        created_at=rfc3339_second(now),
    )
    return secret, token


async def store_token(store: TokenStore, token: Token) -> int:
    """Store the record of a new token, and return its revision.

    Raises:
        TokenExists: the name is in use.
    """
    try:
        return await store.create(LOGIN + token.name, write_record(token))
    except KeyExists as error:
        raise TokenExists from error


class TokenAdmin:
    """The tokens of a gateway.

    Args:
        file: whose tokens are listed, too, and cannot be withdrawn here; None without one.
    """

    def __init__(self, file: TokenFile | None, bucket: TokenBucket, uses: TokenUses) -> None:
        self._file = file
        self._bucket = bucket
        self._uses = uses

    async def create(
        self,
        name: str,
        scopes: Sequence[str],
        expires_in_seconds: int | None,
        requests_per_second: int | None,
        quota: Quota | None = None,
    ) -> tuple[str, KnownToken]:
        """Create a token. It is returned only here.

        Raises:
            InvalidArgument: a value breaks a rule.
            TokenExists: the name is in use.
        """
        secret, token = make_token(name, scopes, expires_in_seconds, requests_per_second, quota)
        if self._file is not None and self._file.named(name):
            raise TokenExists
        revision = await store_token(self._bucket.store, token)
        # So that this worker knows the token before its owner does.
        await self._bucket.wait_reached(revision, _REACH_SECONDS)
        return secret, KnownToken(token, "bucket", None)

    def tokens(self) -> list[KnownToken]:
        """Return all tokens, sorted by name.

        Raises:
            Unavailable: the tokens cannot be read now.
        """
        if self._bucket.stale:
            raise Unavailable("the gateway cannot read its tokens now")
        found = [
            *((one, "file") for one in (self._file.tokens() if self._file is not None else [])),
            *((one, "bucket") for one in self._bucket.tokens()),
        ]
        return [
            KnownToken(token, source, self._last_use(token))
            for token, source in sorted(found, key=lambda one: (one[0].name, one[1]))
        ]

    def _last_use(self, token: Token) -> float | None:
        last = self._uses.last(token.name)
        if last is None or token.created_at is None:
            return last
        # An earlier token may have had the same name.
        return last if last >= int(read_time(token.created_at)) else None

    async def withdraw(self, name: str) -> None:
        """Withdraw a token.

        Raises:
            TokenNotFound
            TokenKept: it is in the token file, or it is the last one that may do everything.
        """
        for _ in range(_TRIES):
            newest = await self._bucket.store.newest()
            if self._bucket.stale or not await self._bucket.wait_reached(newest, _REACH_SECONDS):
                raise Unavailable("the gateway cannot read its tokens now")
            token = self._bucket.named(name)
            if token is None:
                if self._file is not None and self._file.named(name):
                    raise TokenKept(hint="it is in the token file: remove its line there")
                raise TokenNotFound
            if _is_full(token) and not self._others(token):
                raise TokenKept(hint="it is the last one with *:*: create another one first")
            # Two callers who withdraw the last two at the same time must not both succeed. Only
            # this needs the condition, which any other change breaks.
            last = newest if _is_full(token) else None
            try:
                revision = await self._bucket.store.remove(LOGIN + name, last)
            except RevisionMismatch:
                continue
            await self._bucket.wait_reached(revision, _REACH_SECONDS)
            return
        raise Unavailable("the tokens change too often now")

    def _others(self, token: Token) -> bool:
        """Return whether another token may do everything, and has not expired."""
        everywhere = [*self._bucket.tokens(), *(self._file.tokens() if self._file else [])]
        return any(
            one is not token
            and _is_full(one)
            and (one.expires_at is None or one.expires_at > time())
            for one in everywhere
        )


def _is_full(token: Token) -> bool:
    return grants_of(token.scopes) is FULL
