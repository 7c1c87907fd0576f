"""What an atomic batch sends, and what it does next, decided without I/O. `atomic.py` does it.

A batch is one message for each write, and NATS takes one condition a message (ADR-50): the newest
revision of the message's own key, or of another one. So a condition is placed like this:

| Op                            | Condition, and where it is placed                               |
|-------------------------------|-----------------------------------------------------------------|
| put                           | none: its message is free for that of another key               |
| create, update                | its own key's, on its own message                               |
| delete, purge of a live value | its own key's, so that no second tombstone is left              |
| delete of what is not there   | that it stays so, on a free message; nothing is written         |
| check                         | its key's, on a free message                                    |

With fewer free messages than conditions, the batch is bound to the newest revision of the whole
bucket: any other write fails it, and it is tried again.

After an answer:

| Answer                                          | Next                                          |
|-------------------------------------------------|-----------------------------------------------|
| stored                                          | DONE                                          |
| known: an earlier try was applied               | VERIFY                                        |
| in process: an earlier try is under way         | WAIT, then send again                         |
| incomplete: not all messages have come          | WAIT, then send again                         |
| a condition does not hold                       | LOOK                                          |
| nothing, though it was sent                     | WAIT, then send again: it has a message id    |
| nothing was sent                                | REFUSE; WAIT after an earlier try in doubt    |
| any other refusal                               | REFUSE                                        |

After a LOOK, by what the leader shows:

| The leader shows                                | Next                                          |
|-------------------------------------------------|-----------------------------------------------|
| all conditions hold, at other revisions         | SEND                                          |
| all conditions hold, as they were sent          | WAIT: another write is in flight              |
| one does not, and an earlier try may be applied | ASK whether it is known, then CONFLICT        |
| one does not                                    | CONFLICT                                      |
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
    "Plan",
    "Said",
    "Step",
    "after_answer",
    "after_look",
    "failed",
    "is_optional",
    "make_plan",
    "may_need_newest",
    "needs_look",
    "numbered",
    "with_ids",
]


class Said(Enum):
    """What became of a try."""

    STORED = auto()
    KNOWN = auto()
    IN_PROCESS = auto()
    INCOMPLETE = auto()
    MISMATCH = auto()
    SILENT = auto()
    UNSENT = auto()
    REFUSED = auto()


class Step(Enum):
    """What comes next, as in the tables above."""

    DONE = auto()
    VERIFY = auto()
    REFUSE = auto()
    CONFLICT = auto()
    LOOK = auto()
    ASK = auto()
    SEND = auto()
    WAIT = auto()


class Message(NamedTuple):
    """One message of a batch.

    Attributes:
        op: the number of the op whose write it is.
        expected: the newest revision that a key must have, None for no condition.
        guarded: the number of the op whose key that is.
    """

    op: int
    expected: int | None
    guarded: int


class Plan(NamedTuple):
    """What is sent.

    Attributes:
        messages: in their order.
        fixed: for each op that writes nothing, the revision that its result has.
        newest: the newest revision that the bucket must have, None where that does not matter.
    """

    messages: tuple[Message, ...]
    fixed: dict[int, int]
    newest: int | None = None

    @property
    def guards_others(self) -> bool:
        """Whether a message has the condition of another key."""
        return any(one.guarded != one.op for one in self.messages)


def is_optional(op: Op) -> bool:
    """Return whether an op writes only where there is something to delete."""
    return isinstance(op, Delete) and op.expected is None


def with_ids(ops: Sequence[Op]) -> list[int]:
    """Return the numbers of the ops whose message has an id of its own, unless it is the first.

    They are the deletes that may write nothing, and the first op that writes for certain: by these
    it can be found out later which of the deletes wrote.
    """
    certain = next(
        (at for at, op in enumerate(ops) if not is_optional(op) and not isinstance(op, Check)), -1
    )
    return [at for at, op in enumerate(ops) if is_optional(op) or at == certain]


def needs_look(ops: Sequence[Op], *, elsewhere: bool) -> bool:
    """Return whether the keys have to be looked at before the batch can be sent.

    Args:
        elsewhere: whether the server can have the condition of another key.
    """
    checks = sum(isinstance(op, Check) for op in ops)
    if any(isinstance(op, Delete) for op in ops):
        return True
    return checks > (_free(ops) if elsewhere else 0)


def may_need_newest(ops: Sequence[Op], *, elsewhere: bool) -> bool:
    """Return whether the batch may have to name the newest revision of the bucket."""
    others = sum(isinstance(op, Check) or is_optional(op) for op in ops)
    return others > (_free(ops) if elsewhere else 0)


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
    ops: Sequence[Op], states: Sequence[KeyState] | None, newest: int, *, elsewhere: bool
) -> Plan:
    """Return what to send, where no condition has failed.

    Args:
        states: what the leader shows of each key, None where nobody has looked.
        newest: the newest revision of the bucket at that moment.
        elsewhere: as for `needs_look`.
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
    if len(others) > (len(free) if elsewhere else 0):
        return Plan(tuple(messages), fixed, newest)
    # A condition takes room in its message, so that the smallest values have it.
    if others:
        free.sort(key=lambda place: len(ops[messages[place].op].value))  # type: ignore[union-attr] # puts
    for place, (guarded, expected) in zip(free, others, strict=False):
        messages[place] = Message(messages[place].op, expected, guarded)
    return Plan(tuple(messages), fixed)


def _seen(expected: int, stand: KeyState | None) -> int:
    """Return the revision that a condition names: for no live value that of a tombstone, if any."""
    if expected == MUST_NOT_EXIST and stand is not None:
        return stand.revision
    return expected


def after_answer(said: Said, *, uncertain: bool) -> Step:
    """Decide after a try.

    Args:
        uncertain: whether an earlier one may be applied.
    """
    match said:
        case Said.STORED:
            return Step.DONE
        case Said.KNOWN:
            return Step.VERIFY
        case Said.MISMATCH:
            return Step.LOOK
        case Said.IN_PROCESS | Said.INCOMPLETE | Said.SILENT:
            return Step.WAIT
        case Said.UNSENT if uncertain:
            return Step.WAIT
        case _:
            return Step.REFUSE


def after_look(*, fails: bool, moved: bool, known: bool) -> Step:
    """Decide after a look at the keys.

    Args:
        fails: whether a condition does not hold.
        moved: whether the conditions name other revisions than they did in the last try.
        known: whether an earlier try, or an earlier request, may have been applied.
    """
    if fails:
        return Step.ASK if known else Step.CONFLICT
    return Step.SEND if moved else Step.WAIT


def numbered(count: int, fixed: dict[int, int], first: int) -> tuple[int, ...]:
    """Return the revision of each op.

    Args:
        count: of the ops.
        fixed: of those that wrote nothing.
        first: the revision of the first write; those behind it follow one by one.
    """
    revisions = []
    for number in range(count):
        if number in fixed:
            revisions.append(fixed[number])
        else:
            revisions.append(first)
            first += 1
    return tuple(revisions)
