"""Reads of one key, those that others answer, and load that notices a stale one."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import Self

from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.http import Answer, Bucket
from tests.support.waiting import until

SOLO = "server_name: solo"
READS = 30


@contextmanager
def clustered(member: LocalNats, name: str, replicas: int) -> Iterator[Bucket]:
    """A bucket in a cluster, through a gateway of its own."""
    # A cluster that has just started sometimes never answers its first request.
    settings = {"buckets": f"{name},replicas={replicas}", "request_timeout": 1.5}
    with running_gateway(member.url, **settings) as http:
        yield Bucket(http, name)


async def get(bucket: Bucket, key: str = "k", query: str = "") -> Answer:
    return await asyncio.to_thread(bucket.get, key, query)


async def read(bucket: Bucket, times: int = READS) -> None:
    """Read a key so often; each read is one of the leader."""
    for _ in range(times):
        answer = await get(bucket)
        assert (answer.status, answer.headers["jetkv-consistency"]) == (200, "strong")


@dataclass
class Impostor:
    """Somebody who answers direct reads of a bucket."""

    block: bytes
    data: bytes = b"old"
    answers: int = 0

    @asynccontextmanager
    async def at(self, server: LocalNats, bucket: str) -> AsyncIterator[None]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b'CONNECT {"headers":true,"verbose":false,"protocol":1}\r\n')
        writer.write(b"SUB $JS.API.DIRECT.GET.KV_%b 1\r\n" % bucket.encode())
        writer.write(b"PING\r\n")
        while await reader.readline() != b"PONG\r\n":
            pass
        answering = asyncio.create_task(self._answer(reader, writer))
        try:
            yield
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = line.split()
            if words[0] == b"PING":
                writer.write(b"PONG\r\n")
            elif words[0] == b"MSG":
                await reader.readexactly(int(words[-1]) + 2)
                sizes = len(self.block), len(self.block) + len(self.data)
                writer.write(b"HPUB %b %d %d\r\n" % (words[-2], *sizes))
                writer.write(self.block + self.data + b"\r\n")
                self.answers += 1


def message(stream: str, subject: str, *, revision: int = 1, stored: bytes = b"") -> bytes:
    """The headers of an answer to a direct read."""
    return (
        b"NATS/1.0\r\n%bNats-Stream: %b\r\nNats-Subject: %b\r\nNats-Sequence: %d\r\n"
        b"Nats-Time-Stamp: 2026-01-02T03:04:05Z\r\n\r\n"
    ) % (stored, stream.encode(), subject.encode(), revision)


class Load:
    """Writers with a key each. They read it back after each write that was acked.

    Attributes:
        reads: how many were answered.
        stale: what was older than the newest revision that the key was known to have.
    """

    def __init__(self, bucket: Bucket, writers: int = 4, key: str = "w") -> None:
        self._bucket = bucket
        self._key = key
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(writers)]
        self.reads = 0
        self.stale: list[str] = []

    def _run(self, writer: int) -> None:
        key, number, newest = f"{self._key}{writer}", 0, 0
        while not self._over.is_set():
            number += 1
            with suppress(OSError, HTTPException):
                put = self._bucket.put(key, str(number))
                if put.status == 200:
                    newest = max(newest, put.json["revision"])
                got = self._bucket.get(key)
                if got.status not in (200, 404):
                    continue
                self.reads += 1
                revision = got.json["revision"] if got.status == 200 else 0
                if revision < newest:
                    self.stale.append(f"{key}: {revision} after {newest} ({got.status})")
                newest = max(newest, revision)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait(self, reads: int, seconds: float = 30.0) -> None:
        """Wait until there were so many more reads."""
        wanted = self.reads + reads
        until(
            lambda: self.reads >= wanted or self.stale, f"{reads} more reads were answered", seconds
        )
