"""Waiting for one thing, in a Task and without one."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from jetkv_gateway.stepping import Pending
from tests.support.stepping import Stepped, in_a_callback


class _Thing(Pending[int]):
    __slots__ = ("times_forgotten",)

    def __init__(self) -> None:
        super().__init__()
        self.times_forgotten = 0

    def forgotten(self) -> None:
        self.times_forgotten += 1


class _Broken(Exception):
    pass


async def _value_of(thing: Awaitable[int]) -> int:
    return await thing


async def _both(pair: tuple[_Thing, _Thing]) -> int:
    return await pair[0] + await pair[1]


async def test_a_stepped_coroutine_goes_on_in_the_very_call_that_ends_its_wait() -> None:
    pair = _Thing(), _Thing()
    stepped = await in_a_callback(lambda: Stepped(_both(pair)))
    assert not stepped.over

    def end_both() -> list[bool]:
        pair[0].end(1)
        between = stepped.over
        pair[1].end(2)
        return [between, stepped.over]

    assert await in_a_callback(end_both) == [False, True]
    assert stepped.value == 3


async def test_a_task_goes_on_in_a_turn_of_its_own() -> None:
    pair = _Thing(), _Thing()
    task = asyncio.create_task(_both(pair))
    await asyncio.sleep(0)
    pair[0].end(1)
    pair[1].end(2)
    assert not task.done()
    assert await task == 3


@pytest.mark.parametrize("how", ["task", "stepped"])
async def test_what_has_ended_is_not_waited_for(how: str) -> None:
    thing = _Thing()
    thing.end(1)
    thing.end(2)
    thing.fail(_Broken())
    if how == "task":
        assert await thing == 1
    else:
        stepped = await in_a_callback(lambda: Stepped(_value_of(thing)))
        assert stepped.value == 1


@pytest.mark.parametrize("how", ["task", "stepped"])
async def test_an_error_is_raised_where_it_is_awaited_and_leaves_no_cycle(how: str) -> None:
    thing = _Thing()
    gone: list[weakref.ref[_Broken]] = []

    async def wait() -> None:
        try:
            await thing
        except _Broken as error:
            gone.append(weakref.ref(error))

    gc.disable()
    try:
        if how == "task":
            task = asyncio.create_task(wait())
            await asyncio.sleep(0)
            thing.fail(_Broken())
            await task
        else:
            await in_a_callback(lambda: Stepped(wait()))
            await in_a_callback(lambda: thing.fail(_Broken()))
        assert [reference() for reference in gone] == [None]
    finally:
        gc.enable()


async def test_a_cancelled_task_forgets_what_it_waits_for() -> None:
    thing = _Thing()
    task = asyncio.create_task(_value_of(thing))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (thing.times_forgotten, thing.done) == (1, True)
    thing.end(1)
    thing.fail(_Broken())


@pytest.mark.parametrize("leave", ["close", "throw"])
async def test_a_stepped_coroutine_that_is_ended_forgets_what_it_waits_for(leave: str) -> None:
    thing = _Thing()

    def end_it() -> None:
        coroutine = _value_of(thing)
        coroutine.send(None)
        if leave == "close":
            coroutine.close()
        else:
            with pytest.raises(asyncio.CancelledError):
                coroutine.throw(asyncio.CancelledError())

    await in_a_callback(end_it)
    assert (thing.times_forgotten, thing.done, thing.resume) == (1, True, None)
    thing.end(1)


async def test_a_task_that_is_cancelled_when_its_wait_has_ended_has_nothing_to_forget() -> None:
    thing = _Thing()
    task = asyncio.create_task(_value_of(thing))
    await asyncio.sleep(0)
    thing.end(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert thing.times_forgotten == 0


@pytest.mark.parametrize("act", [lambda thing: thing.end(1), lambda thing: thing.fail(_Broken())])
async def test_what_ends_after_a_cancellation_in_the_same_turn_disturbs_nobody(
    act: Callable[[_Thing], None],
) -> None:
    thing = _Thing()
    task = asyncio.create_task(_value_of(thing))
    await asyncio.sleep(0)
    task.cancel()
    act(thing)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_deadline_of_asyncio_holds_in_a_task() -> None:
    thing = _Thing()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await thing
    assert thing.times_forgotten == 1


async def _adopt(coroutine: Coroutine[Any, Any, int], pending: Pending[Any]) -> int:
    """Go on in this Task with a coroutine that waits where it was stepped to."""

    class Waited:
        def __await__(self):
            yield pending
            try:
                while True:
                    yield coroutine.send(None)
            except StopIteration as end:
                return end.value

    return await Waited()


@pytest.mark.parametrize("ended", ["before", "after"])
async def test_a_coroutine_that_waits_can_become_a_task(ended: str) -> None:
    pair = _Thing(), _Thing()
    coroutine = _both(pair)
    waited_for = await in_a_callback(lambda: coroutine.send(None))
    assert waited_for is pair[0]
    if ended == "before":
        await in_a_callback(lambda: pair[0].end(1))
    task = asyncio.create_task(_adopt(coroutine, waited_for))
    await asyncio.sleep(0)
    for number, thing in enumerate(pair, 1):
        thing.end(number)
        await asyncio.sleep(0)
    assert await task == 3


@pytest.mark.parametrize("act", [lambda thing: thing.end(1), lambda thing: thing.fail(_Broken())])
async def test_nothing_is_called_where_nobody_waits(act: Callable[[_Thing], None]) -> None:
    thing = _Thing()
    act(thing)
    assert thing.done
