"""Attacks at a small scale: what attackers get, that others are served, and what memory it takes.

`make attacks` has them in full, with times; here no time is asserted, and the bounds of memory have
a margin.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tests.attacks import answers, comeback
from tests.attacks.answers import LargeAnswers
from tests.attacks.attackers import Attacker, Tally
from tests.attacks.bodies import LARGE, HalfSent
from tests.attacks.callers import Callers
from tests.attacks.filters import Globs
from tests.attacks.frames import FLOODS, Floods
from tests.attacks.handshakes import KINDS, Handshakes
from tests.attacks.heads import Heads
from tests.attacks.idle import Idle
from tests.attacks.probe import Probe, Seen
from tests.attacks.stand import GREEDY_RATE, KEYS, Stand, stand
from tests.support.waiting import until

pytestmark = pytest.mark.long

MEBIBYTE = 1024 * 1024
SECONDS = 1.5


@pytest.fixture(scope="module")
def attacked() -> Iterator[Stand]:
    """A nats-server and a gateway, each a process of its own."""
    with stand() as made:
        made.put("probe", b"v")
        yield made


def attack(on: Stand, attacker: Attacker, seconds: float = SECONDS) -> tuple[Tally, Seen, int]:
    """Attack; return what the attacker got, what others saw, and by how much memory grew."""

    async def both() -> tuple[Tally, Seen]:
        probe = Probe(on.port, KEYS, on.tls is not None, on.token)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(probe.watch(seconds))
            tally = await attacker.attack(seconds)
            probe.stop()
        return tally, watching.result()

    on.forget_peak()
    before = on.resident_bytes()
    tally, seen = asyncio.run(both())
    return tally, seen, on.peak_bytes() - before


def assert_served(seen: Seen) -> None:
    assert set(seen.get.outcomes) == {"200"}
    assert set(seen.health.outcomes) == {"200"}
    assert set(seen.put.outcomes) == {"200"}


@pytest.mark.parametrize("kind", ["line", "lines", "endless"])
def test_a_head_that_is_too_large_is_431_and_others_are_served(attacked: Stand, kind: str) -> None:
    tally, seen, grown = attack(attacked, Heads(attacked.port, 0, 1, kind=kind, at_once=5))
    assert "431" in tally.outcomes
    # A client that still sends when the gateway closes may see a reset instead of the answer.
    assert set(tally.outcomes) <= {"431", "reset"}
    assert_served(seen)
    assert grown < 48 * MEBIBYTE


@pytest.mark.parametrize("kind", list(FLOODS))
def test_beside_a_watcher_that_sends_without_end_others_are_served(
    attacked: Stand, kind: str
) -> None:
    tally, seen, grown = attack(attacked, Floods(attacked.port, 0, 1, kind=kind))
    assert tally.outcomes["101"]
    assert_served(seen)
    assert grown < 24 * MEBIBYTE


def test_half_sent_puts_of_a_few_bytes_hold_no_place(attacked: Stand) -> None:
    tally, seen, grown = attack(attacked, HalfSent(attacked.port, 0, 1, count=400, size=10))
    assert tally.notes["open at once"] == 400
    assert_served(seen)
    assert grown < 96 * MEBIBYTE


def test_half_sent_large_puts_are_held_up_to_the_limit_alone_and_others_are_served() -> None:
    with stand(environment={"JETKV_MAX_HELD_BYTES": str(8 * MEBIBYTE)}) as attacked:
        attacked.put("probe", b"v")
        for seconds in (SECONDS, 2 * SECONDS, 4 * SECONDS, 8 * SECONDS):
            half_sent = HalfSent(attacked.port, 0, 1, count=300, size=LARGE)
            tally, seen, grown = attack(attacked, half_sent, seconds)
            assert_served(seen)
            assert grown < 48 * MEBIBYTE
            if tally.outcomes["429"]:
                break  # on a busy machine it takes a while to send so much
        else:
            pytest.fail("none was refused")


def test_more_silent_connections_than_descriptors_do_not_keep_others_out() -> None:
    with stand(descriptors=128) as attacked, ExitStack() as stack:
        for _ in range(200):
            silent = socket.create_connection(("127.0.0.1", attacked.port), timeout=10)
            stack.enter_context(silent)

        def serves() -> bool:
            # A client that was closed before it could ask comes back, as every client does.
            try:
                return attacked.is_well() and attacked.put("k", b"v") > 0
            except OSError:
                return False

        until(serves, "others are served beside 200 silent connections")


def test_an_idle_connection_takes_little_memory(attacked: Stand) -> None:
    tally, seen, grown = attack(attacked, Idle(attacked.port, 0, 1, count=1_000, served=True))
    assert tally.outcomes["stood"] == 1_000
    assert_served(seen)
    assert grown < 1_000 * 16 * 1024


def test_large_answers_that_nobody_reads_leave_all_others_served() -> None:
    with stand() as attacked:
        attacked.put("probe", b"v")
        answers.fill(attacked, histories=2)
        make = partial(LargeAnswers, read=True, gets=40, histories=2)
        tally, seen, grown = attack(attacked, make(attacked.port, 0, 1))
        assert {name for name in tally.outcomes if name.startswith(("GET", "PUT"))} == {
            "GET: 200",
            "PUT: 200",
        }
        assert_served(seen)
        assert grown < 96 * MEBIBYTE
        assert attacked.slow_consumers() == 0
        assert attacked.reconnects() == 0


def test_watches_with_costly_filters_leave_others_served(attacked: Stand) -> None:
    tally, seen, _ = attack(attacked, Globs(attacked.port, 0, 1, count=100))
    assert tally.notes["watches asked for"] >= 100
    assert set(tally.outcomes) <= {"200", "400", "429", "PUT: 200"}
    assert_served(seen)


def test_watches_that_all_come_back_after_a_restart_are_all_caught_up() -> None:
    with stand() as attacked:
        attacked.put("probe", b"v")
        owed = comeback.change(attacked)
        attacked.stop_gateway()
        attacked.start_gateway()
        watches = comeback.Watches(attacked.port, 0, 1, count=300)
        asyncio.run(watches.prepare(owed))
        tally, seen, _ = attack(attacked, watches, seconds=comeback.CAUGHT_UP_SECONDS)
        assert tally.outcomes["caught up"] == 300
        assert_served(seen)


@pytest.fixture(scope="module")
def encrypted() -> Iterator[Stand]:
    """A gateway with a certificate."""
    with stand(tls=True) as made:
        made.put("probe", b"v")
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_handshakes_take_nothing_from_others(encrypted: Stand, kind: str) -> None:
    at_once = 1_000 if kind == "silent" else 20
    tally, seen, grown = attack(
        encrypted, Handshakes(encrypted.port, 0, 1, kind=kind, at_once=at_once)
    )
    assert tally.outcomes.total() > 0
    assert_served(seen)
    assert grown < 96 * MEBIBYTE


@pytest.mark.parametrize("greedy", [False, True], ids=["wrong tokens", "one over its rate"])
def test_callers_that_are_refused_take_nothing_from_others(greedy: bool) -> None:
    with stand(tokens=True, environment={"JETKV_LIMIT_LOOPBACK": "true"}) as guarded:
        guarded.put("probe", b"v")
        tally, seen, grown = attack(guarded, Callers(guarded.port, 0, 1, greedy=greedy))
        assert_served(seen)
        if greedy:
            assert tally.outcomes["200"] <= GREEDY_RATE * (SECONDS + 2)
        else:
            assert set(tally.outcomes) <= {"401", "429"}
        assert grown < 48 * MEBIBYTE
