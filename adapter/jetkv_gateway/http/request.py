"""The interface between the server and the handlers: a request, and how to answer it.

`serving/` implements `Request` for its own connections, and `http/asgi.py` implements it for any
other ASGI server. Handlers know nothing else about a connection. The server runs a handler only
when the body is complete, so a slow client never holds a place among the requests in flight.
"""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

from jetkv_gateway.http.router import Match

__all__ = ["Request", "WebSocket"]


class WebSocket(Protocol):
    """A WebSocket that stands: text frames go out, nothing that comes in is of interest.

    It pings its peer by itself, and ends where the peer does not answer, says too much, or breaks
    a rule of RFC 6455.
    """

    async def write(self, frames: bytes) -> None:
        """Write whole frames, then wait until there is room for more.

        Args:
            frames: as `http.frames` makes them, unmasked and each in one piece.

        Raises:
            ConnectionError: the connection is closed, or being closed.
        """
        ...

    def finish(self, frames: bytes, code: int, reason: str) -> None:
        """Write last frames and close, without waiting for a reader who may not read."""
        ...

    def wait_closed(self) -> Awaitable[None]:
        """Wait until the peer is gone, or the server ends the connection; one waits at a time."""
        ...


class Request(Protocol):
    """One request, read whole, and the way back to its client.

    An answer is written in one go by `answer`, or in parts: `begin`, `send` as often as wanted,
    `end`. Either is done once. Header lines are bytes, each ended by CRLF, without the length and
    without what concerns the connection alone; nothing of a caller's may be in them that could
    hold a line break.

    Attributes:
        method: as sent; a WebSocket handshake is a GET (RFC 6455 §4.1).
        path: as sent, still percent-encoded, the `/json` base included.
        query: what follows the first question mark, without it.
        headers: by lower-case name, without white space around; repeated lines are joined by a
            comma (RFC 9110 §5.3).
        version: of HTTP, `1.0` or `1.1`.
        client: the caller's address, as the trusted proxies tell it, or its network where that
            counts as one caller; empty where it has none.
        scheme: `http` or `https`, as the caller used it.
        body: the request's, whole and without its framing.
        match: what the table of routes has for the path.
        is_websocket: whether it is a WebSocket handshake whose form is right: `accept` takes it.
        draining: whether the server is about to stop, so that others should be asked instead.
        stopping: set when the server stops, for answers that have no end of their own; None where
            nobody tells.
    """

    method: str
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    version: str
    client: str
    scheme: str
    body: bytes
    match: Match | None

    @property
    def is_websocket(self) -> bool: ...
    @property
    def draining(self) -> bool: ...
    @property
    def stopping(self) -> asyncio.Event | None: ...

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """Write a whole answer; it never waits, and drops what a client that left cannot get."""
        ...

    async def begin(self, status: int, lines: bytes) -> None:
        """Write the head of an answer whose body comes in parts.

        Raises:
            ConnectionError: the client is gone.
        """
        ...

    async def send(self, part: bytes) -> None:
        """Write a part, then wait until there is room for more.

        Raises:
            ConnectionError: the client is gone.
        """
        ...

    async def end(self) -> None:
        """End the body, well and whole."""
        ...

    async def wait_closed(self) -> None:
        """Wait until the client is gone."""
        ...

    def abort(self) -> None:
        """End the connection so that what was sent cannot pass for a whole answer."""
        ...

    def accept(self, subprotocol: str | None, lines: bytes) -> Awaitable[WebSocket]:
        """Answer a handshake with 101, and return the WebSocket that stands then.

        Args:
            subprotocol: the one selected of those offered, None for none.
            lines: more header lines for the answer.
        """
        ...
