"""Processes that take part in a benchmark: each runs one object, whose methods are called here."""

import asyncio
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import uvloop

# Forked, a child would carry a copy of all that the parent holds open.
CONTEXT = multiprocessing.get_context("spawn")

_ANSWER_SECONDS = 120.0


class Child:
    """An object in a process of its own; one call of it at a time."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def call(self, method: str, **arguments: Any) -> Any:
        self.start(method, **arguments)
        return self.result()

    def start(self, method: str, **arguments: Any) -> None:
        """Call a method without waiting for it; `result` comes next."""
        self._pipe.send((method, arguments))

    def result(self) -> Any:
        """Wait for what the method returns.

        Raises:
            TimeoutError: as the method did.
            RuntimeError: for anything else that it raised.
        """
        if not self._pipe.poll(_ANSWER_SECONDS):
            raise RuntimeError("a process of the benchmark does not answer")
        error, result = self._pipe.recv()
        if error is not None:
            raise error
        return result


@contextmanager
def child(make: Callable[..., Any], *arguments: Any) -> Iterator[Child]:
    """Run `make(*arguments)` in a process, on uvloop, until the block ends."""
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_run, args=(theirs, make, arguments), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Child(ours)
    finally:
        ours.close()
        process.join(5)
        if process.is_alive():
            process.kill()
            process.join()


def _run(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(pipe, make, arguments))


async def _serve(pipe: Connection, make: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    target = make(*arguments)
    loop = asyncio.get_running_loop()
    while True:
        try:
            method, given = await loop.run_in_executor(None, pipe.recv)
        except EOFError:
            return
        try:
            answer = None, await getattr(target, method)(**given)
        except TimeoutError as error:
            answer = TimeoutError(*error.args), None
        except Exception:  # noqa: BLE001 - raised again by `Child.result`
            answer = RuntimeError(traceback.format_exc()), None
        pipe.send(answer)


async def until(condition: Callable[[], bool], what: str, timeout: float) -> None:
    """Wait for a condition that nothing tells of."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(0.001)
