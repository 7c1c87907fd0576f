# Made from sdk/jetkv/_async/kv.py by `make format`. Edit that file.
"""Creates, lists, describes, deletes, opens and watches buckets."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeVar, Unpack, overload

from jetkv._core import requests
from jetkv._core.access import WHOAMI, can, read_caller, read_permission
from jetkv._core.answers import check_status, decoder, read_bucket, read_buckets, read_change
from jetkv._core.existing_bucket import differences
from jetkv._core.process import ProcessBound
from jetkv._core.session_many import ManyWatchSession
from jetkv._core.tokens import (
    LIST_TOKENS,
    create_ticket,
    create_token,
    delete_token,
    read_new_token,
    read_ticket,
    read_tokens,
)
from jetkv._sync.bucket import Bucket, endpoint_of
from jetkv._sync.endpoint import Endpoint
from jetkv._sync.watch import MultiWatch
from jetkv._sync.watch_reader import WatchReader
from jetkv.codec import Codec, codec_for
from jetkv.errors import BucketExistsError, InvalidArgumentError
from jetkv.models import (
    BucketInfo,
    BucketSettings,
    Caller,
    Change,
    Compression,
    NewToken,
    Permission,
    Placement,
    Republish,
    ScopeVerb,
    Storage,
    TokenInfo,
)

__all__ = ["KV"]

T = TypeVar("T")


class KV(ProcessBound):
    """The buckets of a gateway. `client.kv()` returns this."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

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
        compression: Compression | None = None,
        placement: Placement | None = None,
        metadata: Mapping[str, str] | None = None,
        republish: Republish | None = None,
        expiry_markers: bool | None = None,
        key_ttl: bool | None = None,
        batches: bool | None = None,
        protected: bool | None = None,
        exist_ok: bool = False,
    ) -> BucketInfo:
        """Create a bucket.

        Args:
            name: 1 to 200 characters of `A-Z a-z 0-9 _ -`.
            ttl: how long after its write a key expires, in whole seconds; None for never.
            history: how many revisions of each key are kept, 1 to 64.
            description: a text for people.
            max_value_size: the largest value in bytes; None for the server's limit.
            max_bytes: the largest size of the whole bucket in bytes; None for no limit.
            storage: `file` or `memory`; None for `file`.
            replicas: how many servers of a NATS cluster store each message, 1 to 5; None for 1.
            compression: how NATS compresses the bucket's files: `none` or `s2`; None for `none`.
            placement: which servers of NATS may store the bucket; None for any.
            metadata: texts of your own, by name.
            republish: where NATS publishes every stored message again; None for nowhere.
            expiry_markers: whether watches report keys that expire; None for yes, if the server
                supports it.
            key_ttl: whether a value can have a TTL of its own; None for yes, if the server supports
                it. Expiry markers need it.
            batches: whether several keys can be written as one; None for yes, if the server
                supports it.
            protected: whether the gateway refuses to delete the bucket; None for no.
            exist_ok: return a bucket that exists, if it has the same ttl and storage and at least
                as much history and as many replicas. A bucket that differs is an error, so that a
                program does not start on a session bucket that never expires.

        Raises:
            BucketExistsError: the bucket exists; with `exist_ok`, it exists and differs.
            InvalidArgumentError: a setting is invalid.
        """
        settings = {
            "history": history,
            "description": description or None,
            "max_value_size": max_value_size,
            "max_bytes": max_bytes,
            "storage": storage,
            "replicas": replicas,
            "compression": compression,
            "placement": placement,
            "metadata": metadata,
            "republish": republish,
            "expiry_markers": expiry_markers,
            "key_ttl": key_ttl,
            "batches": batches,
            "protected": protected,
        }
        request = requests.create_bucket(name, ttl=ttl, **settings)
        try:
            return read_bucket(self._endpoint.call(request), request, status=201)
        except BucketExistsError:
            if not exist_ok:
                raise
        found = self.bucket_info(name)
        differing = differences(
            found, ttl=ttl, history=history, storage=storage, replicas=replicas or 1
        )
        if differing:
            raise BucketExistsError(
                f"bucket {name!r} exists with other settings: {', '.join(differing)}",
                hint="ask for these settings, delete the bucket, or use another name",
                status=409,
            )
        return found

    def ensure_bucket(
        self, name: str, *, allow_data_loss: bool = False, **settings: Unpack[BucketSettings]
    ) -> Change:
        """Create a bucket, or change the settings of the existing one to those that you name.

        A setting that you do not name, or that is None, stays as it is.

        Args:
            name: 1 to 200 characters of `A-Z a-z 0-9 _ -`.
            allow_data_loss: whether the change may remove stored data.
            settings: as in `create_bucket`. `ttl=timedelta(0)` means that keys never expire;
                `Placement()` and `Republish()` remove these settings. `metadata` is merged with
                the bucket's metadata; a value of None removes a name.

        Raises:
            WouldLoseDataError: the change would remove stored data; nothing was changed.
            CannotBeChangedError: NATS cannot change one of the settings; nothing was changed.
            BucketUnsuitableError: the server does not support a setting.
            InvalidArgumentError: a setting is invalid.
            OutcomeUnknownError: the change may have been made, or may be made later.
        """
        request = requests.ensure_bucket(
            name, settings, allow_data_loss=allow_data_loss, dry_run=False
        )
        return read_change(self._endpoint.call(request), request)

    def plan_bucket(
        self, name: str, *, allow_data_loss: bool = False, **settings: Unpack[BucketSettings]
    ) -> Change:
        """Return the result that `ensure_bucket` would have, without changing anything.

        Raises:
            JetKVError: the errors of `ensure_bucket`.
        """
        request = requests.ensure_bucket(
            name, settings, allow_data_loss=allow_data_loss, dry_run=True
        )
        return read_change(self._endpoint.call(request), request)

    def buckets(self) -> list[BucketInfo]:
        """Return all buckets, sorted by name."""
        request = requests.list_buckets()
        return read_buckets(self._endpoint.call(request), request)

    def bucket_info(self, name: str) -> BucketInfo:
        """Return a bucket's description.

        Raises:
            BucketNotFoundError: the bucket does not exist.
        """
        request = requests.get_bucket(name)
        return read_bucket(self._endpoint.call(request), request)

    def whoami(self) -> Caller:
        """Return who the gateway takes this client for, and what it may do.

        Raises:
            AuthenticationError: the token is missing, wrong or expired.
        """
        return read_caller(self._endpoint.call(WHOAMI), WHOAMI)

    def can(self, verb: ScopeVerb, bucket: str | None = None, key: str | None = None) -> Permission:
        """Return whether you may do something, without doing it.

        Args:
            verb: `read`, `write`, `delete`, `admin` or `metrics`.
            bucket: the name of the bucket; None for `metrics`.
            key: the key; None asks about all keys of the bucket.

        Raises:
            InvalidArgumentError: the verb, the name or the key is invalid.
        """
        request = can(verb, bucket, key)
        return read_permission(self._endpoint.call(request), request)

    def create_token(
        self,
        name: str,
        allow: Iterable[str],
        *,
        expires_in: timedelta | None = None,
        requests_per_second: int | None = None,
        max_buckets: int | None = None,
        max_stored_bytes: int | None = None,
    ) -> NewToken:
        """Create a token. You need a token with the scope `*:*`.

        Args:
            name: 1 to 64 characters of `A-Z a-z 0-9 _ . -`.
            allow: scopes, such as `read,write:sessions/user.*`.
            expires_in: whole seconds until it expires; None if it does not.
            requests_per_second: the rate that it allows; None for no rate of its own.
            max_buckets: buckets that its caller may create; None for no limit.
            max_stored_bytes: bytes that these may have; None for no limit.

        Raises:
            TokenExistsError: the name is in use.
            InvalidArgumentError: the name, a scope or a limit is invalid.
            PermissionDeniedError: your token has not the scope `*:*`.
            OutcomeUnknownError: the token may have been created, but nobody knows it.
        """
        request = create_token(
            name,
            allow,
            expires_in=expires_in,
            requests_per_second=requests_per_second,
            max_buckets=max_buckets,
            max_stored_bytes=max_stored_bytes,
        )
        return read_new_token(self._endpoint.call(request), request)

    def tokens(self) -> list[TokenInfo]:
        """Return all tokens, sorted by name. You need a token with the scope `*:*`."""
        return read_tokens(self._endpoint.call(LIST_TOKENS), LIST_TOKENS)

    def delete_token(self, name: str) -> None:
        """Withdraw a token, in all gateways. You need a token with the scope `*:*`.

        Raises:
            TokenNotFoundError: no token has this name.
            TokenKeptError: it is in the token file, or it is the last one with `*:*`.
            OutcomeUnknownError: it may have been withdrawn, or may be withdrawn later.
        """
        request = delete_token(name)
        check_status(self._endpoint.call(request), request, 204)

    def create_ticket(self, url: str) -> str:
        """Return a ticket that opens the URL of a watch without a header (docs/access.md#tickets).

        Give it to a page, which adds it to that URL as the parameter `ticket`. It is valid as long
        as the token of this client.

        Args:
            url: of the watch, with its query; the scheme and the host do not matter.

        Raises:
            InvalidArgumentError: it is not the URL of a watch.
        """
        request = create_ticket(url)
        return read_ticket(self._endpoint.call(request), request)

    def delete_bucket(self, name: str) -> None:
        """Delete a bucket and everything in it.

        Raises:
            BucketNotFoundError: the bucket does not exist.
            OutcomeUnknownError: the bucket may have been deleted, or may be deleted later.
        """
        request = requests.delete_bucket(name)
        check_status(self._endpoint.call(request), request, 204)

    @overload
    def bucket(self, name: str) -> Bucket[Any]: ...
    @overload
    def bucket(self, name: str, type: type[T]) -> Bucket[T]: ...
    @overload
    def bucket(self, name: str, type: Codec[T]) -> Bucket[T]: ...
    @overload
    def bucket(self, name: str, type: Any) -> Bucket[Any]: ...
    def bucket(self, name: str, type: Any = None) -> Bucket[Any]:
        """Return a bucket. This sends no request, and the bucket need not exist yet.

        Args:
            name: the bucket's name.
            type: the type of its values: None for JSON, `bytes`, `str`, a type that pydantic
                validates, or a `Codec`.

        Raises:
            InvalidArgumentError: the name is no text or empty, or pydantic cannot validate the
                type.
        """
        requests.get_bucket(name)  # checks the name
        return Bucket(self._endpoint, name, codec_for(type))

    @overload
    def watch(
        self,
        buckets: Mapping[Bucket[T], str | Iterable[str]],
        *,
        snapshot: bool = False,
        resume: str | None = None,
        ignore_deletes: bool = False,
    ) -> MultiWatch[T]: ...
    @overload
    def watch(
        self,
        buckets: Mapping[Any, str | Iterable[str]],
        *,
        snapshot: bool = False,
        resume: str | None = None,
        ignore_deletes: bool = False,
    ) -> MultiWatch[Any]: ...
    def watch(
        self,
        buckets: Mapping[Any, str | Iterable[str]],
        *,
        snapshot: bool = False,
        resume: str | None = None,
        ignore_deletes: bool = False,
    ) -> MultiWatch[Any]:
        """Return an iterator over the changes of several buckets. It uses one connection.

        The watch opens, continues and closes as that of one bucket does.

        Args:
            buckets: filters of each bucket, one text or several, as in `keys`: `">"` for all keys,
                or none. The key is a bucket of this client, or the name of a bucket with JSON. All
                together, there may be 64 filters.
            snapshot: start with the current values of all buckets; the watch's `snapshot()` returns
                them all.
            resume: start with every key that changed after this bookmark, which a watch over the
                same buckets had.
            ignore_deletes: do not return deletes. The watch then does not notice that keys are
                gone.

        Raises:
            BucketNotFoundError: one of the buckets does not exist, when the watch opens.
            WatchLostError: one of the buckets was deleted, see the error's `bucket`; or changes may
                have been missed and the watch did not start with a snapshot.
            InvalidArgumentError: a bucket or a filter is invalid, there are none or too many, a
                bucket is there twice, `snapshot` and `resume` were both given, or the bookmark
                belongs to a watch over other buckets.
        """
        handles = [self._handle(bucket) for bucket in buckets]
        names = [handle.name for handle in handles]
        if len(set(names)) < len(names):
            raise InvalidArgumentError(
                "a bucket is there twice", hint="give all filters of a bucket in one list"
            )
        filters = [(some,) if isinstance(some, str) else tuple(some) for some in buckets.values()]
        session = ManyWatchSession(
            dict(zip(names, filters, strict=True)),
            {handle.name: decoder(handle.codec, handle.name) for handle in handles},
            snapshot=snapshot,
            resume=resume,
            ignore_deletes=ignore_deletes,
            max_bytes=self._endpoint.max_answer_bytes,
        )
        return MultiWatch(WatchReader(self._endpoint, session))

    def _handle(self, bucket: Any) -> Bucket[Any]:
        if isinstance(bucket, str):
            return self.bucket(bucket)
        if not isinstance(bucket, Bucket):
            raise InvalidArgumentError(
                f"a bucket to watch is its name or an {Bucket.__name__}, "
                f"not {type(bucket).__name__}"
            )
        if endpoint_of(bucket).transport is not self._endpoint.transport:
            raise InvalidArgumentError(f"{bucket!r} belongs to another client")
        return bucket
