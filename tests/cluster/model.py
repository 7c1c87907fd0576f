"""One key of a bucket as JetStream has it, and the search for an order that explains a history.

A key is a register with a revision: a value, a tombstone or nothing. Revisions are those of the
bucket's stream, so they grow, and most writes' are known: by their ack, or since a reader, a
watcher or the stream at the end showed the (unique) value. What is known so orders the writes, and
leaves the search little to try: it is exact, and done in time that grows with the length of a
history for all but the strangest.

A write of unknown outcome takes effect at any time after it was sent, or never. After Wing and
Gong, "Testing and verifying concurrent objects", with Lowe's memory of configurations seen.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.cluster.history import Operation

__all__ = ["ABSENT", "TOMBSTONE", "KeyHistory", "State", "Verdict", "linearize", "steps"]

FOREVER = 2**63
BUDGET = 2_000_000

TOMBSTONE = None


class State(NamedTuple):
    """A key.

    Attributes:
        revision: its revision, 0 when nothing was ever written; or where `exact` is false, one
            that its revision is above.
        value: None when there is no live value.
    """

    revision: int
    value: str | None
    exact: bool = True


ABSENT = State(0, None)


@dataclass
class KeyHistory:
    """All that is known of one key.

    Attributes:
        operations: those that say something: not reads and refusals that tell nothing.
        effects: every change that somebody saw, by revision: a value or TOMBSTONE.
        complete: whether `effects` are all that there ever were.
    """

    operations: list[Operation]
    effects: dict[int, str | None] = field(default_factory=dict)
    complete: bool = False


class Verdict(NamedTuple):
    """Whether an order was found, and if not, how far the search came and where it stuck."""

    ok: bool
    reason: str = ""
    stuck: tuple[Operation, ...] = ()


def steps(state: State, operation: Operation, following: int, history: KeyHistory) -> list[State]:
    """Return what a key can be after an operation that took effect, or showed what it showed.

    Args:
        following: the first revision after the state's that somebody saw; it cannot be skipped.
    """
    match operation.kind:
        case "get":
            return _seen(state, operation, following)
        case _ if operation.outcome == "conflict":
            return _conflict(state, operation, following)
        case "create" if state.value is not None:
            return []
        case "cas":
            assert operation.expected is not None
            bound = _bind(state, operation.expected, following)
            return [] if bound is None else _written(bound, operation, following, history)
        case "delete" | "purge":
            # The tombstone's revision is not in the answer, and a key without a value stays so.
            unchanged = [state] if state.value is None and operation.outcome == "ok" else []
            return unchanged + _tombstones(state, following, history)
    return _written(state, operation, following, history)


def _seen(state: State, operation: Operation, following: int) -> list[State]:
    if operation.read is None:
        return [state] if state.value is None else []
    assert operation.revision is not None
    bound = _bind(state, operation.revision, following)
    return [bound] if bound is not None and state.value == operation.read else []


def _conflict(state: State, operation: Operation, following: int) -> list[State]:
    """A 412 names the revision that is there, where it is known (docs/http-api.md#errors)."""
    if operation.kind == "create" and state.value is None:
        return []
    if operation.revision is None:
        expected = state.exact and state.revision == operation.expected
        return [] if expected else [state]
    bound = _bind(state, operation.revision, following)
    return [] if bound is None or bound.revision == operation.expected else [bound]


def _bind(state: State, revision: int, following: int) -> State | None:
    """Return the state as it is known once its revision was shown; None where it is another."""
    if state.exact:
        return state if state.revision == revision else None
    return State(revision, state.value) if state.revision < revision < following else None


def _written(
    state: State, operation: Operation, following: int, history: KeyHistory
) -> list[State]:
    revision = operation.revision
    if revision is not None:
        return [State(revision, operation.value)] if revision == following else []
    return [] if history.complete else [State(state.revision, operation.value, exact=False)]


def _tombstones(state: State, following: int, history: KeyHistory) -> list[State]:
    found = []
    if following in history.effects and history.effects[following] is TOMBSTONE:
        found.append(State(following, None))
    if not history.complete:
        found.append(State(state.revision, None, exact=False))
    return found


class _Search:
    """The search over one key."""

    def __init__(self, history: KeyHistory) -> None:
        # Unknown writes whose effect somebody saw happened; the others may have.
        happened = [op for op in history.operations if _happened(op)]
        self._history = history
        self._required = sorted(happened, key=lambda op: op.start)
        self._ends = [FOREVER if op.outcome == "unknown" else op.end for op in self._required]
        self._optional = [op for op in history.operations if not _happened(op)]
        self._all = (1 << len(self._required)) - 1
        self._revisions = sorted(history.effects)
        self.furthest = (-1, 0, ABSENT)

    def run(self) -> Verdict:
        seen: set[tuple[int, int, State]] = set()
        stack = [self._next((0, 0, ABSENT))]
        if self._done((0, 0, ABSENT)):
            return Verdict(ok=True)
        while stack:
            place = next(stack[-1], None)
            if place is None:
                stack.pop()
                continue
            if place in seen:
                continue
            seen.add(place)
            if self._done(place):
                return Verdict(ok=True)
            if len(seen) > BUDGET:
                return Verdict(False, f"undecided after {BUDGET} configurations")
            count = place[0].bit_count()
            if count > self.furthest[0]:
                self.furthest = (count, place[0], place[2])
            stack.append(self._next(place))
        return self._stuck()

    def _done(self, place: tuple[int, int, State]) -> bool:
        done, _, state = place
        return done == self._all and self._following(state) == FOREVER

    def _following(self, state: State) -> int:
        """Return the first revision after a state's that somebody saw."""
        place = bisect_right(self._revisions, state.revision)
        return self._revisions[place] if place < len(self._revisions) else FOREVER

    def _window(self, done: int) -> tuple[list[int], int]:
        """Return the operations that may come next, and until when those that may have begun.

        Next comes what had begun before any of the others had ended.
        """
        first = (~done & (done + 1)).bit_length() - 1
        limit = FOREVER
        begun = []
        for number in range(first, len(self._required)):
            if self._required[number].start > limit:
                break
            if not done >> number & 1:
                begun.append(number)
                limit = min(limit, self._ends[number])
        return [number for number in begun if self._required[number].start <= limit], limit

    def _next(self, place: tuple[int, int, State]) -> Iterator[tuple[int, int, State]]:
        done, tried, state = place
        following = self._following(state)
        found: list[tuple[int, int, State]] = []
        window, limit = self._window(done)
        for number in window:
            after = steps(state, self._required[number], following, self._history)
            if after == [state] and not _may_change(self._required[number]):
                # It never changes anything, so to take it at once takes nothing from the others.
                return iter([(done | 1 << number, tried, state)])
            found += [(done | 1 << number, tried, new) for new in after]
        for number, operation in enumerate(self._optional):
            if operation.start <= limit and not tried >> number & 1:
                after = steps(state, operation, following, self._history)
                found += [(done, tried | 1 << number, new) for new in after if new != state]
        return iter(found)

    def _stuck(self) -> Verdict:
        count, done, state = self.furthest
        stuck = tuple(self._required[number] for number in self._window(done)[0])
        return Verdict(
            False,
            f"no order explains more than {max(count, 0)} of {len(self._required)} operations; "
            f"there the key is {state}, next seen {self._following(state)}",
            stuck,
        )


def _may_change(operation: Operation) -> bool:
    return operation.kind != "get" and operation.outcome != "conflict"


def _happened(operation: Operation) -> bool:
    return operation.outcome != "unknown" or operation.revision is not None


def linearize(history: KeyHistory) -> Verdict:
    """Look for one order of all operations that explains each answer.

    An operation that ended before another one began comes before it; every effect that somebody
    saw takes place, in the order of revisions.
    """
    return _Search(history).run()
