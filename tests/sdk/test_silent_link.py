"""Both clients over a link that swallows packets without a word: a new connection gets through."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from jetkv import DeadlineExceededError, OutcomeUnknownError, Retry
from jetkv._core.messages import Kind, Request
from jetkv._core.retry import read_timeout
from tests.sdk.calls import ONCE
from tests.sdk.test_retry import GET, HONOURS, PLAIN, PUT
from tests.support.http import Bucket, Http
from tests.support.scripted import scripted, silent

TIMEOUT = 1.5


class Link:
    """A relay on loopback. What it swallows is neither passed on nor refused."""

    def __init__(self, gateway: Http) -> None:
        self._gateway = (gateway.host, gateway.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._swallowed = 0
        self._sockets: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def swallow(self) -> None:
        """Lose what goes over the connections there are; later ones work."""
        self._swallowed = self.connections

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._gateway)
                self._sockets += [near, far]
                number = self.connections
                self.connections += 1
                for one, other in ((near, far), (far, near)):
                    thread = threading.Thread(
                        target=self._pass_on, args=(number, one, other), daemon=True
                    )
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, number: int, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if number >= self._swallowed:
                    other.sendall(data)
            if number >= self._swallowed:
                other.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)


@contextmanager
def linked(gateway: Http) -> Iterator[Link]:
    link = Link(gateway)
    try:
        yield link
    finally:
        link.close()


async def test_reads_and_writes_get_through_on_a_new_connection(
    make, http: Http, bucket: Bucket
) -> None:
    with linked(http) as link:
        async with make(link.url, timeout=TIMEOUT) as client:
            opened = client.kv().bucket(bucket.name)
            # Several connections, all of which are dead then: one try finds that out.
            await asyncio.gather(*(opened.put(f"k{number}", 1) for number in range(5)))
            before = link.connections
            for call in (
                lambda: opened.get("k1"),
                lambda: opened.put("k1", 2),
                lambda: opened.delete("k2"),
            ):
                link.swallow()
                begun = time.monotonic()
                await call()
                assert time.monotonic() - begun < TIMEOUT
            assert link.connections > before
            begun = time.monotonic()
            assert (await opened.get("k1")).value == 2
            assert time.monotonic() - begun < TIMEOUT
    assert bucket.keys() == ["k0", "k1", "k3", "k4"]


async def test_a_write_that_may_not_be_sent_twice_has_all_of_the_time(make) -> None:
    def late(connection: socket.socket) -> None:
        time.sleep(TIMEOUT * 0.8)
        connection.sendall(
            b"HTTP/1.1 204 No Content\r\n\r\n",
        )

    with scripted(late) as server:
        async with make(server.url, timeout=TIMEOUT) as client:
            await client.kv().delete_bucket("b")
    assert len(server.asked) == 1


async def test_one_that_gets_no_answer_is_sent_once(make) -> None:
    with scripted(silent, GET) as server:
        async with make(server.url, timeout=0.4) as client:
            with pytest.raises(OutcomeUnknownError):
                await client.kv().delete_bucket("b")
    assert len(server.asked) == 1


async def test_a_keyed_write_is_sent_again_under_its_key_where_the_gateway_honours_it(make) -> None:
    with scripted(silent, HONOURS, PUT) as server:
        async with make(server.url, timeout=TIMEOUT) as client:
            assert await client.kv().bucket("b").put("k", 1) == 7
    assert [asked.method for asked in server.asked] == ["PUT", "GET", "PUT"]
    first, _, second = server.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


async def test_where_the_gateway_does_not_it_is_sent_once(make) -> None:
    with scripted(silent, PLAIN, PUT) as server:
        async with make(server.url, timeout=TIMEOUT) as client:
            with pytest.raises(OutcomeUnknownError):
                await client.kv().bucket("b").put("k", 1)
    assert [asked.method for asked in server.asked] == ["PUT", "GET"]


async def test_a_call_of_one_try_has_all_of_the_time(make) -> None:
    def late(connection: socket.socket) -> None:
        time.sleep(TIMEOUT * 0.8)
        connection.sendall(GET)

    with scripted(late) as server:
        async with make(server.url, timeout=TIMEOUT, retry=ONCE) as client:
            assert (await client.kv().bucket("b").get("k")).key == "k"


async def test_an_answer_that_comes_slowly_is_not_given_up(make) -> None:
    def slow(connection: socket.socket) -> None:
        for place in range(0, len(GET), 16):
            connection.sendall(GET[place : place + 16])
            time.sleep(TIMEOUT * 0.9 / (len(GET) / 16))

    with scripted(slow) as server:
        async with make(server.url, timeout=TIMEOUT) as client:
            assert (await client.kv().bucket("b").get("k")).key == "k"
    assert len(server.asked) == 1


async def test_a_call_that_gets_no_answer_names_all_its_time_and_tries(make) -> None:
    with scripted(silent, silent) as server:
        async with make(server.url, timeout=0.6, retry=Retry(first_delay=0.01)) as client:
            with pytest.raises(DeadlineExceededError, match=r"within 0\.\d+ s, in 2 tries"):
                await client.kv().bucket("b").get("k")
    assert (len(server.asked), server.connections) == (2, 2)


READ = Request("GET", "/", Kind.READ, "a read")
KEYED = Request("PUT", "/", Kind.KEYED, "a write", body=b"1")
LARGE = Request("PUT", "/", Kind.KEYED, "a write", body=bytes(300_000))
WRITE = Request("POST", "/", Kind.WRITE, "a write")


@pytest.mark.parametrize(
    ("request_", "tried", "left", "expected"),
    [
        (READ, 1, 9.0, 6.0),
        (KEYED, 1, 9.0, 6.0),
        (READ, 2, 3.0, 3.0),
        (READ, 1, 60.0, 12.0),
        (READ, 2, 48.0, 12.0),
        (LARGE, 1, 60.0, 60.0),
        (WRITE, 1, 60.0, 60.0),
    ],
    ids=["read", "keyed", "second", "long", "long, second", "large", "write"],
)
def test_a_first_try_has_a_part_of_the_time(
    request_: Request, tried: int, left: float, expected: float
) -> None:
    assert read_timeout(request_, tried, left) == pytest.approx(expected)
