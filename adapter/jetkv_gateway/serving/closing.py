"""The end of a connection: what is read on after its last answer, and who is still there."""

import asyncio
import select
import socket
import struct
from contextlib import suppress

__all__ = [
    "LINGER_SECONDS",
    "STALL_SECONDS",
    "STOP_LINGER_SECONDS",
    "LingeringClose",
    "LingeringConnections",
    "has_unread_data",
    "reset",
    "set_user_timeout",
]

LINGER_SECONDS = 5.0
# What was sent before its client could know of the end arrives within a round trip.
STOP_LINGER_SECONDS = 1.0
STALL_SECONDS = 40.0
"""How long a watcher may take in nothing of what waits for it."""

_LINGER_BYTES = 64 * 1024 * 1024
_LINGER_TIMES = 4
_PART_BYTES = 256 * 1024
_PART_SECONDS = 0.005
_MAX_LINGERING = 512
_NO_LINGER = struct.pack("ii", 1, 0)


class LingeringConnections:
    """Connections that are read on after their last answer; they are many while many are refused.

    Args:
        most: how many there may be; whoever has been there for the longest ends then.
    """

    def __init__(self, most: int = _MAX_LINGERING) -> None:
        self._most = most
        self._all: dict[LingeringClose, None] = {}
        self._senders: set[LingeringClose] = set()

    def __len__(self) -> int:
        return len(self._all)

    def add(self, one: "LingeringClose") -> None:
        self._all[one] = None
        if len(self._all) > self._most:
            oldest = next(iter(self._all))
            self.remove(oldest)
            oldest.abort()

    def remove(self, one: "LingeringClose") -> None:
        self._all.pop(one, None)
        self._senders.discard(one)

    def pause_after(self, one: "LingeringClose") -> float:
        """Return for how many seconds nothing is read of one that has sent a part.

        All of them together read so many bytes a second, however many there are: senders that do
        not stop would else keep the event loop busy with what nobody wants.
        """
        if one in self._all:
            self._senders.add(one)
        return _PART_SECONDS * len(self._senders)


class LingeringClose(asyncio.Protocol):
    """Read on for a while after the last answer, then close.

    To close at once would reset the connection of a client that still sends, and a reset throws
    away an answer that was not read yet.

    Args:
        owner: whose connection it was; it hears of the end.
        lingering: all that are read on in the same way.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        owner: asyncio.Protocol,
        lingering: LingeringConnections,
        seconds: float,
    ) -> None:
        self._transport = transport
        self._owner = owner
        self._lingering = lingering
        self._bytes_left = _LINGER_BYTES
        self._part_left = 0
        self._waits: asyncio.TimerHandle | None = None
        self._seconds = seconds
        self._extensions_left = _LINGER_TIMES
        self._seen = self._bytes_left
        self._timer = asyncio.get_running_loop().call_later(seconds, self._check)
        transport.resume_reading()
        if transport.can_write_eof():
            # The client may have reset what was not read from for a while: asyncio raises then.
            with suppress(OSError):
                transport.write_eof()
        lingering.add(self)

    def data_received(self, data: bytes) -> None:
        self._bytes_left -= len(data)
        self._part_left -= len(data)
        if self._bytes_left < 0:
            self._transport.abort()
        elif self._part_left < 0 and self._waits is None:
            self._transport.pause_reading()
            seconds = self._lingering.pause_after(self)
            self._waits = asyncio.get_running_loop().call_later(seconds, self._go_on)

    def abort(self) -> None:
        """End it at once; what its client has not read of the answer may be lost."""
        self._transport.abort()

    def _check(self) -> None:
        """Close, unless the client still sends: it would not read its answer before its end."""
        self._extensions_left -= 1
        if self._bytes_left == self._seen or self._extensions_left <= 0:
            self._transport.close()
            return
        self._seen = self._bytes_left
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._check)

    def _go_on(self) -> None:
        self._waits = None
        self._part_left = _PART_BYTES
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lingering.remove(self)
        self._timer.cancel()
        if self._waits is not None:
            self._waits.cancel()
        self._owner.connection_lost(exc)


def has_unread_data(transport: asyncio.Transport) -> bool:
    """Return whether something has arrived that the event loop has not come to."""
    raw = transport.get_extra_info("socket")
    descriptor = -1 if raw is None else raw.fileno()
    if descriptor < 0:
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def reset(transport: asyncio.Transport) -> None:
    """End a connection so that its peer cannot take what it has for all there is."""
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0 and raw.family != socket.AF_UNIX:
        # Else the kernel goes on sending what is in its buffers, and ends in good order.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def set_user_timeout(transport: asyncio.Transport) -> None:
    """Have the kernel end the connection of a peer that takes in nothing any more."""
    raw = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and raw is not None and raw.family != socket.AF_UNIX:
        with suppress(OSError):
            raw.setsockopt(socket.IPPROTO_TCP, option, round(STALL_SECONDS * 1000))
