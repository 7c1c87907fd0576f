"""How the workers of a gateway share its connections out, seen by their clients."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from jetkv.testing import LocalNats
from tests.cli.conftest import START_SECONDS, Process
from tests.cli.workers import both_serve
from tests.support.http import Http
from tests.support.raw import Wire
from tests.support.waiting import until

pytestmark = pytest.mark.long

CONNECTIONS = 64
MOST = CONNECTIONS * 60 // 100
STARVED = 2
"""Rounds in which a worker may be away from the processor for so long that the other one has more:
the machine has other things to do."""


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, nats: LocalNats
) -> Iterator[tuple[Process, Http]]:
    log = tmp_path_factory.mktemp("balance") / "log"
    arguments = ["--auth", "off", "--nats-url", nats.url, "--port", "0", "--workers", "2"]
    process = Process(["serve", *arguments], log, {})
    try:
        process.wait_for("serves http://", START_SECONDS)
        http = process.http()
        both_serve(process, http)
        yield process, http
    finally:
        process.stop()


def worker_of(wire: Wire) -> str:
    """Ask who serves a connection: a worker's request ids begin alike."""
    answer = wire.request("GET", "/health")
    assert answer.status == 200
    return answer.headers["x-request-id"].partition("-")[0]


@contextmanager
def connections(http: Http, number: int) -> Iterator[list[Wire]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Wire(http)) for _ in range(number)]


def is_even(wires: Iterable[Wire]) -> bool:
    return max(Counter(worker_of(wire) for wire in wires).values()) <= MOST


def test_two_workers_share_the_connections_of_a_burst(gateway: tuple[Process, Http]) -> None:
    _, http = gateway
    bursts = []
    for _ in range(20):
        with connections(http, CONNECTIONS) as wires:
            bursts.append(is_even(wires))
    assert bursts.count(False) <= STARVED, bursts


def test_two_workers_share_connections_that_come_one_by_one(gateway: tuple[Process, Http]) -> None:
    _, http = gateway
    rounds = []
    for _ in range(10):
        with ExitStack() as stack:
            rounds.append(is_even(stack.enter_context(Wire(http)) for _ in range(CONNECTIONS)))
    assert rounds.count(False) <= STARVED, rounds


def test_connections_that_come_after_others_have_gone_even_the_shares_out(
    gateway: tuple[Process, Http],
) -> None:
    _, http = gateway
    with connections(http, CONNECTIONS) as wires:
        of = {wire: worker_of(wire) for wire in wires}
        gone = of[wires[0]]
        kept = [wire for wire in wires if of[wire] != gone]
        for wire in wires:
            if of[wire] == gone:
                wire.__exit__()

        def are_evened_out() -> bool:
            # Its worker sees that they have gone once it has its turn on the processor.
            with connections(http, CONNECTIONS - len(kept)) as more:
                return is_even([*kept, *more])

        until(are_evened_out, "the shares are even")


def test_connections_are_served_while_a_worker_hangs_and_shared_once_it_goes_on(
    gateway: tuple[Process, Http],
) -> None:
    process, http = gateway
    hung, _ = both_serve(process, http)
    os.kill(hung, signal.SIGSTOP)
    try:
        with connections(http, CONNECTIONS) as wires:
            assert len({worker_of(wire) for wire in wires}) == 1
    finally:
        os.kill(hung, signal.SIGCONT)

    def is_shared() -> bool:
        with connections(http, CONNECTIONS) as wires:
            return is_even(wires)

    until(is_shared, "both have their shares again")


def test_connections_are_served_while_a_worker_is_replaced_and_shared_with_the_next(
    start: Callable[..., Process], nats: LocalNats
) -> None:
    process = start(
        "serve", "--auth", "off", "--nats-url", nats.url, "--port", "0", "--workers", "2"
    )
    http = process.http()
    killed, other = both_serve(process, http)
    os.kill(killed, signal.SIGKILL)
    with connections(http, CONNECTIONS) as wires:
        assert all(worker_of(wire) for wire in wires)
    assert other in both_serve(process, http)

    def is_shared() -> bool:
        with connections(http, CONNECTIONS) as wires:
            return is_even(wires)

    until(is_shared, "the next has its share")
    assert process.stop() == 0
    assert "Traceback" not in process.output
