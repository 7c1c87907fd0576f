"""Watchers that send without an end what nobody asked them for."""

import asyncio
import os
import time

from tests.attacks.attackers import Attacker, close, send_all
from tests.attacks.stand import WATCH
from tests.bench.watchers import handshake

_MASK = os.urandom(4)


def masked(first: int, payload: bytes = b"") -> bytes:
    """Return one frame of a client."""
    body = bytes(byte ^ _MASK[place % 4] for place, byte in enumerate(payload))
    return bytes((first, 0x80 | len(payload))) + _MASK + body


FLOODS = {
    "empty": masked(0x81) * 20_000,
    "fragments": masked(0x01) + masked(0x00) * 20_000,
    "pings": masked(0x89, b"p" * 125) * 2_000,
}
"""Empty messages, one message in empty parts without an end, and pings whose pongs nobody reads."""


class Floods(Attacker):
    """Watch, send as fast as the connection takes it, and read nothing; when ended, come again."""

    def __init__(self, port: int, number: int, of: int, *, kind: str) -> None:
        super().__init__(port, number, of)
        self.kind = kind

    async def run(self, end: float) -> None:
        while time.perf_counter() < end:
            try:
                connection = await self.connect(receive_buffer=4096)
            except (OSError, TimeoutError) as error:
                self.tally.outcomes[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            try:
                await send_all(connection, handshake(self.port, WATCH))
                self.tally.outcomes[await self.status(connection)] += 1
                await self._flood(connection, end)
            finally:
                close(connection)

    async def _flood(self, connection, end: float) -> None:
        flood = FLOODS[self.kind]
        try:
            async with asyncio.timeout(end - time.perf_counter()):
                while await send_all(connection, flood):
                    self.tally.notes["MB sent"] = (
                        self.tally.notes.get("MB sent", 0.0) + len(flood) / 1e6
                    )
                    if self.kind == "fragments":
                        flood = flood[6:] if flood[0] == 1 else flood
        except TimeoutError:
            return
        self.tally.outcomes["ended"] += 1
