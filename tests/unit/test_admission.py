"""Who is in, who waits, and who gives way, without a gateway around it."""

import asyncio

from jetkv_gateway.serving.admission import Admission, AdmissionLimits
from tests.support.waiting import soon


def later(seconds: float) -> float:
    """A time of the event loop."""
    return asyncio.get_running_loop().time() + seconds


def refuse() -> None:
    raise AssertionError("refused")


async def test_a_request_that_only_waits_gives_its_place_to_the_next() -> None:
    admission = Admission(AdmissionLimits(requests=1, waiting=1, wait=10))
    assert admission.enter("stuck", later(0))
    started: list[str] = []
    admission.wait("next", later(0), lambda: started.append("next"), refuse)
    await soon(lambda: started == ["next"], "the next one is let in", 5)
    assert (admission.inside, admission.waiting) == (1, 0)


async def test_so_many_give_way_and_no_more() -> None:
    limits = AdmissionLimits(requests=1, waiting=100, wait=0.5)
    admission = Admission(limits)
    assert admission.enter(-1, later(0))
    started: list[int] = []
    refused: list[int] = []
    for number in range(40):
        admission.wait(
            number,
            later(10 + number * 10),
            lambda number=number: started.append(number),
            lambda number=number: refused.append(number),
        )
    assert started == list(range(15))
    assert refused == []


async def test_one_that_leaves_after_it_gave_way_makes_no_room() -> None:
    admission = Admission(AdmissionLimits(requests=1, waiting=10, wait=10))
    assert admission.enter("slow", later(0))

    started: list[str] = []
    admission.wait("second", later(10), lambda: started.append("second"), refuse)
    admission.wait("third", later(10), lambda: started.append("third"), refuse)
    assert started == ["second"]
    admission.leave("slow")
    assert (started, admission.inside, admission.waiting) == (["second"], 1, 1)
