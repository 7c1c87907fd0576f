"""What a write does next: the tables at the top of `jetstream/decisions.py`, and their promises.

The promises are tried on a small model of a server: tries get lost before or after it, ids are
under way for a while, other clients write in between, and ids are looked at before conditions or
after them, as versions differ.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetkv_gateway.jetstream.decisions import (
    MESSAGE_IDS,
    Course,
    Late,
    Next,
    Said,
    Stands,
    Step,
    after_answer,
    after_ask,
    after_look,
    after_silence,
)

PLAIN = Course.of(None, named=True)
CREATE = Course.of(0, named=False)
NAMED_CREATE = Course.of(0, named=True)
COMPARED = Course.of(7, named=False)
NAMED_COMPARED = Course.of(7, named=True)


# --- the tables


@pytest.mark.parametrize(
    ("course", "said", "step"),
    [
        (PLAIN, Said.STORED, Step.DONE),
        (PLAIN, Said.KNOWN, Step.VERIFY),
        (PLAIN, Said.IN_PROCESS, Step.WAIT),
        (PLAIN, Said.MISMATCH, Step.REFUSE),
        (PLAIN, Said.REFUSED, Step.REFUSE),
        (COMPARED, Said.STORED, Step.DONE),
        (NAMED_COMPARED, Said.KNOWN, Step.VERIFY),
        (NAMED_COMPARED, Said.IN_PROCESS, Step.LOOK),
        (COMPARED, Said.MISMATCH, Step.LOOK),
        (COMPARED, Said.REFUSED, Step.REFUSE),
    ],
)
def test_an_answer_leads_to_the_step_of_its_row(course: Course, said: Said, step: Step) -> None:
    assert after_answer(course, said, 9).step is step


@pytest.mark.parametrize(
    ("course", "said", "stands", "step"),
    [
        (NAMED_COMPARED, Said.MISMATCH, Stands(9, True, ours=True), Step.DONE),
        (NAMED_COMPARED, Said.IN_PROCESS, Stands(9, True, ours=True), Step.DONE),
        (COMPARED, Said.MISMATCH, Stands(7, True), Step.WAIT),
        (NAMED_COMPARED, Said.IN_PROCESS, Stands(7, True), Step.WAIT),
        (CREATE, Said.MISMATCH, Stands(5, False), Step.SEND),
        (CREATE, Said.MISMATCH, Stands(), Step.WAIT),
        (CREATE, Said.MISMATCH, Stands(5, True), Step.CONFLICT),
        (COMPARED, Said.MISMATCH, Stands(8, True), Step.CONFLICT),
        (COMPARED, Said.MISMATCH, Stands(), Step.CONFLICT),
        (NAMED_COMPARED, Said.MISMATCH, Stands(8, True), Step.ASK),
        (NAMED_CREATE, Said.MISMATCH, Stands(8, True), Step.ASK),
        (NAMED_COMPARED, Said.IN_PROCESS, Stands(8, True), Step.WAIT),
    ],
)
def test_a_look_leads_to_the_step_of_its_row(
    course: Course, said: Said, stands: Stands, step: Step
) -> None:
    assert after_look(course, said, stands, holds_ids=False).step is step


def test_a_create_over_a_tombstone_names_the_tombstone() -> None:
    assert after_look(CREATE, Said.MISMATCH, Stands(5, False), holds_ids=False).course.sent == 5


def test_a_write_without_a_name_is_not_sent_again_after_silence() -> None:
    assert after_silence(COMPARED, sent=True).step is Step.REFUSE
    assert after_silence(COMPARED, sent=False).step is Step.REFUSE


def test_a_named_write_is_sent_again_after_silence_and_in_doubt_from_then_on() -> None:
    turn = after_silence(PLAIN, sent=True)
    assert (turn.step, turn.course.doubtful) == (Step.WAIT, True)
    assert after_silence(turn.course, sent=False).step is Step.WAIT
    assert after_silence(PLAIN, sent=False).step is Step.REFUSE


def test_an_id_that_the_server_holds_on_to_gives_way_to_another_a_few_times() -> None:
    course, ids = NAMED_COMPARED, []
    while True:
        turn = after_look(course, Said.IN_PROCESS, Stands(8, True), holds_ids=True)
        if turn.step is not Step.SEND:
            break
        course = turn.course
        ids.append(course.message_id)
    assert ids == list(range(1, MESSAGE_IDS))
    assert turn.late is Late.UNKNOWN


def test_as_long_as_an_id_is_asked_for_its_write_may_have_been_applied() -> None:
    """The request before may have done it: whatever goes wrong now, "not applied" is no answer."""
    turn = after_look(NAMED_COMPARED, Said.MISMATCH, Stands(8, True), holds_ids=False)
    assert turn.course.doubtful
    assert after_ask(turn.course, 7).course.doubtful


def test_every_id_that_was_used_is_asked_for_before_a_conflict_is_said() -> None:
    course = Course(expected=7, named=True, sent=7, message_id=2, doubtful=True)
    turn, asked = Next(Step.ASK, course), []
    while turn.step is Step.ASK:
        asked.append(turn.course.message_id)
        turn = after_ask(turn.course, None)
    assert (asked, turn.step) == ([2, 1, 0], Step.CONFLICT)


def test_a_create_asks_for_earlier_ids_before_it_names_another_revision() -> None:
    """One of them may have been applied and deleted since, which the next try would not show."""
    course = Course(expected=0, named=True, sent=1, message_id=2, doubtful=True)
    turn, asked = after_look(course, Said.MISMATCH, Stands(5, False), holds_ids=True), []
    while turn.step is Step.ASK:
        asked.append((turn.course.message_id, turn.course.sent))
        turn = after_ask(turn.course, None)
    assert asked == [(1, 1), (0, 1)]
    assert (turn.step, turn.course.sent, turn.course.message_id) == (Step.SEND, 5, 2)


def test_a_create_that_was_deleted_again_is_not_applied_a_second_time_under_another_id() -> None:
    server = Server(ids_first=True, revision=1)
    course = Course(expected=0, named=True, sent=1, doubtful=True)
    server.pending.append(course)  # its answer got lost
    turn = after_answer(course, *server.answer(course))
    turn = after_look(turn.course, Said.IN_PROCESS, Stands(1, False), holds_ids=True)
    assert turn.course.message_id == 1
    server.settle(applies=True)
    server.write(live=False)
    turn = after_answer(turn.course, *server.answer(turn.course))
    assert turn.step is Step.LOOK
    turn = after_look(turn.course, Said.MISMATCH, Stands(server.revision, False), holds_ids=True)
    while turn.step is Step.ASK:
        turn = after_ask(turn.course, server.known.get(turn.course.message_id))
    assert (turn.step, turn.revision, server.applied) == (Step.VERIFY, 2, [2])


# --- the promises, on a model


@dataclass
class Server:
    """One key, as a server has it, and the tries of one client that are under way."""

    ids_first: bool
    revision: int = 0
    live: bool = False
    ours: bool = False
    applied: list[int] = field(default_factory=list)
    known: dict[int, int] = field(default_factory=dict)
    pending: list[Course] = field(default_factory=list)

    def write(self, *, live: bool) -> None:
        """Another client's write."""
        self.revision += 1
        self.live, self.ours = live, False

    def settle(self, *, applies: bool) -> None:
        """Have the oldest try that is under way come to its end."""
        course = self.pending.pop(0)
        if applies and self._holds(course) and course.message_id not in self.known:
            self._store(course)

    def answer(self, course: Course) -> tuple[Said, int]:
        mismatch = course.sent is not None and not self._holds(course)
        if mismatch and not self.ids_first:
            return Said.MISMATCH, 0
        if course.named:
            if course.message_id in self.known:
                return Said.KNOWN, self.known[course.message_id]
            if any(other.message_id == course.message_id for other in self.pending):
                return Said.IN_PROCESS, 0
        if mismatch:
            return Said.MISMATCH, 0
        self._store(course)
        return Said.STORED, self.revision

    def _holds(self, course: Course) -> bool:
        return course.sent is None or self.revision == course.sent

    def _store(self, course: Course) -> None:
        self.revision += 1
        self.live = self.ours = True
        self.applied.append(self.revision)
        if course.named:
            self.known[course.message_id] = self.revision


def carry_out(data: st.DataObject, server: Server, course: Course, holds_ids: bool) -> Next:
    """Do what the decisions say, while the world does what it likes; the last step."""

    def world() -> None:
        for _ in range(data.draw(st.integers(0, 2))):
            if server.pending and data.draw(st.booleans()):
                server.settle(applies=data.draw(st.booleans()))
            else:
                server.write(live=data.draw(st.booleans()))

    turn, said = Next(Step.SEND, course), Said.REFUSED
    for _ in range(12):
        world()
        course = turn.course
        if turn.step in (Step.SEND, Step.WAIT):
            link = data.draw(st.sampled_from(["good", "good", "not sent", "lost", "in flight"]))
            if link == "not sent":
                turn = after_silence(course, sent=False)
            elif link == "lost":
                server.pending.append(course)
                turn = after_silence(course, sent=True)
            elif link == "in flight" and course.sent is not None:
                said, turn = Said.MISMATCH, after_answer(course, Said.MISMATCH)
            else:
                said, revision = server.answer(course)
                turn = after_answer(course, said, revision)
        elif turn.step is Step.LOOK:
            stands = Stands(server.revision, server.live, server.ours and course.named)
            turn = after_look(course, said, stands, holds_ids=holds_ids)
        elif turn.step is Step.ASK:
            turn = after_ask(course, server.known.get(course.message_id))
        else:
            return turn
    return turn


@settings(max_examples=500, deadline=None)
@given(
    data=st.data(),
    ids_first=st.booleans(),
    holds_ids=st.booleans(),
    before=st.sampled_from([(0, False, "create"), (3, False, "create"), (3, True, "create")])
    | st.sampled_from([(0, False, "none"), (3, True, "none")])
    | st.sampled_from([(3, True, "compare"), (3, False, "compare")]),
    named=st.booleans(),
)
def test_what_is_said_of_a_write_is_what_became_of_it(
    data: st.DataObject,
    ids_first: bool,
    holds_ids: bool,
    before: tuple[int, bool, str],
    named: bool,
) -> None:
    revision, live, condition = before
    expected = {"none": None, "create": 0, "compare": revision}[condition]
    server = Server(ids_first, revision=revision, live=live)
    turn = carry_out(data, server, Course.of(expected, named=named), holds_ids)
    claimed = turn.step
    while server.pending:
        server.settle(applies=data.draw(st.booleans()))
    if named or expected is not None:
        assert len(server.applied) <= 1, "applied once at most"
    if claimed in (Step.DONE, Step.VERIFY):
        assert turn.revision in server.applied, "what is said to be stored is stored"
    elif claimed is Step.CONFLICT:
        assert not server.applied, "a condition that does not hold has stored nothing"
    elif claimed is Step.WAIT and turn.late is Late.NOT_APPLIED and not turn.course.doubtful:
        assert not server.applied, "certainly not applied"
