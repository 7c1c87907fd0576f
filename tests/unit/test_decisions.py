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
    MAX_MESSAGE_IDS,
    Decision,
    KeyState,
    Outcome,
    OutOfTime,
    Step,
    WriteState,
    after_answer,
    after_no_answer,
    after_probe,
    after_read,
)

PLAIN = WriteState.of(None, has_id=True)
CREATE = WriteState.of(0, has_id=False)
NAMED_CREATE = WriteState.of(0, has_id=True)
COMPARED = WriteState.of(7, has_id=False)
NAMED_COMPARED = WriteState.of(7, has_id=True)


# --- the tables


@pytest.mark.parametrize(
    ("state", "outcome", "step"),
    [
        (PLAIN, Outcome.STORED, Step.DONE),
        (PLAIN, Outcome.DUPLICATE, Step.VERIFY),
        (PLAIN, Outcome.IN_PROCESS, Step.WAIT),
        (PLAIN, Outcome.MISMATCH, Step.REFUSE),
        (PLAIN, Outcome.REFUSED, Step.REFUSE),
        (COMPARED, Outcome.STORED, Step.DONE),
        (NAMED_COMPARED, Outcome.DUPLICATE, Step.VERIFY),
        (NAMED_COMPARED, Outcome.IN_PROCESS, Step.READ_KEY),
        (COMPARED, Outcome.MISMATCH, Step.READ_KEY),
        (COMPARED, Outcome.REFUSED, Step.REFUSE),
    ],
)
def test_an_answer_leads_to_the_step_of_its_row(
    state: WriteState, outcome: Outcome, step: Step
) -> None:
    assert after_answer(state, outcome, 9).step is step


@pytest.mark.parametrize(
    ("state", "outcome", "key_state", "step"),
    [
        (NAMED_COMPARED, Outcome.MISMATCH, KeyState(9, True, is_this_write=True), Step.DONE),
        (NAMED_COMPARED, Outcome.IN_PROCESS, KeyState(9, True, is_this_write=True), Step.DONE),
        (COMPARED, Outcome.MISMATCH, KeyState(7, True), Step.WAIT),
        (NAMED_COMPARED, Outcome.IN_PROCESS, KeyState(7, True), Step.WAIT),
        (CREATE, Outcome.MISMATCH, KeyState(5, False), Step.SEND),
        (CREATE, Outcome.MISMATCH, KeyState(), Step.WAIT),
        (CREATE, Outcome.MISMATCH, KeyState(5, True), Step.CONFLICT),
        (COMPARED, Outcome.MISMATCH, KeyState(8, True), Step.CONFLICT),
        (COMPARED, Outcome.MISMATCH, KeyState(), Step.CONFLICT),
        (NAMED_COMPARED, Outcome.MISMATCH, KeyState(8, True), Step.PROBE_ID),
        (NAMED_CREATE, Outcome.MISMATCH, KeyState(8, True), Step.PROBE_ID),
        (NAMED_COMPARED, Outcome.IN_PROCESS, KeyState(8, True), Step.WAIT),
    ],
)
def test_a_look_leads_to_the_step_of_its_row(
    state: WriteState, outcome: Outcome, key_state: KeyState, step: Step
) -> None:
    assert after_read(state, outcome, key_state, keeps_refused_ids=False).step is step


def test_a_create_over_a_tombstone_names_the_tombstone() -> None:
    assert (
        after_read(CREATE, Outcome.MISMATCH, KeyState(5, False), keeps_refused_ids=False).state.sent
        == 5
    )


def test_a_write_without_a_name_is_not_sent_again_after_silence() -> None:
    assert after_no_answer(COMPARED, sent=True).step is Step.REFUSE
    assert after_no_answer(COMPARED, sent=False).step is Step.REFUSE


def test_a_named_write_is_sent_again_after_silence_and_in_doubt_from_then_on() -> None:
    turn = after_no_answer(PLAIN, sent=True)
    assert (turn.step, turn.state.uncertain) == (Step.WAIT, True)
    assert after_no_answer(turn.state, sent=False).step is Step.WAIT
    assert after_no_answer(PLAIN, sent=False).step is Step.REFUSE


def test_an_id_that_the_server_holds_on_to_gives_way_to_another_a_few_times() -> None:
    state, ids = NAMED_COMPARED, []
    while True:
        turn = after_read(state, Outcome.IN_PROCESS, KeyState(8, True), keeps_refused_ids=True)
        if turn.step is not Step.SEND:
            break
        state = turn.state
        ids.append(state.message_id)
    assert ids == list(range(1, MAX_MESSAGE_IDS))
    assert turn.out_of_time is OutOfTime.UNKNOWN


def test_as_long_as_an_id_is_asked_for_its_write_may_have_been_applied() -> None:
    """The request before may have done it: whatever goes wrong now, "not applied" is no answer."""
    turn = after_read(NAMED_COMPARED, Outcome.MISMATCH, KeyState(8, True), keeps_refused_ids=False)
    assert turn.state.uncertain
    assert after_probe(turn.state, 7).state.uncertain


def test_every_id_that_was_used_is_asked_for_before_a_conflict_is_said() -> None:
    state = WriteState(expected=7, has_id=True, sent=7, message_id=2, uncertain=True)
    turn, asked = Decision(Step.PROBE_ID, state), []
    while turn.step is Step.PROBE_ID:
        asked.append(turn.state.message_id)
        turn = after_probe(turn.state, None)
    assert (asked, turn.step) == ([2, 1, 0], Step.CONFLICT)


def test_a_create_asks_for_earlier_ids_before_it_names_another_revision() -> None:
    """One of them may have been applied and deleted since, which the next try would not show."""
    state = WriteState(expected=0, has_id=True, sent=1, message_id=2, uncertain=True)
    turn, asked = (
        after_read(state, Outcome.MISMATCH, KeyState(5, False), keeps_refused_ids=True),
        [],
    )
    while turn.step is Step.PROBE_ID:
        asked.append((turn.state.message_id, turn.state.sent))
        turn = after_probe(turn.state, None)
    assert asked == [(1, 1), (0, 1)]
    assert (turn.step, turn.state.sent, turn.state.message_id) == (Step.SEND, 5, 2)


def test_a_create_that_was_deleted_again_is_not_applied_a_second_time_under_another_id() -> None:
    server = Server(ids_first=True, revision=1)
    state = WriteState(expected=0, has_id=True, sent=1, uncertain=True)
    server.pending.append(state)  # its answer got lost
    turn = after_answer(state, *server.answer(state))
    turn = after_read(turn.state, Outcome.IN_PROCESS, KeyState(1, False), keeps_refused_ids=True)
    assert turn.state.message_id == 1
    server.settle(applies=True)
    server.write(live=False)
    turn = after_answer(turn.state, *server.answer(turn.state))
    assert turn.step is Step.READ_KEY
    turn = after_read(
        turn.state, Outcome.MISMATCH, KeyState(server.revision, False), keeps_refused_ids=True
    )
    while turn.step is Step.PROBE_ID:
        turn = after_probe(turn.state, server.known.get(turn.state.message_id))
    assert (turn.step, turn.revision, server.applied) == (Step.VERIFY, 2, [2])


# --- the promises, on a model


@dataclass
class Server:
    """One key, as a server has it, and the tries of one client that are under way."""

    ids_first: bool
    revision: int = 0
    live: bool = False
    is_this_write: bool = False
    applied: list[int] = field(default_factory=list)
    known: dict[int, int] = field(default_factory=dict)
    pending: list[WriteState] = field(default_factory=list)

    def write(self, *, live: bool) -> None:
        """Another client's write."""
        self.revision += 1
        self.live, self.is_this_write = live, False

    def settle(self, *, applies: bool) -> None:
        """Have the oldest try that is under way come to its end."""
        state = self.pending.pop(0)
        if applies and self._holds(state) and state.message_id not in self.known:
            self._store(state)

    def answer(self, state: WriteState) -> tuple[Outcome, int]:
        mismatch = state.sent is not None and not self._holds(state)
        if mismatch and not self.ids_first:
            return Outcome.MISMATCH, 0
        if state.has_id:
            if state.message_id in self.known:
                return Outcome.DUPLICATE, self.known[state.message_id]
            if any(other.message_id == state.message_id for other in self.pending):
                return Outcome.IN_PROCESS, 0
        if mismatch:
            return Outcome.MISMATCH, 0
        self._store(state)
        return Outcome.STORED, self.revision

    def _holds(self, state: WriteState) -> bool:
        return state.sent is None or self.revision == state.sent

    def _store(self, state: WriteState) -> None:
        self.revision += 1
        self.live = self.is_this_write = True
        self.applied.append(self.revision)
        if state.has_id:
            self.known[state.message_id] = self.revision


def carry_out(
    data: st.DataObject, server: Server, state: WriteState, keeps_refused_ids: bool
) -> Decision:
    """Do what the decisions say, while the world does what it likes; the last step."""

    def world() -> None:
        for _ in range(data.draw(st.integers(0, 2))):
            if server.pending and data.draw(st.booleans()):
                server.settle(applies=data.draw(st.booleans()))
            else:
                server.write(live=data.draw(st.booleans()))

    turn, outcome = Decision(Step.SEND, state), Outcome.REFUSED
    for _ in range(12):
        world()
        state = turn.state
        if turn.step in (Step.SEND, Step.WAIT):
            link = data.draw(st.sampled_from(["good", "good", "not sent", "lost", "in flight"]))
            if link == "not sent":
                turn = after_no_answer(state, sent=False)
            elif link == "lost":
                server.pending.append(state)
                turn = after_no_answer(state, sent=True)
            elif link == "in flight" and state.sent is not None:
                outcome, turn = Outcome.MISMATCH, after_answer(state, Outcome.MISMATCH)
            else:
                outcome, revision = server.answer(state)
                turn = after_answer(state, outcome, revision)
        elif turn.step is Step.READ_KEY:
            key_state = KeyState(
                server.revision, server.live, server.is_this_write and state.has_id
            )
            turn = after_read(state, outcome, key_state, keeps_refused_ids=keeps_refused_ids)
        elif turn.step is Step.PROBE_ID:
            turn = after_probe(state, server.known.get(state.message_id))
        else:
            return turn
    return turn


@settings(max_examples=500, deadline=None)
@given(
    data=st.data(),
    ids_first=st.booleans(),
    keeps_refused_ids=st.booleans(),
    before=st.sampled_from([(0, False, "create"), (3, False, "create"), (3, True, "create")])
    | st.sampled_from([(0, False, "none"), (3, True, "none")])
    | st.sampled_from([(3, True, "compare"), (3, False, "compare")]),
    has_id=st.booleans(),
)
def test_what_is_said_of_a_write_is_what_became_of_it(
    data: st.DataObject,
    ids_first: bool,
    keeps_refused_ids: bool,
    before: tuple[int, bool, str],
    has_id: bool,
) -> None:
    revision, live, condition = before
    expected = {"none": None, "create": 0, "compare": revision}[condition]
    server = Server(ids_first, revision=revision, live=live)
    turn = carry_out(data, server, WriteState.of(expected, has_id=has_id), keeps_refused_ids)
    claimed = turn.step
    while server.pending:
        server.settle(applies=data.draw(st.booleans()))
    if has_id or expected is not None:
        assert len(server.applied) <= 1, "applied once at most"
    if claimed in (Step.DONE, Step.VERIFY):
        assert turn.revision in server.applied, "what is said to be stored is stored"
    elif claimed is Step.CONFLICT:
        assert not server.applied, "a condition that does not hold has stored nothing"
    elif (
        claimed is Step.WAIT
        and turn.out_of_time is OutOfTime.NOT_APPLIED
        and not turn.state.uncertain
    ):
        assert not server.applied, "certainly not applied"
