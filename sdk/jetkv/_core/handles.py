"""What holds for all that belongs to one process: it is not pickled, and a fork is noticed."""

import os
import threading
from typing import NoReturn, SupportsIndex

__all__ = ["OfOneProcess", "forking"]

_forking = threading.Lock()


def forking() -> threading.Lock:
    """Return the lock under which a process makes what it needs, a forked child anew."""
    return _forking


def _after_fork() -> None:
    # A thread that the child does not have may have held it.
    global _forking
    _forking = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class OfOneProcess:
    """Holds connections, or what has them. A copy of it elsewhere would have none."""

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} belongs to the process that made it, and is neither pickled "
            "nor copied: make a client in each process, such as in a pool's `initializer`, and "
            "pass on its address, or the name of a bucket"
        )
