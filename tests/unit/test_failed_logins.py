"""Callers whose credentials are refused again and again wait longer and longer."""

import pytest

from jetkv_gateway.http import failed_logins as module
from jetkv_gateway.http.failed_logins import FailedLogins


def test_the_first_failures_of_an_address_are_not_delayed() -> None:
    failures = FailedLogins()
    assert [failures.note("a", 1.0) for _ in range(10)] == [0.0] * 10


def test_further_failures_are_delayed_longer_and_longer_up_to_a_limit() -> None:
    failures = FailedLogins()
    delays = [failures.note("a", 1.0) for _ in range(20)][10:]
    assert delays[:3] == [0.5, 1.0, 2.0]
    assert delays[5:] == [5.0] * 5


def test_another_address_is_not_delayed() -> None:
    failures = FailedLogins()
    for _ in range(20):
        failures.note("a", 1.0)
    assert failures.note("b", 1.0) == 0.0


def test_failures_are_forgotten_with_time() -> None:
    failures = FailedLogins()
    for _ in range(20):
        failures.note("a", 1.0)
    assert failures.note("a", 200.0) == 0.0


def test_one_address_has_a_bounded_number_of_delayed_answers() -> None:
    failures = FailedLogins()
    for _ in range(10):
        failures.note("a", 1.0)
    held = [failures.delayed("a") for _ in range(32)]
    for one in held:
        one.__enter__()
    assert failures.note("a", 1.0) is None
    held[0].__exit__(None, None, None)
    assert failures.note("a", 1.0) is not None


def test_many_addresses_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2000)
    failures = FailedLogins()
    for number in range(10_000):
        failures.note(str(number), 1.0)
    assert len(failures) <= 2000
