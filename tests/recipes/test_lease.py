"""A lease ends by the clock, for good, and never later than it should."""

import pytest

from jetkv.recipes._lease import Lease, Ownership, clock

TTL = 1000.0


def begun(seconds_ago: float) -> Ownership:
    return Ownership(fencing=1, revision=1, written_at=clock() - seconds_ago)


@pytest.mark.parametrize(("ago", "alive"), [(0, True), (TTL - 60, True), (TTL, False)])
def test_a_lease_lives_for_its_ttl_from_the_begin_of_its_write(ago, alive) -> None:
    lease = Lease(begun(ago), TTL)
    assert lease.alive is alive
    assert (lease.seconds_left > 0) is alive


def test_a_renewal_in_time_makes_it_live_longer() -> None:
    lease = Lease(begun(TTL - 60), TTL)
    assert lease.renewed(begun(0))
    assert lease.seconds_left > 60


def test_a_renewal_that_comes_too_late_brings_nothing_back() -> None:
    lease = Lease(begun(TTL), TTL)
    assert not lease.renewed(begun(0))
    assert not lease.alive
    assert lease.seconds_left == 0


def test_a_renewal_that_began_too_long_ago_does_not_count() -> None:
    lease = Lease(begun(TTL - 60), TTL)
    assert not lease.renewed(begun(TTL))
    assert not lease.renewed(begun(0))


def test_a_lease_that_was_ended_stays_so() -> None:
    lease = Lease(begun(0), TTL)
    lease.end()
    assert not lease.renewed(begun(0))
    assert not lease.alive
