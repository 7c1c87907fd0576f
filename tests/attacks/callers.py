"""Callers with wrong credentials, and one with a right one that knows no measure."""

import asyncio
import secrets
import time

from tests.attacks.attackers import Attacker, close, pause, send_all
from tests.attacks.stand import GREEDY, KEYS

SOURCE = "127.0.0.2"
"""The address of the attackers: that of the well-behaved client counts for itself."""


class Callers(Attacker):
    """GETs, one after the other on each connection.

    Args:
        greedy: whether they have the token with a rate; else each has another wrong one.
    """

    def __init__(self, port: int, number: int, of: int, *, greedy: bool, at_once: int = 50) -> None:
        super().__init__(port, number, of)
        self.greedy = greedy
        self.at_once = at_once

    async def run(self, end: float) -> None:
        await asyncio.gather(*(self._ask(end) for _ in range(self.share(self.at_once))))

    async def _ask(self, end: float) -> None:
        while time.perf_counter() < end:
            try:
                connection = await self.connect(source=SOURCE)
            except (OSError, TimeoutError) as error:
                self.tally.outcomes[type(error).__name__] += 1
                await pause()
                continue
            try:
                outcome = "200"
                while outcome in ("200", "401", "429") and time.perf_counter() < end:
                    token = GREEDY if self.greedy else f"guess-{secrets.token_hex(16)}"
                    await send_all(
                        connection,
                        b"GET %s/probe HTTP/1.1\r\n%sAuthorization: Bearer %s\r\n\r\n"
                        % (KEYS.encode(), self.host, token.encode()),
                    )
                    outcome = await self.status(connection)
                    self.tally.outcomes[outcome] += 1
            finally:
                close(connection)
