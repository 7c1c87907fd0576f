"""What the SDK logs, under the name `jetkv.sdk`: retries, lost watches, reconnects.

It is quiet by default: nothing is printed unless the program sets up logging.
"""

import logging
from collections.abc import Iterable

from jetkv.errors import JetKVError

__all__ = ["log_retry", "log_watch_end", "log_watch_lost", "log_watch_open"]

_log = logging.getLogger("jetkv.sdk")
# Without a handler, Python would print warnings on stderr.
_log.addHandler(logging.NullHandler())


def log_retry(error: JetKVError, attempt: int, delay: float) -> None:
    """Log that a request is sent again.

    Args:
        attempt: the number of the attempt that failed, from 1.
        delay: seconds until the next one.
    """
    _log.info("attempt %d failed, the next one is in %.2f s: %s", attempt, delay, error)


def log_watch_lost(buckets: Iterable[str], error: JetKVError, delay: float) -> None:
    """Log that a watch has lost its connection, or could not get one, and tries again."""
    _log.info(
        "watch of %s: no connection, the next attempt is in %.2f s: %s",
        ", ".join(buckets),
        delay,
        error,
    )


def log_watch_open(buckets: Iterable[str]) -> None:
    """Log that a watch has a connection again."""
    _log.info("watch of %s: connected again", ", ".join(buckets))


def log_watch_end(buckets: Iterable[str], error: JetKVError) -> None:
    """Log that an open watch has ended, and cannot go on."""
    _log.warning("watch of %s has ended: %s", ", ".join(buckets), error)
