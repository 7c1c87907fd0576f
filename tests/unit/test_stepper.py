"""A request runs without a Task while it waits for replies alone, and as one from there on."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

import pytest

from jetkv_gateway.serving.stepper import Stepper
from jetkv_gateway.stepping import WAITS_FOR_ROOM, Pending, deadline

_name: ContextVar[str] = ContextVar("name", default="nobody's")


class Run:
    """A coroutine that is stepped from a callback of the event loop, as the front does it."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self.tasks: set[Any] = set()
        self.ends = 0
        self.stalls = 0
        self.steps = Stepper()
        self.steps.context, self.steps.owner = Context(), self
        self.steps.coroutine, self.steps.tasks = coroutine, self.tasks

    def on_done(self, of: Stepper) -> None:
        assert of is self.steps
        self.ends += 1

    def on_stall(self, of: Stepper) -> None:
        assert of is self.steps
        self.stalls += 1

    async def begin(self) -> None:
        await call_back(self.steps.step)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what ends here has no event
            await asyncio.sleep(0)


async def call_back(what: Any) -> None:
    done = asyncio.get_running_loop().create_future()

    def call() -> None:
        what()
        done.set_result(None)

    asyncio.get_running_loop().call_soon(call)
    await done


@pytest.fixture
def reply() -> Pending[str]:
    return Pending()


async def test_a_reply_resumes_it_at_once_and_no_task_is_made(reply: Pending[str]) -> None:
    seen: list[object] = []

    async def work() -> None:
        seen.append(asyncio.current_task())
        seen.append(await reply)
        seen.append(asyncio.current_task())

    run = Run(work())
    await run.begin()
    assert (seen, run.tasks) == ([None], {run.steps}), "the server waits for it when it stops"
    await call_back(lambda: reply.end("here"))
    assert (seen, run.tasks) == ([None, "here", None], set())


async def test_one_that_waits_for_something_else_goes_on_in_a_task(reply: Pending[str]) -> None:
    seen: list[object] = []

    async def work() -> None:
        await asyncio.sleep(0.01)
        seen.append(asyncio.current_task() is not None)
        seen.append(await reply)

    run = Run(work())
    await run.begin()
    (task,) = run.tasks
    assert isinstance(task, asyncio.Task)
    await eventually(lambda: seen == [True])
    await call_back(lambda: reply.end("here"))
    await task
    await eventually(lambda: run.ends == 1)
    assert (seen, run.tasks) == ([True, "here"], set())


async def test_one_that_waits_for_others_says_so_and_goes_on_without_a_task(
    reply: Pending[str],
) -> None:
    seen: list[object] = []

    async def work() -> None:
        await WAITS_FOR_ROOM
        seen.append(asyncio.current_task())
        seen.append(await reply)

    run = Run(work())
    await run.begin()
    assert (run.stalls, seen) == (1, [None])
    await call_back(lambda: reply.end("here"))
    assert (seen, run.stalls, run.ends) == ([None, "here"], 1, 1)


async def test_one_that_waits_for_a_reply_or_a_moment_keeps_its_place(reply: Pending[str]) -> None:
    async def work() -> None:
        await reply
        async with deadline(5):
            await asyncio.sleep(0)

    run = Run(work())
    await run.begin()
    await call_back(lambda: reply.end("here"))
    await eventually(lambda: run.ends == 1)
    assert run.stalls == 0


async def test_a_deadline_works_behind_a_reply(reply: Pending[str]) -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append(await reply)
        try:
            async with deadline(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append("late")

    run = Run(work())
    await run.begin()
    await call_back(lambda: reply.end("here"))
    (task,) = run.tasks
    await task
    assert seen == ["here", "late"]


async def test_an_error_of_what_it_waits_for_comes_out_in_it(reply: Pending[str]) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await reply
        except OverflowError:
            seen.append("told")

    run = Run(work())
    await run.begin()
    await call_back(lambda: reply.fail(OverflowError()))
    assert (seen, run.ends, run.tasks) == (["told"], 1, set())


@pytest.mark.parametrize("in_task", [False, True])
async def test_a_stop_cancels_it_wherever_it_waits(reply: Pending[str], in_task: bool) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            if in_task:
                await asyncio.Event().wait()
            await reply
        except asyncio.CancelledError:
            seen.append("cancelled")

    run = Run(work())
    await run.begin()
    for task in list(run.tasks):
        await call_back(task.cancel)
    await eventually(lambda: not run.tasks)
    assert (seen, reply.done) == (["cancelled"], not in_task)


async def test_all_of_it_runs_in_its_own_context(reply: Pending[str]) -> None:
    seen: list[str] = []

    async def work() -> None:
        seen.append(_name.get())
        _name.set("its own")
        await reply
        seen.append(_name.get())
        await asyncio.sleep(0)
        seen.append(_name.get())

    run = Run(work())
    await run.begin()
    await call_back(lambda: reply.end("here"))
    await eventually(lambda: len(seen) == 3)
    assert (seen, _name.get()) == (["nobody's", "its own", "its own"], "nobody's")


@pytest.mark.parametrize("behind", [False, True])
async def test_what_it_does_not_handle_ends_it_and_nothing_else(
    reply: Pending[str], behind: bool
) -> None:
    async def work() -> None:
        if behind:
            await reply
        raise SystemExit

    run = Run(work())
    await run.begin()
    if behind:
        await call_back(lambda: reply.end("here"))
    assert (run.ends, run.tasks) == (1, set())


async def test_one_that_waits_for_another_reply_while_it_is_cancelled_gets_it(
    reply: Pending[str],
) -> None:
    seen: list[str] = []
    never: Pending[str] = Pending()

    async def work() -> None:
        try:
            await never
        finally:
            seen.append(await reply)

    run = Run(work())
    await run.begin()
    await call_back(run.steps.cancel)
    assert seen == []
    await call_back(lambda: reply.end("a last word"))
    await eventually(lambda: run.ends == 1)
    assert seen == ["a last word"]
