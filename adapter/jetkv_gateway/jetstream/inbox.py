"""A subject of the gateway's own."""

from collections.abc import Callable

__all__ = ["Inbox"]


class Inbox:
    """A subject of the gateway's own, with a subscription."""

    def __init__(self, subject: str, sid: bytes, forget: "Callable[[Inbox], None]") -> None:
        self.subject = subject
        self.sid = sid
        self._forget = forget

    async def close(self) -> None:
        """Unsubscribe. A lost connection has done so already."""
        self._forget(self)
