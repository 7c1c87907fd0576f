"""Where `jetkv token` finds the tokens: in NATS, or by asking a gateway."""

import asyncio
import os
import re
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from time import time
from typing import Any, NamedTuple, Protocol, TypeVar

from jetkv import Client, JetKVError, TokenInfo
from jetkv_gateway.auth.token_admin import make_token, store_token
from jetkv_gateway.auth.token_bucket import TokenBucket, make_ticket_key
from jetkv_gateway.auth.token_records import LOGIN
from jetkv_gateway.auth.tokens import Token, check_name, quota_of
from jetkv_gateway.check import EXIT_INPUT
from jetkv_gateway.check.run import CONNECTION_ERRORS, connected
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.connection import Connection, FailureKind
from jetkv_gateway.jetstream.store import open_stores
from jetkv_gateway.kv.errors import TokenNotFound, Unavailable
from jetkv_gateway.kv.timestamps import rfc3339_second
from jetkv_gateway.kv.token_store import TokenStore
from jetkv_gateway.settings import Settings

__all__ = ["Limits", "Place", "PlaceError", "TokenRow", "place_of", "seconds_of"]

T = TypeVar("T")

_CONNECT_SECONDS = 5.0
_LOAD_SECONDS = 10.0
_STALE_SECONDS = 60.0
_MAX_SECRET_BYTES = 64 * 1024
_EXIT_FAILED = 1

_DURATION = re.compile(r"([1-9][0-9]{0,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class PlaceError(Exception):
    """Raised if the tokens cannot be reached. The text is one line for the operator."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class TokenRow:
    """What is known of a token. Times are RFC 3339."""

    name: str
    scopes: tuple[str, ...]
    source: str
    expired: bool
    created_at: str | None
    expires_at: str | None
    requests_per_second: int | None
    max_buckets: int | None
    max_stored_bytes: int | None
    last_used_at: str | None

    @property
    def expiry(self) -> str:
        """When it expires, in words for people."""
        if self.expired:
            return f"expired {self.expires_at}"
        return f"until {self.expires_at}" if self.expires_at else "for ever"

    @property
    def last_use(self) -> str:
        """When it was last used, in words for people."""
        return f"used {self.last_used_at}" if self.last_used_at else "never used"

    def as_json(self) -> dict[str, Any]:
        """Return the fields that are known."""
        found = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in found.items() if value is not None}


class Limits(NamedTuple):
    """The limits of a new token. None means no limit.

    Attributes:
        expires_in: seconds until it expires.
        rate: requests per second.
        buckets, stored_bytes: its quota.
    """

    expires_in: int | None
    rate: int | None
    buckets: int | None
    stored_bytes: int | None


class Place(Protocol):
    """Where the tokens are."""

    def create(self, name: str, scopes: Sequence[str], limits: "Limits") -> str:
        """Create a token, and return it."""
        ...

    def tokens(self) -> list[TokenRow]:
        """Return all tokens, sorted by name."""
        ...

    def remove(self, name: str) -> None:
        """Withdraw a token."""
        ...


@contextmanager
def place_of(settings: Settings, url: str | None, token_file: Path | None) -> Iterator[Place]:
    """Yield the place that the options name.

    Raises:
        PlaceError, SettingsError: it cannot be reached, or an option cannot be used.
        GatewayError: an operation failed.
    """
    if url is None:
        settings.check_login()
        yield _Nats(settings)
        return
    try:
        with Client(url, token=_own_token(token_file)) as client:
            yield _Gateway(client)
    except JetKVError as error:
        text = f"{error.message}; {error.hint}" if error.hint else error.message
        raise PlaceError(text, _EXIT_FAILED) from error


def seconds_of(text: str) -> int:
    """Return the seconds of a duration such as 90d.

    Raises:
        ValueError: it is none.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration such as 90d, 12h, 30m or 45s")
    return int(match[1]) * _UNITS[match[2]]


class _Nats:
    """The bucket of tokens, without a gateway."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def create(self, name: str, scopes: Sequence[str], limits: "Limits") -> str:
        quota = quota_of(limits.buckets, limits.stored_bytes)
        secret, token = make_token(name, scopes, limits.expires_in, limits.rate, quota)

        async def store(bucket: TokenStore) -> None:
            await bucket.ensure()
            await make_ticket_key(bucket)
            await store_token(bucket, token)

        self._run(store)
        return secret

    def tokens(self) -> list[TokenRow]:
        async def load(store: TokenStore) -> list[TokenRow]:
            bucket = TokenBucket(store, _STALE_SECONDS)
            bucket.start()
            try:
                if not await bucket.wait_loaded(_LOAD_SECONDS) or bucket.refused:
                    raise Unavailable(bucket.problem or "NATS does not answer")
                rows = [_row(one, bucket.last_use(one.name)) for one in bucket.tokens()]
                return sorted(rows, key=lambda row: row.name)
            finally:
                await bucket.close()

        return self._run(load)

    def remove(self, name: str) -> None:
        check_name(name)

        async def remove(store: TokenStore) -> None:
            if name not in [row.name for row in known]:
                raise TokenNotFound(f"no token has the name {name}")
            await store.remove(LOGIN + name)

        known = self.tokens()
        self._run(remove)

    def _run(self, work: Callable[[TokenStore], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run(self._connected(work))

    async def _connected(self, work: Callable[[TokenStore], Coroutine[Any, Any, T]]) -> T:
        settings = self._settings
        connection = Connection(settings.nats_options())
        connection.start()
        try:
            if not await connected(connection, _CONNECT_SECONDS):
                kind, reason = connection.failure or (FailureKind.UNREACHABLE, "no answer")
                code, hint = CONNECTION_ERRORS[kind]
                servers = ", ".join(server.url for server in settings.nats_servers)
                raise PlaceError(f"no connection to {servers}: {reason}{hint}", code)
            naming = Naming(settings.bucket_prefix, settings.nats_domain)
            _, store = open_stores(connection, naming, timeout=settings.request_timeout)
            return await work(store)
        finally:
            await connection.close()


class _Gateway:
    """A gateway that is asked over HTTP."""

    def __init__(self, client: Client) -> None:
        self._kv = client.kv()

    def create(self, name: str, scopes: Sequence[str], limits: "Limits") -> str:
        seconds = limits.expires_in
        made = self._kv.create_token(
            name,
            scopes,
            expires_in=None if seconds is None else timedelta(seconds=seconds),
            requests_per_second=limits.rate,
            max_buckets=limits.buckets,
            max_stored_bytes=limits.stored_bytes,
        )
        return made.token

    def tokens(self) -> list[TokenRow]:
        return [_row_of(one) for one in self._kv.tokens()]

    def remove(self, name: str) -> None:
        self._kv.delete_token(name)


def _own_token(file: Path | None) -> str | None:
    """Return the caller's own token, of a file or of JETKV_TOKEN. No option takes it as a text.

    Raises:
        PlaceError: the file cannot be used.
    """
    if file is None:
        return os.environ.get("JETKV_TOKEN") or None
    try:
        if not file.is_file():
            raise PlaceError(f"no such file: {file}", EXIT_INPUT)
        with file.open("rb") as opened:
            return opened.read(_MAX_SECRET_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise PlaceError(f"cannot read the token file {file}: {error}", EXIT_INPUT) from error


def _row(token: Token, last_used: float | None) -> TokenRow:
    expires_at = token.expires_at
    return TokenRow(
        token.name,
        token.scopes,
        "bucket",
        expires_at is not None and expires_at <= time(),
        token.created_at,
        None if expires_at is None else rfc3339_second(expires_at),
        token.requests_per_second,
        None if token.quota is None else token.quota.buckets,
        None if token.quota is None else token.quota.bytes,
        None if last_used is None else rfc3339_second(last_used),
    )


def _row_of(info: TokenInfo) -> TokenRow:
    def text(moment: datetime | None) -> str | None:
        return None if moment is None else rfc3339_second(moment.timestamp())

    return TokenRow(
        info.name,
        info.scopes,
        info.source,
        info.expired,
        text(info.created_at),
        text(info.expires_at),
        info.requests_per_second,
        info.max_buckets,
        info.max_stored_bytes,
        text(info.last_used_at),
    )
