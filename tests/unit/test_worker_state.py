"""What all connections share: which one is closed to make room for another, and when."""

import asyncio

from jetkv_gateway.serving.connections import Rank
from jetkv_gateway.serving.options import ServerOptions
from jetkv_gateway.serving.worker_state import WorkerState

MIB = 1024 * 1024


class Client:
    """A connection that something is held for."""

    rank = Rank.BODY
    since = 0.0

    def __init__(self, worker: WorkerState, writes: int = 0) -> None:
        self._worker = worker
        self._writes = writes
        self.gone = False

    def can_evict(self) -> bool:
        return True

    def evict(self) -> None:
        self.gone = True

    def drop_slow(self) -> None:
        self.gone = True
        if self._writes:
            # What is said last to somebody may be held in turn.
            self._worker.set_buffered(Client(self._worker), self._writes)


def worker() -> WorkerState:
    return WorkerState(ServerOptions(held_bytes=4 * MIB))


def test_a_client_is_disconnected_before_anything_else_is_read() -> None:
    async def main() -> None:
        shared = worker()
        slow, fast = Client(shared), Client(shared)
        shared.set_buffered(slow, 3 * MIB)
        shared.set_buffered(fast, 2 * MIB, moved=2 * MIB)
        assert slow.gone
        assert not fast.gone
        assert shared.buffered.total == 2 * MIB

    asyncio.run(main())


def test_a_client_that_is_too_large_itself_is_disconnected_once_it_has_said_so() -> None:
    async def main() -> None:
        shared = worker()
        large = Client(shared)
        shared.set_buffered(large, 5 * MIB)
        assert not large.gone
        await asyncio.sleep(0)
        assert large.gone

    asyncio.run(main())


def test_a_client_that_is_disconnected_for_one_that_just_was_has_its_own_turn() -> None:
    async def main() -> None:
        shared = worker()
        first, second, third = Client(shared, writes=3 * MIB), Client(shared), Client(shared)
        shared.set_buffered(first, 3 * MIB)
        shared.set_buffered(second, MIB - 1)
        shared.set_buffered(third, MIB)
        assert first.gone
        assert not second.gone
        await asyncio.sleep(0)
        assert second.gone

    asyncio.run(main())
