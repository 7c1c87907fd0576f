"""A well-behaved client: what it asks for, and how long it waits for an answer.

Calls are due at a constant rate, and the time of each counts from the moment when it was due: a
gateway that stands still for a second keeps all calls of that second waiting, not just one.
"""

import asyncio
import os
import ssl
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

PATIENCE = 5.0
EVERY = 0.1
"""Seconds between two calls of one caller: one that takes longer delays the next."""
GETS, HEALTHS = 10, 5
"""Callers of each kind."""

_AFTER_SECONDS = 10.0


@dataclass
class Calls:
    """What became of the calls of one kind.

    Attributes:
        each: when it was due, the seconds until its answer, and its status or how it ended.
    """

    each: list[tuple[float, float, str]] = field(default_factory=list)

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(outcome for _, _, outcome in self.each)

    def part(self, percent: float) -> float:
        """Return the percentile, in seconds."""
        ordered = sorted(seconds for _, seconds, _ in self.each)
        if not ordered:
            return float("inf")
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]

    @property
    def all_well(self) -> bool:
        return set(self.outcomes) == {"200"}

    def until(self, moment: float) -> "Calls":
        """Return those that were due before a moment of `time.perf_counter`."""
        return Calls([call for call in self.each if call[0] < moment])


@dataclass
class Seen:
    """What the client saw: GETs and PUTs of one key, `/health`, and its own lateness."""

    get: Calls = field(default_factory=Calls)
    health: Calls = field(default_factory=Calls)
    put: Calls = field(default_factory=Calls)
    late: Calls = field(default_factory=Calls)

    def until(self, moment: float) -> "Seen":
        kinds = (self.get, self.health, self.put, self.late)
        return Seen(*(calls.until(moment) for calls in kinds))


class Probe:
    """Asks one gateway: each caller of GETs keeps a connection, all else comes on a new one."""

    def __init__(self, port: int, keys: str, tls: bool = False, token: str = "") -> None:
        self._port = port
        self._tls = ssl.create_default_context() if tls else None
        if self._tls is not None:
            self._tls.check_hostname = False
            self._tls.verify_mode = ssl.CERT_NONE
        host = b"Host: 127.0.0.1:%d\r\n" % port
        if token:
            host += b"Authorization: Bearer %s\r\n" % token.encode()
        path = f"{keys}/probe".encode()
        self._get = b"GET %s HTTP/1.1\r\n%s\r\n" % (path, host)
        self._put = b"PUT %s HTTP/1.1\r\n%sContent-Length: 128\r\nConnection: close\r\n\r\n%s" % (
            path,
            host,
            b"v" * 128,
        )
        self._health = b"GET /health HTTP/1.1\r\n%sConnection: close\r\n\r\n" % host
        self._end = 0.0

    async def pid(self) -> int:
        # Of what else runs on its core nothing may come before it; it needs very little.
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, 0, -15)
        return os.getpid()

    async def watch(self, seconds: float) -> Seen:
        """Ask for so many seconds, or until `stop`."""
        seen = Seen()
        self._end = time.perf_counter() + seconds
        await asyncio.gather(
            *(self._ask(seen.get, self._get, turn / GETS, kept=True) for turn in range(GETS)),
            *(self._ask(seen.health, self._health, turn / HEALTHS) for turn in range(HEALTHS)),
            self._ask(seen.put, self._put, 0.5),
            self._lateness(seen.late),
        )
        return seen

    def stop(self) -> None:
        """Have `watch` ask for nothing more that is not due yet."""
        self._end = min(self._end, time.perf_counter())

    async def _lateness(self, late: Calls) -> None:
        while (due := time.perf_counter() + 0.01) < self._end:
            await asyncio.sleep(0.01)
            late.each.append((due, time.perf_counter() - due, "200"))

    async def _ask(self, calls: Calls, request: bytes, turn: float, *, kept: bool = False) -> None:
        """Send a request every tenth of a second; `turn` is the part of the first one to wait."""
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        due = time.perf_counter() + turn * EVERY
        while due < self._end:
            now = time.perf_counter()
            if now < due:
                await asyncio.sleep(due - now)
            elif now > self._end + _AFTER_SECONDS:
                calls.each.append((due, now - due, "never asked"))
                due += EVERY
                continue
            try:
                async with asyncio.timeout(PATIENCE):
                    if connection is None:
                        connection = await asyncio.open_connection(
                            "127.0.0.1", self._port, ssl=self._tls
                        )
                    outcome = await _exchange(*connection, request)
            except TimeoutError:
                outcome = "no answer"
            except (OSError, asyncio.IncompleteReadError) as error:
                outcome = type(error).__name__
            calls.each.append((due, time.perf_counter() - due, outcome))
            if connection is not None and (not kept or outcome != "200"):
                connection[1].close()
                connection = None
            due += EVERY
        if connection is not None:
            connection[1].close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> str:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    await reader.readexactly(length)
    return head[9:12].decode()
