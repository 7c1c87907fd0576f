"""Connections that are read on after their last answer: how many there may be."""

import asyncio

from jetkv_gateway.serving.closing import LingeringClose, LingeringConnections


class Transport(asyncio.Transport):
    """The end of a connection whose client still sends."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False
        self.reads = True

    def can_write_eof(self) -> bool:
        return False

    def resume_reading(self) -> None:
        self.reads = True

    def pause_reading(self) -> None:
        self.reads = False

    def abort(self) -> None:
        self.aborted = True


def test_of_too_many_that_linger_the_one_that_has_for_the_longest_ends() -> None:
    async def crowd() -> list[bool]:
        lingering = LingeringConnections(3)
        transports = [Transport() for _ in range(5)]
        for transport in transports:
            word = LingeringClose(transport, asyncio.Protocol(), lingering, 60)
            word.data_received(b"v" * 1000)
        assert len(lingering) == 3
        return [transport.aborted for transport in transports]

    assert asyncio.run(crowd()) == [True, True, False, False, False]


def test_one_that_is_gone_leaves_room_for_another() -> None:
    async def crowd() -> list[bool]:
        lingering = LingeringConnections(1)
        first, second = Transport(), Transport()
        word = LingeringClose(first, asyncio.Protocol(), lingering, 60)
        word.data_received(b"v" * 1000)
        word.connection_lost(None)
        LingeringClose(second, asyncio.Protocol(), lingering, 60)
        return [first.aborted, second.aborted]

    assert asyncio.run(crowd()) == [False, False]
