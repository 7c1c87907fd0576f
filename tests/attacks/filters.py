"""Watches with as many and as costly filters as a URL holds."""

import asyncio
import time

from tests.attacks.attackers import Attacker, close, pause, send_all
from tests.attacks.stand import KEYS, WATCH

GLOBS = 64
LENGTH = 490
WATCHES = 1_000
_AT_ONCE = 16


class Globs(Attacker):
    """Watch with 64 globs of 490 bytes each, and again, `count` times and until the end.

    What stands stays open, and keys are written that each glob comes near to.
    """

    def __init__(self, port: int, number: int, of: int, *, count: int = WATCHES) -> None:
        super().__init__(port, number, of)
        self.count = count

    async def run(self, end: float) -> None:
        self.asked = 0
        self.kept: list = []
        writing = asyncio.create_task(self._write(end))
        try:
            await asyncio.gather(*(self._keep_on(end) for _ in range(_AT_ONCE)))
            self.tally.notes["watches asked for"] = self.asked
        finally:
            writing.cancel()
            await asyncio.wait([writing])
            for connection in self.kept:
                close(connection)

    async def _keep_on(self, end: float) -> None:
        while time.perf_counter() < end or (
            self.asked < self.share(self.count) and time.perf_counter() < end + 30
        ):
            self.asked += 1
            try:
                connection = await self.connect()
            except (OSError, TimeoutError) as error:
                self.tally.outcomes[type(error).__name__] += 1
                await pause()
                continue
            await send_all(connection, self._request())
            outcome = await self.status(connection, 20)
            self.tally.outcomes[outcome] += 1
            if outcome == "200" and len(self.kept) < self.share(self.count):
                self.kept.append(connection)
            else:
                close(connection)

    def _request(self) -> bytes:
        # As an event stream, since the URL of a WebSocket may not be as long.
        return b"GET %s?%s HTTP/1.1\r\n%sAccept: text/event-stream\r\n\r\n" % (
            WATCH.encode(),
            self._query().encode(),
            self.host,
        )

    def _query(self) -> str:
        filters = []
        for number in range(GLOBS):
            # Of its own each time: what was compiled before is no help.
            name = f"{self.number}x{self.asked}x{number}x"
            filters.append("key=" + (name + "*a" * LENGTH)[: LENGTH - 1] + "b")
        return "&".join(filters)

    async def _write(self, end: float) -> None:
        """Change a key over which a glob that backtracks would not come to an end."""
        path = f"{KEYS}/{self.number}x1x0x{'a' * 200}"
        request = b"PUT %s HTTP/1.1\r\n%sContent-Length: 1\r\nConnection: close\r\n\r\nv" % (
            path.encode(),
            self.host,
        )
        while time.perf_counter() < end:
            try:
                connection = await self.connect()
            except (OSError, TimeoutError):
                await pause()
                continue
            await send_all(connection, request)
            self.tally.outcomes[f"PUT: {await self.status(connection)}"] += 1
            close(connection)
            await pause()
