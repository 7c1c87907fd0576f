"""Remembers for a moment which caller a credential belongs to.

Most requests come with a credential that came a moment ago, on the same connection. To check it
each time costs more than all else that access costs.
"""

from time import monotonic, time

from jetkv_gateway.kv.access import Principal

__all__ = ["RecentCallers"]

_SECONDS = 0.5
"""All is forgotten so often, since a change of a credential takes effect within two seconds."""
_MOST = 1024


class RecentCallers:
    """Callers by their `Authorization` header."""

    __slots__ = ("_callers", "_until")

    def __init__(self) -> None:
        self._callers: dict[bytes, Principal] = {}
        self._until = 0.0

    def find(self, credential: bytes | None) -> Principal | None:
        """Return the caller, or None if it has to be identified."""
        now = monotonic()
        if now >= self._until:
            self._callers.clear()
            self._until = now + _SECONDS
            return None
        # Without a credential, there is nobody under None.
        return self._callers.get(credential)  # type: ignore[arg-type] # faster than to ask before

    def add(self, credential: bytes, caller: Principal) -> None:
        """Remember a caller, unless its credential expires soon."""
        if len(self._callers) >= _MOST:
            self._callers.clear()
        if caller.expires_at is None or caller.expires_at > time() + _SECONDS:
            self._callers[credential] = caller
