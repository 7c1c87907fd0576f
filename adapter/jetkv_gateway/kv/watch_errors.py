"""Errors that end a watch.

They belong to the tree in `kv.errors`; import them from there.
"""

from jetkv_gateway.kv.error_root import GatewayError

__all__ = ["BucketDeleted", "Resync", "SlowConsumer", "WatchEnded"]


class WatchEnded(GatewayError):
    """Raised when a watch cannot keep its promises; the reader has to start again."""

    text = "the watch ended"


class BucketDeleted(WatchEnded):
    """Raised when the watched bucket was deleted, even if there is a new one of the same name."""

    status = 410
    code = "bucket_deleted"
    text = "bucket deleted"
    close_code = 4410


class Resync(WatchEnded):
    """Raised when changes may be missing between a revision and now (docs/watch.md)."""

    status = 409
    code = "resync"
    text = "resync"
    close_code = 4409

    def __init__(self, reason: str) -> None:
        super().__init__(f"resync: {reason}")


class SlowConsumer(WatchEnded):
    """Raised when a reader is so slow that its queue is full. It can resume where it stopped."""

    status = 429
    code = "slow_consumer"
    text = "slow consumer"
    close_code = 1013
