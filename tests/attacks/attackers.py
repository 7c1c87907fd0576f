"""What attackers share: sockets without manners, and a record of what they got."""

import asyncio
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

CONNECTING_AT_ONCE = 256


async def pause() -> None:
    """Pause between two tries, as a client does. An attack that never pauses measures itself."""
    await asyncio.sleep(0.1)


@dataclass
class Tally:
    """What attackers got.

    Attributes:
        outcomes: statuses and ends, by number.
        notes: figures by name, such as seconds.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    notes: dict[str, float] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        """Take in what another process counted; of a figure the larger one stays."""
        self.outcomes += other.outcomes
        for name, value in other.notes.items():
            self.notes[name] = max(value, self.notes.get(name, value))

    def __str__(self) -> str:
        parts = [f"{number} × {name}" for name, number in self.outcomes.most_common()]
        parts += [f"{name} {value:.1f}" for name, value in self.notes.items()]
        return ", ".join(parts) or "nothing"


class Attacker:
    """One process of an attack on 127.0.0.1:`port`: `number` of so many."""

    def __init__(self, port: int, number: int, of: int) -> None:
        self.port = port
        self.number = number
        self.of = of
        self.tally = Tally()
        self.host = b"Host: 127.0.0.1:%d\r\n" % port
        self.connecting = asyncio.Semaphore(CONNECTING_AT_ONCE)
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    async def pid(self) -> int:
        return os.getpid()

    async def prepare(self, prepared: Any) -> None:
        """Get ready; nothing of it is measured.

        Args:
            prepared: what the row's own preparation returned.
        """

    async def attack(self, seconds: float) -> Tally:
        """Attack for so many seconds, then let go of everything."""
        self.tally = Tally()
        end = time.perf_counter() + seconds
        await self.run(end)
        return self.tally

    async def run(self, end: float) -> None:
        raise NotImplementedError

    def share(self, count: int) -> int:
        """Return this process's part of a number."""
        return count // self.of + (self.number < count % self.of)

    async def connect(
        self, *, receive_buffer: int | None = None, source: str | None = None
    ) -> socket.socket:
        """Return a connection; raises OSError."""
        connection = socket.socket()
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if receive_buffer is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source is not None:
                connection.bind((source, 0))
            async with self.connecting, asyncio.timeout(10):
                await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.port))
        except BaseException:
            connection.close()
            raise
        return connection

    async def connections(self, end: float, *, pause: float = 0.1) -> AsyncIterator[socket.socket]:
        """Yield one new connection after the other until `end`; count those that fail.

        Args:
            pause: seconds after one that fails.
        """
        while time.perf_counter() < end:
            try:
                connection = await self.connect()
            except (OSError, TimeoutError) as error:
                self.tally.outcomes[type(error).__name__] += 1
                await asyncio.sleep(pause)
            else:
                yield connection

    async def status(self, connection: socket.socket, seconds: float = 10.0) -> str:
        """Read the beginning of an answer; its status, or how the connection ended."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                data = await loop.sock_recv(connection, 64 * 1024)
                while data and not data.startswith(b"HTTP/"):  # the rest of an answer before it
                    data = await loop.sock_recv(connection, 64 * 1024)
        except TimeoutError:
            return "no answer"
        except OSError:
            return "reset"
        return data[9:12].decode("latin-1") if data else "closed"


async def send_all(connection: socket.socket, data: bytes) -> bool:
    """Send all; False where the other side has had enough."""
    try:
        await asyncio.get_running_loop().sock_sendall(connection, data)
    except OSError:
        return False
    return True


def close(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.close()
