"""The callers that present a JWT (docs/access.md#jwt)."""

import re
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from time import time

from jetkv_gateway.auth.jwt_keys import KeySource
from jetkv_gateway.auth.jwts import JwtRules, read_header, verify
from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import Unauthenticated, Unavailable

__all__ = ["JwtLogins"]

_FORM = re.compile(rb"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_OF_NATS = "ed25519-nkey"
"""The algorithm of the JWTs that are logins of NATS. Another link may know those."""

_KNOWN = 4096
"""Checked JWTs that are kept, so that a caller's next request costs one hash."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """A JWT of a key that nobody has seen yet. The issuer may have made it a moment ago."""

    logins: "JwtLogins"
    token: bytes

    async def resolve(self) -> Principal:
        await self.logins.keys.ask()
        return self.logins.check(self.token)


class JwtLogins:
    """The callers that present a JWT. A link of a chain.

    Attributes:
        keys: where the keys of the issuer come from.
    """

    def __init__(self, rules: JwtRules, keys: KeySource) -> None:
        self.keys = keys
        self._rules = rules
        self._known: OrderedDict[bytes, Principal] = OrderedDict()
        self._known_of = keys.version

    @property
    def problem(self) -> str | None:
        return self.keys.problem

    @property
    def version(self) -> int:
        return self.keys.version

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        self.keys.refresh(force=force, quiet=quiet)

    def authenticate(self, authorization: bytes) -> Principal | _Pending | None:
        scheme, _, token = authorization.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or _FORM.fullmatch(token) is None:
            return None
        if self._known_of != (of := self.keys.version):
            self._known.clear()
            self._known_of = of
        digest = sha256(token).digest()
        known = self._known.get(digest)
        if known is not None and not _expired(known):
            self._known.move_to_end(digest)
            # This raises if the keys have become too old.
            self.keys.keys()
            return known
        kid, algorithm = read_header(token)
        if algorithm == _OF_NATS:
            return None
        if self.keys.may_ask and not self._has_key(kid, algorithm):
            return _Pending(self, token)
        return self._check(token, kid, algorithm)

    def check(self, token: bytes) -> Principal:
        """Return the caller that a JWT names.

        Raises:
            Unauthenticated: it breaks a rule.
            Unavailable: there are no keys to check it with.
        """
        return self._check(token, *read_header(token))

    def _has_key(self, kid: str | None, algorithm: str) -> bool:
        try:
            return bool(self.keys.keys().find(kid, algorithm))
        except Unavailable:
            return False

    def _check(self, token: bytes, kid: str | None, algorithm: str) -> Principal:
        principal = self._verified(token, kid, algorithm)
        self._known[sha256(token).digest()] = principal
        if len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        return principal

    def _verified(self, token: bytes, kid: str | None, algorithm: str) -> Principal:
        keys = self.keys.keys().find(kid, algorithm)
        if not keys:
            raise Unauthenticated(
                hint="this JWT is signed with a key or an algorithm that is unknown"
            )
        refused: Unauthenticated | None = None
        for key in keys:
            try:
                return verify(token, key, self._rules)
            except Unauthenticated as error:
                refused = error
        assert refused is not None, "there was a key"
        raise refused

    def current(self, principal: Principal) -> Principal | None:
        if principal.method != "jwt" or _expired(principal):
            return None
        known = principal.proof in self.keys.keys().fingerprints
        return principal if known else None

    def start(self) -> None:
        self.keys.start()

    async def close(self) -> None:
        await self.keys.close()


def _expired(principal: Principal) -> bool:
    return principal.expires_at is not None and principal.expires_at <= time()
