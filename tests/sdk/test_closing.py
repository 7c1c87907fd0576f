"""Closing a watch or a client ends what waits on it, wherever it waits; both clients."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from jetkv import AsyncClient, Client, ClientClosedError, JetKVError, OutcomeUnknownError
from jetkv._async import transport as async_transport
from jetkv._core.address import Address
from jetkv._sync import transport as sync_transport
from jetkv._sync.connections import Connections
from jetkv._sync.streams import Call
from tests.sdk.calls import INFO
from tests.sdk.test_retry import GET
from tests.support.scripted import Scripted, after, deaf, http, scripted, silent, unreachable
from tests.support.waiting import soon, until

GUARD = 4.0
"""Seconds after which what was closed has not ended."""

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nid: 7\n\n"
BROKEN = EVENTS.replace(b"\r\n\r\n", b"\r\nConnection: close\r\nContent-Length: 7\r\n\r\n")
REFUSED = b"HTTP/1.1 403 No\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<p>"
PAGE = http(503, "<p>", "Retry-After: 2", kind="text/html")

SCRIPTS = {
    "the description": (silent,),
    "the head": (INFO, silent),
    "events": (INFO, after(EVENTS)),
    "the rest of a refusal": (INFO, after(REFUSED)),
    "a first answer again": (PAGE,),
    "the next connection": (INFO, BROKEN, PAGE),
}
"""What a watch waits for: each script is used up once it does."""


@contextmanager
def waiting_for(what: str) -> Iterator[tuple[str, Any]]:
    """Yield an address, and what tells whether a watch there waits for that by now."""
    with ExitStack() as stack:
        if what == "a connection":
            yield f"http://127.0.0.1:{stack.enter_context(unreachable())}", stream_of
        elif what == "a handshake":
            yield f"https://127.0.0.1:{stack.enter_context(deaf())}", stream_of
        else:
            steps = SCRIPTS[what]
            server: Scripted = stack.enter_context(scripted(*steps))
            yield server.url, lambda watch: len(server.asked) == len(steps)


WHERE = ["a handshake", *SCRIPTS]
everywhere = pytest.mark.parametrize("where", WHERE)


def stream_of(watch: Any) -> Any:
    return getattr(watch, "_target", watch)._reader.connected


@everywhere
async def test_a_closed_watch_ends_its_loop_wherever_it_waits(make, where: str) -> None:
    with waiting_for(where) as (url, reached):
        async with make(url) as client:
            watch = client.kv().bucket("b").watch(snapshot=True)
            reading = asyncio.create_task(everything(watch))
            await soon(lambda: reached(watch), f"it waits for {where}")
            await watch.aclose()
            assert await ended(reading) == []


async def test_a_closed_async_watch_ends_its_loop_while_it_connects() -> None:
    with waiting_for("a connection") as (url, reached):
        async with AsyncClient(url) as client:
            watch = client.kv().bucket("b").watch(snapshot=True)
            reading = asyncio.create_task(everything(watch))
            await soon(lambda: reached(watch), "it connects")
            await watch.aclose()
            assert await ended(reading) == []


@everywhere
async def test_a_closed_client_ends_its_watch_wherever_it_waits(make, where: str) -> None:
    with waiting_for(where) as (url, reached):
        client = make(url)
        watch = client.kv().bucket("b").watch(snapshot=True)
        reading = asyncio.create_task(everything(watch))
        await soon(lambda: reached(watch), f"it waits for {where}")
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await ended(reading)


async def ended(task: asyncio.Task[Any]) -> Any:
    """Return what a task comes to; a cancellation for being late could be taken for its end."""
    done, _ = await asyncio.wait({task}, timeout=GUARD)
    task.cancel()
    assert done, f"{task.get_coro()} goes on"
    return task.result()


async def everything(watch: Any) -> list[Any]:
    return [update async for update in watch]


@everywhere
async def test_a_watch_that_is_closed_before_it_begins_asks_for_nothing(make, where: str) -> None:
    with waiting_for(where) as (url, _):
        async with make(url) as client:
            watch = client.kv().bucket("b").watch(snapshot=True)
            await watch.aclose()
            async with asyncio.timeout(GUARD):
                assert await everything(watch) == []


async def test_a_watch_that_waits_for_its_snapshot_says_that_it_was_closed(make) -> None:
    with scripted(*SCRIPTS["events"]) as server:
        async with make(server.url) as client:
            watch = client.kv().bucket("b").watch(snapshot=True)
            reading = asyncio.create_task(watch.snapshot())
            await soon(lambda: len(server.asked) == 2, "it waits for its snapshot")
            await watch.aclose()
            with pytest.raises(ClientClosedError):
                await ended(reading)


async def test_a_closed_client_ends_a_read_that_waits(make) -> None:
    with scripted(silent) as server:
        client = make(server.url)
        reading = asyncio.create_task(client.kv().bucket("b").get("k"))
        await soon(lambda: server.asked, "it waits for an answer")
        await client.aclose()
        with pytest.raises(JetKVError):
            await ended(reading)


async def test_a_closed_client_ends_a_write_that_waits_and_is_unknown(make) -> None:
    with scripted(silent) as server:
        client = make(server.url)
        writing = asyncio.create_task(client.kv().bucket("b").put("k", 1))
        await soon(lambda: server.asked, "it waits for an answer")
        await client.aclose()
        with pytest.raises(OutcomeUnknownError):
            await ended(writing)
    assert len(server.asked) == 1


async def test_a_call_that_waits_for_a_connection_fails_when_the_client_is_closed(make) -> None:
    with scripted(silent) as server:
        client = make(server.url, max_connections=1)
        bucket = client.kv().bucket("b")
        first = asyncio.create_task(bucket.put("k1", 1))
        await soon(lambda: server.asked, "the first call is running")
        second = asyncio.create_task(bucket.put("k2", 1))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await ended(second)
        with pytest.raises(OutcomeUnknownError):
            await ended(first)
    assert len(server.asked) == 1


def test_every_call_knows_that_its_client_is_closed_before_one_ends() -> None:
    """The call that ends first would else lend its connection to one that still waits."""
    connections = Connections(Address("http", "127.0.0.1", 1), 1)
    calls: list[Call] = []
    known: list[bool] = []

    class Ending(Call):
        def abort(self) -> None:
            known.extend(call.aborted for call in calls)
            super().abort()

    calls += [Ending(1), Ending(1)]
    connections.running.update(calls)
    connections.close()
    assert known == [True] * 4


async def test_closing_an_async_client_cancels_no_task() -> None:
    with scripted(silent) as server:
        client = AsyncClient(server.url, max_connections=1)
        bucket = client.kv().bucket("b")
        async with asyncio.timeout(GUARD):
            tasks = [asyncio.create_task(bucket.put(key, 1)) for key in "abc"]
            await soon(lambda: server.asked, "the first call is running")
            await client.aclose()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.cancelled() for task in tasks] == [False] * 3
    assert all(isinstance(error, JetKVError) for error in ended), ended


@pytest.mark.parametrize("number", [0, 1], ids=["sent", "waits for a connection"])
async def test_a_call_that_its_owner_cancels_is_cancelled(number: int) -> None:
    with scripted(silent) as server:
        async with AsyncClient(server.url, max_connections=1) as client:
            bucket = client.kv().bucket("b")
            tasks = [asyncio.create_task(bucket.put(key, 1)) for key in "ab"]
            await soon(lambda: server.asked, "the first call is running")
            tasks[number].cancel()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(GUARD):
                    await tasks[number]
            tasks[1 - number].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("what", ["the description", "the head", "events"])
async def test_a_step_of_a_watch_that_its_owner_cancels_is_cancelled(what: str) -> None:
    with scripted(*SCRIPTS[what]) as server:
        async with AsyncClient(server.url) as client:
            step = asyncio.create_task(anext(client.kv().bucket("b").watch(snapshot=True)))
            await soon(lambda: len(server.asked) == len(SCRIPTS[what]), f"it waits for {what}")
            step.cancel()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(GUARD):
                    await step


def test_first_calls_of_many_threads_end_with_the_client() -> None:
    with scripted(*[silent] * 8) as server:
        client = Client(server.url)
        bucket = client.kv().bucket("b")
        start = threading.Barrier(8)

        def read() -> None:
            start.wait(GUARD)
            list(bucket.watch(snapshot=True))

        threads = [threading.Thread(target=ended_by_closing, args=(read,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(lambda: len(server.asked) == 8, "all of them wait")
        client.close()
        for thread in threads:
            thread.join(GUARD)
        assert [thread.is_alive() for thread in threads] == [False] * 8


def ended_by_closing(work: Any) -> None:
    with pytest.raises(ClientClosedError):
        work()


async def test_a_closed_client_makes_no_more_calls(make) -> None:
    with scripted(GET) as server:
        client = make(server.url)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await client.kv().bucket("b").get("k")
    assert server.connections == 0


async def test_a_task_that_is_cancelled_while_its_watch_is_closed_is_cancelled() -> None:
    with scripted(INFO, silent) as server:
        async with AsyncClient(server.url) as client:
            watch = client.kv().bucket("b").watch(snapshot=True)
            reading = asyncio.create_task(everything(watch))
            await soon(lambda: len(server.asked) == 2, "the watch waits for the head")
            await watch.aclose()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading


def test_a_signal_handler_may_close_a_watch_that_its_own_thread_is_at() -> None:
    with scripted(INFO, silent) as server, Client(server.url) as client:
        watch = client.kv().bucket("b").watch(snapshot=True)
        closed = threading.Event()

        transport = client._endpoint.transport

        def close_from_within() -> None:
            watch._reader._stream = stream = transport.stream()
            with stream._guard, transport._connections.lock:
                watch.close()
                client.close()
            closed.set()

        thread = threading.Thread(target=close_from_within, daemon=True)
        thread.start()
        assert closed.wait(5)


def test_a_call_that_begins_as_its_client_closes_sends_nothing(monkeypatch) -> None:
    with scripted(silent) as server:
        client = Client(server.url)

        class Closing(sync_transport.Call):
            def __init__(self, *seconds: float) -> None:
                super().__init__(*seconds)
                client.close()

        monkeypatch.setattr(sync_transport, "Call", Closing)
        with pytest.raises(ClientClosedError):
            client.kv().bucket("b").put("k", 1)
    assert server.asked == []


async def test_a_watch_that_is_closed_as_its_answer_begins_ends(monkeypatch) -> None:
    with scripted(INFO, after(REFUSED)) as server:
        async with AsyncClient(server.url) as client:
            watch = client.kv().bucket("b").watch(snapshot=True)
            send = async_transport.Stream._send

            def close() -> None:
                watch._reader.close()

            async def closing(stream: Any, *rest: Any) -> Any:
                response = await send(stream, *rest)
                if len(server.asked) == 2:
                    # It is there, and nobody has it yet.
                    asyncio.get_running_loop().call_soon(close)
                return response

            monkeypatch.setattr(async_transport.Stream, "_send", closing)
            assert await ended(asyncio.create_task(everything(watch))) == []
