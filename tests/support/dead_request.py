"""A request without a connection, for what is decided without one: an `http.request.Request`."""

import asyncio
from collections.abc import Awaitable
from typing import NoReturn

from jetkv_gateway.http.request import Findings, WebSocket
from jetkv_gateway.http.routes import ROUTER


class DeadRequest:
    """It says what was asked, and takes no answer; the client goes when `leaving` is set."""

    def __init__(
        self,
        path: bytes = b"/health",
        *lines: tuple[bytes, bytes],
        method: str = "GET",
        query: bytes = b"",
    ) -> None:
        self.target = ROUTER.target(method, path, query or None)
        self.headers = dict(lines)
        self.findings = Findings()
        self.version = "1.1"
        self.client = "127.0.0.1"
        self.scheme = "http"
        self.body = b""
        self.is_websocket = self.draining = False
        self.stopping: asyncio.Event | None = None
        self.leaving = asyncio.Event()

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        raise AssertionError((status, lines, body))

    async def begin(self, status: int, lines: bytes) -> None:
        raise AssertionError((status, lines))

    async def send(self, part: bytes) -> None:
        raise AssertionError(part)

    async def end(self) -> None:
        raise AssertionError("an answer ends")

    async def wait_closed(self) -> None:
        await self.leaving.wait()

    def abort(self) -> NoReturn:
        raise AssertionError("a connection is cut")

    def accept(self, subprotocol: str | None, lines: bytes) -> Awaitable[WebSocket]:
        raise AssertionError((subprotocol, lines))
