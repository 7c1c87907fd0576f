"""What a JWT says of its caller, once its signature is checked (RFC 7519, RFC 8725)."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import jwt

from jetkv_gateway.auth.key_set import Key
from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import InvalidArgument, Unauthenticated
from jetkv_gateway.kv.scopes import MAX_SCOPES, NOBODY, Grants, Scope, parse_scope

__all__ = ["MAX_LEEWAY_SECONDS", "JwtRules", "read_header", "verify"]

MAX_LEEWAY_SECONDS = 10.0

_MAX_NAME = 200
_LAST_TIME = 253_402_300_799.0
"""The end of the year 9999. An `exp` in milliseconds by mistake is later, and would never end."""

_REFUSALS: tuple[tuple[type[Exception], str], ...] = (
    (jwt.ExpiredSignatureError, "this JWT has expired"),
    (jwt.ImmatureSignatureError, "this JWT is not valid yet"),
    (jwt.InvalidIssuerError, "this JWT has another issuer"),
    (jwt.InvalidAudienceError, "this JWT is for another audience"),
    (jwt.InvalidSignatureError, "the signature of this JWT is wrong"),
    (jwt.MissingRequiredClaimError, "this JWT has no exp, iss or aud"),
)


@dataclass(frozen=True, slots=True)
class JwtRules:
    """What a JWT must say.

    Attributes:
        issuer: the value of `iss`.
        audiences: `aud` must have one of them.
        scopes_claim: holds the scopes, as a list or as a text that separates them by spaces.
        name_claim: holds the name of the caller.
        leeway: seconds by which the issuer's clock may differ.
    """

    issuer: str
    audiences: tuple[str, ...]
    scopes_claim: str = "scope"
    name_claim: str = "sub"
    leeway: float = 5.0


def read_header(token: bytes) -> tuple[str | None, str]:
    """Return the key id and algorithm that a JWT names. Nothing of it is checked yet.

    Raises:
        Unauthenticated: this is no JWT, or it demands an extension (RFC 7515 §4.1.11).
    """
    try:
        header = json.loads(urlsafe_b64decode(token.partition(b".")[0] + b"=="))
    except (ValueError, RecursionError):
        raise Unauthenticated(hint="this is not a JWT") from None
    if not isinstance(header, dict):
        raise Unauthenticated(hint="this is not a JWT")
    kid, algorithm = header.get("kid"), header.get("alg")
    if "crit" in header or "b64" in header:
        raise Unauthenticated(hint="this JWT demands an extension that the gateway does not know")
    return kid if isinstance(kid, str) else None, algorithm if isinstance(algorithm, str) else ""


def verify(token: bytes, key: Key, rules: JwtRules) -> Principal:
    """Return the caller that a JWT names.

    Raises:
        Unauthenticated: the signature is wrong, or a claim breaks a rule.
    """
    try:
        claims = jwt.decode(
            token,
            key.public,
            algorithms=[key.algorithm],
            audience=list(rules.audiences),
            issuer=rules.issuer,
            leeway=rules.leeway,
            options={"require": ["exp", "iss", "aud"]},
        )
        expires_at = float(claims["exp"]) + rules.leeway
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        hint = next((text for kind, text in _REFUSALS if isinstance(error, kind)), None)
        raise Unauthenticated(hint=hint or "this JWT cannot be used") from None
    if expires_at > _LAST_TIME:
        raise Unauthenticated(hint="the exp of this JWT must be in seconds")
    name = _name(claims, rules.name_claim)
    return Principal(
        name,
        "jwt",
        _grants(claims.get(rules.scopes_claim)),
        _identity(claims, name),
        expires_at,
        proof=key.fingerprint,
    )


def _name(claims: Mapping[str, Any], claim: str) -> str:
    name = claims.get(claim)
    if not isinstance(name, str) or not 1 <= len(name) <= _MAX_NAME or not name.isprintable():
        raise Unauthenticated(hint=f"this JWT has no usable {claim}")
    return name


def _identity(claims: Mapping[str, Any], name: str) -> bytes:
    """Return what stays when a caller renews its JWT, so that its idempotency keys do."""
    parts = ["jwt", str(claims["iss"]), str(claims.get("sub") or name)]
    return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()


def _grants(value: object) -> Grants:
    """Return what the scopes allow. Words that are no scopes of ours are for others.

    Raises:
        Unauthenticated: there are too many.
    """
    words = value.split(" ") if isinstance(value, str) else value
    if not isinstance(words, list):
        return NOBODY
    scopes: list[Scope] = []
    for word in words:
        try:
            scopes.append(parse_scope(word))
        except (InvalidArgument, TypeError, AttributeError):
            continue
    if len(scopes) > MAX_SCOPES:
        raise Unauthenticated(hint=f"this JWT has over {MAX_SCOPES} scopes")
    return Grants.of(scopes)
