"""PUTs whose bodies never end: a few bytes of them, or all but the last."""

import asyncio
import time

from tests.attacks.attackers import Attacker, close, pause
from tests.attacks.stand import KEYS

MEBIBYTE = 1024 * 1024
LARGE = 1_000_000
"""A value of nearly a MiB: of a whole one NATS's default limit leaves no room for headers."""


class HalfSent(Attacker):
    """Keep so many half-sent PUTs open all the time; open one again when it is closed.

    Args:
        size: of the body that is announced, all but the last byte of which is sent, or as much of
            it as the gateway takes.
    """

    def __init__(self, port: int, number: int, of: int, *, count: int, size: int) -> None:
        super().__init__(port, number, of)
        self.count = count
        self.size = size

    async def run(self, end: float) -> None:
        self.open = 0
        await asyncio.gather(
            *(self._keep_on(number, end) for number in range(self.share(self.count)))
        )

    async def _keep_on(self, number: int, end: float) -> None:
        loop = asyncio.get_running_loop()
        head = b"PUT %s/half%d HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n" % (
            KEYS.encode(),
            number,
            self.host,
            self.size,
        )
        async for connection in self.connections(end, pause=0.2):
            sending = loop.create_task(self._send(connection, head + b"v" * (self.size - 1)))
            try:
                self.open += 1
                self.tally.notes["open at once"] = max(
                    self.open, self.tally.notes.get("open at once", 0)
                )
                outcome = await self.status(connection, max(0.01, end - time.perf_counter()))
                self.tally.outcomes["stood" if outcome == "no answer" else outcome] += 1
                if outcome != "no answer":
                    await pause()
            finally:
                self.open -= 1
                sending.cancel()
                await asyncio.wait([sending])
                close(connection)

    async def _send(self, connection, data: bytes) -> None:
        try:
            await asyncio.get_running_loop().sock_sendall(connection, data)
        except OSError:
            return
