"""Finds the values of a feed that have expired and that the server has not removed yet."""

import asyncio
from collections.abc import Awaitable, Callable

from jetkv_gateway.jetstream.expiry import Lifetime

__all__ = ["ExpiredValues"]


class ExpiredValues:
    """The values that a feed has delivered after their time was up.

    Args:
        read_lifetime: asks the leader how long the bucket's values live. The answer that the feed
            began with may be old: if the TTL of the bucket was raised since, the values live on.
    """

    def __init__(self, read_lifetime: Callable[[], Awaitable[Lifetime | None]]) -> None:
        self._read_lifetime = read_lifetime
        self._loop = asyncio.get_running_loop()
        self._suspects: list[tuple[int, int, float | None]] = []

    def note(self, revision: int, stored_at: int, ttl: float | None, lifetime: Lifetime) -> None:
        """Note a delivered value if its time is up.

        Args:
            stored_at: nanoseconds since 1970, by the server.
            ttl: the value's own in seconds, infinite for `never`, or None.
            lifetime: of the bucket's values, as the feed knows it.
        """
        if lifetime.is_over(stored_at, ttl, self._loop.time()):
            self._suspects.append((revision, stored_at, ttl))

    async def take(self) -> frozenset[int]:
        """Return the revisions of the expired values since the last call.

        Raises:
            GatewayError: the leader did not say how long values live.
        """
        suspects, self._suspects = self._suspects, []
        if not suspects:
            return frozenset()
        lifetime, now = await self._read_lifetime(), self._loop.time()
        if lifetime is None:
            return frozenset()
        return frozenset(
            revision
            for revision, stored_at, ttl in suspects
            if lifetime.is_over(stored_at, ttl, now)
        )
