"""The judges of the promises find what they are there for."""

from tests.watch.promises import (
    GOING_AWAY,
    ID_ALONE,
    READ_TO_THE_END,
    SILENCE,
    SNAPSHOT_END,
    Bookmark,
    Chain,
    Probe,
    Session,
    Stored,
    Update,
    Write,
    breaches_of_a_probe,
    breaches_of_acks,
    breaches_of_bookmarks,
    breaches_of_completeness,
    breaches_of_endings,
    breaches_of_order,
    breaches_of_reliability,
    breaches_of_resumption,
    breaches_of_uniqueness,
)

A1 = Update(1, "a", "put", "1")
B2 = Update(2, "b", "put", "2")
A3 = Update(3, "a", "delete", "")
C4 = Update(4, "c", "put", "4")
STORED = Stored({update.revision: update for update in (A1, B2, A3, C4)}, last=4)
WRITES = [
    Write("b", "now", update.key, update.operation, update.value, update.revision, acked_at=1.0)
    for update in (A1, B2, A3, C4)
]


def session(*items: Update | Bookmark, after: int | None = None, snapshot: bool = False) -> Session:
    return Session(snapshot, after, asked_at=0.5, items=list(items), end=READ_TO_THE_END)


def chain(*sessions: Session, since: int | None = None) -> Chain:
    return Chain("watcher", "b", "now", since, list(sessions))


def test_what_is_right_has_no_breach() -> None:
    whole = chain(
        session(A1, B2, Bookmark(2, SNAPSHOT_END), snapshot=True), session(A3, C4, after=2)
    )
    assert breaches_of_order(whole) == []
    assert breaches_of_uniqueness(whole) == []
    assert breaches_of_reliability(whole, STORED, WRITES) == []
    assert breaches_of_completeness(whole, STORED, WRITES) == []
    assert breaches_of_resumption(whole, STORED) == []
    assert breaches_of_bookmarks(whole, STORED) == []
    assert breaches_of_acks(STORED, WRITES) == []


def test_a_revision_that_goes_back_is_found() -> None:
    assert len(breaches_of_order(chain(session(B2), session(A1)))) == 1


def test_a_revision_that_comes_twice_is_found() -> None:
    assert len(breaches_of_uniqueness(chain(session(B2), session(B2)))) == 1


def test_a_change_that_never_came_is_found() -> None:
    assert len(breaches_of_reliability(chain(session(A1, B2, C4), since=0), STORED, WRITES)) == 1
    assert len(breaches_of_reliability(chain(session(A1, B2, A3), since=0), STORED, WRITES)) == 1


def test_a_change_that_is_not_what_was_written_is_found() -> None:
    wrong = Update(2, "b", "put", "other")
    assert len(breaches_of_reliability(chain(session(wrong, A3, C4), since=1), STORED, [])) == 1
    short = Stored({3: A3, 4: C4}, last=4)
    invented = chain(session(wrong, A3, C4), since=1)
    assert len(breaches_of_reliability(invented, short, WRITES)) == 1


def test_an_acked_write_that_is_nowhere_is_found() -> None:
    lost = Write("b", "now", "d", "put", "5", 5, acked_at=1.0)
    assert len(breaches_of_acks(STORED, [*WRITES, lost])) == 1


def test_a_state_that_is_not_the_truth_is_found() -> None:
    ghost = chain(session(A1, B2, C4, Bookmark(4, SNAPSHOT_END), snapshot=True))
    assert len(breaches_of_completeness(ghost, STORED, [])) == 2


def test_a_snapshot_that_lacks_what_the_live_frames_bring_is_found() -> None:
    late = chain(session(A1, Bookmark(2, SNAPSHOT_END), B2, A3, C4, snapshot=True))
    assert len(breaches_of_completeness(late, STORED, [])) == 1


def test_a_snapshot_without_a_write_acked_before_it_is_found() -> None:
    early = [Write("b", "now", "c", "put", "4", 4, acked_at=0.1)]
    short = chain(session(A1, B2, Bookmark(2, SNAPSHOT_END), A3, C4, snapshot=True))
    assert len(breaches_of_completeness(short, STORED, early)) == 1


def test_a_connection_that_resumes_with_a_hole_or_a_repeat_is_found() -> None:
    hole = chain(session(A1), session(A3, C4, after=1))
    assert len(breaches_of_resumption(hole, STORED)) == 1
    repeat = chain(session(A1, B2), session(B2, A3, C4, after=2))
    assert len(breaches_of_resumption(repeat, STORED)) == 1
    too_short = chain(session(A1), session(B2, A3, after=1))
    assert len(breaches_of_resumption(too_short, STORED)) == 1


def test_a_bookmark_ahead_of_what_was_said_is_found() -> None:
    ahead = chain(session(A1, Bookmark(3, ID_ALONE), B2, A3, C4), since=0)
    assert len(breaches_of_bookmarks(ahead, STORED)) == 1


def test_a_bookmark_that_leads_elsewhere_is_found() -> None:
    bookmark = Bookmark(2, SNAPSHOT_END)
    known = {"a": A1, "b": B2}
    right = Probe(bookmark, known, chain(session(A3, C4, after=2)))
    assert breaches_of_a_probe(right, STORED) == []
    wrong = Probe(bookmark, known, chain(session(C4, after=2)))
    assert len(breaches_of_a_probe(wrong, STORED)) == 2


def test_an_end_in_silence_or_with_another_word_or_code_is_found() -> None:
    def ended(end: str, code: int | None = None, last_id: str | None = None) -> list[str]:
        over = Session(False, None, 0.0, end=end, close_code=code, last_id=last_id)
        return breaches_of_endings(over, {"bucket_deleted", "slow_consumer", GOING_AWAY})

    assert len(ended(SILENCE)) == 1
    assert len(ended("resync", 4409)) == 1
    assert len(ended("bucket_deleted", 1011)) == 1
    assert len(ended("bucket_deleted", last_id="7")) == 1
    assert len(ended("slow_consumer", last_id="")) == 1
    assert ended("bucket_deleted", 4410) == []
    assert ended("bucket_deleted", last_id="") == []
    assert ended("slow_consumer", 1013) == []
    assert ended(GOING_AWAY, 1001) == []
