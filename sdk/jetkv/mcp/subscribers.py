"""Who is told when a resource changes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from mcp.server.session import ServerSession
from mcp.server.subscriptions import InMemorySubscriptionBus, ResourceUpdated

__all__ = ["Subscribers"]

_SECONDS = 5.0
"""How long a client may take to accept a notification."""

logger = logging.getLogger(__name__)


class Subscribers:
    """The clients that have subscribed.

    Those of the protocol 2026-07-28 listen on the bus. The others are kept here by connection: the
    parameters of `initialize` are one object for the whole of a connection.

    Attributes:
        bus: reaches those that listen.
    """

    def __init__(self) -> None:
        self.bus = InMemorySubscriptionBus()
        self._sessions: dict[str, dict[int, ServerSession]] = {}
        self._known: set[int] = set()

    def add(
        self, session: ServerSession, uri: str, ended: Callable[[str], Awaitable[None]]
    ) -> bool:
        """Add a subscriber; False if it is one already.

        Args:
            ended: is called for each URI that the client is still subscribed to when its
                connection ends.
        """
        place = id(session.client_params)
        subscribed = self._sessions.setdefault(uri, {})
        if place in subscribed:
            return False
        subscribed[place] = session
        if place not in self._known:
            stack = _exit_stack(session)
            if stack is not None:
                self._known.add(place)
                stack.push_async_callback(self._end, place, session, ended)
        return True

    def remove(self, session: ServerSession, uri: str) -> bool:
        """Remove a subscriber; False if it was not one."""
        return self._drop(id(session.client_params), uri)

    async def tell(self, uri: str) -> None:
        """Tell all subscribers of a resource that it changed."""
        await self.bus.publish(ResourceUpdated(uri))
        for session in list(self._sessions.get(uri, {}).values()):
            try:
                async with asyncio.timeout(_SECONDS):
                    await session.send_resource_updated(uri)
            except TimeoutError:
                logger.warning("a client does not read: it misses a change of %s", uri)

    def _drop(self, place: int, uri: str) -> bool:
        subscribed = self._sessions.get(uri, {})
        found = subscribed.pop(place, None)
        if not subscribed:
            self._sessions.pop(uri, None)
        return found is not None

    async def _end(
        self, place: int, _session: ServerSession, ended: Callable[[str], Awaitable[None]]
    ) -> None:
        # The session is kept until here, so that no other connection gets the same place.
        self._known.discard(place)
        for uri in list(self._sessions):
            if self._drop(place, uri):
                await ended(uri)


def _exit_stack(session: ServerSession) -> AsyncExitStack | None:
    """Return what is called when the connection of a session ends.

    The library offers it on a connection, and no public way to a connection yet. Without it, what a
    client leaves behind counts until the server ends.
    """
    connection: Any = getattr(session, "_connection", None)
    stack = getattr(connection, "exit_stack", None)
    return stack if isinstance(stack, AsyncExitStack) else None
