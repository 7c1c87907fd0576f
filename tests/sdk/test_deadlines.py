"""Both clients' deadlines: of the whole call, wherever the time goes."""

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

import pytest

from jetkv import (
    AsyncClient,
    DeadlineExceededError,
    JetKVError,
    OutcomeUnknownError,
    Retry,
    UnavailableError,
)
from jetkv._async import transport as async_transport
from jetkv._sync import transport as sync_transport
from tests.sdk.calls import INFO, ONCE
from tests.sdk.test_retry import GET, PUT, UNKNOWN
from tests.support.clients import MakeClient
from tests.support.scripted import (
    Step,
    deaf,
    http,
    scripted,
    silent,
    trickling,
    unreachable,
)
from tests.support.waiting import soon

T = TypeVar("T")

SOON = 0.2
GUARD = 4.0
"""Seconds after which a call that should have given up has not."""

HEAD, BODY = GET.partition(b"\r\n\r\n")[::2]

SLOW: dict[str, Step] = {
    "says nothing": silent,
    "trickles the head": trickling(HEAD + b"\r\n", b"X: y\r\n"),
    "trickles the body": trickling(http(200, b" " * 90_000)[:-90_000], b" "),
    "trickles chunks": trickling(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n",
    ),
    "trickles interim answers": trickling(b"", b"HTTP/1.1 102 Wait\r\n\r\n"),
}

every_slowness = pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)


async def in_time(call: Awaitable[T]) -> T:
    async with asyncio.timeout(GUARD):
        return await call


async def error_in_time(call: Awaitable[Any]) -> JetKVError:
    with pytest.raises(JetKVError) as caught:
        await in_time(call)
    return caught.value


def impatient(make: MakeClient, url: str, **options: Any) -> Any:
    return make(url, timeout=SOON, retry=ONCE, **options)


@every_slowness
async def test_a_read_ends_with_its_deadline_whatever_comes(make, slow: Step) -> None:
    with scripted(slow) as server:
        async with impatient(make, server.url) as client:
            error = await error_in_time(client.kv().bucket("b").get("k"))
    assert type(error) is DeadlineExceededError


@pytest.mark.parametrize(
    "slow", [SLOW["says nothing"], SLOW["trickles the body"]], ids=["silent", "trickling"]
)
async def test_a_write_ends_with_its_deadline_and_is_unknown(make, slow: Step) -> None:
    with scripted(slow) as server:
        async with impatient(make, server.url) as client:
            error = await error_in_time(client.kv().bucket("b").put("k", 1))
    assert type(error) is OutcomeUnknownError


async def test_what_only_waited_for_a_connection_was_not_sent(make) -> None:
    go = threading.Event()

    def later(connection: socket.socket) -> None:
        go.wait(30)
        connection.sendall(PUT)

    with scripted(later) as server:
        async with make(server.url, timeout=30, retry=ONCE, max_connections=1) as client:
            bucket = client.kv().bucket("b")
            first = asyncio.create_task(bucket.put("k1", 1))
            try:
                await soon(lambda: server.asked, "the first call is running")
                getattr(client, "_target", client)._endpoint.timeout = SOON
                error = await error_in_time(bucket.put("k2", 1))
            finally:
                go.set()
            assert await first == 7
    assert type(error) is UnavailableError
    assert len(server.asked) == 1


async def test_a_tls_handshake_that_hangs_ends_with_the_deadline_and_nothing_was_sent(make) -> None:
    with deaf() as port:
        async with impatient(make, f"https://127.0.0.1:{port}") as client:
            error = await error_in_time(client.kv().bucket("b").put("k", 1))
    assert type(error) is UnavailableError


async def test_a_tls_handshake_that_breaks_is_tried_again(make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        closed: list[int] = []

        def close_all() -> None:
            for number in range(3):
                listener.accept()[0].close()
                closed.append(number)

        closing = threading.Thread(target=close_all, daemon=True)
        closing.start()
        retry = Retry(attempts=3, first_delay=0.001)
        async with make(f"https://127.0.0.1:{port}", timeout=5, retry=retry) as client:
            error = await error_in_time(client.kv().bucket("b").put("k", 1))
        await asyncio.to_thread(closing.join, 5)
    assert (type(error), closed) == (UnavailableError, [0, 1, 2])


async def test_a_connection_that_is_neither_made_nor_refused_ends_with_the_deadline(make) -> None:
    with unreachable() as port:
        async with impatient(make, f"http://127.0.0.1:{port}") as client:
            error = await error_in_time(client.kv().bucket("b").put("k", 1))
    assert type(error) is UnavailableError


@pytest.mark.parametrize("waits_for", ["an answer to the handshake", "a free connection"])
async def test_a_loop_that_is_busy_when_the_deadline_comes_makes_no_call_unknown(
    waits_for: str,
) -> None:
    def be_busy() -> None:
        time.sleep(0.3)

    with ExitStack() as stack:
        if waits_for == "a free connection":
            url, most = stack.enter_context(scripted(silent)).url, 1
        else:
            url, most = f"http://127.0.0.1:{stack.enter_context(unreachable())}", 2
        async with AsyncClient(url, timeout=30, retry=ONCE, max_connections=most) as client:
            bucket = client.kv().bucket("b")
            first = asyncio.create_task(bucket.put("k1", 1))
            await asyncio.sleep(0)
            client._endpoint.timeout = 0.4
            # From before the time for a connection is over until after the deadline.
            asyncio.get_running_loop().call_later(0.2, be_busy)
            error = await error_in_time(bucket.put("k2", 1))
            first.cancel()
            with suppress(asyncio.CancelledError):
                await first
    assert type(error) is UnavailableError


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let `many.invalid` have these addresses, each of the port that is asked for."""
    real = socket.getaddrinfo

    def say(*addresses: str) -> None:
        def found(host: Any, port: Any, *args: Any, **kwargs: Any) -> list[Any]:
            if host != "many.invalid":
                return real(host, port, *args, **kwargs)
            kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [(*kind, (address, int(port or 0))) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", found)

    return say


DEAD = [f"127.0.0.{number}" for number in range(2, 14)]


async def test_addresses_that_do_not_answer_share_one_deadline(make, resolve) -> None:
    resolve(*DEAD)
    with ExitStack() as stack:
        port = stack.enter_context(unreachable(DEAD[0]))
        for address in DEAD[1:]:
            stack.enter_context(unreachable(address, port))
        async with make(f"http://many.invalid:{port}", timeout=0.4, retry=ONCE, proxy="") as client:
            error = await error_in_time(client.kv().bucket("b").put("k", 1))
    assert type(error) is UnavailableError


async def test_the_last_address_is_tried_where_the_others_do_not_answer(make, resolve) -> None:
    resolve(*DEAD[:2], "127.0.0.1")
    with scripted(GET) as server:
        port = int(server.url.rpartition(":")[2])
        with unreachable(DEAD[0], port), unreachable(DEAD[1], port):
            async with make(f"http://many.invalid:{port}", timeout=0.6, proxy="") as client:
                assert (await in_time(client.kv().bucket("b").get("k"))).key == "k"


async def test_the_next_address_is_tried_where_one_refuses(make, resolve) -> None:
    resolve(*DEAD[:3], "127.0.0.1")
    with scripted(GET) as server:
        url = server.url.replace("127.0.0.1", "many.invalid")
        async with make(url, timeout=5, retry=ONCE, proxy="") as client:
            assert (await in_time(client.kv().bucket("b").get("k"))).key == "k"


REFUSED = b"HTTP/1.1 403 No\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n"


async def test_a_watch_that_is_refused_without_an_end_gives_up(make, monkeypatch) -> None:
    for driver in (sync_transport, async_transport):
        monkeypatch.setattr(driver, "REFUSAL_SECONDS", SOON)
    with scripted(INFO, trickling(REFUSED, b"x")) as server:
        async with make(server.url, retry=ONCE) as client:
            error = await error_in_time(anext(client.kv().bucket("b").watch()))
    assert type(error) in (DeadlineExceededError, UnavailableError)


async def test_a_watch_reads_no_refusal_of_any_size(make, monkeypatch) -> None:
    for driver in (sync_transport, async_transport):
        monkeypatch.setattr(driver, "REFUSAL_SECONDS", 30)
        monkeypatch.setattr(driver, "MAX_SMALL_ANSWER_BYTES", 1000)
    with scripted(INFO, trickling(REFUSED, b"x" * 100)) as server:
        async with make(server.url, retry=ONCE) as client:
            error = await error_in_time(anext(client.kv().bucket("b").watch()))
    assert "more than 1,000 bytes" in str(error)


async def test_asking_what_the_gateway_honours_counts(make) -> None:
    honours = http(200, '{"features":["kv","watch","idempotency"]}')
    over = threading.Event()

    def late(connection: socket.socket) -> None:
        over.wait(0.55)
        connection.sendall(honours)

    retry = Retry(attempts=4, first_delay=0.35, longest_delay=0.35)
    with scripted(UNKNOWN, late, PUT) as server:
        async with make(server.url, timeout=0.7, retry=retry) as client:
            error = await error_in_time(client.kv().bucket("b").put("k", 1))
    assert type(error) is OutcomeUnknownError
    assert [asked.method for asked in server.asked] == ["PUT", "GET"]
