"""How the gateway finds out who the caller is, whatever kind of credential the caller has."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from jetkv_gateway.auth.nats_logins import NatsLogins
from jetkv_gateway.auth.token_logins import TokenLogins
from jetkv_gateway.kv.access import ANONYMOUS, Principal
from jetkv_gateway.kv.errors import Unauthenticated

__all__ = ["Authenticator", "Chain", "Link", "NoAuth", "PendingLogin"]


class PendingLogin(Protocol):
    """A caller that is known only after I/O, such as a login at NATS."""

    async def resolve(self) -> Principal:
        """Find out who the caller is. The caller of this method sets the deadline.

        Raises:
            GatewayError: `Unauthenticated`, or `Unavailable` if it cannot be checked now.
        """
        ...


class Link(Protocol):
    """A part of a chain: it knows one kind of credential."""

    @property
    def problem(self) -> str | None:
        """The current problem in a text that everybody may see, or None."""
        ...

    @property
    def version(self) -> int:
        """A number that grows whenever `current` may return something else than before."""
        ...

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        """Read files again if they have changed. It blocks, so do not call it in an event loop.

        Args:
            force: read them even if they have not changed, and log the result.
            quiet: log at the debug level only, because another process logs the same.
        """
        ...

    def authenticate(self, authorization: bytes) -> Principal | PendingLogin | None:
        """Return the caller that an `Authorization` header identifies.

        None means that this is another kind of credential.

        Raises:
            Unauthenticated: it is this kind of credential, and it is refused.
            Unavailable: it cannot be checked now.
        """
        ...

    def current(self, principal: Principal) -> Principal | None:
        """Return what is known now of a caller that `authenticate` returned before.

        None means that its credential is withdrawn or expired, or is not one of this link.

        Raises:
            Unavailable: nobody can tell any more.
        """
        ...

    def start(self) -> None:
        """Do what has to be done in the background, until `close`."""
        ...

    async def close(self) -> None: ...


class Authenticator(Protocol):
    """Identifies the caller of a request."""

    @property
    def required(self) -> bool:
        """Whether callers need a credential."""
        ...

    @property
    def problem(self) -> str | None:
        """As in `Link`."""
        ...

    @property
    def version(self) -> int:
        """As in `Link`."""
        ...

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        """As in `Link`."""
        ...

    def authenticate(self, authorization: bytes | None) -> Principal | PendingLogin:
        """Return the caller that an `Authorization` header identifies.

        Raises:
            Unauthenticated
            Unavailable: it cannot be checked now.
        """
        ...

    def current(self, principal: Principal) -> Principal | None:
        """As in `Link`, for the caller of an open watch or a long listing."""
        ...

    def start(self) -> None:
        """As in `Link`."""
        ...

    async def close(self) -> None: ...


class NoAuth:
    """Lets everybody in. A credential is ignored (docs/http-api.md#authentication)."""

    required = False
    problem = None
    version = 0

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None: ...

    def authenticate(self, _authorization: bytes | None) -> Principal:
        return ANONYMOUS

    def current(self, principal: Principal) -> Principal:
        return principal

    def start(self) -> None: ...

    async def close(self) -> None: ...


class Chain:
    """Asks each kind of credential in turn (`--auth tokens,jwt`)."""

    required = True

    def __init__(self, links: Sequence[Link]) -> None:
        self._links = tuple(links)

    @property
    def tokens(self) -> TokenLogins | None:
        """The link that knows tokens; None if there is none."""
        return next((link for link in self._links if isinstance(link, TokenLogins)), None)

    @property
    def nats(self) -> NatsLogins | None:
        """The link that knows logins of NATS; None if there is none."""
        return next((link for link in self._links if isinstance(link, NatsLogins)), None)

    @property
    def problem(self) -> str | None:
        return "; ".join(link.problem for link in self._links if link.problem) or None

    @property
    def version(self) -> int:
        return sum(link.version for link in self._links)

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        for link in self._links:
            link.refresh(force=force, quiet=quiet)

    def authenticate(self, authorization: bytes | None) -> Principal | PendingLogin:
        if authorization:
            for link in self._links:
                found = link.authenticate(authorization)
                if found is not None:
                    return found
            scheme, _, token = authorization.partition(b" ")
            if scheme.lower() == b"bearer" and token.strip():
                raise Unauthenticated(hint="this token is unknown")
        raise Unauthenticated(hint="send Authorization: Bearer <token>")

    def current(self, principal: Principal) -> Principal | None:
        for link in self._links:
            found = link.current(principal)
            if found is not None:
                return found
        return None

    def start(self) -> None:
        for link in self._links:
            link.start()

    async def close(self) -> None:
        await asyncio.gather(*(link.close() for link in self._links))
