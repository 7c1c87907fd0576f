"""The connection to a server of NATS: nats-py opens it (`opening.py`), this reads and writes it.

nats-py parses headers, decodes subjects, queues each message and hands it to a task, and an
exception on that way ends its read loop while the client still counts as connected: one stored
message could do it. Here a message goes as bytes to whoever waits for it, in the callback that has
brought it; what one turn of the event loop sends goes out in one write.
"""

import asyncio
import fcntl
import json
import sys
import termios
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from nats import errors as nats_errors

from jetkv_gateway.jetstream import wire
from jetkv_gateway.jetstream.headers import bucket_of
from jetkv_gateway.jetstream.nats_py import NatsPyConnector
from jetkv_gateway.jetstream.wire import ProtocolBroken, Violation, WireReader, violation
from jetkv_gateway.kv.unreadable import report_unreadable
from jetkv_gateway.stepping import deadline

__all__ = ["HEADER_RESERVE", "MessageHandler", "NatsProtocol"]

HEADER_RESERVE = 1024
"""Bytes of max_payload kept for headers, which the server counts: ours never reach this."""

_LARGE = 16 * 1024
"""Bytes. A payload from here on is not copied on its way out."""

_FLUSH_AT = 256 * 1024
_HIGH, _LOW = 1024 * 1024, 256 * 1024
"""Bytes that wait to be sent: at the one nobody may send any more, at the other one they may."""

_PING_SECONDS = 10.0
_PINGS = 2
_CLOSE_SECONDS = 1.0

_NOT_FATAL = ("permissions violation", "maximum subscriptions exceeded")
"""After these the server goes on with a connection, and so do we: many requests share it."""

MessageHandler = Callable[[bytes, bytes, bytes, bytes], None]
"""Takes (subject, reply subject, header block, data) of a message."""


class NatsProtocol(asyncio.Protocol):
    """A connection to a server: `open` it first, `close` it in any case.

    All calls come from callbacks of the event loop, but for that of `on_end` during `close`.

    Args:
        on_info: takes each INFO of the server, with whether it is the first one, which comes before
            anything is sent. It may change the first one, or raise; a later one must not.
        on_violation: takes what the server refuses for want of a permission.
        on_end: called once the connection is of no more use.

    Attributes:
        max_value_bytes: the largest payload that fits with our headers, by the newest INFO.
        connected: whether it can be used.
        full: whether so much waits to be sent that nothing of size may be added now.
        on_writable: called once that is over.
        error: what the server, or the way to it, complained of last.
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
        self._connector = NatsPyConnector(self._heed_first, self._note_error)
        self._transport: asyncio.Transport | None = None
        self._reader = WireReader(self._take, self._obey)
        self._takers: dict[bytes, MessageHandler] = {}
        self._subscribed = 0
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0
        self._heard = self._heard_before = 0
        self._pongs: deque[asyncio.Future[bool] | None] = deque()
        self._pings = 0
        self._beat_timer: asyncio.TimerHandle | None = None
        self._over = asyncio.Event()

    # Beginning and end.

    async def open(self, server: str, timeout: float, **login: Any) -> None:
        """Connect, and log in.

        Args:
            timeout: seconds for each step of it.
            login: nats-py's arguments for TLS and login.

        Raises:
            nats.errors.Error, OSError, TimeoutError: why not.
            Exception: what `on_info` has raised, and whatever else nats-py raises over a server
                that is none.
        """
        try:
            await self._connector.connect(server, timeout, **login)
        except nats_errors.NoServersError as error:
            raise self.error or error from error  # why it gave up
        self.connected = True
        self._beat_timer = self._loop.call_later(_PING_SECONDS, self._beat)
        transport, came = await self._connector.hand_over(self)
        self.connection_made(transport)
        self.data_received(came)
        if self._transport is not None and self._transport.is_closing():
            # It broke before it was handed over, and says so to nobody any more.
            self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are of no class of asyncio
        self._transport.set_write_buffer_limits(_HIGH, _LOW)

    async def close(self) -> None:
        """Close the connection, in whatever state it is; what was sent goes out if it can."""
        transport = self._transport
        if transport is None:
            await self._connector.close()
            return
        self._flush()
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
        """Give it up."""
        if self.connected:
            self.error = error
            self._end()
            if self._transport is not None:
                self._transport.abort()

    def _end(self) -> None:
        if not self.connected:
            return
        self.connected = False
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        self._unsent.clear()
        self._takers.clear()
        for pong in self._pongs:
            if pong is not None and not pong.done():
                pong.set_exception(self.error or nats_errors.ConnectionClosedError())
        self._pongs.clear()
        self._on_end()

    @property
    def version(self) -> tuple[int, int, int]:
        """The server's version.

        Raises:
            ValueError: it has said none that can be read.
        """
        return self._connector.version

    def _note_error(self, error: Exception) -> None:
        self.error = error

    # What is sent.

    def publish(self, subject: bytes, reply: bytes, headers: bytes, payload: bytes) -> None:
        """Send a message. Only while `connected`, and if it has a size, not while `full`."""
        unsent = self._unsent
        if not unsent:
            self._loop.call_soon(self._flush)
        size = len(payload)
        if size < _LARGE:
            unsent.append(wire.publish(subject, reply, headers, payload))
        else:
            unsent.append(wire.publish_line(subject, reply, headers, size))
            unsent.append(payload)
            unsent.append(wire.END)
        self._unsent_bytes += size
        if self._unsent_bytes > _FLUSH_AT:
            self._flush()

    def subscribe(self, subject: bytes, take: MessageHandler) -> bytes:
        """Have each message on a subject handed to `take`; return the subscription's name."""
        self._subscribed += 1
        sid = b"%d" % self._subscribed
        self._takers[sid] = take
        self._send(wire.subscribe(subject, sid))
        return sid

    def unsubscribe(self, sid: bytes) -> None:
        if self._takers.pop(sid, None) is not None:
            self._send(wire.unsubscribe(sid))

    def _send(self, command: bytes) -> None:
        if self.connected:
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(command)

    def _flush(self) -> None:
        unsent = self._unsent
        if not unsent or not self.connected or self._transport is None:
            return
        self._unsent = []
        size, self._unsent_bytes = self._unsent_bytes, 0
        write = self._transport.write
        if size < _LARGE:
            write(b"".join(unsent))
            return
        # Not `writelines`: that of CPython 3.12 to 3.13.1 never says that it is too much.
        small: list[bytes] = []
        for piece in unsent:
            if len(piece) < _LARGE:
                small.append(piece)
            else:
                write(b"".join(small))
                small.clear()
                write(piece)
        if small:
            write(b"".join(small))

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self.on_writable is not None:
            self.on_writable()

    # What comes.

    def data_received(self, data: bytes) -> None:
        self._heard += 1
        try:
            self._reader.feed(data)
        except ProtocolBroken as error:
            self._lose(error)

    def _take(self, sid: bytes, subject: bytes, reply: bytes, headers: bytes, data: bytes) -> None:
        take = self._takers.get(sid)
        if take is None:
            return  # closed a moment ago
        try:
            take(subject, reply, headers, data)
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 - nothing may end the reading
            report_unreadable("message", bucket_of(subject), "it is skipped", exc_info=True)

    def _obey(self, verb: bytes, rest: bytes) -> None:
        try:
            if verb == b"PING":
                self._send(wire.PONG)
            elif verb == b"PONG":
                self._take_pong()
            elif verb == b"-ERR":
                self._take_error(rest.decode("utf-8", "replace").strip("'"))
            elif verb == b"INFO":
                info = json.loads(rest.decode("utf-8", "replace"))
                if isinstance(info, dict):
                    self._take_info(info, first=False)
            elif verb != b"+OK":
                report_unreadable("protocol", f"a line {verb[:20]!r}", "it is skipped")
        except Exception:  # noqa: BLE001 - nothing that comes may end the reading
            report_unreadable("protocol", f"a line {verb[:20]!r}", "it is skipped", exc_info=True)

    def _heed_first(self, info: dict[str, Any]) -> None:
        self._take_info(info, first=True)

    def _take_info(self, info: dict[str, Any], *, first: bool) -> None:
        # An account's limit comes with the second INFO, after CONNECT.
        limit = info.get("max_payload")
        if isinstance(limit, int) and limit > 0:
            self.max_value_bytes = max(0, limit - HEADER_RESERVE)
        self._on_info(info, first)

    def _take_error(self, text: str) -> None:
        """Take what the server complains of, in its own case: subjects are told apart by it."""
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
    def activity(self) -> tuple[int, int]:
        """Another value than before says that the link is alive.

        Bytes count, not messages: on a slow link a large one takes seconds. The second number is
        what is still to be sent, by this process and by its kernel.
        """
        unsent = 0
        if self._transport is not None:
            unsent = self._transport.get_write_buffer_size()
            raw = self._transport.get_extra_info("socket")
            if raw is not None:
                with suppress(OSError, ValueError):
                    queued = fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4))
                    unsent += int.from_bytes(queued, sys.byteorder)
        return self._heard, unsent

    async def barrier(self, pong: asyncio.Future[bool], timeout: float) -> None:
        """Return when the server has taken in all that was sent, and its complaints have come.

        Args:
            pong: ends at that moment.
            timeout: seconds.

        Raises:
            TimeoutError: not in time.
            Exception: the connection has ended; why.
        """
        if not self.connected:
            raise self.error or nats_errors.ConnectionClosedError
        self._pongs.append(pong)
        self._send(wire.PING)
        async with deadline(timeout):
            await pong

    def _take_pong(self) -> None:
        pong = self._pongs.popleft() if self._pongs else None
        if pong is not None and not pong.done():
            pong.set_result(True)

    def _beat(self) -> None:
        """Ask for a sign of life now and then, also where nobody waits for anything.

        Any byte is one: on a slow link a PONG comes late, behind all that was sent before it.
        """
        self._pings = self._pings + 1 if self._heard == self._heard_before else 1
        if self._pings > _PINGS:
            self._lose(nats_errors.StaleConnectionError())
            return
        self._heard_before = self._heard
        self._pongs.append(None)
        self._send(wire.PING)
        self._beat_timer = self._loop.call_later(_PING_SECONDS, self._beat)
