"""Turns of the threads of one process that change the same key."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from jetkv._core.process import fork_lock

__all__ = ["Turns"]

_LOCKS = 64
_WAIT_SECONDS = 10.0


class Turns:
    """Lets the threads of a process change a key one after the other.

    A compare-and-set is right without it. But threads of one process would mostly get in each
    other's way: each try of a thread makes those of all others fail.
    """

    def __init__(self) -> None:
        self._begin()

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Hold the turn of a key; after ten seconds of waiting, go on without it."""
        if self._process != os.getpid():
            # A thread of the parent may have had a turn, and does not exist here.
            with fork_lock():
                if self._process != os.getpid():
                    self._begin()
        lock = self._locks[hash(key) % _LOCKS]
        held = lock.acquire(timeout=_WAIT_SECONDS)
        try:
            yield
        finally:
            if held:
                lock.release()

    def _begin(self) -> None:
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._process = os.getpid()
