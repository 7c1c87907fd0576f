"""Connections that say nothing, or nothing more."""

import asyncio
import time

from tests.attacks.attackers import Attacker, close, send_all


class Idle(Attacker):
    """Keep so many connections open, which send nothing; open one again when it is closed.

    Args:
        served: whether each asks for `/health` first, so that it has had an answer.
    """

    def __init__(self, port: int, number: int, of: int, *, count: int, served: bool) -> None:
        super().__init__(port, number, of)
        self.count = count
        self.served = served

    async def run(self, end: float) -> None:
        self.open = 0
        await asyncio.gather(*(self._keep_on(end) for _ in range(self.share(self.count))))

    async def _keep_on(self, end: float) -> None:
        async for connection in self.connections(end):
            self.open += 1
            try:
                self.tally.notes["open at once"] = max(
                    self.open, self.tally.notes.get("open at once", 0)
                )
                if self.served:
                    await send_all(connection, b"GET /health HTTP/1.1\r\n%s\r\n" % self.host)
                    self.tally.outcomes[await self.status(connection)] += 1
                outcome = await self.status(connection, max(0.01, end - time.perf_counter()))
                self.tally.outcomes["stood" if outcome == "no answer" else outcome] += 1
                if outcome != "no answer":
                    await asyncio.sleep(0.05)
            finally:
                self.open -= 1
                close(connection)
