"""Decides the next step of a write, without I/O. `writes.py` carries the steps out.

A `WriteState` holds what the caller asked for and the results of the tries so far. After each
event, one of four functions returns the next state and the next step:

| Event                                | Without a condition       | With a condition             |
|--------------------------------------|---------------------------|------------------------------|
| stored                               | DONE                      | DONE                         |
| duplicate: the server knows the id   | VERIFY                    | VERIFY                       |
| in process: the first try of this id is still being stored | WAIT, then send again | READ_KEY    |
| mismatch                             | REFUSE                    | READ_KEY                     |
| any other refusal                    | REFUSE                    | REFUSE                       |
| no answer, with an idempotency key   | WAIT, then send again     | WAIT, then send again        |
| no answer, without one               | REFUSE (unknown)          | REFUSE (unknown)             |

After READ_KEY, the next step depends on the leader's state of the key:

| State of the key                     | After a mismatch          | After "in process"           |
|--------------------------------------|---------------------------|------------------------------|
| this write (same idempotency key)    | DONE                      | DONE                         |
| the condition holds, as it was sent  | WAIT, then send again     | WAIT, then send again        |
| the condition holds, at another revision (a create over a tombstone) | SEND | SEND           |
| the same, and an earlier message id was used | PROBE_ID, then SEND | PROBE_ID, then SEND        |
| the condition does not hold, with an idempotency key | PROBE_ID, then CONFLICT | SEND or WAIT |
| the condition does not hold, without one | CONFLICT              | CONFLICT                     |

If the request has no time for another try, WAIT ends with the error in `out_of_time`.

"In process" does not end a conditional write: a server with replicas refuses a second try of an id
while the first try is on its way, and the first try may still fail. Servers below 2.12 then keep
the id for minutes, so a conditional write takes another id there. This is safe, because two
conditional writes on one revision cannot both be applied. A create is different, because it may
name another revision later: the value that it wrote under an earlier id may have been deleted
since. So a create probes the earlier ids first.
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
"""The number of message ids that a conditional write may use, one after the other."""


class Outcome(Enum):
    """The server's answer to a try."""

    STORED = auto()
    DUPLICATE = auto()
    IN_PROCESS = auto()
    MISMATCH = auto()
    REFUSED = auto()


class Step(Enum):
    """The next step of a write.

    DONE: return `revision`.
    VERIFY: the server knows the id at `revision`; check that it was the same request and return it.
    REFUSE: raise the error of the answer.
    CONFLICT: raise the error of a condition that does not hold.
    READ_KEY: read the newest message of the key from the leader.
    PROBE_ID: ask the server for the revision that it stored for the message id.
    SEND: send the next try at once.
    WAIT: pause, then send the next try; `out_of_time` is the error if there is no time for that.
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
    """The error of a write that has no time for another try."""

    UNKNOWN = auto()
    NOT_APPLIED = auto()


class WriteState(NamedTuple):
    """The state of a write between two requests.

    Attributes:
        expected: the revision that the caller names, 0 for a create, None without a condition.
        has_id: whether the write has an idempotency key and may therefore be sent again.
        sent: the revision that the next try names; for a create over a tombstone, the tombstone's.
        message_id: the number of the message id of the next try, from 0.
        uncertain: whether a try may still be applied, now or later.
        fallback: the state to continue with if the server knows none of the probed ids; None if the
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
        """Return the state of a write before its first try."""
        return WriteState(expected, has_id, expected)


class KeyState(NamedTuple):
    """The leader's state of a key.

    Attributes:
        revision: of its newest message, 0 if there is none.
        live: whether that message is a value.
        is_this_write: whether this write stored that message, by the idempotency key.
    """

    revision: int = 0
    live: bool = False
    is_this_write: bool = False

    def meets(self, expected: int | None) -> bool:
        """Return whether a condition holds. A create needs a key without a live value."""
        if expected is None:
            return True
        if expected == 0:
            return not self.live
        return self.revision == expected


class Decision(NamedTuple):
    """The next step of a write, and its state from there."""

    step: Step
    state: WriteState
    revision: int = 0
    out_of_time: OutOfTime = OutOfTime.UNKNOWN


def after_answer(state: WriteState, outcome: Outcome, revision: int = 0) -> Decision:
    """Decide after an answer to a try.

    Args:
        revision: the revision in the answer, with STORED and DUPLICATE.
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
    """Decide after a try without an answer.

    Args:
        sent: whether the try may have reached a server. If not, it was certainly not applied.
    """
    if not state.has_id:
        return Decision(Step.REFUSE, state)
    if sent:
        return Decision(Step.WAIT, state._replace(uncertain=True))
    # This try was not applied. Only an uncertain earlier try justifies another one.
    return Decision(Step.WAIT if state.uncertain else Step.REFUSE, state)


def after_read(
    state: WriteState, outcome: Outcome, key_state: KeyState, *, keeps_refused_ids: bool
) -> Decision:
    """Decide after a read of the key. `outcome` is the answer before it: MISMATCH or IN_PROCESS.

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
            # The next try would not be recognised as a repeat of a value that was stored under an
            # earlier id and deleted since.
            asked = state._replace(message_id=state.message_id - 1, fallback=moved)
            return Decision(Step.PROBE_ID, asked._replace(uncertain=True))
        # Another write on the key is in flight or has failed; this write is not stored.
        if in_process and keeps_refused_ids:
            state = _with_next_id(state) or state
        return Decision(Step.WAIT, state, out_of_time=OutOfTime.NOT_APPLIED)
    if not state.has_id:
        return Decision(Step.CONFLICT, state)
    if not in_process:
        # An earlier try may have been applied and overwritten since.
        return Decision(Step.PROBE_ID, state._replace(uncertain=True))
    other = _with_next_id(state) if keeps_refused_ids else None
    return Decision(Step.SEND, other) if other is not None else Decision(Step.WAIT, state)


def after_probe(state: WriteState, known: int | None) -> Decision:
    """Decide after a probe; `known` is the revision that the server stored for the id, or None.

    A try under an earlier id may have been applied after all, so each used id is probed.
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
