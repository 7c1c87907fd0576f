"""A crowd of clients that asks for more than a server can do, and a probe of its health meanwhile.

Both run as children (`children.py`), so that neither waits for the other's work.
"""

import asyncio
import os
import socket
import time
from collections import deque
from dataclasses import dataclass, field

TICK_SECONDS = 0.002
HEALTH = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
_CONNECTING_AT_ONCE = 256
_SETTLED_SECONDS = 0.05
_LOOKS = 100


@dataclass
class Outcome:
    """What became of the calls that were due.

    Attributes:
        seconds: how long they were made for.
        due: calls that clients wanted to make.
        answered: seconds until each 200, all of them within the patience.
        refused: 429 and 503.
        failed: other answers, and connections that broke.
        gave_up: no answer within the patience; the connection was closed.
        unsent: there was no connection to make a call on.
    """

    seconds: float = 0.0
    due: int = 0
    answered: list[float] = field(default_factory=list)
    refused: int = 0
    failed: int = 0
    gave_up: int = 0
    unsent: int = 0
    late: list[float] = field(default_factory=list)
    cpu: float = 0.0

    @property
    def goodput(self) -> float:
        """Calls a second that came to something."""
        return len(self.answered) / self.seconds


class Crowd:
    """Clients of one server on 127.0.0.1, each with a connection that it keeps.

    Args:
        requests: bytes of the calls, taken in turns.
    """

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self.port = port
        self.requests = requests
        self.turn = 0
        self.outcome = Outcome()
        self.idle: deque[_Caller] = deque()
        self.callers: set[_Caller] = set()
        self.again = False

    async def stay_on(self, core: int) -> None:
        os.sched_setaffinity(0, {core})

    async def closed_loop(self, connections: int, seconds: float, patience: float) -> Outcome:
        """Each client makes its next call when the last one has its answer."""
        await self.connect(connections)
        self.again = True
        self.outcome = Outcome()
        waiting: deque[tuple[float, _Caller, int]] = deque()
        began = time.perf_counter()
        for caller in list(self.callers):
            caller.call(began, waiting, patience)
        while time.perf_counter() < began + seconds:
            await asyncio.sleep(TICK_SECONDS)
            self._lose_patience(waiting)
            self.idle.clear()
        self.again = False
        return await self._end(time.perf_counter() - began)

    async def open_loop(
        self, rate: float, connections: int, seconds: float, patience: float
    ) -> Outcome:
        """Calls are due at a constant rate, whatever becomes of the ones before.

        Args:
            connections: at most; a call that finds none free is not made.
        """
        await self.connect(connections)
        self.outcome = outcome = Outcome()
        waiting: deque[tuple[float, _Caller, int]] = deque()
        self.idle = deque(self.callers)
        began, cpu = time.perf_counter(), time.process_time()
        opening: set[asyncio.Task[None]] = set()
        while (now := time.perf_counter()) < began + seconds:
            due = int((now - began) * rate) - outcome.due
            outcome.due += due
            for _ in range(due):
                if not self.idle:
                    outcome.unsent += 1
                    continue
                self.idle.popleft().call(now, waiting, patience)
            # What has come meanwhile is read first: this process may be late, too.
            await asyncio.sleep(0)
            self._lose_patience(waiting)
            missing = connections - len(self.callers) - len(opening)
            for _ in range(min(missing, _CONNECTING_AT_ONCE - len(opening))):
                task = asyncio.create_task(self._open())
                opening.add(task)
                task.add_done_callback(opening.discard)
            slept = time.perf_counter()
            await asyncio.sleep(TICK_SECONDS)
            outcome.late.append(time.perf_counter() - slept - TICK_SECONDS)
        outcome.cpu = time.process_time() - cpu
        ended = await self._end(now - began)
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        return ended

    async def connect(self, connections: int) -> None:
        """Open connections, and return when the server has taken them in."""
        while len(self.callers) < connections:
            lacking = min(_CONNECTING_AT_ONCE, connections - len(self.callers))
            await asyncio.gather(*(self._open() for _ in range(lacking)))
        # To take in connections is work, too, and no part of what is measured.
        for _ in range(_LOOKS):
            if await self._health_seconds() < _SETTLED_SECONDS:
                return
            await asyncio.sleep(0.1)

    async def _health_seconds(self) -> float:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(HEALTH)
        await reader.readuntil(b"\r\n\r\n")
        writer.close()
        return time.perf_counter() - began

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: _Caller(self), "127.0.0.1", self.port)
        except OSError:
            self.outcome.failed += 1

    def _lose_patience(self, waiting: "deque[tuple[float, _Caller, int]]") -> None:
        now = time.perf_counter()
        while waiting and waiting[0][0] <= now:
            _, caller, number = waiting.popleft()
            if caller.number == number and caller.busy:
                self.outcome.gave_up += 1
                caller.leave()

    async def _end(self, seconds: float) -> Outcome:
        outcome, self.outcome = self.outcome, Outcome()
        outcome.seconds = seconds
        outcome.due = outcome.due or len(outcome.answered) + outcome.refused + outcome.gave_up
        for caller in list(self.callers):
            caller.leave()
        self.idle.clear()
        await asyncio.sleep(0.5)
        return outcome


class _Caller(asyncio.Protocol):
    """One client, with one call at a time."""

    transport: asyncio.Transport

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.number = 0
        self.busy = False
        self.left = False
        self.sent = 0.0
        self.buffer = b""
        self.waiting: deque[tuple[float, _Caller, int]] = deque()
        self.patience = 0.0

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.crowd.callers.add(self)
        self.crowd.idle.append(self)

    def call(
        self, now: float, waiting: "deque[tuple[float, _Caller, int]]", patience: float
    ) -> None:
        if self.left:
            self.crowd.outcome.unsent += 1
            return
        crowd = self.crowd
        self.busy = True
        self.number += 1
        self.sent = now
        self.waiting, self.patience = waiting, patience
        waiting.append((now + patience, self, self.number))
        crowd.turn = (crowd.turn + 1) % len(crowd.requests)
        self.transport.write(crowd.requests[crowd.turn])

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n")
        start = data.find(b"content-length: ")
        if end < 0 or len(data) < end + 4 + int(data[start + 16 : data.index(b"\r", start)]):
            self.buffer = data
            return
        self.buffer = b""
        self.busy = False
        now = time.perf_counter()
        outcome, status = self.crowd.outcome, data[9:12]
        if status == b"200":
            outcome.answered.append(now - self.sent)
        elif status in (b"429", b"503"):
            outcome.refused += 1
        else:
            outcome.failed += 1
        if self.crowd.again:
            self.call(now, self.waiting, self.patience)
        else:
            self.crowd.idle.append(self)

    def leave(self) -> None:
        self.left = True
        self.busy = False
        self.crowd.callers.discard(self)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.left:
            self.crowd.outcome.failed += 1
            self.leave()


class Probe:
    """Asks for `/health` again and again, each time on a new connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def stay_on(self, core: int) -> None:
        os.sched_setaffinity(0, {core})

    async def run(self, seconds: float, pause: float = 0.02) -> list[float]:
        """Return the seconds until each answer of 200; infinity for any other."""
        return await asyncio.to_thread(self._run, seconds, pause)

    def _run(self, seconds: float, pause: float) -> list[float]:
        found = []
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            try:
                with socket.create_connection(("127.0.0.1", self._port), timeout=2) as wire:
                    wire.sendall(HEALTH)
                    healthy = wire.recv(4096).startswith(b"HTTP/1.1 200")
            except OSError:
                healthy = False
            found.append(time.perf_counter() - began if healthy else float("inf"))
            time.sleep(pause)
        return found
