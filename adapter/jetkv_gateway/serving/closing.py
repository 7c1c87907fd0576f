"""How connections close: reading on after the last answer, resets, silent peers."""

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
# Data that was sent before the client knew of the end arrives within a round trip.
STOP_LINGER_SECONDS = 1.0
STALL_SECONDS = 40.0
"""Seconds without reading anything after which a watcher is disconnected."""

_LINGER_BYTES = 64 * 1024 * 1024
_LINGER_TIMES = 4
_PART_BYTES = 256 * 1024
_PART_SECONDS = 0.005
_MAX_LINGERING = 512
_NO_LINGER = struct.pack("ii", 1, 0)


class LingeringConnections:
    """The connections that are still read after their last answer.

    There are many of them while many requests are refused.

    Args:
        most: how many there may be. The oldest one ends if there are more.
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
        """Return how many seconds to pause reading of a client that has sent a part.

        The total rate is limited, however many clients there are. Otherwise, clients that keep
        sending would keep the event loop busy with data that nobody needs.
        """
        if one in self._all:
            self._senders.add(one)
        return _PART_SECONDS * len(self._senders)


class LingeringClose(asyncio.Protocol):
    """Keeps reading for a while after the last answer, then closes.

    Closing at once would reset the connection of a client that still sends, and a reset discards an
    answer that is not read yet.

    Args:
        owner: the connection's earlier protocol, which is told about the end.
        lingering: all connections in this state.
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
            # The client may have reset the connection while reading was paused. asyncio then
            # raises.
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
        """Close at once. The client may lose the rest of the answer."""
        self._transport.abort()

    def _check(self) -> None:
        """Close, unless the client still sends. It reads the answer only after that."""
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
    """Return whether data has arrived that the event loop has not read."""
    raw = transport.get_extra_info("socket")
    descriptor = -1 if raw is None else raw.fileno()
    if descriptor < 0:
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def reset(transport: asyncio.Transport) -> None:
    """Reset a connection, so that an incomplete answer cannot look complete."""
    raw = transport.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0 and raw.family != socket.AF_UNIX:
        # Otherwise the kernel sends its buffers and closes normally.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    transport.abort()


def set_user_timeout(transport: asyncio.Transport) -> None:
    """Let the kernel end the connection of a peer that stops reading."""
    raw = transport.get_extra_info("socket")
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is not None and raw is not None and raw.family != socket.AF_UNIX:
        with suppress(OSError):
            raw.setsockopt(socket.IPPROTO_TCP, option, round(STALL_SECONDS * 1000))
