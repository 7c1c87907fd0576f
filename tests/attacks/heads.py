"""Request heads that are too large: of one line, of very many, without an end."""

import asyncio
import time

from tests.attacks.attackers import Attacker, close, send_all
from tests.attacks.stand import KEYS

MEBIBYTE = 1024 * 1024


class Heads(Attacker):
    """Send heads, one after the other on each of so many connections.

    Args:
        kind: `line` is 1 MB in one header, in pieces of 1 KiB; `lines` are 200,000 headers, 1 MB;
            `endless` goes on until the connection is closed.
        at_once: how many connections.
    """

    def __init__(self, port: int, number: int, of: int, *, kind: str, at_once: int) -> None:
        super().__init__(port, number, of)
        self.kind = kind
        self.at_once = at_once
        self.start = b"GET %s/k HTTP/1.1\r\n%s" % (KEYS.encode(), self.host)
        self.lines = b"a:b\r\n" * 200_000
        self.piece = b"v" * 1024

    async def run(self, end: float) -> None:
        await asyncio.gather(*(self._keep_on(end) for _ in range(self.share(self.at_once))))

    async def _keep_on(self, end: float) -> None:
        async for connection in self.connections(end, pause=0.05):
            # What the gateway says may come while the head is still on its way.
            answer = asyncio.create_task(self.status(connection, 20))
            try:
                await self._send(connection, answer, end)
                self.tally.outcomes[await answer] += 1
            finally:
                answer.cancel()
                close(connection)

    async def _send(self, connection, answer: asyncio.Task, end: float) -> None:
        if not await send_all(connection, self.start):
            return
        if self.kind == "lines":
            await send_all(connection, self.lines + b"\r\n")
        elif self.kind == "line":
            await send_all(connection, b"x: ")
            for _ in range(1024):
                if answer.done() or not await send_all(connection, self.piece):
                    return
            await send_all(connection, b"\r\n\r\n")
        else:
            while not answer.done() and time.perf_counter() < end + 5:
                if not await send_all(connection, self.lines[: 64 * 1024]):
                    return
