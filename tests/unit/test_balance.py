"""Whose turn a connection is, among workers that see each other's numbers and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.serving.balance import CELLS, Balance, clear_slot

counts = st.lists(st.integers(0, 10_000), min_size=1, max_size=16)


def workers(connections: list[int]) -> tuple[list[int], list[Balance]]:
    """Workers with so many connections each, and the memory that they share."""
    cells = [0] * len(connections) * CELLS
    balances = [Balance(cells, place) for place in range(len(connections))]
    for balance, number in zip(balances, connections, strict=True):
        balance.publish(number)
    return cells, balances


@given(counts)
def test_a_connection_is_always_somebodys_turn(connections: list[int]) -> None:
    _, balances = workers(connections)
    least = connections.index(min(connections))
    assert balances[least].should_accept(connections[least])


@given(st.lists(st.integers(0, 3), min_size=64, max_size=64), st.integers(2, 4))
def test_no_worker_has_much_more_than_its_share_however_quick_it_is(
    quickest: list[int], number: int
) -> None:
    connections = [0] * number
    _, balances = workers(connections)
    for first in quickest:
        # All are woken; the quickest one whose turn it is has it.
        for place in [first % number, *range(number)]:
            if balances[place].should_accept(connections[place]):
                connections[place] += 1
                balances[place].publish(connections[place])
                break
    assert sum(connections) == 64
    assert max(connections) <= 64 / number * 1.1 + 1


@given(st.integers(0, 10_000))
def test_one_worker_alone_accepts_all(connections: int) -> None:
    _, (only,) = workers([connections])
    assert only.should_accept(connections)


def test_a_worker_that_does_not_take_its_turn_is_passed_over_until_a_sign_of_life() -> None:
    _, (ahead, hung) = workers([8, 0])
    assert not ahead.should_accept(8)
    ahead.skip_idle(8)
    assert ahead.should_accept(8)
    assert ahead.should_accept(1000)
    hung.publish(0)
    assert not ahead.should_accept(8)


def test_a_worker_that_is_gone_or_leaves_counts_no_more() -> None:
    cells, (ahead, _, leaves) = workers([8, 0, 0])
    clear_slot(cells, 1)
    assert not ahead.should_accept(8)
    leaves.leave()
    assert ahead.should_accept(8)
    # A worker that takes a place counts from its first report on, with no connections.
    Balance(cells, 1).publish(0)
    assert not ahead.should_accept(8)


def test_a_sign_of_life_is_heard_once() -> None:
    _, (one, other) = workers([0, 0])
    one.others_alive()
    assert not one.others_alive()
    one.publish(1)
    assert not one.others_alive(), "its own report does not count"
    other.publish(0)
    assert one.others_alive()
    assert not one.others_alive()
