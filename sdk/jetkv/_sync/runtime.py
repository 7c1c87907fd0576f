"""What differs between the two clients beside the transport: waiting, and background work."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["Background", "Signal", "current", "now", "resolve", "sleep"]

T = TypeVar("T")

Signal = threading.Event
now = time.monotonic
sleep = time.sleep
current = threading.get_ident


def resolve(value: T) -> T:
    """Return what a caller's function returned."""
    return value


class Background:
    """Work beside the caller's, in a thread; whoever starts it stops it."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        # As a daemon it does not hold up a program that forgot to stop it.
        self._thread = threading.Thread(target=work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def revive(self) -> bool:
        """Start in a forked child, where that can be; return whether it was."""
        self.start()
        return True

    def stop(self, timeout: float) -> None:
        """Wait for its end for `timeout` seconds; what it waits for has been told to end."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
