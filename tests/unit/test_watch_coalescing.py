"""CoalescedLookups at a bucket that many watches share."""

import asyncio
import gc
import traceback

import pytest

from jetkv_gateway.kv.errors import Unavailable
from jetkv_gateway.kv.store import NewestRevision
from jetkv_gateway.watch.shared import SharedChanges
from tests.support.changes import Unasked


class Asked(Unasked):
    """A bucket's changes, whose looks end when the test says so."""

    def __init__(self) -> None:
        self.looks: list[asyncio.Future[NewestRevision | None]] = []

    async def newest(self, bucket: str) -> NewestRevision | None:
        look = asyncio.get_running_loop().create_future()
        self.looks.append(look)
        return await look

    async def begun(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.looks) < count:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0)


def ask(
    shared: SharedChanges, count: int, bucket: str = "b"
) -> list[asyncio.Task[NewestRevision | None]]:
    return [asyncio.create_task(shared.newest(bucket)) for _ in range(count)]


def revision(number: int) -> NewestRevision:
    return NewestRevision(number, "k")


async def test_watches_that_ask_at_the_same_time_share_a_look() -> None:
    asked = Asked()
    callers = ask(SharedChanges(asked), 100)
    await asked.begun(1)
    asked.looks[0].set_result(revision(7))
    assert set(await asyncio.gather(*callers)) == {revision(7)}
    assert len(asked.looks) == 1


async def test_a_watch_that_asks_later_never_gets_an_earlier_look() -> None:
    asked = Asked()
    shared = SharedChanges(asked)
    first = ask(shared, 3)
    await asked.begun(1)
    later = ask(shared, 3)
    await asyncio.sleep(0)
    asked.looks[0].set_result(revision(1))
    assert set(await asyncio.gather(*first)) == {revision(1)}
    await asked.begun(2)
    asked.looks[1].set_result(revision(2))
    assert set(await asyncio.gather(*later)) == {revision(2)}
    assert len(asked.looks) == 2


async def test_a_look_that_gets_no_answer_does_not_keep_the_next_one() -> None:
    asked = Asked()
    shared = SharedChanges(asked)
    stuck = ask(shared, 1)
    await asked.begun(1)
    later = ask(shared, 2)
    await asked.begun(2)
    asked.looks[1].set_result(revision(2))
    assert set(await asyncio.gather(*later)) == {revision(2)}
    assert not stuck[0].done()
    stuck[0].cancel()
    await asyncio.wait(stuck)


async def test_buckets_have_looks_of_their_own() -> None:
    asked = Asked()
    shared = SharedChanges(asked)
    callers = [*ask(shared, 2, "one"), *ask(shared, 2, "other")]
    await asked.begun(2)
    for number, look in enumerate(asked.looks):
        look.set_result(revision(number))
    found = await asyncio.gather(*callers)
    assert found == [revision(0), revision(0), revision(1), revision(1)]


async def test_a_look_goes_on_until_the_last_who_waits_for_it_has_left() -> None:
    asked = Asked()
    callers = ask(SharedChanges(asked), 3)
    await asked.begun(1)
    for gone in callers[:2]:
        gone.cancel()
        await asyncio.wait({gone})
    assert not asked.looks[0].cancelled()
    callers[2].cancel()
    await asyncio.wait(callers)
    assert asked.looks[0].cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_watch_that_leaves_before_a_look_has_begun_leaves_nothing_behind() -> None:
    asked = Asked()
    shared = SharedChanges(asked)
    first = ask(shared, 1)
    await asked.begun(1)
    later = ask(shared, 1)
    await asyncio.sleep(0)
    later[0].cancel()
    await asyncio.wait(later)
    assert len(asked.looks) == 1
    again = ask(shared, 1)
    asked.looks[0].set_result(revision(1))
    await asked.begun(2)
    asked.looks[1].set_result(revision(2))
    assert await asyncio.gather(*first, *again) == [revision(1), revision(2)]


async def test_an_error_comes_to_all_each_with_places_of_its_own() -> None:
    asked = Asked()
    callers = ask(SharedChanges(asked), 50)
    await asked.begun(1)
    asked.looks[0].set_exception(Unavailable("away"))
    found = await asyncio.gather(*callers, return_exceptions=True)
    assert {str(error) for error in found} == {"away"}
    depths = {len(traceback.extract_tb(error.__traceback__)) for error in found}
    assert max(depths) < 5, "it collects the places of all who got it"


class Failing(Asked):
    async def newest(self, bucket: str) -> NewestRevision | None:
        await asyncio.sleep(0)
        raise Unavailable("away")


async def test_an_error_leaves_nothing_to_the_cyclic_collector() -> None:
    shared = SharedChanges(Failing())

    async def fail() -> None:
        try:
            await shared.newest("b")
        except Unavailable:
            return
        pytest.fail("it was raised nowhere")

    await fail()
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await fail()
        gc.collect()
        left = [type(each).__name__ for each in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left == []
