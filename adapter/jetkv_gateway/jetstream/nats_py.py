"""A connection of NATS, opened by nats-py and taken from it: the one place with its private parts.

nats-py finds the address, makes TLS, logs in. Then its transport gets another protocol, before any
of its tasks has begun. `private_apis.py` names what this needs.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from nats.aio.client import Client
from nats.aio.transport import TcpTransport, WebSocketTransport

from jetkv_gateway.jetstream import wire
from jetkv_gateway.jetstream.websocket import WebSocket

__all__ = ["NatsPyConnector"]

_CLOSE_SECONDS = 1.0


class NatsPyConnector:
    """`connect` first; then `hand_over`, and keep this for as long as its transport is used.

    nats-py's stream writers close a transport when they are collected.

    Args:
        heed: takes the server's first INFO, before anything is sent. It may change it, which
            nats-py then goes by, or raise.
        note: takes each error on the way.
    """

    def __init__(
        self, heed: Callable[[dict[str, Any]], None], note: Callable[[Exception], None]
    ) -> None:
        self._client = _Client(heed)
        self._note = note

    async def connect(self, server: str, timeout: float, **login: Any) -> None:
        """Connect, and log in.

        Args:
            timeout: seconds for each step of it.
            login: nats-py's arguments for TLS and login.

        Raises:
            nats.errors.Error, OSError, TimeoutError: why not.
            Exception: what `heed` has raised, and whatever else nats-py raises over a server that
                is none.
        """

        async def note(error: Exception) -> None:
            self._note(error)

        if server.startswith(("ws:", "wss:")):
            self._client._transport = _Frames()
        await self._client.connect(
            servers=[server],
            allow_reconnect=False,
            # Even so, nats-py tries an address that refuses again, with pauses of its own.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=timeout,  # type: ignore[arg-type] # seconds, float works
            error_cb=note,
            **login,
        )

    async def hand_over(self, protocol: asyncio.Protocol) -> tuple[asyncio.BaseTransport, bytes]:
        """Have a protocol read and write instead of nats-py; call it right behind `connect`.

        Returns:
            Its transport, and what has come so far behind the answer to CONNECT, such as another
            INFO: nats-py has left it unread.
        """
        client = self._client
        for task in (client._reading_task, client._ping_interval_task, client._flusher_task):
            assert task is not None, "it is connected"
            task.cancel()
        inner = client._transport
        if isinstance(inner, _Frames):
            return WebSocket(inner, protocol), inner.behind_the_answer()
        assert isinstance(inner, TcpTransport), "there are no others"
        reader, writer = inner._io_reader, inner._io_writer
        assert reader is not None, "it is connected"
        assert writer is not None, "it is connected"
        writer.transport.set_protocol(protocol)
        reader.feed_eof()  # so that reading does not wait for more
        return writer.transport, await reader.read()

    async def close(self) -> None:
        """Close what nats-py has opened, where it was not handed over: its close would hang."""
        # A client whose connecting failed early cannot be closed, and says so by an AssertionError.
        with suppress(Exception, asyncio.CancelledError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._client.close()

    @property
    def version(self) -> tuple[int, int, int]:
        """The server's version.

        Raises:
            ValueError: it has said none that can be read.
        """
        version = self._client.connected_server_version
        return version.major, version.minor, version.patch


class _Client(Client):
    def __init__(self, heed: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._heed = heed

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: ARG002 - nats-py's
        # The list of servers is ours. nats-py adds each member that it is told of to one of its
        # own, which has no bound, and breaks over a member's address that it cannot read.
        self._heed(info)


class _Frames(WebSocketTransport):
    """nats-py's WebSocket, which keeps the newest frame until it is taken over.

    nats-py looks for the answer to CONNECT in it, and forgets what stands behind the answer.
    """

    newest: bytes | None = b""

    async def readline(self) -> bytes:
        frame: bytes = await super().readline()  # type: ignore[no-untyped-call] # nats-py's
        if self.newest is not None:
            self.newest = frame
        return frame

    def behind_the_answer(self) -> bytes:
        frame, self.newest = self.newest or b"", None
        return frame.partition(wire.PONG)[2]
