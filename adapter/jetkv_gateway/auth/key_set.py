"""The public keys that JWTs are checked with (RFC 7517). Pure.

The type of a key alone decides on its algorithm: RSA is RS256, P-256 is ES256, Ed25519 is EdDSA. So
no token can choose one, and a secret (`oct`) is never a key.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.exceptions import InvalidKeyError

__all__ = ["MAX_BYTES", "Key", "KeySet", "KeySetError", "parse_key_set"]

MAX_BYTES = 1024 * 1024
"""The largest key set that is read."""

_MAX_KEYS = 100
_MAX_TRIES = 8
"""Keys that are tried for a token that names none."""

_MIN_RSA_BITS = 2048
_PUBLIC = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}


class KeySetError(Exception):
    """Raised if a key set cannot be used. The text says why."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key.

    Attributes:
        kid: its name in the key set, or None.
        algorithm: RS256, ES256 or EdDSA.
        public: as PyJWT takes it.
        fingerprint: tells this key from any other, whatever its name.
    """

    kid: str | None
    algorithm: str
    public: Any
    fingerprint: bytes


class KeySet:
    """The keys of an issuer.

    Args:
        content: what they were read from.
    """

    def __init__(self, keys: list[Key], content: bytes = b"") -> None:
        self._keys = keys
        self._content = content
        self.fingerprints = frozenset([key.fingerprint for key in keys])

    def __len__(self) -> int:
        return len(self._keys)

    def __reduce__(self) -> tuple[Any, ...]:
        # A worker gets the keys of the main process, but keys of OpenSSL cannot be sent.
        return (parse_key_set, (self._content,)) if self._content else (KeySet, ([],))

    def find(self, kid: str | None, algorithm: str) -> list[Key]:
        """Return the keys that may have signed a token.

        Args:
            kid, algorithm: of the token's header. A token may name no key (RFC 7515 §4.1.4).
        """
        fitting = [key for key in self._keys if key.algorithm == algorithm]
        if kid is None:
            return fitting[:_MAX_TRIES]
        return [key for key in fitting if key.kid == kid][:_MAX_TRIES]


def parse_key_set(content: bytes) -> KeySet:
    """Read a key set. Keys of other types and for other uses are left out (RFC 7517 §5).

    Raises:
        KeySetError: this is no key set, or it has no key that can be used.
    """
    if len(content) > MAX_BYTES:
        raise KeySetError(f"it has more than {MAX_BYTES} bytes")
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise KeySetError("it is not JSON") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise KeySetError('it is not a JSON object with a list "keys"')
    if len(entries) > _MAX_KEYS:
        raise KeySetError(f"it has more than {_MAX_KEYS} keys")
    keys = list(_usable(entries))
    if not keys:
        raise KeySetError("it has no public key for RS256, ES256 or EdDSA")
    return KeySet(keys, content)


def _usable(entries: list[Any]) -> Iterator[Key]:
    for entry in entries:
        if isinstance(entry, dict) and _is_for_signatures(entry):
            key = _key(entry)
            if key is not None:
                yield key


def _is_for_signatures(entry: Mapping[str, Any]) -> bool:
    operations = entry.get("key_ops", ["verify"])
    return (
        entry.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    )


def _key(entry: Mapping[str, Any]) -> Key | None:
    kind = entry.get("kty")
    names = _PUBLIC.get(kind) if isinstance(kind, str) else None
    if names is None or not all(isinstance(entry.get(name), str) for name in names):
        return None
    # Only the public parts are read, so a key set that was published with its private parts by
    # mistake does not bring them into this process's memory for long.
    parts = {"kty": kind, **{name: entry[name] for name in names}}
    try:
        algorithm, public = _read(parts)
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError):
        return None
    if algorithm is None or entry.get("alg", algorithm) != algorithm:
        return None
    kid = entry.get("kid")
    fingerprint = sha256(json.dumps(parts, sort_keys=True).encode()).digest()
    return Key(kid if isinstance(kid, str) else None, algorithm, public, fingerprint)


def _read(parts: dict[str, Any]) -> tuple[str | None, Any]:
    match parts["kty"], parts.get("crv"):
        case "RSA", _:
            rsa: Any = RSAAlgorithm.from_jwk(parts)
            return "RS256" if rsa.key_size >= _MIN_RSA_BITS else None, rsa
        case "EC", "P-256":
            return "ES256", ECAlgorithm.from_jwk(parts)
        case "OKP", "Ed25519":
            return "EdDSA", OKPAlgorithm.from_jwk(parts)
    return None, None
