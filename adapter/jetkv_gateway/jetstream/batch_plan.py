"""Decides what an atomic batch sends and what comes next, without I/O. `atomic.py` does it.

A batch has one message for each write, and NATS accepts one condition per message (ADR-50): the
newest revision of the message's own key, or of another key. So each condition gets a place:

| Op                            | Condition, and its place                                        |
|-------------------------------|-----------------------------------------------------------------|
| put                           | none: its message is free for the condition of another key      |
| create, update                | on its own key, on its own message                              |
| delete, purge of a live value | on its own key, so that no second tombstone is left             |
| delete of an absent key       | that it stays absent, on a free message; nothing is written     |
| check                         | on its key, on a free message                                   |

If there are more conditions than free messages, the batch is bound to the newest revision of the
whole bucket: any other write makes it fail, and it is tried again.

After an answer:

| Answer                                          | Next                                          |
|-------------------------------------------------|-----------------------------------------------|
| stored                                          | DONE                                          |
| duplicate: an earlier try was applied           | VERIFY                                        |
| in process: an earlier try is being stored      | WAIT, then send again                         |
| incomplete: some messages have not arrived      | WAIT, then send again                         |
| mismatch: a condition does not hold             | READ_KEYS                                     |
| no answer, although it was sent                 | WAIT, then send again: it has a message id    |
| nothing was sent                                | REFUSE; WAIT after an uncertain earlier try   |
| any other refusal                               | REFUSE                                        |

After READ_KEYS, by the leader's state of the keys:

| State                                           | Next                                          |
|-------------------------------------------------|-----------------------------------------------|
| all conditions hold, at other revisions         | SEND                                          |
| all conditions hold, as they were sent          | WAIT: another write is in flight              |
| one fails, and an earlier try may be applied    | PROBE_ID, then CONFLICT                       |
| one fails                                       | CONFLICT                                      |
"""

from collections.abc import Sequence
from enum import Enum, auto
from typing import NamedTuple

from jetkv_gateway.jetstream.decisions import KeyState
from jetkv_gateway.kv.batches import Check, Op
from jetkv_gateway.kv.commands import Delete, Put
from jetkv_gateway.kv.model import MUST_NOT_EXIST

__all__ = [
    "Message",
    "Outcome",
    "Plan",
    "Step",
    "after_answer",
    "after_read",
    "failed",
    "is_optional",
    "make_plan",
    "may_need_newest",
    "needs_read",
    "numbered",
    "with_ids",
]


class Outcome(Enum):
    """The result of a try."""

    STORED = auto()
    DUPLICATE = auto()
    IN_PROCESS = auto()
    INCOMPLETE = auto()
    MISMATCH = auto()
    SILENT = auto()
    UNSENT = auto()
    REFUSED = auto()


class Step(Enum):
    """The next step, as in the tables above."""

    DONE = auto()
    VERIFY = auto()
    REFUSE = auto()
    CONFLICT = auto()
    READ_KEYS = auto()
    PROBE_ID = auto()
    SEND = auto()
    WAIT = auto()


class Message(NamedTuple):
    """One message of a batch.

    Attributes:
        op: the number of the op that it writes.
        expected: the newest revision that a key must have; None without a condition.
        guarded: the number of the op with that key.
    """

    op: int
    expected: int | None
    guarded: int


class Plan(NamedTuple):
    """The messages to send.

    Attributes:
        messages: in order.
        fixed: the revision in the result of each op that writes nothing.
        newest: the newest revision that the bucket must have; None if it does not matter.
    """

    messages: tuple[Message, ...]
    fixed: dict[int, int]
    newest: int | None = None

    @property
    def guards_others(self) -> bool:
        """Whether a message has the condition of another key."""
        return any(one.guarded != one.op for one in self.messages)


def is_optional(op: Op) -> bool:
    """Return whether an op writes only if there is something to delete."""
    return isinstance(op, Delete) and op.expected is None


def with_ids(ops: Sequence[Op]) -> list[int]:
    """Return the numbers of the ops with a message id of their own, unless they are first.

    These are the deletes that may write nothing, and the first op that certainly writes. With their
    ids, one can find out later which of the deletes wrote.
    """
    certain = next(
        (at for at, op in enumerate(ops) if not is_optional(op) and not isinstance(op, Check)), -1
    )
    return [at for at, op in enumerate(ops) if is_optional(op) or at == certain]


def needs_read(ops: Sequence[Op], *, can_guard_others: bool) -> bool:
    """Return whether the keys must be read before the batch can be sent.

    Args:
        can_guard_others: whether the server supports conditions on other keys.
    """
    checks = sum(isinstance(op, Check) for op in ops)
    if any(isinstance(op, Delete) for op in ops):
        return True
    return checks > (_free(ops) if can_guard_others else 0)


def may_need_newest(ops: Sequence[Op], *, can_guard_others: bool) -> bool:
    """Return whether the batch may have to name the newest revision of the bucket."""
    others = sum(isinstance(op, Check) or is_optional(op) for op in ops)
    return others > (_free(ops) if can_guard_others else 0)


def _free(ops: Sequence[Op]) -> int:
    return sum(isinstance(op, Put) and op.expected is None for op in ops)


def failed(ops: Sequence[Op], states: Sequence[KeyState]) -> list[int]:
    """Return the numbers of the ops whose condition does not hold."""
    return [
        number
        for number, (op, stand) in enumerate(zip(ops, states, strict=True))
        if not _holds(op, stand)
    ]


def _holds(op: Op, stand: KeyState) -> bool:
    if isinstance(op, Delete):
        return op.expected is None or (stand.live and stand.revision == op.expected)
    return stand.meets(op.expected)


def make_plan(
    ops: Sequence[Op], states: Sequence[KeyState] | None, newest: int, *, can_guard_others: bool
) -> Plan:
    """Return what to send, if no condition has failed.

    Args:
        states: the leader's state of each key; None if the keys were not read.
        newest: the newest revision of the bucket at that moment.
        can_guard_others: as for `needs_read`.
    """
    messages: list[Message] = []
    fixed: dict[int, int] = {}
    others: list[tuple[int, int]] = []
    for number, op in enumerate(ops):
        stand = None if states is None else states[number]
        if isinstance(op, Check):
            fixed[number] = op.expected
            others.append((number, _seen(op.expected, stand)))
        elif isinstance(op, Put):
            expected = None if op.expected is None else _seen(op.expected, stand)
            messages.append(Message(number, expected, number))
        else:
            assert stand is not None, "a batch that deletes looks first"
            if stand.live:
                messages.append(Message(number, stand.revision, number))
            else:
                fixed[number] = 0
                others.append((number, stand.revision))
    free = [place for place, one in enumerate(messages) if one.expected is None]
    if len(others) > (len(free) if can_guard_others else 0):
        return Plan(tuple(messages), fixed, newest)
    # A condition adds bytes to a message, so give the conditions to the smallest values.
    if others:
        free.sort(key=lambda place: len(ops[messages[place].op].value))  # type: ignore[union-attr] # puts
    for place, (guarded, expected) in zip(free, others, strict=False):
        messages[place] = Message(messages[place].op, expected, guarded)
    return Plan(tuple(messages), fixed)


def _seen(expected: int, stand: KeyState | None) -> int:
    """Return the revision for a condition on a key; for an absent key, its tombstone's or 0."""
    if expected == MUST_NOT_EXIST and stand is not None:
        return stand.revision
    return expected


def after_answer(outcome: Outcome, *, uncertain: bool) -> Step:
    """Decide after a try.

    Args:
        uncertain: whether an earlier try may be applied.
    """
    match outcome:
        case Outcome.STORED:
            return Step.DONE
        case Outcome.DUPLICATE:
            return Step.VERIFY
        case Outcome.MISMATCH:
            return Step.READ_KEYS
        case Outcome.IN_PROCESS | Outcome.INCOMPLETE | Outcome.SILENT:
            return Step.WAIT
        case Outcome.UNSENT if uncertain:
            return Step.WAIT
        case _:
            return Step.REFUSE


def after_read(*, fails: bool, moved: bool, known: bool) -> Step:
    """Decide after a read of the keys.

    Args:
        fails: whether a condition does not hold.
        moved: whether the conditions name other revisions than in the last try.
        known: whether an earlier try, or an earlier request, may have been applied.
    """
    if fails:
        return Step.PROBE_ID if known else Step.CONFLICT
    return Step.SEND if moved else Step.WAIT


def numbered(count: int, fixed: dict[int, int], first: int) -> tuple[int, ...]:
    """Return the revision of each op.

    Args:
        count: the number of ops.
        fixed: the revisions of the ops that wrote nothing.
        first: the revision of the first write; the others follow without gaps.
    """
    revisions = []
    for number in range(count):
        if number in fixed:
            revisions.append(fixed[number])
        else:
            revisions.append(first)
            first += 1
    return tuple(revisions)
