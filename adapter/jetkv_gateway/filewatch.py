"""Files that are read again while the gateway runs, in a thread of their own.

A file system that does not answer then holds up nobody: neither a request nor the event loop.
"""

import logging
import threading
from collections.abc import Callable

__all__ = ["FileWatcher"]

_log = logging.getLogger("jetkv")

POLL_SECONDS = 1.0
_CLOSE_SECONDS = 0.5


class FileWatcher:
    """Calls `refresh` once a second, and `reload` whenever it is asked for.

    Args:
        refresh: reads again what has changed.
        reload: reads again whether or not it has changed, and says in the log what was read.
    """

    def __init__(
        self, refresh: Callable[[], None], reload: Callable[[], None] = lambda: None
    ) -> None:
        self._refresh = refresh
        self._reload = reload
        self._asked = False
        self._ended = False
        self._wake = threading.Event()
        # A thread that hangs in a file system must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="files", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def ask(self) -> None:
        """Have `reload` called soon."""
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
            except Exception:  # noqa: BLE001 - or nothing would be read again from now on
                _log.exception("cannot read files again")
