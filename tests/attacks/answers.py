"""Large answers, read by many at once, and not read by anybody."""

import asyncio
import re
import time

from tests.attacks.attackers import Attacker, close, send_all
from tests.attacks.stand import KEYS, Stand

GETS = 120
HISTORIES = 6
REVISIONS = 64
_LARGE = 1_000_000
_LONG = "long"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


def fill(stand: Stand, histories: int = HISTORIES) -> None:
    """Store a value of 1 MB, and keys with 64 revisions of 1 MB each."""
    stand.put("large", b"v" * _LARGE)
    stand.create(_LONG, history=REVISIONS)
    for number in range(histories):
        for _ in range(REVISIONS):
            stand.put(f"h{number}", b"v" * _LARGE, bucket=_LONG)


class LargeAnswers(Attacker):
    """GETs of 1 MB, one after the other on each connection; histories that nobody reads; PUTs.

    Args:
        read: whether the values are read, each whole; else each connection asks once.
    """

    def __init__(
        self,
        port: int,
        number: int,
        of: int,
        *,
        read: bool,
        gets: int = GETS,
        histories: int = HISTORIES,
    ) -> None:
        super().__init__(port, number, of)
        self.gets = gets
        self.histories = histories
        self.read = read
        self.get = b"GET %s/large HTTP/1.1\r\n%s\r\n" % (KEYS.encode(), self.host)

    async def run(self, end: float) -> None:
        await asyncio.gather(
            *(self._history(number, end) for number in range(self.share(self.histories))),
            *(self._get(end) for _ in range(self.share(self.gets))),
            *(self._put(number, end) for number in range(self.share(4))),
        )

    async def _history(self, number: int, end: float) -> None:
        path = KEYS.replace("/attacked/keys", f"/{_LONG}/history").encode()
        request = b"GET %s/h%d HTTP/1.1\r\n%s\r\n" % (path, number, self.host)
        await self._unread("history", request, end)

    async def _unread(self, what: str, request: bytes, end: float) -> None:
        """Ask, and read nothing until the end."""
        connection = await self.connect(receive_buffer=4096)
        try:
            await send_all(connection, request)
            await asyncio.sleep(end - time.perf_counter())
            self.tally.outcomes[f"{what}: {await self.status(connection, 0.5)}"] += 1
        finally:
            close(connection)

    async def _get(self, end: float) -> None:
        if not self.read:
            await self._unread("GET", self.get, end)
            return
        connection = await self.connect()
        try:
            while time.perf_counter() < end:
                outcome = await self._exchange(connection, self.get)
                self.tally.outcomes[f"GET: {outcome}"] += 1
                if outcome != "200":
                    close(connection)
                    connection = await self.connect()
        finally:
            close(connection)

    async def _put(self, number: int, end: float) -> None:
        request = b"PUT %s/small%d HTTP/1.1\r\n%sContent-Length: 128\r\n\r\n%s" % (
            KEYS.encode(),
            number,
            self.host,
            b"v" * 128,
        )
        connection = await self.connect()
        try:
            while time.perf_counter() < end:
                outcome = await self._exchange(connection, request)
                self.tally.outcomes[f"PUT: {outcome}"] += 1
                if outcome != "200":
                    close(connection)
                    connection = await self.connect()
                await asyncio.sleep(0.005)
        finally:
            close(connection)

    async def _exchange(self, connection, request: bytes) -> str:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(20):
                await loop.sock_sendall(connection, request)
                data = b""
                while b"\r\n\r\n" not in data:
                    part = await loop.sock_recv(connection, 256 * 1024)
                    if not part:
                        return "closed"
                    data += part
                head, _, body = data.partition(b"\r\n\r\n")
                length = _LENGTH.search(head)
                missing = (int(length[1]) if length else 0) - len(body)
                while missing > 0:
                    part = await loop.sock_recv(connection, 256 * 1024)
                    if not part:
                        return "cut off"
                    missing -= len(part)
        except TimeoutError:
            return "no answer"
        except OSError:
            return "reset"
        return head[9:12].decode("latin-1")
