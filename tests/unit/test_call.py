"""What takes long is done for a client only while it is there."""

import asyncio

import pytest

from jetkv_gateway.http.call import Call, ClientGone
from tests.support.dead_request import DeadRequest


def call(gone: asyncio.Event | None = None) -> Call:
    """One whose client leaves when it is `gone`."""
    link = DeadRequest()
    link.leaving = gone or link.leaving
    return Call(link)


async def test_what_a_client_waits_for_is_returned() -> None:
    assert await call().run_while_connected(asyncio.sleep(0, "done")) == "done"


async def test_an_error_of_the_work_comes_out() -> None:
    async def work() -> None:
        raise OverflowError

    with pytest.raises(OverflowError):
        await call().run_while_connected(work())


async def test_the_work_is_cancelled_and_cleaned_up_when_the_client_goes() -> None:
    gone, cleaned = asyncio.Event(), []

    async def work() -> None:
        gone.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            cleaned.append(True)

    with pytest.raises(ClientGone):
        await call(gone).run_while_connected(work())
    assert cleaned == [True]


async def test_a_caller_that_is_cancelled_cancels_the_work_too() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    waiting = asyncio.create_task(call().run_while_connected(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()
