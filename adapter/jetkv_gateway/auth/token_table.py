"""Finds tokens by their hash, and knows the callers that have them."""

from collections.abc import Iterable, Sequence
from hmac import compare_digest
from time import time
from typing import Protocol

from jetkv_gateway.auth.tokens import Token, digest_of, is_misspelt
from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import Unauthenticated

__all__ = ["TokenSource", "TokenTable", "Tokens"]


class TokenTable:
    """Tokens by their hash. Finding one of ten thousand takes as long as finding one of ten.

    The caller cannot choose the hash that is looked up without knowing the token, so the time of a
    look-up says nothing about other tokens.
    """

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._by_digest = {token.digest: token for token in tokens}

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, digest: bytes) -> Token | None:
        """Return the token that has this hash."""
        found = self._by_digest.get(digest)
        return found if found is not None and compare_digest(found.digest, digest) else None

    def tokens(self) -> list[Token]:
        """Return all tokens."""
        return list(self._by_digest.values())


class TokenSource(Protocol):
    """Where tokens come from."""

    @property
    def problem(self) -> str | None:
        """As in `auth.authenticator.Link`."""
        ...

    @property
    def version(self) -> int:
        """As in `auth.authenticator.Link`."""
        ...

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        """As in `auth.authenticator.Link`."""
        ...

    def find(self, digest: bytes) -> Token | None:
        """Return the token that has this hash.

        Raises:
            Unavailable: the tokens cannot be read, and the last state is too old.
        """
        ...


class Tokens:
    """The callers that have a token (docs/access.md#tokens). A link of a chain."""

    def __init__(self, sources: Sequence[TokenSource]) -> None:
        self._sources = tuple(sources)

    @property
    def problem(self) -> str | None:
        return "; ".join(one.problem for one in self._sources if one.problem) or None

    @property
    def version(self) -> int:
        return sum(one.version for one in self._sources)

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        for one in self._sources:
            one.refresh(force=force, quiet=quiet)

    def authenticate(self, authorization: bytes) -> Principal | None:
        scheme, _, text = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        text = text.strip()
        if is_misspelt(text):
            raise Unauthenticated(hint="this token is misspelt: its checksum is wrong")
        token = self._find(digest_of(text))
        if token is None:
            if text.startswith(b"jkv_"):
                raise Unauthenticated(hint="this token is unknown")
            return None
        if token.expires_at is not None and token.expires_at <= time():
            raise Unauthenticated(hint="this token has expired")
        return token.principal

    def current(self, principal: Principal) -> Principal | None:
        return principal

    def _find(self, digest: bytes) -> Token | None:
        for one in self._sources:
            found = one.find(digest)
            if found is not None:
                return found
        return None
