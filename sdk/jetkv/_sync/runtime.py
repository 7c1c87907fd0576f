"""Waiting and background work of the sync client. `_async/runtime.py` is its counterpart."""

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
    """Return the result of a caller's function."""
    return value


class Background:
    """A thread that runs in the background. The object that starts it must stop it."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        # A daemon thread does not keep a program alive that forgot to stop it.
        self._thread = threading.Thread(target=work, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def revive(self) -> bool:
        """Start in a forked child, if possible; return whether it started."""
        self.start()
        return True

    def stop(self, timeout: float) -> None:
        """Wait `timeout` seconds for the thread to end. Tell it to end before you call this."""
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout)
