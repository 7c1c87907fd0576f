"""The end of a value that is replaced again and again: it stays where it was."""

import random
import time
from datetime import UTC, datetime

import pytest

from jetkv.integrations._remaining import seconds_left
from jetkv.models import Entry, Operation


def entry(created: float, expires: float | None) -> Entry[bytes]:
    def moment(seconds: float) -> datetime:
        return datetime.fromtimestamp(seconds, UTC)

    end = None if expires is None else moment(expires)
    return Entry("a", b"1", 1, Operation.PUT, lambda _, raw: raw, moment(created), end)


@pytest.mark.parametrize("ttl", [2, 5, 60, 3600])
@pytest.mark.parametrize("pause", [0.01, 0.3, 1.5])
@pytest.mark.parametrize("behind", [-0.05, 0.0, 0.05])
def test_the_end_moves_by_less_than_four_seconds(
    monkeypatch: pytest.MonkeyPatch, ttl: int, pause: float, behind: float
) -> None:
    chance = random.Random(f"{ttl}{pause}{behind}")
    for _ in range(20):
        now = created = 1_800_000_000 + chance.random() * 100
        end = first = now + ttl
        counted = 0
        # The last ten seconds are enough: what was before them is the same again and again.
        now = max(now, end - 10)
        while now < end:
            monkeypatch.setattr(time, "time", lambda now=now: now - behind)
            left = seconds_left(entry(created, end))
            if left == 0:
                break
            assert left is not None
            counted += 1
            created, end = now + chance.random() * 0.1, now + chance.random() * 0.1 + left
            now = created + pause * chance.random()
        assert counted
        assert abs(end - first) < 4.2


def test_a_clock_that_is_far_behind_does_not_prolong_a_busy_counter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    created = now = 1_800_000_000.0
    end = now + 60
    while now < end:
        now += 0.1
        left = seconds_left(entry(created, end))
        if left == 0:
            break
        assert left is not None
        created, end = now, now + left
    assert abs(now - 1_800_000_060) < 4


def test_a_value_without_an_end_keeps_none() -> None:
    assert seconds_left(entry(1.0, None)) is None
