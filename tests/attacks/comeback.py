"""10,000 watches that come back within a second of the gateway's restart.

Before it, each had seen a revision; while the gateway was away, keys changed. A watch comes back
with `resume_after=`, from one of a few addresses, and is caught up when it has got the newest
change that it is owed. A client that is refused or cut off comes back as a polite one does: after
`Retry-After`, or a second, and some part of a second by chance.
"""

import asyncio
import random
import re
import socket
import time
from dataclasses import dataclass

from tests.attacks.attackers import Attacker, close
from tests.attacks.stand import WATCH, Stand
from tests.bench.watchers import handshake

WATCHES = 10_000
PER_ADDRESS = 1_000
MISSED = 20
"""Changes of each key group while the gateway was away."""
GROUPS = 10
CAUGHT_UP_SECONDS = 30.0

_VALUE = b"v" * 128
_ATTEMPT_SECONDS = 20.0
_RETRY_AFTER = re.compile(rb"retry-after: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Owed:
    """What each group of watches had seen, and the newest change that it is owed."""

    seen: tuple[int, ...]
    newest: tuple[int, ...]


def change(stand: Stand) -> Owed:
    """Write what the watches had seen, and what they missed while the gateway was away.

    Half of the groups were up to date when it went away; the others had been slow.
    """
    seen = []
    for group in range(GROUPS):
        seen.append(stand.put(f"group{group}.first", _VALUE))
    for _ in range(MISSED):
        for group in range(GROUPS):
            revision = stand.put(f"group{group}.first", _VALUE)
            if group % 2:
                seen[group] = revision
    newest = [0] * GROUPS
    for number in range(MISSED):
        for group in range(GROUPS):
            newest[group] = stand.put(f"group{group}.k{number}", _VALUE)
    return Owed(tuple(seen), tuple(newest))


class Watches(Attacker):
    """A part of `count` watches."""

    def __init__(self, port: int, number: int, of: int, *, count: int = WATCHES) -> None:
        super().__init__(port, number, of)
        self.count = count

    async def prepare(self, prepared: Owed) -> None:
        self.owed = prepared
        self.kept: list[socket.socket] = []

    async def run(self, end: float) -> None:
        self.began = time.perf_counter()
        self.caught_up: list[float] = []
        first = self.number * self.count // self.of
        tasks = [
            asyncio.create_task(self._come_back(first + number))
            for number in range(self.share(self.count))
        ]
        _, late = await asyncio.wait(tasks, timeout=end - time.perf_counter())
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in self.kept:
            close(connection)
        self.tally.outcomes["caught up"] += len(self.caught_up)
        self.tally.outcomes["not caught up"] += self.share(self.count) - len(self.caught_up)
        self.tally.notes["s until the last was caught up"] = max(self.caught_up, default=0.0)
        self.tally.notes["s until half were"] = (
            sorted(self.caught_up)[len(self.caught_up) // 2] if self.caught_up else 0.0
        )

    async def _come_back(self, number: int) -> None:
        group = number % GROUPS
        path = f"{WATCH}?key=group{group}.%3E&resume_after={self.owed.seen[group]}"
        request = handshake(self.port, path)
        wanted = b'"revision":%d' % self.owed.newest[group]
        source = f"127.0.0.{2 + number // PER_ADDRESS}"
        await asyncio.sleep(random.random())
        while True:
            wait = await self._try(request, wanted, source)
            if wait is None:
                return
            await asyncio.sleep(wait * (1 + random.random()))

    async def _try(self, request: bytes, wanted: bytes, source: str) -> float | None:
        """Watch until all is caught up, and go on for as long as it lasts.

        Returns:
            None when it was caught up; else the seconds to wait before the next try.
        """
        loop = asyncio.get_running_loop()
        try:
            connection = await self.connect(source=source)
        except (OSError, TimeoutError) as error:
            self.tally.outcomes[f"connect: {type(error).__name__}"] += 1
            return 1.0
        try:
            await loop.sock_sendall(connection, request)
            data = b""
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                while wanted not in data:
                    part = await loop.sock_recv(connection, 64 * 1024)
                    if not part:
                        break
                    data = data[-64 * 1024 :] + part
        except TimeoutError:
            self.tally.outcomes["no answer in time"] += 1
            close(connection)
            return 1.0
        except OSError:
            self.tally.outcomes["reset"] += 1
            close(connection)
            return 1.0
        except BaseException:
            close(connection)
            raise
        if wanted in data:
            self.caught_up.append(time.perf_counter() - self.began)
            self.kept.append(connection)
            return None
        close(connection)
        status = data[9:12].decode("latin-1")
        self.tally.outcomes[f"ended: {status}" if status else "closed"] += 1
        found = _RETRY_AFTER.search(data)
        return float(found[1]) if found else 1.0
