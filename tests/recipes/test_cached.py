"""Cached functions: computed once, kept, and never worse than the function alone."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from jetkv import AsyncClient, BucketNotFoundError, InvalidArgumentError, Retry, UnavailableError
from jetkv.recipes import cached
from tests.recipes.conftest import RACERS
from tests.support.waiting import soon, until


@dataclass
class Profile:
    name: str


class Source:
    """What is expensive: counts, and waits until it may go on."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, id: str) -> list[str]:
        self.asked.append(id)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return [id, str(len(self.asked))]


@pytest.fixture
def source() -> Source:
    return Source()


async def test_a_value_is_computed_once_and_kept(kv, bucket, source) -> None:
    @cached(kv.bucket(bucket.name))
    async def load(id: str) -> list[str]:
        return await source(id)

    assert await load("a") == ["a", "1"]
    assert await load("a") == ["a", "1"]
    assert await load("b") == ["b", "2"]
    assert source.asked == ["a", "b"]


async def test_another_client_finds_what_was_stored(kv, http, bucket, source) -> None:
    async def load(id: str) -> list[str]:
        return await source(id)

    async with AsyncClient(http.url) as other:
        await cached(kv.bucket(bucket.name))(load)("a")
        assert await cached(other.kv().bucket(bucket.name))(load)("a") == ["a", "1"]
    assert source.asked == ["a"]


async def test_eight_calls_at_once_share_one_computation(kv, bucket, source) -> None:
    load = cached(kv.bucket(bucket.name), key="{id}")(as_function(source))
    source.go.clear()
    asking = [asyncio.create_task(load("a")) for _ in range(RACERS)]
    await soon(lambda: source.asked, "one computes")
    source.go.set()
    values = await asyncio.gather(*asking)
    assert values == [["a", "1"]] * RACERS
    assert source.asked == ["a"]


def as_function(source: Source):
    async def load(id: str) -> list[str]:
        return await source(id)

    return load


async def test_all_waiting_calls_get_the_error_and_nothing_is_stored(kv, bucket, source) -> None:
    load = cached(kv.bucket(bucket.name))(as_function(source))
    source.go.clear()
    source.error = ZeroDivisionError()
    asking = [asyncio.create_task(load("a")) for _ in range(3)]
    await soon(lambda: source.asked, "one computes")
    source.go.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [ZeroDivisionError] * 3
    assert source.asked == ["a"]
    assert bucket.keys() == []


async def test_waiting_calls_go_on_when_the_computing_one_is_cancelled(kv, bucket, source) -> None:
    load = cached(kv.bucket(bucket.name))(as_function(source))
    source.go.clear()
    first = asyncio.create_task(load("a"))
    await soon(lambda: source.asked, "the first computes")
    second = asyncio.create_task(load("a"))
    await asyncio.sleep(0)
    first.cancel()
    await soon(lambda: len(source.asked) == 2, "the second computes")
    source.go.set()
    assert await second == ["a", "2"]
    assert first.cancelled()


async def test_what_one_caller_does_to_its_value_is_not_seen_by_another(kv, bucket, source) -> None:
    load = cached(kv.bucket(bucket.name))(as_function(source))
    source.go.clear()
    asking = [asyncio.create_task(load("a")) for _ in range(2)]
    await soon(lambda: source.asked, "one computes")
    source.go.set()
    one, other = await asyncio.gather(*asking)
    one.append("changed")
    assert other == ["a", "1"]


async def test_the_first_value_is_of_the_same_type_as_later_ones(kv, bucket) -> None:
    @cached(kv.bucket(bucket.name))
    async def pair() -> tuple[int, int]:
        return (1, 2)

    assert [await pair(), await pair()] == [[1, 2], [1, 2]]


async def test_a_typed_bucket_gives_its_type_back(kv, bucket) -> None:
    @cached(kv.bucket(bucket.name, Profile))
    async def profile(id: str) -> Profile:
        return Profile(f"user {id}")

    assert [await profile("7"), await profile("7")] == [Profile("user 7")] * 2


async def test_a_stored_value_that_does_not_fit_is_computed_and_replaced(kv, bucket) -> None:
    @cached(kv.bucket(bucket.name, Profile), key="p")
    async def profile() -> Profile:
        return Profile("ada")

    bucket.put("p", '{"nobody": 1}')
    assert await profile() == Profile("ada")
    assert bucket.get("p").value == b'{"name":"ada"}'


async def test_a_value_that_cannot_be_stored_is_a_mistake_that_is_said(kv, bucket) -> None:
    @cached(kv.bucket(bucket.name))
    async def thing() -> object:
        return object()

    with pytest.raises(InvalidArgumentError, match="cannot be stored"):
        await thing()


async def test_without_a_gateway_the_function_is_called_and_it_is_said_once(
    relay, relayed, bucket, source, words
) -> None:
    load = cached(relayed.bucket(bucket.name))(as_function(source))
    relay.cut()
    assert await load("a") == ["a", "1"]
    assert await load("a") == ["a", "2"]
    assert words.count("caches nothing now") == 1


async def test_without_a_gateway_the_error_comes_out_where_that_is_asked_for(
    relay, relayed, bucket, source
) -> None:
    load = cached(relayed.bucket(bucket.name), on_error="raise")(as_function(source))
    relay.cut()
    with pytest.raises(UnavailableError):
        await load("a")
    assert source.asked == []


async def test_without_a_bucket_the_function_is_called(kv, bucket_name, source) -> None:
    assert await cached(kv.bucket(bucket_name))(as_function(source))("a") == ["a", "1"]
    with pytest.raises(BucketNotFoundError):
        await cached(kv.bucket(bucket_name), on_error="raise")(as_function(source))("a")


async def test_an_invalidated_value_is_computed_again(kv, bucket, source) -> None:
    load = cached(kv.bucket(bucket.name))(as_function(source))
    await load("a")
    await load.invalidate("a")
    assert await load("a") == ["a", "2"]


async def test_what_is_computed_while_it_is_invalidated_is_not_kept(kv, bucket, source) -> None:
    load = cached(kv.bucket(bucket.name))(as_function(source))
    source.go.clear()
    asking = asyncio.create_task(load("a"))
    await soon(lambda: source.asked, "it computes")
    await load.invalidate("a")
    source.go.set()
    assert await asking == ["a", "1"]
    assert bucket.info()["values"] == 0
    assert await load("a") == ["a", "2"]


async def test_a_value_that_depends_on_itself_is_an_error(kv, bucket) -> None:
    @cached(kv.bucket(bucket.name))
    async def endless() -> int:
        return await endless() + 1

    with pytest.raises(RecursionError, match="depends on itself"):
        await endless()


async def test_the_function_keeps_its_name_and_can_be_had(kv, bucket, source) -> None:
    load = cached(kv.bucket(bucket.name))(as_function(source))
    assert load.__name__ == "load"
    assert await load.__wrapped__("a") == ["a", "1"]
    assert bucket.keys() == []


def test_threads_that_ask_at_once_share_one_computation(sync_kv, bucket) -> None:
    go = threading.Event()
    asked = []

    @cached(sync_kv.bucket(bucket.name))
    def load(id: str) -> list[str]:
        asked.append(id)
        assert go.wait(10)
        return [id]

    with ThreadPoolExecutor(RACERS) as pool:
        asking = [pool.submit(load, "a") for _ in range(RACERS)]
        until(lambda: asked, "one computes")
        go.set()
        assert [done.result(10) for done in asking] == [["a"]] * RACERS
    assert asked == ["a"]


def test_a_function_of_the_other_kind_is_refused(kv, sync_kv, bucket) -> None:
    def plain() -> int:
        return 1

    async def awaited() -> int:
        return 1

    with pytest.raises(InvalidArgumentError, match="is not an `async def`"):
        cached(kv.bucket(bucket.name))(plain)
    with pytest.raises(InvalidArgumentError, match="is an `async def`"):
        cached(sync_kv.bucket(bucket.name))(awaited)
    with pytest.raises(InvalidArgumentError, match="on_error"):
        cached(sync_kv.bucket(bucket.name), on_error="ignore")


async def test_a_warning_comes_again_after_it_has_worked(
    http, relay, bucket, source, words, monkeypatch
) -> None:
    # What cools down is not asked for a while; tests/recipes/test_cached_outage.py has that.
    monkeypatch.setattr("jetkv.recipes._outage.COOL_DOWN_SECONDS", 0.0)
    async with AsyncClient(relay.url, retry=Retry(attempts=1)) as client:
        load = cached(client.kv().bucket(bucket.name), key="{id}")(as_function(source))
        for id in "ab":
            relay.cut()
            await load(id)
            relay.mend()
            await load(id)
    assert words.count("caches nothing now") == 2
