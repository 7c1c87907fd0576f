"""The interface between the server and the handlers: a request, and how to answer it.

`serving/` implements `Request` for its own connections, and `http/asgi.py` implements it for any
other ASGI server. Handlers know nothing else about a connection. The server runs a handler only
when the body is complete, so a slow client never holds a place among the requests in flight.
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Protocol

from jetkv_gateway.http.router import Target

if TYPE_CHECKING:
    from jetkv_gateway.http.key_headers import GetHeaders, PutHeaders

__all__ = ["Findings", "Request", "WebSocket"]


class Findings:
    """What the headers of a request were found to say.

    Requests of one connection with the same headers share it, so each finding is made once. Such
    headers may differ in the values of ids (`serving/varying_heads.py`), so no finding depends on
    those. What breaks a rule is no finding: it is refused each time.

    Attributes:
        origins: the `AllowedOrigins` that these headers satisfy, whatever the request asks for.
        get: what they say about a value that is read; None if nobody has looked.
        put: what they say about a value that is stored; None if nobody has looked.
    """

    __slots__ = ("get", "origins", "put")

    def __init__(self) -> None:
        self.origins: object = None
        self.get: GetHeaders | None = None
        self.put: PutHeaders | None = None


class WebSocket(Protocol):
    """An open WebSocket. It only sends text frames, and ignores incoming messages.

    It sends its pings itself. It ends if the peer does not answer them, sends too much, or breaks a
    rule of RFC 6455.
    """

    async def write(self, frames: bytes) -> None:
        """Write complete frames, then wait until the connection can take more.

        Args:
            frames: as `http.frames` makes them, unmasked and unfragmented.

        Raises:
            ConnectionError: the connection is closed or closing.
        """
        ...

    def finish(self, frames: bytes, code: int, reason: str) -> None:
        """Write the last frames and close. It does not wait, since the peer may not read."""
        ...

    def wait_closed(self) -> Awaitable[None]:
        """Wait until the peer or the server ends the connection. One caller may wait at a time."""
        ...


class Request(Protocol):
    """One complete request, and how to answer it.

    Write an answer in one piece by `answer`, or in parts by `begin`, any number of `send`, and
    `end`. Do either once. Header lines are bytes, each ended by CRLF, without the length and
    without headers of the connection. They must not contain a caller's text that could hold a line
    break.

    Attributes:
        target: what it asks for.
        headers: by lower-case name, values trimmed; repeated lines are joined by a comma (RFC 9110
            §5.3).
        findings: what those were found to say.
        version: of HTTP, `1.0` or `1.1`.
        client: the caller's address, as trusted proxies report it, or its network if that counts as
            one caller. Empty if there is no address.
        limited: whether limits by address apply to the caller.
        scheme: `http` or `https`, as the caller used it.
        body: complete and without its framing.
        is_websocket: whether it is a valid WebSocket handshake, which `accept` can answer.
        draining: whether the server is about to stop, so that clients should use another one.
        stopping: set when the server stops, for answers without an end. None if the server cannot
            tell.
    """

    target: Target
    headers: dict[bytes, bytes]
    body: bytes

    @property
    def findings(self) -> Findings: ...
    @property
    def version(self) -> str: ...
    @property
    def client(self) -> str: ...
    @property
    def scheme(self) -> str: ...
    @property
    def limited(self) -> bool: ...
    @property
    def is_websocket(self) -> bool: ...
    @property
    def draining(self) -> bool: ...
    @property
    def stopping(self) -> asyncio.Event | None: ...

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """Write a complete answer without waiting. It is dropped if the client has left."""
        ...

    async def begin(self, status: int, lines: bytes) -> None:
        """Write the head of an answer whose body follows in parts.

        Raises:
            ConnectionError: the client is gone.
        """
        ...

    async def send(self, part: bytes) -> None:
        """Write a part, then wait until the connection can take more.

        Raises:
            ConnectionError: the client is gone.
        """
        ...

    async def end(self) -> None:
        """End the body."""
        ...

    async def wait_closed(self) -> None:
        """Wait until the client is gone."""
        ...

    def abort(self) -> None:
        """End the connection, so that the part that was sent cannot look complete."""
        ...

    def accept(self, subprotocol: str | None, lines: bytes) -> Awaitable[WebSocket]:
        """Answer a handshake with 101, and return the open WebSocket.

        Args:
            subprotocol: one of those that the client offered, or None.
            lines: additional header lines.
        """
        ...
