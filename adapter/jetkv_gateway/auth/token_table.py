"""Finds tokens by their hash."""

from collections.abc import Iterable
from hmac import compare_digest

from jetkv_gateway.auth.tokens import Token

__all__ = ["TokenTable"]


class TokenTable:
    """Tokens by their hash and by their name. Finding one of ten thousand takes as long as of ten.

    The caller cannot choose the hash that is looked up without knowing the token, so the time of a
    look-up says nothing about other tokens. A name may have several tokens, while they are changed.
    """

    def __init__(self, tokens: Iterable[Token] = ()) -> None:
        self._by_digest: dict[bytes, Token] = {}
        self._by_name: dict[str, list[Token]] = {}
        for token in tokens:
            self.add(token)

    def __len__(self) -> int:
        return len(self._by_digest)

    def find(self, digest: bytes) -> Token | None:
        """Return the token that has this hash."""
        found = self._by_digest.get(digest)
        return found if found is not None and compare_digest(found.digest, digest) else None

    def named(self, name: str) -> list[Token]:
        """Return the tokens that have this name."""
        return self._by_name.get(name, [])

    def tokens(self) -> list[Token]:
        """Return all tokens."""
        return list(self._by_digest.values())

    def add(self, token: Token) -> None:
        self._by_digest[token.digest] = token
        self._by_name.setdefault(token.name, []).append(token)

    def replace(self, token: Token) -> None:
        """Add a token in place of those that have its name."""
        self.remove(token.name)
        self.add(token)

    def remove(self, name: str) -> bool:
        """Remove the tokens that have this name; return whether there was one."""
        removed = self._by_name.pop(name, [])
        for token in removed:
            self._by_digest.pop(token.digest, None)
        return bool(removed)
