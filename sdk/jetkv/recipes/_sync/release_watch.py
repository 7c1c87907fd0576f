# Made from sdk/jetkv/recipes/_async/release_watch.py by `make format`. Edit that file.
"""Wakes an `acquire` that waits for a lock's key to be released."""

import logging
from typing import Any

from jetkv._sync.bucket import Bucket
from jetkv._sync.runtime import Background, Signal
from jetkv.errors import JetKVError
from jetkv.models import Operation
from jetkv.recipes._documents import DOCUMENTS
from jetkv.recipes._sync.view import bucket_view, filters_for

__all__ = ["ReleaseWatch"]

log = logging.getLogger("jetkv.recipes")

_STOP_SECONDS = 1.0


class ReleaseWatch:
    """Watches a key, and ends `wait` when the key is deleted or expires.

    It may end a wait too early. It may also not notice a release at all: if it cannot watch, or if
    the bucket has no expiry markers. So the caller must also poll.
    """

    def __init__(self, bucket: Bucket[Any], key: str) -> None:
        self._key = key
        self._watch = bucket_view(bucket, DOCUMENTS).watch(*filters_for(key))
        self._released = Signal()
        self._listener: Background | None = None

    def wait(self, seconds: float) -> None:
        """Wait until the key is released, or for `seconds`."""
        if self._listener is None:
            self._listener = Background(self._listen, f"jetkv waits for {self._key!r}")
            self._listener.start()
        self._released.wait(seconds)
        self._released.clear()

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()
        if self._listener is not None:
            self._listener.stop(_STOP_SECONDS)

    def _listen(self) -> None:
        try:
            with self._watch as updates:
                # The key may have been released before the watch was open.
                self._released.set()
                for update in updates:
                    if update.key == self._key and update.operation is not Operation.PUT:
                        self._released.set()
        except JetKVError as error:
            log.debug("%r cannot be watched, and is polled instead: %s", self._key, error)
