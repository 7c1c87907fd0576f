"""Objects that belong to one process: they cannot be pickled, and a fork is noticed."""

import os
import threading
from typing import NoReturn, Protocol, SupportsIndex

__all__ = ["ClosedWithClient", "ProcessBound", "fork_lock"]

_fork_lock = threading.Lock()


def fork_lock() -> threading.Lock:
    """Return the lock to hold while a forked child replaces what it cannot share with its parent.

    Each process has its own lock.
    """
    return _fork_lock


def _replace_lock() -> None:
    # The parent may have held the lock in a thread that does not exist in the child.
    global _fork_lock
    _fork_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_lock)


class ProcessBound:
    """Base of everything that has connections. A copy in another process would have none."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} belongs to the process that made it, and cannot be pickled or "
            "copied: make a client in each process, such as in a pool's `initializer`, and pass "
            "its address or the name of a bucket instead"
        )


class ClosedWithClient(Protocol):
    """Something that ends when its client is closed, such as a watch."""

    def client_closed(self) -> None:
        """End, from any thread; raise `ClientClosedError` to the reader."""
        ...
