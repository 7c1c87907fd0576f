"""Both clients' connections: reused, shared by threads, encrypted, and none of them left over."""

import asyncio
import ssl
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import trustme

from jetkv import AsyncClient, Client, Retry, UnavailableError
from jetkv._async import transport as async_transport
from jetkv._sync import connections as sync_connections
from tests.sdk.test_retry import GET, PUT
from tests.support.clients import BOTH
from tests.support.scripted import scripted
from tests.support.waiting import until


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def trust(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_one_connection_serves_one_call_after_the_other(make) -> None:
    with scripted(GET, PUT, GET) as server:
        async with make(server.url) as client:
            bucket = client.kv().bucket("b")
            await bucket.get("k")
            await bucket.put("k", 1)
            await bucket.get("k")
        assert server.connections == 1


@pytest.mark.parametrize(
    ("driver", "name"), [(sync_connections, "sync"), (async_transport, "async")]
)
async def test_a_connection_that_was_quiet_for_long_is_not_used_again(
    monkeypatch, driver, name
) -> None:
    monkeypatch.setattr(driver, "IDLE_SECONDS", 0.05)
    with scripted(GET, GET) as server:
        async with BOTH[name](server.url) as client:
            bucket = client.kv().bucket("b")
            await bucket.get("k")
            await asyncio.sleep(0.1)
            await bucket.get("k")
        assert server.connections == 2


async def test_https_by_an_authority_of_ones_own(make, tls, trust) -> None:
    with scripted(GET, tls=tls) as server:
        async with make(server.url, ssl_context=trust) as client:
            assert (await client.kv().bucket("b").get("k")).value == 1


async def test_a_certificate_that_is_not_trusted_is_refused_at_once(make, tls) -> None:
    with scripted(GET, tls=tls) as server:
        async with make(server.url) as client:
            with pytest.raises(UnavailableError, match="certificate") as caught:
                await client.kv().bucket("b").put("k", 1)
        assert not caught.value.retryable
        assert (server.connections, server.asked) == (1, [])


async def test_http_spoken_to_an_https_port_is_no_outcome_to_worry_about_on_a_read(
    make, tls
) -> None:
    with scripted(GET, tls=tls) as server:
        plain = server.url.replace("https", "http")
        async with make(plain, retry=Retry(attempts=1)) as client:
            with pytest.raises(UnavailableError):
                await client.kv().bucket("b").get("k")


def test_threads_share_a_client(http, bucket) -> None:
    with Client(http.url, max_connections=4) as client, ThreadPoolExecutor(16) as threads:
        opened = client.kv().bucket(bucket.name)

        def write_and_read(number: int) -> bool:
            opened.put(f"k{number}", number)
            return opened.get(f"k{number}").value == number

        assert all(threads.map(write_and_read, range(400)))


async def test_tasks_share_a_client(http, bucket) -> None:
    async with AsyncClient(http.url, max_connections=4) as client:
        opened = client.kv().bucket(bucket.name)

        async def write_and_read(number: int) -> bool:
            await opened.put(f"k{number}", number)
            return (await opened.get(f"k{number}")).value == number

        assert all(await asyncio.gather(*map(write_and_read, range(400))))


async def test_a_cancelled_call_leaves_no_answer_for_the_next_one(http, bucket) -> None:
    async with AsyncClient(http.url, max_connections=1) as client:
        opened = client.kv().bucket(bucket.name)
        for number in range(50):
            await opened.put(f"k{number}", number)
        for number in range(50):
            reading = asyncio.create_task(opened.get("k0"))
            for _ in range(number % 7):
                await asyncio.sleep(0)
            reading.cancel()
            assert (await opened.get(f"k{number}")).value == number
            await asyncio.gather(reading, return_exceptions=True)


FORKING = """
import os, sys
from jetkv import Client

opened = Client(sys.argv[1]).kv().bucket(sys.argv[2])
opened.put("k", "parent")
child = os.fork()
who = "parent" if child else "child"
for _ in range(100):
    opened.put(who, who)
    assert opened.get(who).value == who
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0)
"""


def test_a_forked_child_has_connections_of_its_own(http, bucket) -> None:
    # In a process of its own: one that has threads should not fork.
    done = subprocess.run(
        [sys.executable, "-c", FORKING, http.url, bucket.name],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert bucket.keys() == ["child", "k", "parent"]


async def test_closing_a_client_closes_its_connections(make) -> None:
    closed = []

    def answer_and_wait(connection) -> None:
        connection.sendall(GET)
        closed.append(connection.recv(1) == b"")

    with scripted(answer_and_wait) as server:
        async with make(server.url) as client:
            await client.kv().bucket("b").get("k")
            assert not closed
        await asyncio.to_thread(until, lambda: closed == [True], "the connection is closed")
