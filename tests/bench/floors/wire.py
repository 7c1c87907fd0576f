"""The least that a request to NATS costs: no TLS, no login, no deadline, no second connection.

All requests of one turn of the event loop go out in one write. `data_received` hands each reply to
its waiter: there is no Future, no queue and no Task.
"""

import asyncio
import secrets
from collections.abc import Callable

__all__ = ["Answered", "FloorWire", "open_wire"]

Answered = Callable[[bytes, bytes], None]
"""Is called with the header block of a reply, empty for none, and its payload."""

_OPTIONS = (
    b'{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,'
    b'"protocol":1,"lang":"floor","version":"1"}'
)
_LETTER_M, _LETTER_H = ord("M"), ord("H")


class FloorWire(asyncio.Protocol):
    """One connection to one nats-server."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._call_soon = asyncio.get_running_loop().call_soon
        self._prefix = f"_INBOX.{secrets.token_hex(11)}.".encode()
        self._prefix_length = len(self._prefix)
        self._waiting: dict[bytes, Answered] = {}
        self._last = 0
        self._queued: list[bytes] = []
        self._partial = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        transport.write(  # type: ignore[attr-defined] # a stream's transport
            b"CONNECT %s\r\nSUB %s* 1\r\nPING\r\n" % (_OPTIONS, self._prefix)
        )

    def ask(self, subject: bytes, payload: bytes, answered: Answered, headers: bytes = b"") -> None:
        """Publish with a reply subject of its own; `answered` gets the reply."""
        self._last += 1
        name = b"%d" % self._last
        self._waiting[name] = answered
        if not self._queued:
            self._call_soon(self._write)
        if headers:
            sizes = len(headers), len(headers) + len(payload)
            self._queued.append(
                b"HPUB %s %s%s %d %d\r\n%s%s\r\n"
                % (subject, self._prefix, name, *sizes, headers, payload)
            )
        else:
            self._queued.append(
                b"PUB %s %s%s %d\r\n%s\r\n" % (subject, self._prefix, name, len(payload), payload)
            )

    def _write(self) -> None:
        data = b"".join(self._queued)
        self._queued.clear()
        self._transport.write(data)  # type: ignore[attr-defined] # a stream's transport

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        place = 0
        while (end_of_line := data.find(b"\r\n", place)) != -1:
            letter = data[place]
            after = end_of_line + 2
            if letter in (_LETTER_M, _LETTER_H):
                fields = data[place:end_of_line].split(b" ")
                end = after + int(fields[-1])
                if len(data) < end + 2:
                    break
                answered = self._waiting.pop(fields[1][self._prefix_length :], None)
                if answered is not None:
                    block = after + (int(fields[-2]) if letter == _LETTER_H else 0)
                    answered(data[after:block], data[block:end])
                place = end + 2
                continue
            if data.startswith(b"PING", place):
                self._transport.write(b"PONG\r\n")  # type: ignore[attr-defined]
            elif data.startswith(b"PONG", place) and not self.opened.done():
                self.opened.set_result(None)
            place = after
        self._partial = data[place:]


async def open_wire(url: str) -> FloorWire:
    """Connect to `nats://host:port`."""
    host, _, port = url.removeprefix("nats://").rpartition(":")
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(FloorWire, host, int(port))
    await wire.opened
    return wire
