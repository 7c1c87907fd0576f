"""An open WebSocket: sends prepared frames, and limits the work for incoming data.

A watch sends the same frames to many peers, so frames arrive here ready to send. They are not
compressed, which would be work for each peer. Incoming data is checked against RFC 6455 by
`websockets`, and dropped. A message over the limit ends the connection (1009), and so does text
that is not UTF-8 (1007).

A peer may send anything, as fast as it can. So only a small part is read at a time, into one buffer
for all connections. Reading pauses while a peer does not read its pongs. A peer that exceeds its
`RateLimit` is read only at that rate, and is disconnected (1008) if it does not slow down. No
connection has a timer. The server calls `tick` once a second.
"""

import asyncio
import logging
import random
from collections.abc import Callable

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from jetkv_gateway.serving.closing import STALL_SECONDS, set_user_timeout
from jetkv_gateway.serving.connections import Rank
from jetkv_gateway.serving.handshake import switching_protocols
from jetkv_gateway.serving.rate_limit import RateLimit
from jetkv_gateway.serving.utf8 import Utf8Validator

__all__ = ["WebSocket"]

_MAX_MESSAGE = 4096  # bytes of a peer's message with all its fragments
_GOING_AWAY = 1001
_INVALID_TEXT = 1007
_TOO_MUCH = 1008
_NO_PONG = 1011

_READ = 2048  # bytes at a time: at most 341 frames, about 1.5 ms
_CLOSE_SECONDS = 5.0
_LINGER_BYTES = 64 * 1024

_PING = b"\x89\x00"
_PONG = b"\x8a\x80"
_PONG_BYTES = 6
_log = logging.getLogger("jetkv.websocket")

# Data is processed before the next read, so one buffer is enough.
# TLS on asyncio writes to slices of it. A slice of a bytearray would be a copy.
_buffer = memoryview(bytearray(_READ))


class WebSocket(asyncio.BufferedProtocol):
    """A connection after its handshake. It implements `http.request.WebSocket`.

    Args:
        transport: of the connection; `open` takes it over.
        loop: its event loop.
        ping_seconds: the time between pings, and for the answer to one.
        on_buffered: called with the bytes that the peer has not read or that wait behind its
            handshake, and the bytes that it has read since the last call.
        on_lost: called once when the connection is closed.
    """

    # For `Connections`: a watch is never closed to make room.
    rank = Rank.BUSY
    since = 0.0

    __slots__ = (
        "_closed",
        "_closes_at",
        "_discard_left",
        "_loop",
        "_lost",
        "_now",
        "_on_buffered",
        "_on_lost",
        "_peer_gone",
        "_ping_at",
        "_ping_seconds",
        "_pong_by",
        "_pongs_unread",
        "_protocol",
        "_rate_limit",
        "_rate_limited",
        "_reading",
        "_stalled_at",
        "_unread",
        "_unsent_bytes",
        "_utf8",
        "_writable",
        "transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        *,
        ping_seconds: float,
        on_lost: Callable[["WebSocket"], None],
        on_buffered: Callable[["WebSocket", int, int], None] = lambda _socket, _size, _moved: None,
    ) -> None:
        # The time of the last tick is precise enough for all deadlines.
        self._now = now = loop.time()
        self.transport = transport
        self._loop = loop
        self._on_lost, self._on_buffered = on_lost, on_buffered
        # Most peers only send pongs, which need no protocol object.
        self._protocol: ServerProtocol | None = None
        self._utf8 = Utf8Validator()
        self._rate_limit = RateLimit(now)
        self._ping_seconds = ping_seconds
        # Spread the pings of watchers that reconnected together after a restart.
        self._ping_at = now + ping_seconds * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        self._pong_by: float | None = None
        self._closes_at: float | None = None
        self._lost = self._peer_gone = False
        self._closed: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._stalled_at, self._unsent_bytes = now, 0
        self._reading = True
        self._rate_limited = self._pongs_unread = False
        self._discard_left: int | None = None
        self._unread = b""

    def open(
        self,
        accept: bytes,
        subprotocol: str | None,
        lines: bytes,
        *,
        behind: bytes = b"",
        paused: bool = False,
    ) -> None:
        """Answer the handshake, and take over the connection.

        Args:
            accept: as `handshake.check_handshake` returns it.
            subprotocol: one of those that the client offered, or None.
            lines: additional header lines, each ended by CRLF.
            behind: bytes that were read after the head.
            paused: whether the transport has paused writing.

        Raises:
            ConnectionError: the peer is gone. The connection is not taken over.
        """
        transport = self.transport
        if transport.is_closing():
            raise ConnectionError
        if paused:
            self.pause_writing()
        set_user_timeout(transport)
        # The answer may fill the transport, which then has to pause this protocol.
        transport.set_protocol(self)
        transport.write(switching_protocols(accept, subprotocol, lines))
        self._reading = transport.is_reading()
        self._unread = behind
        self._receive_unread()
        self._update_reading()

    # --- outgoing

    async def write(self, frames: bytes) -> None:
        """Write complete frames, then wait until the connection can take more.

        Raises:
            ConnectionError: the connection is closed or closing.
        """
        if self._closing:
            raise ConnectionError
        self.transport.write(frames)
        room = self._writable
        if room is not None:
            # Awaiting the future directly would cancel it for others if this caller is cancelled.
            await asyncio.wait((room,))
            if self._lost:
                raise ConnectionError

    def finish(self, frames: bytes, code: int, reason: str) -> None:
        """Write the last frames and close. It does not wait, since the peer may not read."""
        if self._closing:
            return
        if frames:
            self.transport.write(frames)
        protocol = self._reader()
        protocol.send_close(code, reason)
        self._start_close_timer()
        self._send(protocol.data_to_send())

    def wait_closed(self) -> asyncio.Future[None]:
        """Return a future that is done when the peer is gone or the server closes.

        A future needs no task to wait for it. One caller may wait at a time.
        """
        if self._closed is None or self._closed.done():
            self._closed = self._loop.create_future()
            if self._peer_gone:
                self._closed.set_result(None)
        return self._closed

    def shutdown(self) -> None:
        """Close normally, since the server stops."""
        self.finish(b"", _GOING_AWAY, "")
        self._notify_closed()

    def can_evict(self) -> bool:
        return False

    def evict(self) -> None:
        """Close, since another connection needs the room."""
        self.shutdown()

    def drop_slow(self) -> None:
        """Abort, since slow clients hold too many bytes. The watcher can resume."""
        self.transport.abort()

    def expire(self) -> None:
        """Abort, since a stop cannot wait any longer."""
        self.transport.abort()

    def tick(self, now: float) -> None:
        """Check the deadlines.

        Args:
            now: the time of the event loop, about a second after the last tick.
        """
        self._now = now
        if self._lost:
            return
        if not self._rate_limit.refill(now) and not self._closing:
            self._fail(_TOO_MUCH, "too many frames or bytes a second: watchers only listen")
            self._update_reading()
        if self._rate_limited and not self._rate_limit.exhausted and self._discard_left is None:
            self._rate_limited = False
            self._receive_unread()
            self._update_reading()
        if self._closes_at is not None:
            if now >= self._closes_at:
                self.transport.abort()
        elif self._writable is not None:
            self._look_at_progress(now)
        else:
            self._ping(now)

    # --- incoming

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the interface has it
        return _buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(_buffer[:nbytes])
        if self._unread:
            self._unread += data
        else:
            self._receive(data)
            self._update_reading()

    def eof_received(self) -> None:
        if self._protocol is not None:
            self._protocol.receive_eof()
        self._start_close_timer()
        self._notify_closed()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the interface has it
        if self._lost:
            return
        self._lost = True
        unread, self._unread = self._unread, b""
        self.resume_writing()
        if unread:
            self._update_buffered()
        self._notify_closed()
        # The protocol and the traceback of its error refer to each other. Break this cycle.
        if self._protocol is not None:
            vars(self._protocol).clear()
        self._on_lost(self)

    def pause_writing(self) -> None:
        if self._writable is None:
            self._writable = self._loop.create_future()
            self._stalled_at = self._now
            self._unsent_bytes = self.transport.get_write_buffer_size()
            self._update_buffered()

    def resume_writing(self) -> None:
        room, self._writable = self._writable, None
        if room is not None:
            self._update_buffered()
        if room is not None and not room.done():
            room.set_result(None)
        if self._pong_by is not None:
            # The ping may have waited behind all these frames.
            self._pong_by = self._now + self._ping_seconds
        if self._pongs_unread and not self._lost:
            # Not at once, since the transport may call this method while it writes.
            self._loop.call_soon(self._continue_receiving)

    @property
    def _closing(self) -> bool:
        return self._lost or self._closes_at is not None or self.transport.is_closing()

    @property
    def _may_read(self) -> bool:
        return not (self._rate_limited or self._pongs_unread)

    def _continue_receiving(self) -> None:
        """Process and read further data, since the peer has read its pongs."""
        if self._writable is None and not self._lost:
            self._pongs_unread = False
            self._receive_unread()
            self._update_reading()

    def _receive_unread(self) -> None:
        """Process the bytes after the handshake, as far as rate limit and unread pongs allow."""
        if not self._unread:
            return
        while self._unread and self._may_read:
            data, self._unread = self._unread[:_READ], self._unread[_READ:]
            self._receive(data)
        self._update_buffered()

    def _update_buffered(self, moved: int = 0) -> None:
        """Report the number of buffered bytes.

        Args:
            moved: bytes that the peer has read since.
        """
        unsent = 0 if self._writable is None else self._unsent_bytes
        self._on_buffered(self, unsent + len(self._unread), moved)

    def _receive(self, data: bytes) -> None:
        if self._discard_left is not None:
            # The peer has been sent a close, so drop what it still sends.
            self._discard_left -= len(data)
            self._rate_limited = self._discard_left < 0
            return
        protocol = self._protocol
        if protocol is None:
            if len(data) == _PONG_BYTES and data.startswith(_PONG):
                # This is a complete, masked and empty pong. The mask does not matter.
                self._rate_limit.consume(1, _PONG_BYTES)
                self._rate_limited = self._rate_limit.exhausted
                self._pong_by = None
                return
            protocol = self._reader()
        protocol.receive_data(data)
        frames, parts = protocol.events_received(), protocol.data_to_send()
        self._rate_limit.consume(len(frames), len(data))
        self._rate_limited = self._rate_limit.exhausted
        pongs = 0
        for frame in frames:
            if not isinstance(frame, Frame):
                continue
            if frame.opcode is Opcode.PING:
                pongs += 1
            elif frame.opcode is Opcode.PONG:
                self._pong_by = None
            elif not self._utf8.accepts(frame):
                # Omit the protocol's answers to frames after this one.
                self._send(parts[:pongs])
                self._fail(_INVALID_TEXT, "text has to be UTF-8")
                return
        self._send(parts)

    def _reader(self) -> ServerProtocol:
        """Return the protocol, which is created at the first frame other than a pong."""
        if self._protocol is None:
            self._protocol = ServerProtocol(state=State.OPEN, max_size=_MAX_MESSAGE, logger=_log)
        return self._protocol

    def _send(self, parts: list[bytes]) -> None:
        """Write the protocol's output: pongs, a close, and an empty part for the end."""
        if not parts:
            return
        self.transport.write(b"".join(parts))
        if not parts[-1]:
            self._end(answered=self._reader().parser_exc is None)
        elif self._writable is not None:
            self._pongs_unread = True

    def _fail(self, code: int, reason: str) -> None:
        """Close without waiting for an answer, and drop all further data."""
        if self._closes_at is None:
            close = Frame(Opcode.CLOSE, Close(code, reason).serialize())
            self.transport.write(close.serialize(mask=False))
        self._end(answered=False)

    def _end(self, *, answered: bool) -> None:
        """End the sending side, since nothing may follow a close.

        Args:
            answered: whether the peer has sent its close.
        """
        self._discard_left = _LINGER_BYTES
        self._rate_limited = self._pongs_unread = False
        if self._unread:
            self._unread = b""
            self._update_buffered()
        self._start_close_timer()
        self._notify_closed()
        if answered or not self.transport.can_write_eof():
            self.transport.close()
        else:
            # Closing while the peer still sends would reset the connection and lose the last
            # frames.
            self.transport.write_eof()

    def _update_reading(self) -> None:
        """Pause or resume reading as necessary."""
        may = self._may_read
        if may is not self._reading and not self.transport.is_closing():
            self._reading = may
            if may:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    # --- deadlines

    def _look_at_progress(self, now: float) -> None:
        size = self.transport.get_write_buffer_size()
        if size != self._unsent_bytes:
            taken, self._stalled_at, self._unsent_bytes = self._unsent_bytes - size, now, size
            self._update_buffered(max(0, taken))
        elif now - self._stalled_at >= STALL_SECONDS:
            self.transport.abort()

    def _ping(self, now: float) -> None:
        if self._pong_by is None:
            if now >= self._ping_at:
                self._ping_at, self._pong_by = now + self._ping_seconds, now + self._ping_seconds
                self.transport.write(_PING)
        elif now >= self._pong_by and self._may_read:
            # The peer does not read, so only an abort ends the connection.
            self.finish(b"", _NO_PONG, "no pong came in time")
            self.transport.abort()

    def _start_close_timer(self) -> None:
        if self._closes_at is None:
            self._closes_at = self._now + _CLOSE_SECONDS

    def _notify_closed(self) -> None:
        self._peer_gone = True
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
