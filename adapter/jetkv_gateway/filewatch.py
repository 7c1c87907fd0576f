"""Reads files again while the gateway runs, in its own thread.

So a file system that does not answer blocks neither requests nor the event loop.
"""

import logging
import threading
from collections.abc import Callable

__all__ = ["FileWatcher"]

_log = logging.getLogger("jetkv")

POLL_SECONDS = 1.0
_CLOSE_SECONDS = 0.5


class FileWatcher:
    """Calls `refresh` once a second, and `reload` on request.

    Args:
        refresh: reads changed files again.
        reload: reads all files again, and logs the result.
    """

    def __init__(
        self, refresh: Callable[[], None], reload: Callable[[], None] = lambda: None
    ) -> None:
        self._refresh = refresh
        self._reload = reload
        self._asked = False
        self._ended = False
        self._wake = threading.Event()
        # A thread that hangs in a file system must not prevent the process from ending.
        self._thread = threading.Thread(target=self._run, name="files", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self) -> None:
        """Call `reload` soon."""
        self._asked = True
        self._wake.set()

    def close(self) -> None:
        self._ended = True
        self._wake.set()
        self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._ended:
            self._wake.wait(POLL_SECONDS)
            self._wake.clear()
            do = self._reload if self._asked else self._refresh
            self._asked = False
            try:
                do()
            except Exception:  # noqa: BLE001 - an error must not end the thread
                _log.exception("cannot read files again")
