"""The calls of a client, and what a call that has to fail is asked for."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from jetkv import JetKVError, Retry
from jetkv._core.messages import TransportError
from tests.support.clients import MakeClient
from tests.support.scripted import http


async def take(watch: Any, count: int) -> list[Any]:
    """Return the next updates of a watch."""
    async with asyncio.timeout(10):
        return [await anext(watch) for _ in range(count)]


async def first_of(watch: Any) -> Any:
    """Open a watch for its first update."""
    async with asyncio.timeout(10), watch:
        return await anext(watch)


Call = Callable[[Any], Any]

READS: dict[str, Call] = {
    "buckets": lambda client: client.kv().buckets(),
    "bucket_info": lambda client: client.kv().bucket_info("b"),
    "plan_bucket": lambda client: client.kv().plan_bucket("b", history=5),
    "get": lambda client: client.kv().bucket("b").get("k"),
    "get_or_none": lambda client: client.kv().bucket("b").get_or_none("k"),
    "exists": lambda client: client.kv().bucket("b").exists("k"),
    "keys": lambda client: client.kv().bucket("b").keys(),
    "history": lambda client: client.kv().bucket("b").history("k"),
    "watch": lambda client: first_of(client.kv().bucket("b").watch()),
    "modify": lambda client: client.kv().bucket("b").modify("k", lambda value: 1),
    "get_or_compute": lambda client: client.kv().bucket("b").get_or_compute("k", lambda: 1),
}
"""Calls that begin with a read."""

WRITES: dict[str, Call] = {
    "create_bucket": lambda client: client.kv().create_bucket("b"),
    "ensure_bucket": lambda client: client.kv().ensure_bucket("b", history=5),
    "delete_bucket": lambda client: client.kv().delete_bucket("b"),
    "put": lambda client: client.kv().bucket("b").put("k", 1),
    "create": lambda client: client.kv().bucket("b").create("k", 1),
    "update": lambda client: client.kv().bucket("b").update("k", 1, 7),
    "touch": lambda client: client.kv().bucket("b").touch("k", 60),
    "delete": lambda client: client.kv().bucket("b").delete("k"),
    "purge": lambda client: client.kv().bucket("b").purge("k"),
}
CALLS = READS | WRITES

every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
every_read = pytest.mark.parametrize("call", READS.values(), ids=READS)
every_write = pytest.mark.parametrize("call", WRITES.values(), ids=WRITES)
some_calls = pytest.mark.parametrize(
    "call", [READS["get"], WRITES["put"], READS["watch"]], ids=["get", "put", "watch"]
)

ONCE = Retry(attempts=1)

INFO = http(
    200,
    '{"name":"b","values":0,"bytes":0,"history":1,"created_at":"2026-11-25T10:00:00Z",'
    '"storage":"file","replicas":1,"expiry_markers":false}',
)
"""The description of a bucket, which a watch asks for first."""


async def refused(call: Any, kind: type[JetKVError], *said: str) -> Any:
    """Return the error of a call: it is exactly of that kind, and its text has what it is about."""
    with pytest.raises(JetKVError) as caught:
        await call
    assert type(caught.value) is kind, repr(caught.value)
    for part in said:
        assert part in str(caught.value)
    return caught.value


async def refused_by(make: MakeClient, url: str, call: Call, kind: Any, *said: str) -> Any:
    """Return the error of a call to a server, asked once."""
    async with make(url, retry=ONCE, timeout=5) as client:
        return await refused(call(client), kind, *said)


def root_of(error: BaseException) -> BaseException:
    """Return what an error was at first."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def is_of_the_transport(error: BaseException) -> bool:
    """Whether it is a library's, or the driver's where the library's would say too much."""
    return type(error).__module__.split(".")[0] != "jetkv" or isinstance(error, TransportError)
