"""The callers that have a token, of the file or of the gateway's own bucket."""

from time import time
from typing import Protocol

from jetkv_gateway.auth.token_file import TokenFile
from jetkv_gateway.auth.tokens import PREFIX, Token, digest_of, is_misspelt
from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import Unauthenticated

__all__ = ["TokenLogins", "Tokens"]

_OURS = PREFIX.encode()


class Tokens(Protocol):
    """Tokens of a bucket, as `TokenBucket` has them."""

    @property
    def problem(self) -> str | None:
        """As in `auth.authenticator.Link`."""
        ...

    @property
    def version(self) -> int:
        """As in `auth.authenticator.Link`."""
        ...

    def find(self, digest: bytes) -> Token | None:
        """Return the token that has this hash.

        Raises:
            Unavailable: the tokens cannot be read, and the last state is too old.
        """
        ...

    def named(self, name: str) -> Token | None:
        """Return the token that has this name."""
        ...


class TokenLogins:
    """The callers that have a token (docs/access.md#tokens). A link of a chain.

    Args:
        file: None without one.

    Attributes:
        file, bucket: where the tokens are. Each worker sets its own `bucket`.
        used: tokens that were used since this list was last emptied, each once.
    """

    def __init__(self, file: TokenFile | None) -> None:
        self.file = file
        self.bucket: Tokens | None = None
        self.used: list[Token] = []

    @property
    def problem(self) -> str | None:
        problems = [one.problem for one in (self.file, self.bucket) if one is not None]
        return "; ".join([one for one in problems if one]) or None

    @property
    def version(self) -> int:
        return sum(one.version for one in (self.file, self.bucket) if one is not None)

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        if self.file is not None:
            self.file.refresh(force=force, quiet=quiet)

    def authenticate(self, authorization: bytes) -> Principal | None:
        scheme, _, text = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        text = text.strip()
        digest = digest_of(text)
        token = self.file.find(digest) if self.file is not None else None
        if token is None:
            if not text.startswith(_OURS):
                return None
            if is_misspelt(text):
                raise Unauthenticated(hint="this token is misspelt: its checksum is wrong")
            token = self.bucket.find(digest) if self.bucket is not None else None
            if token is None:
                raise Unauthenticated(hint="this token is unknown")
        if token.expires_at is not None and token.expires_at <= time():
            raise Unauthenticated(hint="this token has expired")
        if not token.used:
            token.used = True
            self.used.append(token)
        return token.principal

    def named(self, name: str) -> list[Principal]:
        """Return the callers of this name whose tokens are valid now.

        Raises:
            Unavailable: nobody can tell.
        """
        found = self.file.named(name) if self.file is not None else []
        if not found and self.bucket is not None:
            token = self.bucket.named(name)
            # This also checks that the tokens are not too old.
            if token is not None and self.bucket.find(token.digest) is not None:
                found = [token]
        now = time()
        return [one.principal for one in found if one.expires_at is None or one.expires_at > now]

    def current(self, principal: Principal) -> Principal | None:
        if principal.method != "token":
            return None
        token = self.file.find(principal.identity) if self.file is not None else None
        if token is None and self.bucket is not None:
            token = self.bucket.find(principal.identity)
        if token is None or (token.expires_at is not None and token.expires_at <= time()):
            return None
        return token.principal

    def start(self) -> None: ...

    async def close(self) -> None: ...
