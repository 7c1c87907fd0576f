"""The callers that present a login of NATS (docs/access.md#logins-of-nats).

NATS itself decides what they may do: their requests run on a connection of their own.
"""

import json
import re
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Protocol

from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import Unauthenticated, Unavailable
from jetkv_gateway.kv.scopes import parse_scopes

__all__ = ["NatsLogin", "NatsLogins", "Pool", "read_login"]

_MAX_NAME = 200
_JWT = re.compile(rb"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_JWT_ALGORITHM = "ed25519-nkey"

_GRANTS = parse_scopes(["read,write,delete,admin:*"])
"""NATS decides on buckets and keys. What is the gateway's own, tokens and metrics, stays closed."""


@dataclass(frozen=True, slots=True)
class NatsLogin:
    """A login of NATS.

    Attributes:
        name: for people and logs.
        identity: tells this login from any other one, another secret of the same user included.
        user, password, token, jwt: what NATS gets; None for the others. The JWT is one that needs
            no signature (`bearer_token`).
    """

    name: str
    identity: bytes
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    jwt: str | None = field(default=None, repr=False)

    @property
    def principal(self) -> Principal:
        """The caller that has this login."""
        return Principal(self.name, "nats", _GRANTS, self.identity)


class Pool(Protocol):
    """The open connections of callers."""

    version: int

    def find(self, identity: bytes) -> Principal | None:
        """Return the caller of an open connection, which then counts as used."""
        ...

    def is_open(self, identity: bytes) -> bool:
        """Return whether the login is still known to be valid."""
        ...

    async def open(self, login: NatsLogin) -> Principal:
        """Log in.

        Raises:
            Unauthenticated: NATS refuses the login.
            Unavailable, TooManyRequests
        """
        ...

    def start(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Pending:
    pool: Pool
    login: NatsLogin

    async def resolve(self) -> Principal:
        return await self.pool.open(self.login)


class NatsLogins:
    """The callers that present a login of NATS. The last link of a chain.

    Attributes:
        pool: each worker sets its own.
    """

    problem = None

    def __init__(self) -> None:
        self.pool: Pool | None = None

    @property
    def version(self) -> int:
        return 0 if self.pool is None else self.pool.version

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None: ...

    def authenticate(self, authorization: bytes) -> Principal | _Pending | None:
        login = read_login(authorization)
        if login is None:
            return None
        if self.pool is None:
            raise Unavailable("the gateway is about to start", retry_after=1)
        return self.pool.find(login.identity) or _Pending(self.pool, login)

    def current(self, principal: Principal) -> Principal | None:
        if principal.method != "nats" or self.pool is None:
            return None
        return principal if self.pool.is_open(principal.identity) else None

    def start(self) -> None:
        if self.pool is not None:
            self.pool.start()

    async def close(self) -> None:
        if self.pool is not None:
            await self.pool.close()


def read_login(authorization: bytes) -> NatsLogin | None:
    """Return the login in an `Authorization` header, or None if it has another scheme.

    Raises:
        Unauthenticated: it is malformed or empty. NATS would let an empty login in as its
            `no_auth_user`.
    """
    scheme, _, given = authorization.partition(b" ")
    given = given.strip()
    match scheme.lower():
        case b"basic":
            return _by_password(given)
        case b"bearer" if given:
            return _by_token(given)
    return None


def _by_password(given: bytes) -> NatsLogin:
    try:
        # RFC 7617; the charset is UTF-8, as in NATS.
        user, colon, password = b64decode(given, validate=True).decode().partition(":")
    except ValueError:
        raise Unauthenticated(hint="Basic is base64 of user:password, in UTF-8") from None
    if not user or not colon or not password:
        raise Unauthenticated(hint="a login of NATS has a user and a password")
    return NatsLogin(_shown(user), _identity("user", user, password), user=user, password=password)


def _by_token(given: bytes) -> NatsLogin:
    try:
        text = given.decode()
    except UnicodeDecodeError:
        raise Unauthenticated(hint="a token of NATS is UTF-8") from None
    identity = _identity("token", text)
    if _JWT.fullmatch(given) is not None and _part(given, 0).get("alg") == _JWT_ALGORITHM:
        _check_signature_text(given)
        claims = _part(given, 1)
        name = claims.get("name") or claims.get("sub")
        shown = _shown(name) if isinstance(name, str) else identity.hex()[:8]
        return NatsLogin(shown, identity, jwt=text)
    return NatsLogin(f"token-{identity.hex()[:8]}", identity, token=text)


def _check_signature_text(token: bytes) -> None:
    """Check that the signature of a JWT is written in the one right way.

    NATS ignores the last bits of its last letter. So one JWT would be up to 16 logins here.

    Raises:
        Unauthenticated
    """
    signature = token.rpartition(b".")[2]
    try:
        right = urlsafe_b64encode(urlsafe_b64decode(signature + b"==")).rstrip(b"=")
    except ValueError:
        right = b""
    if right != signature:
        raise Unauthenticated(hint="the signature of this JWT is malformed")


def _part(token: bytes, number: int) -> dict[str, object]:
    """Return a part of a JWT. Only NATS can tell whether it is true."""
    try:
        value = json.loads(urlsafe_b64decode(token.split(b".")[number] + b"=="))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _shown(name: str) -> str:
    return "".join([one if one.isprintable() else "?" for one in name[:_MAX_NAME]])


def _identity(*parts: str) -> bytes:
    # The length of each part keeps ("a", "bc") and ("ab", "c") apart.
    encoded = [part.encode() for part in ("nats", *parts)]
    return sha256(b"".join([b"%d:%b" % (len(part), part) for part in encoded])).digest()
