"""Tickets: they open one URL for a page, which cannot send a header there.

A ticket is a name and a signature. The signature covers the URL and the hash of the token, and its
key is a secret that all gateways share in their own bucket. So a ticket needs no storage, works in
every worker and gateway and after a restart, and ends with its token: a token that is withdrawn is
no longer found, and a new one of the same name has another hash. Nobody can compute the token from
a ticket.
"""

import hmac
import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256
from time import time
from typing import Any

from jetkv_gateway.auth.token_logins import TokenLogins
from jetkv_gateway.auth.tokens import PREFIX, grants_of
from jetkv_gateway.kv.access import ANONYMOUS, Principal
from jetkv_gateway.kv.errors import InvalidArgument, Unauthenticated, Unavailable

__all__ = ["TICKET_PREFIX", "Tickets"]

TICKET_PREFIX = "jkt_"
_LONGEST = 8192
_MAC_BYTES = 24
_PURPOSE = b"jetkv ticket 1\0"
_UNKNOWN = "this ticket is for another URL, or its token is withdrawn or has expired"


class Tickets:
    """Issues tickets and reads them.

    Args:
        key: returns the shared secret, or None while it is not known.
        logins: the callers that have a token; None if tokens are no kind of credential here.
    """

    def __init__(self, key: Callable[[], bytes | None], logins: TokenLogins | None) -> None:
        self._key = key
        self._logins = logins

    def issue(self, principal: Principal, url: bytes) -> str:
        """Return a ticket for a URL, which is valid as long as the caller's credential.

        Args:
            url: in a canonical form.

        Raises:
            InvalidArgument: this kind of credential has no tickets.
            Unavailable: the shared secret is not known yet.
        """
        payload: dict[str, Any] = {"m": principal.method, "n": principal.name}
        if principal.method == "jwt" and principal.expires_at is not None:
            # No gateway stores anything of a JWT, so the ticket has to say what it allows.
            payload["s"] = principal.grants.texts
            payload["e"] = principal.expires_at
            payload["i"] = _encode(principal.identity)
            payload["p"] = _encode(principal.proof)
        elif principal.method not in ("token", ANONYMOUS.method):
            raise InvalidArgument("tickets are for callers that have a token or a JWT")
        body = json.dumps(payload, separators=(",", ":")).encode()
        mac = self._mac(body, principal.identity, url)
        return f"{TICKET_PREFIX}{_encode(body)}.{_encode(mac)}"

    def read(self, ticket: str, url: bytes) -> Principal:
        """Return the caller that a ticket was issued to; `Authenticator.current` says if it may.

        Raises:
            Unauthenticated: it is not a ticket for this URL, or its credential is not valid now.
            Unavailable: it cannot be checked now.
        """
        if ticket.startswith(PREFIX):
            raise Unauthenticated(hint="this is a token: a URL must not have one")
        if not ticket.startswith(TICKET_PREFIX):
            raise Unauthenticated(hint="this is not a ticket")
        try:
            text, _, signature = ticket[:_LONGEST].removeprefix(TICKET_PREFIX).partition(".")
            body, mac = _decode(text), _decode(signature)
            payload = json.loads(body)
            method, name = payload["m"], payload["n"]
            identity = _decode(payload["i"]) if method == "jwt" else b""
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise Unauthenticated(hint="this is not a ticket") from error
        if method == "token" and isinstance(name, str) and self._logins is not None:
            for candidate in self._logins.named(name):
                if hmac.compare_digest(self._mac(body, candidate.identity, url), mac):
                    return candidate
        # Nothing of a payload is used before its signature is checked: anybody can send one.
        if method == "jwt" and hmac.compare_digest(self._mac(body, identity, url), mac):
            return _jwt_caller(payload, identity)
        raise Unauthenticated(hint=_UNKNOWN)

    def _mac(self, body: bytes, identity: bytes, url: bytes) -> bytes:
        key = self._key()
        if key is None:
            raise Unavailable("the gateway cannot read its tokens now")
        parts = [sha256(part).digest() for part in (body, identity, url)]
        return hmac.digest(key, _PURPOSE + b"".join(parts), "sha256")[:_MAC_BYTES]


def _jwt_caller(payload: dict[str, Any], identity: bytes) -> Principal:
    """Return the caller that a signed payload has.

    Raises:
        Unauthenticated: its JWT has expired, or this version does not know its scopes.
    """
    expires_at = float(payload["e"])
    if expires_at <= time():
        raise Unauthenticated(hint=_UNKNOWN)
    try:
        grants = grants_of(tuple(payload["s"]))
    except InvalidArgument as error:
        raise Unauthenticated(hint=_UNKNOWN) from error
    proof = _decode(payload["p"])
    return Principal(payload["n"], "jwt", grants, identity, expires_at, proof=proof)


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decode(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
