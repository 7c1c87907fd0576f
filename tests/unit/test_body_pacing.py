"""What one turn of the event loop reads of bodies, and in which order."""

import asyncio

from jetkv_gateway.serving.body_pacing import BodyPacer

PIECE = 256 * 1024


class Upload:
    """A client that has more to send than is read, in pieces."""

    def __init__(self, intake: BodyPacer, name: str, pieces: int, read: list[str]) -> None:
        self._intake = intake
        self._name = name
        self._pieces = pieces
        self._read = read
        self._rests = False

    def pause_body(self) -> None:
        self._rests = True

    def resume_body(self) -> None:
        self._rests = False
        self.arrives()

    def arrives(self) -> None:
        """Be read until told to rest, as the event loop does."""
        while self._pieces and not self._rests:
            self._pieces -= 1
            self._read.append(self._name)
            if self._pieces:
                self._intake.note_read(self, PIECE)


def test_one_turn_of_the_loop_reads_a_bounded_part_of_many_bodies() -> None:
    async def turns() -> list[int]:
        read: list[str] = []
        intake = BodyPacer(4 * PIECE)
        uploads = [Upload(intake, str(number), 4, read) for number in range(100)]
        for upload in uploads:
            upload.arrives()
        seen = [len(read)]
        while intake.paused:
            await asyncio.sleep(0)
            seen.append(len(read) - sum(seen))
        return seen

    first, *others = asyncio.run(turns())
    # Of each the event loop has read a piece before anybody could say no.
    assert first <= 4 + 100
    assert max(others) <= 8
    assert first + sum(others) == 400


def test_those_who_rest_go_on_in_the_order_in_which_they_came() -> None:
    async def order() -> list[str]:
        read: list[str] = []
        intake = BodyPacer(PIECE)
        for name in "abc":
            Upload(intake, name, 3, read).arrives()
        for _ in range(9):
            await asyncio.sleep(0)
        assert intake.paused == 0
        return read

    read = asyncio.run(order())
    assert sorted(read) == sorted("abc" * 3)
    assert read.index("a") < read.index("b") < read.index("c")
    last = {name: len(read) - 1 - read[::-1].index(name) for name in "abc"}
    assert last["a"] < last["b"] < last["c"]


def test_a_body_alone_does_not_rest_within_what_a_turn_takes_in() -> None:
    async def alone() -> int:
        read: list[str] = []
        intake = BodyPacer(8 * PIECE)
        Upload(intake, "alone", 8, read).arrives()
        return intake.paused

    assert asyncio.run(alone()) == 0
