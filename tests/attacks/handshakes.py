"""Clients that begin TLS and do not finish it, that send something else, or only begin."""

import asyncio
import os
import ssl
import time

from tests.attacks.attackers import Attacker, close, pause, send_all

KINDS = ("silent", "garbage", "endless")

_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the beginning of one


class Handshakes(Attacker):
    """Handshakes, so many at once.

    Args:
        kind: `silent` ones say the beginning and no more, `garbage` is no TLS, `endless` ones are
            complete and ask for nothing.
    """

    def __init__(self, port: int, number: int, of: int, *, kind: str, at_once: int) -> None:
        super().__init__(port, number, of)
        self.kind = kind
        self.at_once = at_once
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE

    async def run(self, end: float) -> None:
        one = self._complete if self.kind == "endless" else self._broken
        await asyncio.gather(*(one(end) for _ in range(self.share(self.at_once))))

    async def _broken(self, end: float) -> None:
        said = _HELLO if self.kind == "silent" else b"\x16\x03\x01" + os.urandom(2000)
        async for connection in self.connections(end):
            try:
                await send_all(connection, said)
                outcome = await self.status(connection, max(0.01, end - time.perf_counter()))
                self.tally.outcomes["stood" if outcome == "no answer" else "ended"] += 1
            finally:
                close(connection)

    async def _complete(self, end: float) -> None:
        while time.perf_counter() < end:
            try:
                async with asyncio.timeout(10):
                    _, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls)
            except (OSError, TimeoutError) as error:
                self.tally.outcomes[type(error).__name__] += 1
                await pause()
                continue
            self.tally.outcomes["complete"] += 1
            writer.transport.abort()
