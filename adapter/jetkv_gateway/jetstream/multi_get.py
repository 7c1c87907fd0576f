"""A direct get of several messages: one request with several replies."""

from jetkv_gateway.jetstream.headers import End, read_end
from jetkv_gateway.jetstream.requests import Multiplexer, Request, Unreadable

__all__ = ["MultiGet"]

_PATIENCE = 2.0
"""Seconds between two replies: a large one takes long on a slow connection."""

_AT_A_TIME = 16
"""The number of replies after which the wait starts again."""

_REPLIES = 1024
"""The largest number of messages that a server sends (ADR-31)."""


class MultiGet(Request):
    """A direct get of several messages. Await it for its last reply.

    Attributes:
        replies: the messages so far, in order.
        final: the end of the answer; None until it is here.
    """

    __slots__ = ("final", "replies")

    def __init__(
        self, mux: Multiplexer, subject: bytes, deadline: float, operation: str, began: float
    ) -> None:
        super().__init__(mux, subject, deadline, operation, began)
        self.replies: list[tuple[bytes, bytes]] = []
        self.final: End | None = None

    def end(self, value: tuple[bytes, bytes]) -> None:
        """Handle one reply; the last one completes the request."""
        data, headers = value
        if not data:
            self.final = read_end(headers)
        if self.final is not None:
            super().end(value)
        elif len(self.replies) >= _REPLIES:
            self.fail(Unreadable("more messages than were asked for"))
        else:
            self.replies.append(value)
            self._mux.wait_on(self, 0 if len(self.replies) % _AT_A_TIME else _PATIENCE)
