"""Clients of the shared gateway, and a relay to it that can be cut."""

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, TypeVar

import pytest

from jetkv import KV, AsyncClient, AsyncKV, Client, Retry
from tests.recipes.relay import Relay, relay_to
from tests.support.http import Http

T = TypeVar("T")

RACERS = 8
Race = Callable[[Callable[[KV, int], T]], list[T]]


@pytest.fixture
async def kv(http: Http) -> AsyncIterator[AsyncKV]:
    async with AsyncClient(http.url) as client:
        yield client.kv()


@pytest.fixture
def sync_kv(http: Http) -> Iterator[KV]:
    with Client(http.url) as client:
        yield client.kv()


@pytest.fixture
def relay(http: Http) -> Iterator[Relay]:
    with relay_to(http) as relay:
        yield relay


@pytest.fixture
async def relayed(relay: Relay) -> AsyncIterator[AsyncKV]:
    """A client on the relay, which gives up soon."""
    retry = Retry(attempts=2, first_delay=0.01, longest_delay=0.05)
    async with AsyncClient(relay.url, timeout=2, retry=retry) as client:
        yield client.kv()


class Words(logging.Filter):
    """What was logged, whatever the gateway in this process makes of its parents' loggers.

    A filter, since a gateway that starts while it listens takes away handlers; one with
    `log_level="info"` lets through what is no warning.
    """

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.levels: list[tuple[str, str]] = []

    def filter(self, record: logging.LogRecord) -> bool:
        self.said.append(record.getMessage())
        self.levels.append((record.levelname, record.getMessage()))
        return True

    def count(self, words: str) -> int:
        return sum(words in text for text in self.said)

    def at(self, level: str) -> list[str]:
        """Return what was said at a level."""
        return [text for name, text in self.levels if name == level]


@pytest.fixture
def words() -> Iterator[Words]:
    logger = logging.getLogger("jetkv.recipes")
    level = logger.level
    heard = Words()
    logger.addFilter(heard)
    logger.setLevel(logging.INFO)
    yield heard
    logger.setLevel(level)
    logger.removeFilter(heard)


@pytest.fixture
def race(http: Http) -> Iterator[Race[Any]]:
    """Run a function at once in eight threads, each with a client of its own."""
    with ExitStack() as clients, ThreadPoolExecutor(RACERS) as pool:
        kvs = [clients.enter_context(Client(http.url)).kv() for _ in range(RACERS)]

        def run(work: Callable[[KV, int], Any]) -> list[Any]:
            start = threading.Barrier(RACERS, timeout=10)

            def racer(number: int) -> Any:
                start.wait()
                return work(kvs[number], number)

            return [done.result(60) for done in [pool.submit(racer, n) for n in range(RACERS)]]

        yield run
