"""Admission in an event loop; `test_admission_queue.py` tests the decisions."""

import asyncio

from jetkv_gateway.kv.errors import TooManyRequests
from jetkv_gateway.serving.admission import Admission, AdmissionLimits
from jetkv_gateway.serving.shares import Account
from tests.support.waiting import soon

HERE = Account("from this machine", limited=False)


def later(seconds: float) -> float:
    """A time of the event loop."""
    return asyncio.get_running_loop().time() + seconds


def refuse(error: TooManyRequests) -> None:
    raise AssertionError(error)


async def test_a_request_that_only_waits_gives_its_place_to_the_next() -> None:
    admission = Admission(AdmissionLimits(requests=1, waiting=1, wait=10))
    assert admission.try_enter("stuck", later(0), HERE)
    started: list[str] = []
    admission.wait("next", later(0), lambda: started.append("next"), refuse, HERE)
    await soon(lambda: started == ["next"], "the next one is let in", 5)
    assert (admission.running, admission.waiting) == (1, 0)


async def test_so_many_give_way_and_no_more() -> None:
    limits = AdmissionLimits(requests=1, waiting=100, wait=0.5)
    admission = Admission(limits)
    assert admission.try_enter(-1, later(0), HERE)
    started: list[int] = []
    refused: list[int] = []
    for number in range(40):
        admission.wait(
            number,
            later(10 + number * 10),
            lambda number=number: started.append(number),
            lambda _error, number=number: refused.append(number),
            HERE,
        )
    assert started == list(range(15))
    assert refused == []


async def test_one_that_leaves_after_it_gave_way_makes_no_room() -> None:
    admission = Admission(AdmissionLimits(requests=1, waiting=10, wait=10))
    assert admission.try_enter("slow", later(0), HERE)
    started: list[str] = []
    admission.wait("second", later(10), lambda: started.append("second"), refuse, HERE)
    admission.wait("third", later(10), lambda: started.append("third"), refuse, HERE)
    assert started == ["second"]
    admission.release("slow")
    assert (started, admission.running, admission.waiting) == (["second"], 1, 1)


async def test_a_request_that_waits_is_refused_once_its_time_is_over() -> None:
    admission = Admission(AdmissionLimits(requests=1, waiting=10, wait=0.05))
    one = Account("from this address")
    assert admission.try_enter("first", later(0), one)
    refused: list[str] = []
    admission.wait("second", later(0), list, lambda error: refused.append(error.message), one)
    await soon(lambda: refused, "it is refused", 5)
    assert refused == ["too many requests"], "a share of one place alone is no share"
    assert (admission.waiting, one.waiting) == (0, 0)


async def test_many_that_are_refused_and_ask_again_at_once_end_no_other_way() -> None:
    admission = Admission(AdmissionLimits(requests=1, waiting=5_000, wait=0.05))
    assert admission.try_enter("first", later(0), HERE)
    times = dict.fromkeys(range(3_000), 0)

    def ask(number: int) -> None:
        times[number] += 1
        if times[number] < 3:
            admission.wait((number, times[number]), later(0), list, lambda _: ask(number), HERE)

    for number in times:
        ask(number)
    await soon(lambda: set(times.values()) == {3}, "each was refused twice", 20)
    assert admission.waiting == 0


async def test_at_the_end_all_who_wait_are_refused_and_who_comes_then() -> None:
    admission = Admission(AdmissionLimits(requests=1, waiting=10, wait=10))
    assert admission.try_enter("first", later(0), HERE)
    refused: list[str] = []
    admission.wait("second", later(0), list, lambda _: refused.append("second"), HERE)
    admission.close()
    assert refused == ["second"]
    admission.wait("third", later(0), list, lambda _: refused.append("third"), HERE)
    await soon(lambda: refused == ["second", "third"], "the third one is refused", 5)
