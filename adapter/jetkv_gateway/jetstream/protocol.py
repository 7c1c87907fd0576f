"""The byte level of a connection to a NATS server, after nats-py has opened it (`nats_py.py`).

nats-py parses headers, decodes subjects, queues each message and passes it to a task. An exception
on that way ends its read loop, while the client still counts as connected; one stored message can
cause it. Here each message goes to its handler as bytes, in the callback that received it, and
everything that one turn of the event loop sends goes out in one write.
"""

import asyncio
import fcntl
import json
import sys
import termios
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any, cast

from nats import errors as nats_errors

from jetkv_gateway.jetstream import wire
from jetkv_gateway.jetstream.headers import bucket_of
from jetkv_gateway.jetstream.nats_py import NatsPyConnector
from jetkv_gateway.jetstream.wire import (
    MessageHandler,
    ProtocolBroken,
    Violation,
    WireReader,
    WireWriter,
    violation,
)
from jetkv_gateway.kv.unreadable import report_unreadable
from jetkv_gateway.stepping import deadline

__all__ = ["HEADER_RESERVE", "MessageHandler", "NatsProtocol"]

HEADER_RESERVE = 1024
"""Bytes of max_payload that are reserved for headers, because the server counts them. The gateway's
own headers are always shorter."""

_HIGH, _LOW = 1024 * 1024, 256 * 1024
"""Bytes that wait to be sent: above `_HIGH` no more may be added until they fall below `_LOW`."""

_PING_SECONDS = 10.0
_PINGS = 2
_CLOSE_SECONDS = 1.0

_NOT_FATAL = ("permissions violation", "maximum subscriptions exceeded")
"""After these errors the server keeps the connection, and so does the gateway: many requests share
it."""


class NatsProtocol(asyncio.Protocol):
    """A connection to a server: call `open` first, and `close` in any case.

    It calls its arguments from callbacks of the event loop. Only `on_end` may also run in `close`.

    Args:
        on_info: called with each INFO, and whether it is the first one, which comes before anything
            is sent. For the first one the callback may change the INFO or raise; later it must not.
        on_violation: called when the server refuses something because of a missing permission.
        on_end: called once, when the connection cannot be used any more.

    Attributes:
        max_value_bytes: the largest payload that fits with the gateway's headers, by the newest
            INFO.
        connected: whether the connection can be used.
        full: whether so many bytes wait to be sent that no message with a payload may be added.
        on_writable: called when `full` becomes False.
        error: the last error of the server or the network.
        publish: sends a message; see `WireWriter.publish`. Call it only while `connected`, and with
            a payload only while not `full`.
        arrived: when the last bytes arrived, by `time.perf_counter`; 0 before the first ones.
    """

    def __init__(
        self,
        on_info: Callable[[dict[str, Any], bool], None],
        on_violation: Callable[[Violation], None],
        on_end: Callable[[], None],
    ) -> None:
        self._on_info = on_info
        self._on_violation = on_violation
        self._on_end = on_end
        self.max_value_bytes = 0
        self.connected = False
        self.full = False
        self.on_writable: Callable[[], None] | None = None
        self.error: Exception | None = None
        self._loop = asyncio.get_running_loop()
        self._connector = NatsPyConnector(self._on_first_info, self._keep_error)
        self._transport: asyncio.Transport | None = None
        self._handlers: dict[bytes, MessageHandler] = {}
        self._reader = WireReader(self._handlers, self._on_line, self._on_failure)
        self._subscribed = 0
        self._writer = WireWriter(self._loop.call_soon)
        self.publish = self._writer.publish
        self.arrived = self._arrived_before = 0.0
        self._pongs: deque[asyncio.Future[bool] | None] = deque()
        self._pings = 0
        self._ping_timer: asyncio.TimerHandle | None = None
        self._over = asyncio.Event()

    # Beginning and end.

    async def open(self, server: str, timeout: float, **login: Any) -> None:
        """Connect and log in.

        Args:
            timeout: seconds for each step.
            login: nats-py's arguments for TLS and login.

        Raises:
            nats.errors.Error, OSError, TimeoutError: the reason.
            Exception: whatever `on_info` raises, or nats-py if the other side is not a NATS server.
        """
        try:
            await self._connector.connect(server, timeout, **login)
        except nats_errors.NoServersError as error:
            raise self.error or error from error  # the first is the reason
        self.connected = True
        self._ping_timer = self._loop.call_later(_PING_SECONDS, self._ping)
        transport, came = await self._connector.hand_over(self)
        self.connection_made(transport)
        self.data_received(came)
        if self._transport is not None and self._transport.is_closing():
            # It broke before the handover, so nobody would be told.
            self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(_HIGH, _LOW)
        if self.connected:
            self._writer.write = self._transport.write
            self._writer.flush()

    async def close(self) -> None:
        """Close the connection in any state, and send what was written before if possible."""
        transport = self._transport
        if transport is None:
            await self._connector.close()
            return
        self._writer.flush()
        self._end()
        transport.close()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._over.wait()
        except TimeoutError:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over.set()
        self._lose(exc or nats_errors.UnexpectedEOF())

    def _lose(self, error: Exception) -> None:
        """End the connection because of an error."""
        if self.connected:
            self.error = error
            self._end()
            if self._transport is not None:
                self._transport.abort()

    def _end(self) -> None:
        if not self.connected:
            return
        self.connected = False
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        self._writer.close()
        self._handlers.clear()
        for pong in self._pongs:
            if pong is not None and not pong.done():
                pong.set_exception(self.error or nats_errors.ConnectionClosedError())
        self._pongs.clear()
        self._on_end()

    @property
    def version(self) -> tuple[int, int, int]:
        """The server's version.

        Raises:
            ValueError: the server has sent no valid version.
        """
        return self._connector.version

    def _keep_error(self, error: Exception) -> None:
        self.error = error

    # What is sent.

    def subscribe(self, subject: bytes, on_message: MessageHandler) -> bytes:
        """Call `on_message` for each message on a subject; return the subscription id."""
        self._subscribed += 1
        sid = b"%d" % self._subscribed
        self._handlers[sid] = on_message
        self._send(wire.subscribe(subject, sid))
        return sid

    def unsubscribe(self, sid: bytes) -> None:
        if self._handlers.pop(sid, None) is not None:
            self._send(wire.unsubscribe(sid))

    def _send(self, command: bytes) -> None:
        if self.connected:
            self._writer.send(command)

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self.on_writable is not None:
            self.on_writable()

    # What comes.

    def data_received(self, data: bytes) -> None:
        self.arrived = perf_counter()
        try:
            self._reader.feed(data)
        except ProtocolBroken as error:
            self._lose(error)

    def _on_failure(self, subject: bytes, error: BaseException) -> None:
        """Report that a handler has failed. Nothing that it cannot read may end the reading."""
        if not isinstance(error, (Exception, asyncio.CancelledError)):
            raise error
        report_unreadable("message", bucket_of(subject), "the message is skipped", exc_info=True)

    def _on_line(self, verb: bytes, rest: bytes) -> None:
        try:
            if verb == b"PING":
                self._send(wire.PONG)
            elif verb == b"PONG":
                self._on_pong()
            elif verb == b"-ERR":
                self._on_error(rest.decode("utf-8", "replace").strip("'"))
            elif verb == b"INFO":
                info = json.loads(rest.decode("utf-8", "replace"))
                if isinstance(info, dict):
                    self._process_info(info, first=False)
            elif verb != b"+OK":
                report_unreadable("protocol", f"a line {verb[:20]!r}", "the line is skipped")
        except Exception:  # noqa: BLE001 - nothing that comes may end the reading
            report_unreadable(
                "protocol", f"a line {verb[:20]!r}", "the line is skipped", exc_info=True
            )

    def _on_first_info(self, info: dict[str, Any]) -> None:
        self._process_info(info, first=True)

    def _process_info(self, info: dict[str, Any], *, first: bool) -> None:
        # The account's limit comes in the second INFO, after CONNECT.
        limit = info.get("max_payload")
        if isinstance(limit, int) and limit > 0:
            self.max_value_bytes = max(0, limit - HEADER_RESERVE)
        self._on_info(info, first)

    def _on_error(self, text: str) -> None:
        """Handle an error of the server.

        The text keeps its case, because subjects are case-sensitive.
        """
        refused = violation(text)
        if refused is not None:
            self._on_violation(refused)
        error = nats_errors.Error(f"nats: {text}")
        if text.lower().startswith(_NOT_FATAL):
            self.error = error
        else:
            self._lose(error)

    # Signs of life.

    @property
    def activity(self) -> tuple[float, int]:
        """A value that changes as long as the connection is alive.

        It is when bytes arrived and not messages, because a large message takes seconds on a slow
        link. The second number is what this process and its kernel still have to send.
        """
        unsent = 0
        if self._transport is not None:
            unsent = self._transport.get_write_buffer_size()
            raw = self._transport.get_extra_info("socket")
            if raw is not None:
                with suppress(OSError, ValueError):
                    queued = fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4))
                    unsent += int.from_bytes(queued, sys.byteorder)
        return self.arrived, unsent

    async def barrier(self, pong: asyncio.Future[bool], timeout: float) -> None:
        """Wait until the server has processed everything sent and has reported its errors.

        Args:
            pong: completed at that moment.
            timeout: seconds.

        Raises:
            TimeoutError: not in time.
            Exception: the connection has ended; the reason.
        """
        if not self.connected:
            raise self.error or nats_errors.ConnectionClosedError
        self._pongs.append(pong)
        self._send(wire.PING)
        async with deadline(timeout):
            await pong

    def _on_pong(self) -> None:
        pong = self._pongs.popleft() if self._pongs else None
        if pong is not None and not pong.done():
            pong.set_result(True)

    def _ping(self) -> None:
        """Send a PING regularly, even if no request waits.

        Any received byte shows that the server is alive: on a slow link a PONG comes late, behind
        everything sent before it.
        """
        self._pings = self._pings + 1 if self.arrived == self._arrived_before else 1
        if self._pings > _PINGS:
            self._lose(nats_errors.StaleConnectionError())
            return
        self._arrived_before = self.arrived
        self._pongs.append(None)
        self._send(wire.PING)
        self._ping_timer = self._loop.call_later(_PING_SECONDS, self._ping)
