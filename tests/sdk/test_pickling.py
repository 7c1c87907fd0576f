"""What belongs to one process says so when it is to travel to another; what can travel does."""

import copy
import multiprocessing
import pickle
from typing import Any

import pytest

from jetkv import AsyncClient, Client, InvalidArgumentError
from jetkv.recipes import (
    AsyncCommandDedup,
    AsyncCounter,
    AsyncElection,
    AsyncFlags,
    AsyncLock,
    AsyncSessions,
    CommandDedup,
    Counter,
    Election,
    Flags,
    Lock,
    Sessions,
    cached,
)

URL = "http://localhost:1"
client = Client(URL, token="secret")
bucket = client.kv().bucket("b")
other_client = AsyncClient(URL, token="secret")
other = other_client.kv().bucket("b")


@cached(bucket)
def double(number: int) -> int:
    return 2 * number


@cached(other)
async def triple(number: int) -> int:
    return 3 * number


HANDLES: dict[str, Any] = {
    "Client": client,
    "KV": client.kv(),
    "Bucket": bucket,
    "Watch": bucket.watch(),
    "AsyncClient": other_client,
    "AsyncKV": other_client.kv(),
    "AsyncBucket": other,
    "Lock": Lock(bucket, "k"),
    "Election": Election(bucket, "k", "me"),
    "Flags": Flags(bucket),
    "Counter": Counter(bucket, "k"),
    "Sessions": Sessions(bucket),
    "CommandDedup": CommandDedup(bucket),
}
ASYNC_HANDLES: dict[str, Any] = {
    "AsyncWatch": lambda: other.watch(),
    "AsyncLock": lambda: AsyncLock(other, "k"),
    "AsyncElection": lambda: AsyncElection(other, "k", "me"),
    "AsyncFlags": lambda: AsyncFlags(other),
    "AsyncCounter": lambda: AsyncCounter(other, "k"),
    "AsyncSessions": lambda: AsyncSessions(other),
    "AsyncCommandDedup": lambda: AsyncCommandDedup(other),
}


def says_what_to_do(handle: Any, name: str) -> None:
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            travel(handle)
        assert str(caught.value).startswith(f"{name} belongs to the process that made it")
        assert "make a client in each process" in str(caught.value)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", HANDLES)
def test_a_handle_that_is_pickled_says_what_to_do(name: str) -> None:
    says_what_to_do(HANDLES[name], name)


@pytest.mark.parametrize("name", ASYNC_HANDLES)
async def test_an_async_handle_that_is_pickled_says_what_to_do(name: str) -> None:
    says_what_to_do(ASYNC_HANDLES[name](), name)


def test_a_spawned_process_that_is_given_a_client_is_not_begun() -> None:
    process = multiprocessing.get_context("spawn").Process(target=print, args=(client,))
    with pytest.raises(TypeError, match="make a client in each process"):
        process.start()


@pytest.mark.parametrize("fn", [double, triple], ids=["sync", "async"])
def test_a_cached_function_travels_by_its_name_as_any_function_does(fn: Any) -> None:
    assert pickle.loads(pickle.dumps(fn)) is fn
    assert copy.deepcopy(fn) is fn


def test_cached_without_parentheses_is_refused_where_it_stands() -> None:
    with pytest.raises(InvalidArgumentError, match=r"takes a bucket.*with parentheses"):

        @cached  # type: ignore[call-overload]
        def wrong() -> int:
            return 1


@pytest.mark.parametrize("wrong", [None, "cache", client, client.kv()])
def test_cached_of_something_else_is_refused_where_it_stands(wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="takes a bucket"):
        cached(wrong)
