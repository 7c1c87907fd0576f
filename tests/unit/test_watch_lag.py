"""By how many revisions a watcher is behind, as metrics show it."""

from jetkv_gateway.watch.session import Session
from tests.support.sessions import put


def test_a_reader_that_has_taken_everything_is_not_behind() -> None:
    session = Session()
    session.join_live(1)
    session.add_live(put(2), put(3))
    session.take()
    assert session.lag(9) == 0


def test_a_reader_is_behind_since_the_first_change_that_waits_for_it() -> None:
    session = Session()
    session.join_live(1)
    session.add_live(put(2), put(3))
    assert session.lag(9) == 8


def test_a_session_that_catches_up_does_not_count_as_behind() -> None:
    session = Session()
    session.add_past(put(2))
    assert session.lag(9) == 0
