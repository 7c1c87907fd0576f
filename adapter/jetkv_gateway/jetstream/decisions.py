"""What a write does next, decided without I/O. `writes.py` carries it out.

A `WriteState` holds what the caller asked for and the results of the tries so far. After each event
one of four functions returns the next state and the next step:

| Event                                | Without a condition       | With a condition             |
|--------------------------------------|---------------------------|------------------------------|
| stored                               | DONE                      | DONE                         |
| known: a server remembers the id     | VERIFY                    | VERIFY                       |
| in process: the id's write is under way | WAIT, then send again  | LOOK                         |
| mismatch                             | REFUSE                    | LOOK                         |
| any other refusal                    | REFUSE                    | REFUSE                       |
| no answer, with an idempotency key   | WAIT, then send again     | WAIT, then send again        |
| no answer, without one               | REFUSE (unknown)          | REFUSE (unknown)             |

After a LOOK, by what the leader shows:

| The leader shows                     | After a mismatch          | After "in process"           |
|--------------------------------------|---------------------------|------------------------------|
| our own write (same idempotency key) | DONE                      | DONE                         |
| the condition holds, as it was sent  | WAIT, then send again     | WAIT, then send again        |
| the condition holds, at another revision (a create over a tombstone) | SEND | SEND           |
| the same, and another message id was used before | ASK, then SEND | ASK, then SEND            |
| the condition does not hold, with an idempotency key | ASK, then CONFLICT | SEND or WAIT     |
| the condition does not hold, without one | CONFLICT              | CONFLICT                     |

WAIT ends with `out_of_time` when the request has no time left for another try.

Why "in process" is not the end of a conditional write: a server that replicates refuses a second
try of the same id while the first one is on its way, and the first may still fail. Some servers
(below 2.12) then hold on to the id for minutes; a conditional write takes another id there, since
no two conditional writes on one revision can both be applied. A create may come to name another
revision, though: what it wrote under an earlier id may have been deleted since. So it asks for the
earlier ids first.
"""

from enum import Enum, auto
from typing import NamedTuple

__all__ = [
    "MAX_MESSAGE_IDS",
    "Decision",
    "KeyState",
    "OutOfTime",
    "Outcome",
    "Step",
    "WriteState",
    "after_answer",
    "after_no_answer",
    "after_probe",
    "after_read",
]

MAX_MESSAGE_IDS = 3
"""How many message ids a conditional write may use, one after the other."""


class Outcome(Enum):
    """What a server answered to a try."""

    STORED = auto()
    DUPLICATE = auto()
    IN_PROCESS = auto()
    MISMATCH = auto()
    REFUSED = auto()


class Step(Enum):
    """What comes next.

    DONE: return `revision`.
    VERIFY: the id is known at `revision`: make sure that it was the same request, then return it.
    REFUSE: raise what the answer means.
    CONFLICT: raise that the caller's condition does not hold.
    READ_KEY: ask the leader for the newest message of the key.
    PROBE_ID: ask the server for the revision that it remembers for the message id.
    SEND: send the next try at once.
    WAIT: pause, then send the next try; `out_of_time` says what it is without time for that.
    """

    DONE = auto()
    VERIFY = auto()
    REFUSE = auto()
    CONFLICT = auto()
    READ_KEY = auto()
    PROBE_ID = auto()
    SEND = auto()
    WAIT = auto()


class OutOfTime(Enum):
    """What a write is that has no time for another try."""

    UNKNOWN = auto()
    NOT_APPLIED = auto()


class WriteState(NamedTuple):
    """A write between two requests.

    Attributes:
        expected: the revision that the caller names, 0 for a create, None for no condition.
        has_id: whether it has an idempotency key, and may therefore be sent again.
        sent: the revision that the next try names; for a create over a tombstone, that of it.
        message_id: which of its message ids the next try bears, from 0.
        uncertain: whether a try may still be applied, now or later.
        fallback: the course to go on with where none of the ids asked for is known; None where the
            condition does not hold.
    """

    expected: int | None
    has_id: bool
    sent: int | None
    message_id: int = 0
    uncertain: bool = False
    fallback: "WriteState | None" = None

    @staticmethod
    def of(expected: int | None, *, has_id: bool) -> "WriteState":
        """Return the course of a write of which nothing was sent yet."""
        return WriteState(expected, has_id, expected)


class KeyState(NamedTuple):
    """What the leader shows of a key.

    Attributes:
        revision: of its newest message, 0 for none.
        live: whether that is a value.
        is_this_write: whether that is this very write: it bears the same idempotency key.
    """

    revision: int = 0
    live: bool = False
    is_this_write: bool = False

    def meets(self, expected: int | None) -> bool:
        """Return whether a condition holds: a create needs no live value, a tombstone is none."""
        if expected is None:
            return True
        if expected == 0:
            return not self.live
        return self.revision == expected


class Decision(NamedTuple):
    """A step, and the course that the write is on from there."""

    step: Step
    state: WriteState
    revision: int = 0
    out_of_time: OutOfTime = OutOfTime.UNKNOWN


def after_answer(state: WriteState, outcome: Outcome, revision: int = 0) -> Decision:
    """Decide after an answer to a try.

    Args:
        revision: that the answer names, with STORED and KNOWN.
    """
    conditional = state.sent is not None
    if outcome is Outcome.STORED:
        return Decision(Step.DONE, state, revision)
    if outcome is Outcome.DUPLICATE:
        return Decision(Step.VERIFY, state._replace(uncertain=True), revision)
    if outcome is Outcome.IN_PROCESS:
        state = state._replace(uncertain=True)
        return Decision(Step.READ_KEY if conditional else Step.WAIT, state)
    if outcome is Outcome.MISMATCH and conditional:
        return Decision(Step.READ_KEY, state)
    return Decision(Step.REFUSE, state)


def after_no_answer(state: WriteState, *, sent: bool) -> Decision:
    """Decide after a try that got no answer.

    Args:
        sent: whether it may have reached a server; what certainly did not was not applied.
    """
    if not state.has_id:
        return Decision(Step.REFUSE, state)
    if sent:
        return Decision(Step.WAIT, state._replace(uncertain=True))
    # Nothing of this try was applied. Only a doubt about an earlier one is worth more tries.
    return Decision(Step.WAIT if state.uncertain else Step.REFUSE, state)


def after_read(
    state: WriteState, outcome: Outcome, key_state: KeyState, *, keeps_refused_ids: bool
) -> Decision:
    """Decide after a look at the key; `outcome` is the answer before it, MISMATCH or IN_PROCESS.

    Args:
        keeps_refused_ids: whether the server keeps the id of a try that it refused (before 2.12).
    """
    if state.has_id and key_state.is_this_write:
        return Decision(Step.DONE, state, key_state.revision)
    in_process = outcome is Outcome.IN_PROCESS
    if key_state.meets(state.expected):
        if key_state.revision != state.sent:
            moved = state._replace(sent=key_state.revision)
            if not state.message_id:
                return Decision(Step.SEND, moved)
            # The next try is not known for what was applied under an earlier id, and deleted since.
            asked = state._replace(message_id=state.message_id - 1, fallback=moved)
            return Decision(Step.PROBE_ID, asked._replace(uncertain=True))
        # Another write on the key is in flight, or was taken back: nothing of ours is stored.
        if in_process and keeps_refused_ids:
            state = _with_next_id(state) or state
        return Decision(Step.WAIT, state, out_of_time=OutOfTime.NOT_APPLIED)
    if not state.has_id:
        return Decision(Step.CONFLICT, state)
    if not in_process:
        # It may have been applied by an earlier try, and written over since.
        return Decision(Step.PROBE_ID, state._replace(uncertain=True))
    other = _with_next_id(state) if keeps_refused_ids else None
    return Decision(Step.SEND, other) if other is not None else Decision(Step.WAIT, state)


def after_probe(state: WriteState, known: int | None) -> Decision:
    """Decide after the server was asked for the revision that it remembers, None for none.

    A try under an earlier id may have been applied after all: each id that was used is asked for.
    """
    if known:
        return Decision(Step.VERIFY, state, known)
    if state.message_id:
        return Decision(Step.PROBE_ID, state._replace(message_id=state.message_id - 1))
    if state.fallback is not None:
        return Decision(Step.SEND, state.fallback)
    return Decision(Step.CONFLICT, state)


def _with_next_id(state: WriteState) -> WriteState | None:
    if state.message_id + 1 >= MAX_MESSAGE_IDS:
        return None
    return state._replace(message_id=state.message_id + 1)
