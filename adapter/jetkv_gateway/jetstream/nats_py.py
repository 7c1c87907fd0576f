"""Opens a connection with nats-py and takes it over: the only module that uses its private parts.

nats-py finds the address, sets up TLS and logs in. Then its transport gets another protocol, before
any of its tasks has started. `private_apis.py` lists the private parts.
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
    """Call `connect` first, then `hand_over`. Keep the object as long as its transport is used.

    nats-py's stream writers close their transport when they are garbage-collected.

    Args:
        on_first_info: called with the server's first INFO, before anything is sent. It may change
            the INFO, which nats-py then uses, or raise.
        on_error: called with each error.
    """

    def __init__(
        self, on_first_info: Callable[[dict[str, Any]], None], on_error: Callable[[Exception], None]
    ) -> None:
        self._client = _Client(on_first_info)
        self._on_error = on_error

    async def connect(self, server: str, timeout: float, **login: Any) -> None:
        """Connect and log in.

        Args:
            timeout: seconds for each step.
            login: nats-py's arguments for TLS and login.

        Raises:
            nats.errors.Error, OSError, TimeoutError: the reason.
            Exception: whatever `on_first_info` raises, or nats-py if the other side is not a NATS
                server.
        """

        async def on_error(error: Exception) -> None:
            self._on_error(error)

        if server.startswith(("ws:", "wss:")):
            self._client._transport = _Frames()
        await self._client.connect(
            servers=[server],
            allow_reconnect=False,
            # nats-py retries a refusing address even then, with pauses of its own.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=timeout,  # type: ignore[arg-type] # seconds, float works
            error_cb=on_error,
            **login,
        )

    async def hand_over(self, protocol: asyncio.Protocol) -> tuple[asyncio.BaseTransport, bytes]:
        """Replace nats-py by another protocol; call this directly after `connect`.

        Returns:
            The transport, and the bytes that arrived behind the answer to CONNECT, such as another
            INFO. nats-py has not read them.
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
        """Close what nats-py has opened, if it was not handed over. nats-py's close may hang."""
        # nats-py raises an AssertionError if connecting failed too early for a close.
        with suppress(Exception, asyncio.CancelledError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._client.close()

    @property
    def version(self) -> tuple[int, int, int]:
        """The server's version.

        Raises:
            ValueError: the server has sent no valid version.
        """
        version = self._client.connected_server_version
        return version.major, version.minor, version.patch


class _Client(Client):
    def __init__(self, on_first_info: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._on_first_info = on_first_info

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: ARG002 - nats-py's
        # `servers.py` keeps the list of servers. nats-py would add each announced member to its own
        # list, which has no limit, and it fails on a member's address that it cannot parse.
        self._on_first_info(info)


class _Frames(WebSocketTransport):
    """nats-py's WebSocket, which keeps the newest frame until the handover.

    nats-py searches this frame for the answer to CONNECT and drops everything behind it.
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
