# Made from sdk/jetkv/_async/kv.py by `make format`; edit that one.
"""Buckets: made, listed, described, deleted, opened."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, overload

from jetkv._core import requests
from jetkv._core.answers import check, read_bucket, read_buckets
from jetkv._core.handles import OfOneProcess
from jetkv._sync.bucket import Bucket
from jetkv.codec import Codec, codec_for
from jetkv.errors import BucketExistsError
from jetkv.models import BucketInfo, Storage, differences

if TYPE_CHECKING:
    from jetkv._sync.client import Client

__all__ = ["KV"]

T = TypeVar("T")


class KV(OfOneProcess):
    """The buckets of a gateway; made by `client.kv()`."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def create_bucket(
        self,
        name: str,
        *,
        ttl: timedelta | None = None,
        history: int = 1,
        description: str = "",
        max_value_size: int | None = None,
        max_bytes: int | None = None,
        storage: Storage | None = None,
        replicas: int | None = None,
        expiry_markers: bool | None = None,
        exist_ok: bool = False,
    ) -> BucketInfo:
        """Create a bucket.

        Args:
            name: 1 to 200 of `A-Z a-z 0-9 _ -`.
            ttl: keys expire that long after they were written, in whole seconds; None = never.
            history: revisions kept of each key, 1 to 64.
            max_value_size: bytes of one value; None = what the server takes.
            max_bytes: of the whole bucket; None = unlimited.
            storage: `file` or `memory`; None = `file`.
            replicas: copies in a NATS cluster, 1 to 5; None = 1.
            expiry_markers: whether watchers see keys expire; None = where the server can.
            exist_ok: return a bucket that is there already, if its ttl and storage are the same
                and it keeps at least as much history and as many replicas: keys that expire
                must not become immortal because somebody was here before.

        Raises:
            BucketExistsError: the name is taken, or with `exist_ok`, taken by one that differs.
            InvalidArgumentError: a setting breaks a rule.
        """
        settings = {
            "history": history,
            "description": description or None,
            "max_value_size": max_value_size,
            "max_bytes": max_bytes,
            "storage": storage,
            "replicas": replicas,
            "expiry_markers": expiry_markers,
        }
        request = requests.create_bucket(name, ttl=ttl, **settings)
        try:
            return read_bucket(self._client._call(request), request, status=201)
        except BucketExistsError:
            if not exist_ok:
                raise
        found = self.bucket_info(name)
        other = differences(
            found, ttl=ttl, history=history, storage=storage, replicas=replicas or 1
        )
        if other:
            raise BucketExistsError(
                f"bucket {name!r} exists with other settings: {', '.join(other)}",
                hint="ask for these, or delete it, or take another name",
                status=409,
            )
        return found

    def buckets(self) -> list[BucketInfo]:
        """Return all buckets, sorted by name."""
        request = requests.list_buckets()
        return read_buckets(self._client._call(request), request)

    def bucket_info(self, name: str) -> BucketInfo:
        """Return a bucket's description.

        Raises:
            BucketNotFoundError
        """
        request = requests.get_bucket(name)
        return read_bucket(self._client._call(request), request)

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket with all it holds.

        Raises:
            BucketNotFoundError
        """
        request = requests.delete_bucket(name)
        check(self._client._call(request), request, 204)

    @overload
    def bucket(self, name: str) -> Bucket[Any]: ...
    @overload
    def bucket(self, name: str, type: type[T]) -> Bucket[T]: ...
    @overload
    def bucket(self, name: str, type: Codec[T]) -> Bucket[T]: ...
    @overload
    def bucket(self, name: str, type: Any) -> Bucket[Any]: ...
    def bucket(self, name: str, type: Any = None) -> Bucket[Any]:
        """Open a bucket; nothing is sent, and it need not exist yet.

        Args:
            name: of the bucket.
            type: of its values: None for JSON, `bytes`, `str`, a type that pydantic validates,
                or a `Codec`.

        Raises:
            InvalidArgumentError: the name is empty, or the type none of these.
        """
        requests.get_bucket(name)
        return Bucket(self._client, name, codec_for(type))
