"""Eight clients at once, each in a thread, with every recipe."""

import threading
from contextlib import suppress
from dataclasses import dataclass

import pytest

from jetkv import LockTimeoutError
from jetkv.recipes import CommandDedup, Counter, Election, Flags, Lock, Sessions, cached
from tests.recipes.conftest import RACERS
from tests.support.waiting import until

ROUNDS = 5


@dataclass
class Cart:
    items: int = 0


@pytest.fixture
def lasting(make_bucket) -> str:
    return make_bucket(ttl_seconds=60).name


class Inside:
    """Notices when two are inside at once."""

    def __init__(self) -> None:
        self.now = 0
        self.together = 0
        self.fencing: list[int] = []

    def enter(self, fencing: int) -> None:
        self.now += 1
        self.together = max(self.together, self.now)
        self.fencing.append(fencing)

    def leave(self) -> None:
        self.now -= 1


def test_no_addition_of_eight_is_lost_and_no_total_comes_twice(race, sync_kv, bucket) -> None:
    def add(kv, number: int) -> list[int]:
        counter = Counter(kv.bucket(bucket.name), "views")
        return [counter.add() for _ in range(ROUNDS)]

    totals = [total for found in race(add) for total in found]
    assert sorted(totals) == list(range(1, RACERS * ROUNDS + 1))
    assert Counter(sync_kv.bucket(bucket.name), "views").value() == RACERS * ROUNDS


def test_what_is_added_is_in_one_reset_or_the_rest(race, sync_kv, bucket) -> None:
    def add_and_reset(kv, number: int) -> int:
        counter = Counter(kv.bucket(bucket.name), "views")
        if number % 2:
            return counter.reset()
        for _ in range(ROUNDS):
            counter.add()
        return 0

    taken = sum(race(add_and_reset))
    left = Counter(sync_kv.bucket(bucket.name), "views").value()
    assert taken + left == RACERS // 2 * ROUNDS


def test_of_eight_only_one_at_a_time_holds_the_lock(race, lasting) -> None:
    inside = Inside()

    def work(kv, number: int) -> None:
        for _ in range(2):
            with Lock(kv.bucket(lasting), "x", timeout=30) as lock:
                inside.enter(lock.fencing)
                kv.bucket(lasting).put(f"work.{number}", 1)
                lock.check()
                inside.leave()

    race(work)
    assert inside.together == 1
    assert len(inside.fencing) == RACERS * 2
    assert inside.fencing == sorted(set(inside.fencing))


def test_of_eight_candidates_one_leads_and_all_know_which(race, lasting) -> None:
    decided = threading.Barrier(RACERS, timeout=20)
    told = threading.Barrier(RACERS, timeout=20)

    def campaign(kv, number: int) -> tuple[bool, str | None]:
        election = Election(kv.bucket(lasting), "boss", f"candidate {number}")
        with suppress(LockTimeoutError):
            election.campaign(timeout=0)
        won = election.is_leader
        decided.wait()
        leader = election.leader()
        told.wait()
        election.resign()
        return won, leader

    outcomes = race(campaign)
    (winner,) = [number for number, (won, _) in enumerate(outcomes) if won]
    assert {leader for _, leader in outcomes} == {f"candidate {winner}"}


def test_of_eight_candidates_each_leads_in_its_turn(race, lasting) -> None:
    inside = Inside()

    def lead(kv, number: int) -> None:
        election = Election(kv.bucket(lasting), "boss", f"candidate {number}")
        election.campaign(timeout=30)
        inside.enter(election.term)
        election.check()
        inside.leave()
        election.resign()

    race(lead)
    assert inside.together == 1
    assert inside.fencing == sorted(set(inside.fencing))
    assert len(inside.fencing) == RACERS


def test_of_eight_claims_one_wins_and_all_get_its_result(race, lasting) -> None:
    def claim(kv, number: int) -> tuple[bool, object]:
        dedup = CommandDedup(kv.bucket(lasting))
        mine = dedup.claim("c")
        if mine.won:
            dedup.finalize(mine, number)
            return True, number
        found = []
        until(lambda: (later := dedup.claim("c")).done and found.append(later.result) is None, "it")
        return False, found[0]

    outcomes = race(claim)
    (winner,) = [number for number, (won, _) in enumerate(outcomes) if won]
    assert {result for _, result in outcomes} == {winner}


def test_a_command_that_is_released_by_each_is_won_by_each(race, lasting) -> None:
    def claim_and_release(kv, number: int) -> None:
        dedup = CommandDedup(kv.bucket(lasting))
        claims = []
        until(lambda: (mine := dedup.claim("c")).won and claims.append(mine) is None, "it is won")
        dedup.release(claims[0])

    race(claim_and_release)


def test_eight_updates_of_one_session_at_once_all_count(race, sync_kv, lasting) -> None:
    sessions = Sessions(sync_kv.bucket(lasting, Cart))
    id = sessions.start(Cart())

    def fill(kv, number: int) -> None:
        mine = Sessions(kv.bucket(lasting, Cart))
        for _ in range(ROUNDS):
            assert mine.touch(id)
            assert mine.update(id, lambda cart: Cart(cart.items + 1)) is not None

    race(fill)
    assert sessions.get(id) == Cart(RACERS * ROUNDS)


def test_a_session_that_one_of_eight_ends_stays_ended(race, sync_kv, lasting) -> None:
    sessions = Sessions(sync_kv.bucket(lasting))
    id = sessions.start({})

    def use(kv, number: int) -> None:
        mine = Sessions(kv.bucket(lasting))
        if number == 0:
            mine.end(id)
            return
        until(lambda: not (mine.touch(id) and mine.update(id, lambda data: data)), "it ended")

    race(use)
    assert sessions.get(id) is None


def test_eight_clients_that_cache_agree_on_the_value_that_was_stored(race, sync_kv, bucket) -> None:
    def ask(kv, number: int) -> tuple[int, int]:
        @cached(kv.bucket(bucket.name), key="answer")
        def answer() -> int:
            return number

        first = answer()
        return first, answer()

    race(ask)
    stored = sync_kv.bucket(bucket.name).get("answer").value

    def ask_again(kv, number: int) -> int:
        return cached(kv.bucket(bucket.name), key="answer")(lambda: -1)()

    assert race(ask_again) == [stored] * RACERS


def test_eight_readers_see_the_flags_of_eight_writers(race, bucket) -> None:
    def write_and_read(kv, number: int) -> list[bool]:
        values = kv.bucket(bucket.name)
        with Flags(values) as flags:
            values.put(f"flag.{number}", True)
            names = [f"flag.{other}" for other in range(RACERS)]
            until(lambda: all(flags.enabled(name) for name in names), "all flags are on")
            return [flags.enabled(name) for name in names]

    assert race(write_and_read) == [[True] * RACERS] * RACERS
