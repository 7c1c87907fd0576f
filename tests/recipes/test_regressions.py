"""Recipes where buckets, names and owners are not as one would think."""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import aclosing

import pytest

from jetkv import AsyncClient, AsyncKV, Client, InvalidArgumentError
from jetkv.errors import LockTimeoutError
from jetkv.recipes import AsyncElection, AsyncFlags, AsyncLock, Flags, Lock, cached
from jetkv.recipes._async.release_watch import AsyncReleaseWatch
from tests.sdk.calls import ONCE
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.scripted import http as answer
from tests.support.scripted import scripted, silent
from tests.support.waiting import soon

MISSING = answer(
    404, '{"error":"key not found","code":"not_found","retryable":false,"request_id":"r"}'
)
GONE = b"HTTP/1.1 204 No Content\r\n\r\n"
ODD = ["a>b", ">", "a.>.b", "x*y", "jobs:", "a b/", "*"]


@pytest.fixture
def locks(make_bucket: Callable[..., Bucket]) -> Bucket:
    return make_bucket(ttl_seconds=30)


async def test_a_lock_goes_by_the_ttl_of_the_bucket_that_is_there_now(
    kv: AsyncKV, http: Http, locks: Bucket
) -> None:
    lock = AsyncLock(kv.bucket(locks.name), "job")
    await lock.acquire()
    await lock.release()
    http.delete(locks.path)
    http.post(BUCKETS, {"name": locks.name, "ttl_seconds": 1})
    async with lock:
        # For longer than the new TTL: only renewals by the new one keep it.
        with pytest.raises(LockTimeoutError):
            await AsyncLock(kv.bucket(locks.name), "job").acquire(timeout=1.6)
        assert lock.held


async def test_what_may_be_stored_after_all_is_forgotten_when_it_was_invalidated() -> None:
    lost = threading.Event()

    def lose(connection: socket.socket) -> None:
        lost.wait(20)
        connection.shutdown(socket.SHUT_RDWR)

    with scripted(MISSING, lose, GONE, GONE) as server:
        async with AsyncClient(server.url, retry=ONCE, timeout=10) as client:

            @cached(client.kv().bucket("b"), key="k")
            async def load() -> str:
                return "old"

            loading = asyncio.create_task(load())
            await soon(lambda: len(server.asked) == 2, "it is being stored")
            await load.invalidate()
            lost.set()
            assert await loading == "old"
    assert [asked.method for asked in server.asked] == ["GET", "PUT", "DELETE", "DELETE"]


def test_what_a_thread_may_have_stored_is_forgotten_when_it_was_invalidated() -> None:
    asked, lost = threading.Event(), threading.Event()

    def lose(connection: socket.socket) -> None:
        asked.set()
        lost.wait(20)
        connection.shutdown(socket.SHUT_RDWR)

    with (
        scripted(MISSING, lose, GONE, GONE) as server,
        Client(server.url, retry=ONCE, timeout=10) as client,
    ):

        @cached(client.kv().bucket("b"), key="k")
        def load() -> str:
            return "old"

        loading = threading.Thread(target=load)
        loading.start()
        assert asked.wait(10)
        load.invalidate()
        lost.set()
        loading.join(10)
        assert not loading.is_alive()
    assert [asked.method for asked in server.asked] == ["GET", "PUT", "DELETE", "DELETE"]


@pytest.mark.parametrize("name", ODD)
async def test_an_election_of_any_name_can_be_observed(kv, locks: Bucket, name: str) -> None:
    bucket = kv.bucket(locks.name)
    seen: list[str | None] = []
    async with (
        asyncio.timeout(10),
        AsyncElection(bucket, name, "ada") as election,
        aclosing(election.observe()) as observed,
    ):
        async for leader in observed:
            seen.append(leader)
            if leader is None:
                break
            await election.resign()
    assert seen == ["ada", None]


@pytest.mark.parametrize("name", ODD)
async def test_an_election_observes_no_other_name(kv, locks: Bucket, name: str) -> None:
    bucket = kv.bucket(locks.name)
    async with asyncio.timeout(10), AsyncElection(bucket, name, "ada") as election:
        for other in ("a", "a.b", "jobs:1", "xzy", "a b/c", "a.c.b"):
            await bucket.put(other, {"holder": "eve"})
        async with aclosing(election.observe()) as observed:
            assert await anext(observed) == "ada"


@pytest.mark.parametrize("name", ODD)
async def test_a_waiter_is_woken_whatever_the_name_of_the_lock(
    kv, locks: Bucket, name: str
) -> None:
    bucket = kv.bucket(locks.name)
    await bucket.put(name, {})
    bell = AsyncReleaseWatch(bucket, name)
    try:
        # It rings once when it stands.
        await bell.wait(10)
        waiting = asyncio.create_task(bell.wait(60))
        await bucket.delete(name)
        async with asyncio.timeout(10):
            await waiting
    finally:
        await bell.aclose()


async def test_a_start_of_flags_that_is_cancelled_leaves_nothing_running() -> None:
    closed = threading.Event()

    def watched(connection: socket.socket) -> None:
        silent(connection)
        closed.set()

    with scripted(watched) as server:
        async with AsyncClient(server.url) as client:
            flags = AsyncFlags(client.kv().bucket("flags"))
            starting = asyncio.create_task(flags.start())
            await soon(lambda: server.asked, "it has begun")
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            assert [task for task in asyncio.all_tasks() if "flags" in task.get_name()] == []
            await soon(closed.is_set, "its connection is closed")


async def test_a_recipe_says_which_kind_of_bucket_it_takes(kv, sync_kv, bucket: Bucket) -> None:
    for recipe, given in ((Lock, kv), (AsyncLock, sync_kv)):
        with pytest.raises(InvalidArgumentError, match=f"{recipe.__name__} takes an? .*Bucket"):
            recipe(given.bucket(bucket.name), "job")


def test_a_start_of_flags_that_is_interrupted_leaves_no_thread(monkeypatch) -> None:
    with scripted(silent) as server, Client(server.url) as client:
        flags = Flags(client.kv().bucket("flags"))

        def interrupted(timeout: float | None = None) -> bool:
            raise KeyboardInterrupt

        monkeypatch.setattr(flags._first_attempt_done, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            flags.start()
        assert [t.name for t in threading.enumerate() if "flags" in t.name] == []
