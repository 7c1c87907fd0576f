"""Shares of the event loop's turns."""

import asyncio
from itertools import chain

from jetkv_gateway.watch.pacing import TurnPacer


class Loop:
    """Counts turns of the event loop, and what came in each."""

    def __init__(self, weight: int) -> None:
        self.turns = TurnPacer(weight)
        self.now = 0
        self.came: dict[int, list[str]] = {}

    async def ask(self, name: str, weight: int) -> None:
        await self.turns.wait(weight)
        self.came.setdefault(self.now, []).append(name)

    async def run(self, turns: int) -> list[list[str]]:
        """What came, turn after turn."""
        for _ in range(turns):
            self.now += 1
            await asyncio.sleep(0)
        return list(self.came.values())


async def test_a_turn_lets_in_as_much_as_fits_in_order() -> None:
    loop = Loop(3)
    asked = [asyncio.create_task(loop.ask(f"{number}", 1)) for number in range(8)]
    came = await loop.run(10)
    assert came == [["0", "1", "2"], ["3", "4", "5"], ["6", "7"]]
    await asyncio.gather(*asked)


async def test_what_weighs_more_than_a_turn_takes_the_rest_of_one() -> None:
    loop = Loop(3)
    weights = {"a": 1, "b": 100, "c": 1, "d": 3, "e": 1}
    asked = [asyncio.create_task(loop.ask(name, weight)) for name, weight in weights.items()]
    came = await loop.run(12)
    assert came == [["a", "b"], ["c", "d"], ["e"]]
    await asyncio.gather(*asked)


async def test_an_upload_that_comes_alone_does_not_wait() -> None:
    loop = Loop(1)
    for number in range(5):
        await loop.ask(f"{number}", 1)
        await loop.run(2)
    assert [*chain(*loop.came.values())] == ["0", "1", "2", "3", "4"]


async def test_an_upload_that_comes_later_does_not_go_first() -> None:
    loop = Loop(1)
    first = [asyncio.create_task(loop.ask(f"first {number}", 1)) for number in range(4)]
    await loop.run(2)
    second = asyncio.create_task(loop.ask("second", 1))
    await loop.run(10)
    assert [*chain(*loop.came.values())][-1] == "second"
    await asyncio.gather(*first, second)


async def test_an_upload_that_gives_up_takes_no_turn() -> None:
    loop = Loop(1)
    asked = [asyncio.create_task(loop.ask(f"{number}", 1)) for number in range(6)]
    await asyncio.sleep(0)
    for gone in asked[1:5]:
        gone.cancel()
    came = await loop.run(4)
    assert came == [["0"], ["5"]]
    await asyncio.gather(*asked, return_exceptions=True)
