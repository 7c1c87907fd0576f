"""Calls that may fail: what a cache does while the gateway is away."""

import logging
from collections.abc import Callable
from typing import Literal, TypeVar

from jetkv.errors import BucketFullError, JetKVError, ValueTooLargeError
from jetkv.recipes._outage import cool_down_for, is_outage

__all__ = ["OnError", "Soft", "log"]

log = logging.getLogger("jetkv.integrations")

R = TypeVar("R")

OnError = Literal["raise", "miss"]


class Soft:
    """Runs the calls of one cache.

    Args:
        bucket: the bucket's name, for the log.
        transport: the client's connections. All caches on them share one cool-down.
        on_error: `raise` raises every error. With `miss`, an outage, a value that is too large, and
            a full bucket are logged, and the call returns what a miss does; one call every few
            seconds tries a gateway that is away. Other errors, such as a wrong token, are raised.
    """

    def __init__(self, bucket: str, transport: object, on_error: OnError) -> None:
        self._bucket = bucket
        self._on_error = on_error
        self._cool_down = cool_down_for(transport)
        self._failing = False

    def run(self, work: Callable[[], R], missed: R) -> R:
        """Return the result of `work`, or `missed`."""
        if self._on_error == "raise":
            return work()
        if not self._cool_down.should_try():
            return missed
        try:
            result = work()
        except (BucketFullError, ValueTooLargeError) as error:
            self._cool_down.worked()
            log.warning("bucket %r did not store a value: %s", self._bucket, error)
            return missed
        except JetKVError as error:
            if not is_outage(error):
                raise
            self._cool_down.failed()
            if not self._failing:
                self._failing = True
                log.warning("bucket %r is away, and not used for now: %s", self._bucket, error)
            return missed
        self._cool_down.worked()
        if self._failing:
            self._failing = False
            log.info("bucket %r is used again", self._bucket)
        return result
