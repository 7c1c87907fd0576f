"""What a write does next, decided without I/O. `writes.py` carries it out.

A write is a `Course`: what its caller asked for, and what became of its tries so far. After each
answer one of four functions returns the next course and the step to take:

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

WAIT ends with `late` when the request has no time left for another try.

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
    "MESSAGE_IDS",
    "Course",
    "Late",
    "Next",
    "Said",
    "Stands",
    "Step",
    "after_answer",
    "after_ask",
    "after_look",
    "after_silence",
]

MESSAGE_IDS = 3
"""How many message ids a conditional write may use, one after the other."""


class Said(Enum):
    """What a server answered to a try."""

    STORED = auto()
    KNOWN = auto()
    IN_PROCESS = auto()
    MISMATCH = auto()
    REFUSED = auto()


class Step(Enum):
    """What comes next.

    DONE: return `revision`.
    VERIFY: the id is known at `revision`: make sure that it was the same request, then return it.
    REFUSE: raise what the answer means.
    CONFLICT: raise that the caller's condition does not hold.
    LOOK: ask the leader for the newest message of the key.
    ASK: ask the server for the revision that it remembers for the message id.
    SEND: send the next try at once.
    WAIT: pause, then send the next try; `late` says what it is without time for that.
    """

    DONE = auto()
    VERIFY = auto()
    REFUSE = auto()
    CONFLICT = auto()
    LOOK = auto()
    ASK = auto()
    SEND = auto()
    WAIT = auto()


class Late(Enum):
    """What a write is that has no time for another try."""

    UNKNOWN = auto()
    NOT_APPLIED = auto()


class Course(NamedTuple):
    """A write between two requests.

    Attributes:
        expected: the revision that the caller names, 0 for a create, None for no condition.
        named: whether it has an idempotency key, and may therefore be sent again.
        sent: the revision that the next try names; for a create over a tombstone, that of it.
        message_id: which of its message ids the next try bears, from 0.
        doubtful: whether a try may still be applied, now or later.
        otherwise: the course to go on with where none of the ids asked for is known; None where the
            condition does not hold.
    """

    expected: int | None
    named: bool
    sent: int | None
    message_id: int = 0
    doubtful: bool = False
    otherwise: "Course | None" = None

    @staticmethod
    def of(expected: int | None, *, named: bool) -> "Course":
        """Return the course of a write of which nothing was sent yet."""
        return Course(expected, named, expected)


class Stands(NamedTuple):
    """What the leader shows of a key.

    Attributes:
        revision: of its newest message, 0 for none.
        live: whether that is a value.
        ours: whether that is this very write: it bears the same idempotency key.
    """

    revision: int = 0
    live: bool = False
    ours: bool = False

    def meets(self, expected: int | None) -> bool:
        """Return whether a condition holds: a create needs no live value, a tombstone is none."""
        if expected is None:
            return True
        if expected == 0:
            return not self.live
        return self.revision == expected


class Next(NamedTuple):
    """A step, and the course that the write is on from there."""

    step: Step
    course: Course
    revision: int = 0
    late: Late = Late.UNKNOWN


def after_answer(course: Course, said: Said, revision: int = 0) -> Next:
    """Decide after an answer to a try.

    Args:
        revision: that the answer names, with STORED and KNOWN.
    """
    conditional = course.sent is not None
    if said is Said.STORED:
        return Next(Step.DONE, course, revision)
    if said is Said.KNOWN:
        return Next(Step.VERIFY, course._replace(doubtful=True), revision)
    if said is Said.IN_PROCESS:
        course = course._replace(doubtful=True)
        return Next(Step.LOOK if conditional else Step.WAIT, course)
    if said is Said.MISMATCH and conditional:
        return Next(Step.LOOK, course)
    return Next(Step.REFUSE, course)


def after_silence(course: Course, *, sent: bool) -> Next:
    """Decide after a try that got no answer.

    Args:
        sent: whether it may have reached a server; what certainly did not was not applied.
    """
    if not course.named:
        return Next(Step.REFUSE, course)
    if sent:
        return Next(Step.WAIT, course._replace(doubtful=True))
    # Nothing of this try was applied. Only a doubt about an earlier one is worth more tries.
    return Next(Step.WAIT if course.doubtful else Step.REFUSE, course)


def after_look(course: Course, said: Said, stands: Stands, *, holds_ids: bool) -> Next:
    """Decide after a look at the key; `said` is the answer before it, MISMATCH or IN_PROCESS.

    Args:
        holds_ids: whether the server keeps the id of a try that it refused (before 2.12).
    """
    if course.named and stands.ours:
        return Next(Step.DONE, course, stands.revision)
    in_process = said is Said.IN_PROCESS
    if stands.meets(course.expected):
        if stands.revision != course.sent:
            moved = course._replace(sent=stands.revision)
            if not course.message_id:
                return Next(Step.SEND, moved)
            # The next try is not known for what was applied under an earlier id, and deleted since.
            asked = course._replace(message_id=course.message_id - 1, otherwise=moved)
            return Next(Step.ASK, asked._replace(doubtful=True))
        # Another write on the key is in flight, or was taken back: nothing of ours is stored.
        if in_process and holds_ids:
            course = _with_another_id(course) or course
        return Next(Step.WAIT, course, late=Late.NOT_APPLIED)
    if not course.named:
        return Next(Step.CONFLICT, course)
    if not in_process:
        # It may have been applied by an earlier try, and written over since.
        return Next(Step.ASK, course._replace(doubtful=True))
    other = _with_another_id(course) if holds_ids else None
    return Next(Step.SEND, other) if other is not None else Next(Step.WAIT, course)


def after_ask(course: Course, known: int | None) -> Next:
    """Decide after the server was asked for the revision that it remembers, None for none.

    A try under an earlier id may have been applied after all: each id that was used is asked for.
    """
    if known:
        return Next(Step.VERIFY, course, known)
    if course.message_id:
        return Next(Step.ASK, course._replace(message_id=course.message_id - 1))
    if course.otherwise is not None:
        return Next(Step.SEND, course.otherwise)
    return Next(Step.CONFLICT, course)


def _with_another_id(course: Course) -> Course | None:
    if course.message_id + 1 >= MESSAGE_IDS:
        return None
    return course._replace(message_id=course.message_id + 1)
