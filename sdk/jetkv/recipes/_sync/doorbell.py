# Made from sdk/jetkv/recipes/_async/doorbell.py by `make format`; edit that one.
"""What wakes those who wait for a key to be free."""

import logging
from typing import Any

from jetkv._sync.bucket import Bucket
from jetkv._sync.runtime import Background, Signal
from jetkv.errors import JetKVError
from jetkv.models import Operation
from jetkv.recipes._documents import DOCUMENTS
from jetkv.recipes._sync.view import bucket_view, filters_for

__all__ = ["Doorbell"]

log = logging.getLogger("jetkv.recipes")

_STOP_SECONDS = 1.0


class Doorbell:
    """Rings when a key is deleted, or seen to expire.

    It may ring too often, and where it cannot watch, or the bucket has no expiry markers, not at
    all: who waits has to look from time to time, too.
    """

    def __init__(self, bucket: Bucket[Any], key: str) -> None:
        self._key = key
        self._watch = bucket_view(bucket, DOCUMENTS).watch(*filters_for(key))
        self._rung = Signal()
        self._listener: Background | None = None

    def wait(self, seconds: float) -> None:
        """Wait until it rings, or for `seconds`."""
        if self._listener is None:
            self._listener = Background(self._listen, f"jetkv waits for {self._key!r}")
            self._listener.start()
        self._rung.wait(seconds)
        self._rung.clear()

    def close(self) -> None:
        """Stop watching."""
        self._watch.close()
        if self._listener is not None:
            self._listener.stop(_STOP_SECONDS)

    def _listen(self) -> None:
        try:
            with self._watch as changes:
                # What happened before the watch stood was not seen.
                self._rung.set()
                for update in changes:
                    if update.key == self._key and update.operation is not Operation.PUT:
                        self._rung.set()
        except JetKVError as error:
            log.debug("no watch on %r, which is polled: %s", self._key, error)
