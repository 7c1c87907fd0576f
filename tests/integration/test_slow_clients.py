"""What is held for clients that are slow is bounded, and the slowest gives way to the others."""

import asyncio
import json
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from jetkv.testing import LocalNats
from jetkv_gateway.embedded import NatsServer
from tests.integration.test_large_histories import Reader
from tests.integration.test_large_reads import slow_consumers
from tests.support.gateway import running_gateway
from tests.support.http import Answer, Bucket
from tests.support.waiting import until

MIB = 1024 * 1024
VALUE = os.urandom(1_000_000)


def half_sent(bucket: Bucket, key: str, size: int, sent: int) -> socket.socket:
    """A PUT of which so many bytes were sent."""
    lines = (f"PUT {bucket.path}/keys/{key} HTTP/1.1", "Host: localhost", f"Content-Length: {size}")
    head = "\r\n".join([*lines, "", ""])
    client = socket.create_connection((bucket.http.host, bucket.http.port), 10)
    client.sendall(head.encode() + bytes(sent))
    return client


def first_line(client: socket.socket) -> bytes:
    return client.recv(65536).partition(b"\r\n")[0]


def test_half_sent_bodies_are_let_go_the_slowest_first_and_whole_ones_are_served(
    nats: NatsServer,
) -> None:
    with (
        running_gateway(nats.url, buckets="held", max_held_bytes=4 * MIB) as http,
        ExitStack() as stack,
    ):
        bucket = Bucket(http, "held")
        try:
            halves = []
            for number in range(16):
                half = half_sent(bucket, f"half-{number}", 400_000, 300_000)
                halves.append(stack.enter_context(half))
                # A new connection is served after those that stand have been read.
                assert http.get("/health").status == 200
            assert first_line(halves[0]) == b"HTTP/1.1 429 Too Many Requests"
            halves[-1].sendall(bytes(50_000))  # a client that goes on is not slow
            assert http.get("/health").status == 200
            assert bucket.put("k", VALUE).status == 200
            halves[-1].sendall(bytes(50_000))
            assert first_line(halves[-1]) == b"HTTP/1.1 200 OK"
        finally:
            http.delete(bucket.path)


def test_half_sent_heads_are_let_go_when_they_are_too_many(nats: NatsServer) -> None:
    with running_gateway(nats.url, max_held_bytes=4 * MIB) as http, ExitStack() as stack:
        halves = []
        for _ in range(400):
            client = socket.create_connection((http.host, http.port), 10)
            stack.enter_context(client)
            # Less than what is not worth counting of a request that is whole.
            client.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nx: " + b"v" * 15_000)
            halves.append(client)
        assert first_line(halves[0]) == b"HTTP/1.1 429 Too Many Requests"
        halves[-1].sendall(b"\r\n\r\n")
        assert first_line(halves[-1]) == b"HTTP/1.1 200 OK"


def test_answers_that_nobody_takes_in_are_let_go_and_others_are_served(nats: NatsServer) -> None:
    settings = {"buckets": "unread,history=64", "max_held_bytes": 4 * MIB}
    with running_gateway(nats.url, **settings) as http, ExitStack() as stack:
        bucket = Bucket(http, "unread")
        try:
            for _ in range(24):
                assert bucket.put("k", VALUE).status == 200
            readers = [stack.enter_context(Reader(bucket)) for _ in range(8)]
            for reader in readers:
                assert reader.read(12) == b"HTTP/1.1 200"
            gone: set[Reader] = set()

            def some_are_gone() -> bool:
                # Each socket tells once.
                gone.update(reader for reader in readers if reader.is_reset())
                return len(gone) >= 4

            until(some_are_gone, "the slow are let go")
            assert bucket.get("k").value == VALUE
            assert len(bucket.history("k").json["entries"]) == 24
        finally:
            http.delete(bucket.path)


def test_of_large_batch_gets_that_nobody_reads_one_is_held(nats: NatsServer) -> None:
    keys = [f"k{number}" for number in range(33)]
    body = json.dumps({"get": keys})
    with running_gateway(nats.url, buckets="unread") as http, ExitStack() as stack:
        bucket = Bucket(http, "unread")
        try:
            for key in keys:
                assert bucket.put(key, VALUE).status == 200
            lines = (f"POST {bucket.path}/batch HTTP/1.1", "Host: localhost")
            head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
            statuses = []
            for _ in range(2):
                client = socket.create_connection((http.host, http.port), 10)
                stack.enter_context(client)
                client.sendall((head + body).encode())
                statuses.append(client.recv(12))
            assert statuses == [b"HTTP/1.1 200", b"HTTP/1.1 429"]
        finally:
            http.delete(bucket.path)


async def test_large_reads_beside_histories_that_nobody_reads_are_answered_and_so_are_small_calls(
    own_nats: LocalNats, tmp_path: Path
) -> None:
    own_nats.start()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(130))
    with (
        running_gateway(own_nats.url, buckets="large,history=64 small") as http,
        ExitStack() as stack,
    ):
        large, small = Bucket(http, "large"), Bucket(http, "small")
        for _ in range(64):
            assert large.put("k", VALUE).status == 200
        for _ in range(6):
            stack.enter_context(Reader(large))
        done = asyncio.Event()
        beside: list[Answer] = []

        async def call() -> None:
            while not done.is_set():
                beside.append(await asyncio.to_thread(small.put, "k", "v"))
                beside.append(await asyncio.to_thread(small.get, "k"))

        calling = asyncio.create_task(call())
        reads = (asyncio.to_thread(large.get, "k") for _ in range(120))
        answers = await asyncio.gather(*reads)
        done.set()
        await calling
        assert {answer.status for answer in answers} == {200}
        assert {answer.status for answer in beside} == {200}
    assert slow_consumers(tmp_path) == 0
