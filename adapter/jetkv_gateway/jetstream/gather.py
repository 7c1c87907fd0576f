"""A request that several replies answer, and an end behind them."""

from jetkv_gateway.jetstream.headers import End, read_end
from jetkv_gateway.jetstream.requests import Multiplexer, Reply, Request, Unreadable

__all__ = ["Gather"]

_PATIENCE = 2.0
"""Seconds for some more replies: on a slow link large ones take long."""

_AT_A_TIME = 16
"""Replies after which the wait begins again."""

_REPLIES = 1024
"""As many as a server sends at most (ADR-31)."""


class Gather(Request):
    """A direct get that asks for several messages: await it for its last reply.

    Attributes:
        replies: the messages that have come, in their order.
        final: what stands behind them, None until that is here.
    """

    __slots__ = ("final", "replies")

    def __init__(self, mux: Multiplexer, subject: bytes, deadline: float) -> None:
        super().__init__(mux, subject, deadline)
        self.replies: list[Reply] = []
        self.final: End | None = None

    def end(self, value: Reply) -> None:
        """Take in one reply; the last one ends the request."""
        if not value.data:
            self.final = read_end(value.headers)
        if self.final is not None:
            super().end(value)
        elif len(self.replies) >= _REPLIES:
            self.fail(Unreadable("more messages than were asked for"))
        else:
            self.replies.append(value)
            self._mux.wait_on(self, 0 if len(self.replies) % _AT_A_TIME else _PATIENCE)
