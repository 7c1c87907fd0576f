"""What is held for clients: which of them are disconnected, and which are not."""

from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.serving.buffered import BufferedBytes
from jetkv_gateway.serving.shares import Account

KIB = 1024


def test_nobody_is_let_go_below_the_limit() -> None:
    held: BufferedBytes[str] = BufferedBytes(100)
    assert not held.note("a", 60, 0.0)
    assert not held.note("b", 40, 1.0)
    assert held.excess() == []
    assert (held.total, len(held)) == (100, 2)


def test_the_slowest_is_let_go_first() -> None:
    held: BufferedBytes[str] = BufferedBytes(100 * KIB)
    held.note("early", 40 * KIB, 0.0)
    held.note("late", 40 * KIB, 1.0)
    held.note("early", 40 * KIB, 2.0, moved=20 * KIB)
    assert held.note("new", 40 * KIB, 3.0)
    assert held.excess() == ["late"]
    assert held.total == 80 * KIB


def test_of_equally_slow_ones_the_largest_is_let_go_first() -> None:
    held: BufferedBytes[str] = BufferedBytes(100)
    held.note("small", 20, 0.0)
    held.note("large", 70, 0.0)
    held.note("new", 30, 1.0)
    assert held.excess() == ["large"]


def test_more_that_waits_for_a_client_is_no_progress_of_its() -> None:
    held: BufferedBytes[str] = BufferedBytes(100)
    held.note("stuck", 10, 0.0)
    held.note("other", 10, 1.0)
    held.note("stuck", 50, 2.0)
    held.note("new", 50, 3.0)
    assert held.excess() == ["stuck"]


def test_a_client_that_moves_a_byte_a_second_is_not_fresh_by_that() -> None:
    held: BufferedBytes[str] = BufferedBytes(100 * KIB)
    held.note("drip", 50 * KIB, 0.0)
    held.note("honest", 40 * KIB, 5.0)
    for second in range(60):
        held.note("drip", 50 * KIB + second, float(second), moved=1)
    held.note("new", 40 * KIB, 61.0)
    assert held.excess() == ["drip"]


def test_what_is_carried_out_counts_and_stays() -> None:
    held: BufferedBytes[str] = BufferedBytes(100)
    held.note("running", 80, 0.0, running=True)
    assert held.note("new", 30, 9.0)
    assert held.excess() == ["new"]
    assert held.total == 80


def test_what_is_given_back_is_forgotten() -> None:
    held: BufferedBytes[str] = BufferedBytes(100)
    held.note("a", 60, 0.0)
    held.note("a", 0, 1.0)
    held.note("a", 0, 2.0)
    assert (held.total, len(held)) == (0, 0)


def test_a_caller_over_its_share_leaves_the_reserve_to_others() -> None:
    held: BufferedBytes[str] = BufferedBytes(800, 0.25)
    greedy, other = Account("greedy"), Account("other")
    for number in range(7):
        assert not held.note(f"greedy {number}", 100, 10.0 + number, account=greedy)
    held.note("other", 50, 0.0, account=other)
    # The other one is the slowest, and within its share.
    assert held.excess() == ["greedy 0"]
    assert (greedy.buffered, other.buffered, held.total) == (600, 50, 650)


def test_a_caller_without_a_share_is_let_go_for_slowness_alone() -> None:
    held: BufferedBytes[str] = BufferedBytes(800, 0.25)
    here = Account("here", limited=False)
    for number in range(8):
        held.note(str(number), 100, float(number), account=here)
    assert held.excess() == []
    held.note("8", 1, 8.0, account=here)
    assert held.excess() == ["0"]


Notes = st.lists(
    st.tuples(
        st.integers(0, 9), st.integers(0, 80), st.booleans(), st.integers(0, 4), st.booleans()
    ),
    max_size=80,
)


@given(Notes, st.sampled_from([0.25, 1.0]))
def test_no_more_is_held_than_the_limit_and_every_byte_is_given_back(
    notes: list[tuple[int, int, bool, int, bool]], part: float
) -> None:
    limit = 100
    held: BufferedBytes[int] = BufferedBytes(limit, part)
    accounts = [Account(str(number)) for number in range(3)]
    sizes: dict[int, int] = {}
    staying: set[int] = set()
    progress: dict[int, float] = {}
    now, before = 0.0, 0
    for holder, size, moves, pause, stays in notes:
        now += pause
        account = accounts[holder % 3]
        moved = size if moves else 0
        told = held.note(holder, size, now, moved=moved, running=stays, account=account)
        if holder not in sizes or moves:
            progress[holder] = now
        sizes[holder] = size
        (staying.add if stays else staying.discard)(holder)
        if not size:
            del sizes[holder]
        total = sum(sizes.values())
        assert held.total == total
        # What was over before, and stays, was told then.
        assert told or total <= max(limit, before)
        gone = held.excess()
        assert not staying.intersection(gone)
        for one in gone:
            slower = [other for other in sizes if progress[other] < progress[one]]
            if part == 1.0:
                # A slower client stays only while its request runs.
                assert all(other in staying or other in gone for other in slower)
        for one in gone:
            del sizes[one]
        assert held.total <= limit or set(sizes) <= staying
        before = held.total
        for number, account in enumerate(accounts):
            mine = sum(size for one, size in sizes.items() if one % 3 == number)
            assert account.buffered == mine
    for holder in list(sizes):
        held.note(holder, 0, now)
    assert (held.total, len(held)) == (0, 0)
