"""The limit of lines in the log, and what it says of those that it left out."""

import asyncio
import logging

import pytest

from jetkv_gateway.telemetry import line_limit
from jetkv_gateway.telemetry.line_limit import LineLimit
from tests.support.waiting import soon

_log = logging.getLogger("test.lines")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    clock = Clock()
    limit = LineLimit(_log, "things", 2.0, clock)
    assert sum(limit.allows("503") for _ in range(100)) == 20
    clock.now += 3
    assert sum(limit.allows("503") for _ in range(100)) == 6


def test_without_a_limit_every_line_is_allowed(caplog: pytest.LogCaptureFixture) -> None:
    limit = LineLimit(_log, "things", 0.0)
    assert all(limit.allows("503") for _ in range(1000))
    limit.close()
    assert caplog.records == []


def test_the_end_says_what_was_left_out_by_kind_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    limit = LineLimit(_log, "failed requests", 0.1, clock)
    for kind in ("503", "503", "503", "504"):
        limit.allows(kind)
    clock.now += 4
    limit.close()
    limit.close()
    assert [record.getMessage() for record in caplog.records] == [
        "3 lines about failed requests were left out in 4 s: 503: 2, 504: 1"
    ]


async def test_what_was_left_out_is_said_while_the_storm_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_limit, "_SAY_SECONDS", 0.01)
    limit = LineLimit(_log, "failed requests", 0.1)
    for _ in range(3):
        limit.allows("503")
    await soon(lambda: len(caplog.records) == 1, "it was said")
    limit.allows("503")
    await soon(lambda: len(caplog.records) == 2, "it was said again")
    assert not [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
