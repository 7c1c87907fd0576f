"""How much work a change is on its way to a watcher, counted: as `test_work_per_request` does it.

What is done for each change of a burst is told from what is done once for many: a function that
was called as often as there were changes, or more, was called for each of them. So it does not
matter in how many pieces a burst comes.

A bound that is passed by a change which is worth it is raised with that change, and said so there.
"""

import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from jetkv.testing import LocalNats
from tests.support.calls import Calls, counted_gateway
from tests.support.http import Bucket
from tests.support.native import Native
from tests.support.waiting import until
from tests.support.watching import watching

CHANGES = 200
"""A live feed asks for that many at once, and more."""

BOUND_IN_A_BURST = 2
BOUND_ALONE = 48
"""Calls for each change: what was measured last; of one that comes alone a sixth more, since what
is done once a second counts there."""


class HeldCalls(Calls):
    """Counts calls, and holds the thread when a feed takes its next message, where that is wished.

    Attributes:
        hold: hold it at the next one.
        held: whether it is held: only `go_on` ends that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hold = self.held = False
        self._go_on = threading.Event()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        super().__call__(frame, event, argument)
        if self.hold and event == "call" and frame.f_code.co_qualname == "Feed._take":
            self.hold, self.held = False, True
            assert self._go_on.wait(20), "nobody said to go on"

    def go_on(self) -> None:
        self.held = False
        self._go_on.set()


@pytest.fixture
def counted(nats: LocalNats) -> Iterator[tuple[Bucket, HeldCalls]]:
    calls = HeldCalls()
    with counted_gateway(nats.url, calls, "work-per-change") as bucket:
        yield bucket, calls


async def test_a_change_of_a_burst_is_no_more_calls_than_it_was(
    counted: tuple[Bucket, HeldCalls], native: Native
) -> None:
    bucket, calls = counted
    async with watching(bucket.http, bucket.name) as watcher:
        calls.hold = True
        await native.publish(f"$KV.{bucket.name}.first", b"v" * 128)
        until(lambda: calls.held, "the feed takes the first change")
        calls.seen.clear()
        calls.counting = True
        for number in range(CHANGES):
            await native.publish(f"$KV.{bucket.name}.k{number}", b"v" * 128)
        calls.go_on()
        await watcher.take(1 + CHANGES)
        calls.counting = False
    each = {name: count // CHANGES for name, count in calls.seen.items() if count >= CHANGES}
    print(f"{sum(each.values())} calls: {', '.join(each)}")
    assert "feed.py:Feed._take" in each, "nothing was counted"
    assert sum(each.values()) <= BOUND_IN_A_BURST, calls.most(40, CHANGES)


async def test_a_change_that_comes_alone_is_no_more_calls_than_it_was(
    counted: tuple[Bucket, HeldCalls], native: Native
) -> None:
    bucket, calls = counted
    async with watching(bucket.http, bucket.name) as watcher:
        for number in range(20 + CHANGES):
            if number == 20:  # what is looked up once is no part of it
                calls.seen.clear()
                calls.counting = True
            await native.publish(f"$KV.{bucket.name}.k{number}", b"v" * 128)
            await watcher.next()
        calls.counting = False
    each = sum(calls.seen.values()) / CHANGES
    print(f"{each:.1f} calls")
    assert each > 5, "nothing was counted"
    assert each <= BOUND_ALONE, calls.most(60, CHANGES)
