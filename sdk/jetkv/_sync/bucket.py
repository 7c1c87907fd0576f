# Made from sdk/jetkv/_async/bucket.py by `make format`. Edit that file.
"""One bucket: its keys, its description, its watches."""

from datetime import datetime
from typing import Any, Generic, TypeVar

from jetkv._core import requests
from jetkv._core.answers import read_bucket
from jetkv._core.session import WatchSession
from jetkv._sync.batches import Batches
from jetkv._sync.endpoint import Endpoint
from jetkv._sync.listing import Listing
from jetkv._sync.watch import Watch
from jetkv._sync.watch_reader import WatchReader
from jetkv.errors import InvalidArgumentError
from jetkv.models import BucketInfo

__all__ = ["Bucket", "endpoint_of"]

T = TypeVar("T")


class Bucket(Batches[T], Listing[T], Generic[T]):
    """A bucket whose values are of type `T`. `kv.bucket(name, type)` returns one.

    A key is any text of 1 to 512 bytes without control characters. Every method may raise
    `BucketNotFoundError` if the bucket does not exist, `UnavailableError` if the gateway or NATS
    is away, and the other errors of `jetkv.errors` that any call may raise.

    Attributes:
        name: the bucket's name.
        codec: how values become bytes.
    """

    def __repr__(self) -> str:
        return f"<Bucket {self.name!r} at {self._endpoint.address}>"

    def info(self) -> BucketInfo:
        """Return the bucket's description."""
        request = requests.get_bucket(self.name)
        return read_bucket(self._endpoint.call(request), request)

    def watch(
        self,
        *filters: str,
        snapshot: bool = False,
        resume_after: int | None = None,
        bucket_created_at: datetime | None = None,
        ignore_deletes: bool = False,
    ) -> Watch[T]:
        """Return an iterator over the bucket's changes.

        The watch opens when you enter it with `with`, or at the first step of a loop. It continues
        through restarts of the gateway and of NATS, and misses nothing. When you leave a loop over
        it, the connection closes; if you keep the watch in a variable, close it with `with` or
        `close`.

        Args:
            filters: up to 64 filters as in `keys`; none for all keys.
            snapshot: start with the current values; the watch's `snapshot()` returns them all. If
                changes may have been missed, such a watch takes a new snapshot and returns the
                differences. For this it remembers the keys that it returned as live, about 200
                bytes each, unless you set `ignore_deletes`.
            resume_after: start with every key that changed after this revision.
            bucket_created_at: the attribute of this name of the watch that `resume_after` comes
                from. With it, the new watch notices if the bucket was deleted and created again,
                which starts the revisions from 1.
            ignore_deletes: do not return deletes. The watch then does not notice that keys are
                gone.

        Raises:
            WatchLostError: the bucket was deleted; or changes may have been missed and the watch
                did not start with a snapshot. Start another watch with `snapshot=True`.
            InvalidArgumentError: a filter is invalid, `snapshot` and `resume_after` were both
                given, or `bucket_created_at` has no time zone or no `resume_after`.
            UnexpectedAnswerError: the gateway sent something that this SDK cannot read.
        """
        session = WatchSession(
            self.name,
            filters,
            self._decode,
            snapshot=snapshot,
            resume_after=resume_after,
            ignore_deletes=ignore_deletes,
            max_bytes=self._endpoint.max_answer_bytes,
        )
        if bucket_created_at is not None and (resume_after is None or not bucket_created_at.tzinfo):
            raise InvalidArgumentError(
                "bucket_created_at needs a time zone, and a resume_after beside it",
                hint="both are attributes of a watch",
            )
        reader = WatchReader(self._endpoint, session, bucket_created_at)
        return Watch(reader)


def endpoint_of(bucket: Bucket[Any]) -> Endpoint:
    """Return the endpoint that a bucket sends its requests to.

    This is the one place where `jetkv.recipes` uses more of a bucket than its public interface. It
    is not part of the public interface itself.
    """
    return bucket._endpoint  # noqa: SLF001 - handed out here, and nowhere else
