"""The checks themselves: they accept what is right, and find what was made wrong on purpose.

A history is made by letting clients work on a register that is right; the search for an order is
held against trying out every order, on histories short enough for that.
"""

import base64
import itertools
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.cluster.availability import breaches_of_availability
from tests.cluster.checks import (
    DEADLINE,
    breaches,
    breaches_of_answers,
    breaches_of_deadlines,
    breaches_of_durability,
    breaches_of_effects,
    breaches_of_linearizability,
    breaches_of_watches,
)
from tests.cluster.history import (
    SECOND,
    Attempt,
    History,
    Kind,
    Operation,
    Sample,
    Strike,
    load,
    save,
)
from tests.cluster.model import ABSENT, FOREVER, KeyHistory, State, linearize, steps
from tests.watch.promises import SILENCE, Chain, Session, Stored, Update

KINDS: list[Kind] = ["put", "create", "cas", "delete", "get"]


class Register:
    """One bucket that does everything right, and remembers it all."""

    def __init__(self) -> None:
        self.revision = 0
        self.updates: dict[int, Update] = {}
        self.keys: dict[str, tuple[int, str | None]] = {}

    def apply(self, op: Operation) -> Operation:
        """Let an operation take effect now, and return it with its answer."""
        revision, value = self.keys.get(op.key, (0, None))
        match op.kind:
            case "get" if value is None:
                return replace(op, status=404)
            case "get":
                return replace(op, revision=revision, read=value)
            case "create" if value is not None:
                return replace(op, outcome="conflict", status=412, revision=revision)
            case "cas" if op.expected != revision:
                return replace(op, outcome="conflict", status=412, revision=revision or None)
            case "delete" | "purge" if value is None:
                return replace(op, status=204)
            case "delete" | "purge":
                self._write(op.key, None)
                return replace(op, status=204)
        return replace(op, revision=self._write(op.key, op.value))

    def _write(self, key: str, value: str | None) -> int:
        self.revision += 1
        self.keys[key] = (self.revision, value)
        operation = "delete" if value is None else "put"
        self.updates[self.revision] = Update(self.revision, key, operation, encoded(value or ""))
        return self.revision


def encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def operation(number: int, kind: Kind, key: str = "k", **fields: object) -> Operation:
    writes = kind in ("put", "create", "cas")
    made = Operation(
        number=number,
        client=f"c{number % 4}",
        gateway=number % 2,
        kind=kind,
        key=key,
        start=number * 10,
        end=number * 10 + 5,
        outcome="ok",
        status=200,
        value=f"v{number}" if writes else "",
        expected=1 if kind == "cas" else None,
    )
    return replace(made, **fields)  # type: ignore[arg-type] # names are those of its fields


def good_history(seed: int, length: int, keys: int = 1) -> History:
    """What clients see that work at the same time, some of whose answers are lost."""
    chance = random.Random(seed)
    register = Register()
    begun: list[tuple[int, int, int, Operation]] = []
    for number in range(length):
        start = chance.randrange(length * 10)
        takes = chance.randrange(1, 60)
        key = f"k{chance.randrange(keys)}"
        op = operation(number, chance.choice(KINDS), key, start=start, end=start + takes)
        unknown = op.kind != "get" and chance.random() < 0.15
        if unknown:
            op = replace(op, outcome="unknown", status=504)
        late = chance.randrange(400) if unknown and chance.random() < 0.5 else takes
        begun.append((start + chance.randrange(late + 1), number, takes, op))
    done = []
    for _, _, _, op in sorted(begun, key=lambda item: item[:2]):
        known = register.keys.get(op.key, (0, None))[0]
        if op.kind == "cas":
            op = replace(op, expected=chance.choice([max(known, 1), known + 1]))
        if op.outcome == "unknown":
            if chance.random() < 0.6:
                register.apply(replace(op, outcome="ok"))
            done.append(op)
        else:
            done.append(register.apply(op))
    done = [replace(op, attempts=(Attempt(op.start, op.end, op.status),)) for op in done]
    return History("b", seed, done, stored=Stored(register.updates, register.revision))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 80), st.integers(1, 3))
def test_a_history_of_a_right_bucket_has_no_breaches(seed: int, length: int, keys: int) -> None:
    assert breaches(good_history(seed, length, keys)) == {}


def by_trial(history: KeyHistory) -> bool:
    """Whether any order explains a history, by trying each; unknown writes may be left out."""
    happened = [op for op in history.operations if op.outcome != "unknown" or op.revision]
    perhaps = [op for op in history.operations if op not in happened]
    for count in range(len(perhaps) + 1):
        for chosen in itertools.combinations(perhaps, count):
            for order in itertools.permutations([*happened, *chosen]):
                if in_time(order) and explains(order, history):
                    return True
    return False


def in_time(order: tuple[Operation, ...]) -> bool:
    return not any(
        later.outcome != "unknown" and later.end < op.start
        for place, op in enumerate(order)
        for later in order[place + 1 :]
    )


def explains(order: Iterable[Operation], history: KeyHistory) -> bool:
    def following(state: State) -> int:
        return min((r for r in history.effects if r > state.revision), default=FOREVER)

    states = {ABSENT}
    for op in order:
        states = {new for s in states for new in steps(s, op, following(s), history)}
    return any(following(state) == FOREVER for state in states)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.booleans(), st.booleans())
def test_the_search_finds_an_order_exactly_where_there_is_one(
    seed: int, length: int, break_it: bool, complete: bool
) -> None:
    chance = random.Random(seed)
    history = good_history(seed, length)
    effects = {
        revision: None if update.operation == "delete" else f"v{text(update)}"
        for revision, update in history.stored.updates.items()
        if complete or chance.random() < 0.7
    }
    operations = history.operations
    if break_it and operations:
        victim = chance.randrange(len(operations))
        op = operations[victim]
        wrong = chance.choice(
            [
                replace(op, revision=(op.revision or 0) + chance.choice([-1, 1])),
                replace(op, start=op.start + 300, end=op.end + 300),
                replace(op, start=0, end=1),
                replace(op, outcome="ok"),
            ]
        )
        operations = [*operations[:victim], wrong, *operations[victim + 1 :]]
    revisions = {value: revision for revision, value in effects.items() if value is not None}
    known = KeyHistory(
        [
            replace(op, revision=revisions.get(op.value)) if op.outcome == "unknown" else op
            for op in operations
            if op.kind != "get" or op.revision or op.status == 404
            if op.outcome != "ok" or not op.value or op.revision
        ],
        {
            **{
                op.revision: op.value
                for op in operations
                if op.outcome == "ok" and op.revision and op.value
            },
            **effects,
        },
        complete,
    )
    assert linearize(known).ok == by_trial(known)


def text(update: Update) -> str:
    return base64.b64decode(update.value).decode().removeprefix("v")


def test_twenty_thousand_operations_take_seconds() -> None:
    history = good_history(1, 20_000, keys=150)
    assert breaches_of_linearizability(history) == []


# What must be found


def lose_an_ack(history: History, op: Operation) -> None:
    del history.stored.updates[op.revision or 0]


def read_what_was_before(history: History, op: Operation) -> None:
    history.operations += [
        at_the_end(history, operation(0, "put", op.key, revision=history.stored.last + 1)),
        at_the_end(history, operation(1, "get", op.key, revision=op.revision, read=op.value)),
    ]


def let_another_win_at(history: History, op: Operation) -> None:
    for revision in (1, 2):
        cas = operation(revision, "cas", op.key, expected=op.revision)
        done = at_the_end(history, replace(cas, revision=history.stored.last + revision))
        history.operations.append(done)


def apply_it_twice(history: History, op: Operation) -> None:
    again = history.stored.last + 1
    history.stored.updates[again] = Update(again, op.key, "put", encoded(op.value))


def refuse_what_was_applied(history: History, op: Operation) -> None:
    place = history.operations.index(op)
    history.operations[place] = replace(op, outcome="refused", status=503, revision=None)


def at_the_end(history: History, op: Operation) -> Operation:
    begin = max((other.end for other in history.operations), default=0) + 1
    value = f"new{begin}" if op.value else ""
    return replace(op, start=begin, end=begin + 1, value=value)


@pytest.mark.parametrize(
    "break_it",
    [
        lose_an_ack,
        read_what_was_before,
        let_another_win_at,
        apply_it_twice,
        refuse_what_was_applied,
    ],
)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(10, 60), keys=st.integers(1, 3))
def test_a_good_history_that_was_broken_has_breaches(
    break_it: Callable[[History, Operation], None], seed: int, length: int, keys: int
) -> None:
    history = good_history(seed, length, keys)
    acked = [op for op in history.operations if op.value and op.outcome == "ok"]
    assume(acked)
    break_it(history, random.Random(seed).choice(acked))
    assert breaches(history) != {}


def history_of(*operations: Operation, stored: Iterable[Update] = ()) -> History:
    updates = {update.revision: update for update in stored}
    return History(
        "b",
        1,
        [replace(op, attempts=(Attempt(op.start, op.end, op.status),)) for op in operations],
        stored=Stored(updates, max(updates, default=0)),
    )


def update(revision: int, value: str | None, key: str = "k") -> Update:
    return Update(revision, key, "delete" if value is None else "put", encoded(value or ""))


def test_an_acked_write_that_is_not_stored_is_lost() -> None:
    history = history_of(
        operation(0, "put", revision=1),
        operation(1, "put", revision=2),
        stored=[update(1, "v0")],
    )
    assert "acked and lost: #1" in breaches_of_durability(history)[0]


def test_what_a_purge_dropped_is_not_lost() -> None:
    history = history_of(
        operation(0, "put", revision=1),
        operation(1, "purge", status=204),
        stored=[update(2, None)],
    )
    assert breaches_of_durability(history) == []


def test_a_read_older_than_an_acked_write_is_found() -> None:
    history = history_of(
        operation(0, "put", revision=1),
        operation(1, "put", revision=2),
        operation(2, "get", revision=1, read="v0"),
        stored=[update(1, "v0"), update(2, "v1")],
    )
    assert "none of these can be next" in breaches_of_linearizability(history)[0]


def test_a_read_older_than_another_read_before_it_is_found() -> None:
    """Though the write was never acked: a client that saw it once must not see an older value."""
    history = history_of(
        operation(0, "put", revision=1),
        operation(1, "put", outcome="unknown", status=504),
        operation(2, "get", revision=2, read="v1"),
        operation(3, "get", revision=1, read="v0"),
        stored=[update(1, "v0"), update(2, "v1")],
    )
    assert breaches_of_linearizability(history) != []


def test_two_winners_of_a_create_are_found() -> None:
    history = history_of(
        operation(0, "create", revision=1, end=20),
        operation(1, "create", revision=2),
        stored=[update(1, "v0"), update(2, "v1")],
    )
    assert breaches_of_linearizability(history) != []


def test_two_winners_of_a_compare_and_set_are_found() -> None:
    history = history_of(
        operation(0, "put", revision=1),
        operation(1, "cas", revision=2, end=40),
        operation(2, "cas", revision=3),
        stored=[update(1, "v0"), update(2, "v1"), update(3, "v2")],
    )
    assert breaches_of_linearizability(history) != []


def test_a_refusal_that_nothing_explains_is_found() -> None:
    history = history_of(
        operation(0, "put", revision=1),
        operation(1, "cas", outcome="conflict", status=412, revision=1),
        stored=[update(1, "v0")],
    )
    assert breaches_of_linearizability(history) != []


def test_a_write_that_was_applied_twice_is_found() -> None:
    history = history_of(
        operation(0, "put", revision=1),
        operation(1, "put", revision=2),
        stored=[update(1, "v0"), update(2, "v1"), update(3, "v0")],
    )
    assert "applied twice, at 1 and at 3: #0" in breaches_of_effects(history)[0]


def test_a_write_that_was_refused_and_is_there_is_found() -> None:
    history = history_of(
        operation(0, "put", outcome="refused", status=503), stored=[update(1, "v0")]
    )
    assert "refused, and yet applied at 1: #0" in breaches_of_effects(history)[0]


def test_an_ack_with_the_revision_of_another_write_is_found() -> None:
    history = history_of(
        operation(0, "put", revision=1),
        operation(1, "put", "other", revision=1),
        stored=[update(1, "v0")],
    )
    assert any("acked, and it is" in text for text in breaches_of_effects(history))


def test_a_deleted_value_that_is_back_is_found() -> None:
    history = history_of(
        operation(0, "put", revision=1),
        operation(1, "delete", status=204),
        operation(2, "get", revision=1, read="v0"),
        stored=[update(1, "v0"), update(2, None)],
    )
    assert breaches_of_linearizability(history) != []


def test_a_tombstone_that_nobody_wrote_is_found() -> None:
    history = history_of(
        operation(0, "put", revision=1),
        operation(1, "get", status=404),
        stored=[update(1, "v0"), update(2, None)],
    )
    assert breaches_of_linearizability(history) != []


def test_an_unknown_write_may_land_long_after_or_never() -> None:
    first = operation(0, "put", revision=1)
    unknown = operation(1, "put", outcome="unknown", status=504)
    before = operation(2, "get", revision=1, read="v0")
    after = operation(3, "get", revision=2, read="v1")
    landed = [update(1, "v0"), update(2, "v1")]
    assert breaches(history_of(first, unknown, before, stored=landed[:1])) == {}
    assert breaches(history_of(first, unknown, before, after, stored=landed)) == {}


def test_an_unknown_write_explains_nothing_before_it_began() -> None:
    history = history_of(
        operation(0, "get", revision=1, read="v1"),
        operation(1, "put", outcome="unknown", status=504),
        stored=[update(1, "v1")],
    )
    assert breaches_of_linearizability(history) != []


def test_a_500_and_a_malformed_answer_are_found() -> None:
    history = history_of(
        operation(0, "put", outcome="unknown", status=500),
        operation(1, "get", wrong="malformed 200"),
    )
    assert len(breaches_of_answers(history)) == 2


def test_an_answer_later_than_the_deadline_and_a_second_is_found() -> None:
    late = int((DEADLINE + 1.1) * SECOND)
    history = history_of(operation(0, "put", end=late, revision=1), operation(1, "get", end=20))
    assert len(breaches_of_deadlines(history)) == 1


def watch(*updates: Update, end: str = SILENCE, worker: str = "") -> Chain:
    session = Session(False, None, 0.0, list(updates), end=end, worker=worker)
    return Chain("w", "b", "", 0, [session])


@pytest.mark.parametrize(
    ("seen", "breach"),
    [
        ([1, 2], ""),
        ([2, 1], "came after"),
        ([1, 1, 2], "came twice"),
        ([1], "never came"),
    ],
)
def test_a_watch_that_skips_or_repeats_is_found(seen: list[int], breach: str) -> None:
    stored = {1: update(1, "v0"), 2: update(2, "v1")}
    history = history_of(
        operation(0, "put", revision=1), operation(1, "put", revision=2), stored=stored.values()
    )
    history.chains = [watch(*(stored[number] for number in seen), end="dropped by its reader")]
    found = breaches_of_watches(history)
    assert (found == []) if not breach else any(breach in text for text in found), found


def test_only_a_killed_worker_may_leave_its_watchers_in_silence() -> None:
    history = history_of()
    history.chains = [watch(worker="w1"), watch(worker="w1")]
    assert "ended in silence" in breaches_of_watches(history)[0]
    history.strikes = [Strike("worker killed", 0, 1, kills_worker=True)]
    assert breaches_of_watches(history) == []


def probes(source: str, away: tuple[float, float], until: float = 20.0) -> list[Sample]:
    """A probe each tenth of a second, which fails at once within `away`."""
    beats = [beat / 10 for beat in range(int(until * 10))]
    return [
        Sample(
            source,
            int(beat * SECOND),
            int(beat * SECOND) + 1000,
            not away[0] <= beat < away[1],
            "",
            "w" if source.startswith("g") else "",
            "probe",
            "",
            None,
        )
        for beat in beats
    ]


@pytest.mark.parametrize(
    ("gateway_back", "breach"),
    [
        (10.5, ""),
        (11.5, "was away for 6.4 s, nats-py 4.9 s"),
        (12.5, "writes failed though nats-py had been well for 2.0 s"),
    ],
)
def test_a_gateway_that_is_away_longer_than_the_cluster_is_found(
    gateway_back: float, breach: str
) -> None:
    history = history_of(operation(0, "get", status=404))
    history.strikes = [Strike("leader killed", 5 * SECOND, 10 * SECOND)]
    history.settled = [15 * SECOND]
    history.samples = probes("nats-py.n0", (5, 10)) + probes("g0", (5, gateway_back))
    found = breaches_of_availability(history)
    assert (found == []) if not breach else any(breach in text for text in found), found


@pytest.mark.parametrize(
    ("fault", "gateway", "away", "breach"),
    [
        ("credentials changed + network slow", "g0", 3.0, False),
        ("credentials changed + network slow", "g0", 4.0, True),
        ("credentials changed + network slow", "g1", 3.0, True),
        ("credentials changed", "g0", 3.0, True),
    ],
)
def test_on_a_slow_network_a_gateway_is_given_the_trips_of_a_new_connection(
    fault: str, gateway: str, away: float, breach: bool
) -> None:
    history = history_of(operation(0, "get", status=404))
    history.strikes = [Strike(fault, 5 * SECOND, 10 * SECOND)]
    history.settled = [15 * SECOND]
    history.samples = probes("nats-py.n0", (0, 0)) + probes(gateway, (5, 5 + away))
    found = breaches_of_availability(history)
    assert any("was away for" in text for text in found) == breach, found


def test_a_cluster_that_elects_once_more_is_given_its_time_again() -> None:
    """What nats-py could do in the half second between was not enough for anybody to come back."""
    history = history_of(operation(0, "get", status=404))
    history.strikes = [Strike("follower frozen", 5 * SECOND, 10 * SECOND)]
    history.settled = [19 * SECOND]
    native = [
        replace(sample, ok=sample.ok and not 10.5 <= sample.start / SECOND < 15)
        for sample in probes("nats-py.n0", (5, 10))
    ]
    history.samples = native + probes("g0", (5, 15.5))
    assert breaches_of_availability(history) == []
    history.samples = native + probes("g0", (5, 17.5))
    assert any("nats-py had been well" in text for text in breaches_of_availability(history))


def test_a_stored_history_reads_back_as_it_was(tmp_path: Path) -> None:
    history = good_history(5, 30)
    history.chains = [watch(*history.stored.updates.values())]
    history.samples = probes("g0", (1, 2))
    history.strikes, history.settled = [Strike("a", 1, 2)], [3]
    save(history, tmp_path / "a" / "history.jsonl")
    assert load(tmp_path / "a" / "history.jsonl") == history
