"""Many large values at once are nobody else's trouble."""

import asyncio
import os
import socket
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.embedded import NatsServer
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket

MIB = 1024 * 1024
VALUE = os.urandom(1_000_000)
READERS = 120


def slow_consumers(folder: Path) -> int:
    return sum(log.read_text().count("Slow Consumer") for log in folder.rglob("*.log"))


@pytest.mark.parametrize("query", ["", "?consistency=eventual&values=raw", "?revision=1"])
async def test_many_large_values_read_at_once_cost_nobody_the_connection(
    own_nats: LocalNats, tmp_path: Path, query: str
) -> None:
    own_nats.start()
    with running_gateway(own_nats.url, buckets="large") as http:
        http.post(BUCKETS, {"name": "small"})
        large, small = Bucket(http, "large"), Bucket(http, "small")
        revision = large.put("k", VALUE).json["revision"]
        assert revision == 1
        done = asyncio.Event()
        puts: list[Answer] = []

        async def write() -> None:
            while not done.is_set():
                puts.append(await asyncio.to_thread(small.put, "k", "v"))

        writing = asyncio.create_task(write())
        reads = (asyncio.to_thread(large.get, "k", query) for _ in range(READERS))
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(READERS + 10))
        answers = await asyncio.gather(*reads)
        done.set()
        await writing
    assert {answer.status for answer in answers} == {200}
    assert {answer.status for answer in puts} == {200}
    assert slow_consumers(tmp_path) == 0


async def test_large_reads_that_wait_for_room_hold_no_place(own_nats: LocalNats) -> None:
    own_nats.start()
    few = {"max_requests": 4, "request_wait": 0.2, "max_reading_bytes": 8 * 1024 * 1024}
    with running_gateway(own_nats.url, buckets="large", **few) as http:
        large = Bucket(http, "large")
        large.put("k", VALUE)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(60))
        # One is under way at a time; the others would be refused if they had to wait in the line.
        reads = (asyncio.to_thread(large.get, "k") for _ in range(60))
        answers = await asyncio.gather(*reads)
    assert {answer.status for answer in answers} == {200}


async def test_many_deletes_of_large_values_at_once_cost_nobody_the_connection(
    tmp_path: Path,
) -> None:
    with (
        NatsServer(tmp_path, config="max_payload: 8MB") as server,
        running_gateway(server.url, buckets="large") as http,
    ):
        large = Bucket(http, "large")
        large.put("k", VALUE * 7)
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(12))
        # The condition holds for none of them, and is looked at by a read of the value.
        calls = (asyncio.to_thread(large.delete, "k", If_Match="7") for _ in range(12))
        assert {answer.status for answer in await asyncio.gather(*calls)} == {412}
    assert slow_consumers(tmp_path) == 0


@pytest.mark.parametrize("query", ["", "?values=raw", "?consistency=eventual"])
def test_a_read_of_a_mebibyte_has_three_times_its_size_in_memory_at_most(
    tmp_path: Path, query: str
) -> None:
    with (
        NatsServer(tmp_path, config="max_payload: 2MB") as server,
        running_gateway(server.url, buckets="large") as http,
    ):
        large = Bucket(http, "large")
        value = os.urandom(MIB)
        assert large.put("k", value).status == 200
        first = large.get("k", query)
        assert first.status == 200
        request = f"GET {large.key('k')}{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        taken, buffer = 0, bytearray(64 * 1024)  # what the client has itself is no part of it
        with socket.create_connection((http.host, http.port), timeout=10) as client:
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                client.sendall(request)
                while taken < len(first.body):
                    taken += client.recv_into(buffer)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert peak - before > MIB, "it was measured"
    assert peak - before <= 3 * MIB
