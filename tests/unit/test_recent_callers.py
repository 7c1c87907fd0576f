"""Callers that are known for a moment by their credential."""

import pytest

from jetkv_gateway.http import recent_callers
from jetkv_gateway.http.recent_callers import RecentCallers
from jetkv_gateway.kv.access import Principal

ANN = Principal("ann", "token")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(recent_callers, "monotonic", clock)
    monkeypatch.setattr(recent_callers, "time", clock)
    return clock


@pytest.fixture
def recent(clock: Clock) -> RecentCallers:
    recent = RecentCallers()
    assert recent.find(b"Bearer a") is None
    recent.add(b"Bearer a", ANN)
    return recent


def test_a_caller_is_known_by_its_credential_alone(recent: RecentCallers) -> None:
    assert recent.find(b"Bearer a") is ANN
    assert recent.find(b"Bearer b") is None
    assert recent.find(b"") is None
    assert recent.find(None) is None


def test_after_half_a_second_a_caller_has_to_be_identified_again(
    recent: RecentCallers, clock: Clock
) -> None:
    clock.now += 0.4
    assert recent.find(b"Bearer a") is ANN
    clock.now += 0.2
    assert recent.find(b"Bearer a") is None
    assert recent.find(b"Bearer a") is None


def test_using_a_credential_does_not_keep_it_known(recent: RecentCallers, clock: Clock) -> None:
    found = []
    for _ in range(10):
        clock.now += 0.1
        found.append(recent.find(b"Bearer a"))
    assert None in found[:6]


def test_a_credential_that_expires_soon_is_not_remembered(
    recent: RecentCallers, clock: Clock
) -> None:
    soon, later = (Principal("b", "jwt", expires_at=clock.now + left) for left in (0.4, 5))
    recent.add(b"soon", soon)
    recent.add(b"later", later)
    assert (recent.find(b"soon"), recent.find(b"later")) == (None, later)


def test_the_number_of_callers_has_a_limit(recent: RecentCallers) -> None:
    for number in range(3000):
        recent.add(b"%d" % number, ANN)
    assert len(recent._callers) <= 1024
