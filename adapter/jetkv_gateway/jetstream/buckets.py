"""Buckets: create, describe, list, delete; and what writes need to know of them."""

import asyncio
import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from jetkv_gateway.jetstream.api import Naming, get_last
from jetkv_gateway.jetstream.budget import Share
from jetkv_gateway.jetstream.capabilities import Capability, Host, host_of, since
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.errors import nothing_applied
from jetkv_gateway.jetstream.expiry import Lifetime, lifetime_of, seconds_of
from jetkv_gateway.jetstream.lone import Standing
from jetkv_gateway.jetstream.streams import (
    bucket_info,
    misfit,
    stream_config,
    stream_value_limit,
)
from jetkv_gateway.kv.buckets import BucketInfo, BucketSpec
from jetkv_gateway.kv.errors import (
    BucketExists,
    BucketNotFound,
    BucketUnsuitable,
    DeadlineExceeded,
    GatewayError,
    InvalidArgument,
    KeyNotFound,
)
from jetkv_gateway.kv.filters import covers, disjoint
from jetkv_gateway.kv.keys import check_bucket
from jetkv_gateway.kv.model import Entry
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.kv.store import Newest

__all__ = ["BucketNames", "JetStreamBuckets", "WriteLimits", "names_of", "passing"]

_log = logging.getLogger("jetkv.nats")

_NO_TEXT = "\ufffd"
_LIMITS_SECONDS = 5.0
_LIMITS_KEPT = 4096
_PAGE_BYTES = 1024 * 1024
"""Of a list of streams, of which a server sends 256 at a time."""


@dataclass(frozen=True, slots=True)
class BucketNames:
    """The names of one bucket in NATS; key tokens go behind the prefixes."""

    bucket: str
    stream: str
    stored: str
    written: str
    get: str
    direct: bytes
    stream_bytes: bytes


@lru_cache(maxsize=4096)
def names_of(naming: Naming, bucket: str) -> BucketNames:
    """Return a bucket's names.

    Raises:
        InvalidBucketName
    """
    check_bucket(bucket)
    stream = naming.stream(bucket)
    return BucketNames(
        bucket=bucket,
        stream=stream,
        stored=naming.stored(bucket, ""),
        written=naming.written(bucket, ""),
        get=f"STREAM.MSG.GET.{stream}",
        direct=f"{naming.api}DIRECT.GET.{stream}".encode(),
        stream_bytes=stream.encode(),
    )


@dataclass(frozen=True, slots=True)
class WriteLimits:
    """What reads and writes need to know of a bucket, and until when to believe it.

    Attributes:
        value_limit: bytes.
        duplicate_window: seconds that it knows the id of a message for.
        resting: seconds that a consumer of it may be inactive at most, or None for no limit.
        lifetime: of its values, None where none expires.
        host: the server that leads its stream.
        replicated: whether others can take over from that one.
        leader: the name of that one, None where it stands alone.
        servers: the names of it and of the others.
        usual: size of a message, in bytes.
        standing: of the server of the connection that all this came over.
        lone: the same where direct reads on that connection are the leader's, else None.
    """

    value_limit: int | None
    duplicate_window: float
    resting: float | None
    lifetime: Lifetime | None
    host: Host
    replicated: bool
    leader: str | None
    servers: frozenset[str]
    usual: int
    standing: Standing
    lone: Standing | None
    until: float


def _servers_of(info: dict[str, Any]) -> frozenset[str]:
    """Return the names of the servers that hold a stream, none where one stands alone."""
    cluster = info.get("cluster") or {}
    names = [cluster.get("leader"), *(peer.get("name") for peer in cluster.get("replicas") or [])]
    return frozenset(name for name in names if name)


def passing(subjects: tuple[str, ...], newest: Newest) -> tuple[str, ...]:
    """Return subject filters that pass the subject of `newest`, too; see `JetStreamBuckets.newest`.

    Args:
        subjects: without the bucket's prefix, none overlapping another; so are those returned.
    """
    if any(covers(subject, newest.tokens) for subject in subjects):
        return subjects
    if _NO_TEXT in newest.tokens:
        # JSON does not say which bytes they were, so that no filter could name them.
        tokens = newest.tokens.split(".")
        return disjoint((*subjects, ".".join("*" if _NO_TEXT in part else part for part in tokens)))
    return (*subjects, newest.tokens)


class JetStreamBuckets:
    """`kv.store.Buckets` on JetStream."""

    def __init__(self, js: JetStream) -> None:
        self._js = js
        self._naming = js.naming
        self._loop = asyncio.get_running_loop()
        self._page = Share(js.budget.feeds, _PAGE_BYTES)
        self._limits: dict[str, WriteLimits] = {}
        self._refreshing: dict[str, asyncio.Task[None]] = {}

    async def create(self, spec: BucketSpec, retries: Retries | None = None) -> BucketInfo:
        self.forget(spec.name)
        await self._require_free(spec.name, retries)
        config = stream_config(self._naming, spec, markers=await self._marks_expiry(spec))
        info = await self._js.call(
            f"STREAM.CREATE.{self._naming.stream(spec.name)}",
            orjson.dumps(config),
            check=f"GET the bucket {spec.name!r}: it is listed once it was created",
            retries=retries,
        )
        return bucket_info(self._naming, info)

    async def _require_free(self, name: str, retries: Retries | None) -> None:
        """Refuse a name that is taken, also by a stream that is out of service.

        After a downgrade, a server that stands alone makes a new stream in the place of one that it
        cannot read, with success, and what the old one held is gone.

        Raises:
            BucketExists, BucketUnsuitable
        """
        try:
            await self._js.call(f"STREAM.INFO.{self._naming.stream(name)}", retries=retries)
        except BucketNotFound:
            return
        except DeadlineExceeded as error:
            raise nothing_applied(error) from error.__cause__
        raise BucketExists

    async def _marks_expiry(self, spec: BucketSpec) -> bool:
        if not spec.ttl_seconds or spec.expiry_markers is False:
            return False
        can = (await self._js.host()).can(Capability.EXPIRY_MARKERS)
        if spec.expiry_markers and not can:
            version = since(Capability.EXPIRY_MARKERS)
            raise BucketUnsuitable(f"expiry_markers need nats-server {version} or newer")
        return can

    async def info(self, name: str, retries: Retries | None = None) -> BucketInfo:
        return bucket_info(self._naming, await self.stream(name, retries=retries))

    async def list(self, retries: Retries | None = None) -> list[BucketInfo]:
        found: dict[str, BucketInfo] = {}
        offset = 0
        while True:
            page = await self._js.call(
                "STREAM.LIST",
                orjson.dumps({"offset": offset, "subject": "$KV.*.>"}),
                retries=retries,
                share=self._page,
            )
            streams = page.get("streams") or []
            for info in streams:
                bucket = self._listed(info["config"])
                if bucket is not None:
                    found[bucket] = bucket_info(self._naming, info)
            offset += len(streams)
            if not streams or offset >= page["total"]:
                return [found[name] for name in sorted(found)]

    def _listed(self, config: dict[str, Any]) -> str | None:
        bucket = self._naming.bucket(config["name"])
        if bucket is None or misfit(config) is not None:
            return None
        try:
            return check_bucket(bucket)
        except InvalidArgument:
            return None

    async def delete(self, name: str, retries: Retries | None = None) -> None:
        try:
            await self.stream(name, retries=retries)
            self.forget(name)
            await self._js.call(
                f"STREAM.DELETE.{self._naming.stream(name)}",
                check=f"GET the bucket {name!r}: it answers 404 once it was deleted",
                retries=retries,
            )
        except DeadlineExceeded as error:
            raise nothing_applied(error) from error.__cause__

    async def newest(self, name: str, *, timeout: float | None = None) -> Newest | None:
        """Return the newest stored revision by the leader, None in an empty bucket.

        Consumers may sit on a replica that is behind: one whose filters pass `tokens`, too, has
        caught up with this moment when it delivers this revision or a newer one.
        """
        names = names_of(self._naming, name)
        query, share = get_last(names.stored + ">"), self.share(names)
        try:
            reply = await self._js.call(names.get, query, timeout=timeout, share=share)
        except KeyNotFound:
            return None
        message = reply["message"]
        return Newest(message["seq"], message["subject"][len(names.stored) :])

    async def limits(self, name: str, window: RetryWindow | None = None) -> WriteLimits:
        """Return a bucket's limits; see `known_limits`.

        Raises:
            BucketNotFound, BucketUnsuitable
        """
        return self.known_limits(name) or await self.fresh_limits(name, window)

    def share(
        self, names: BucketNames, subject: str | None = None, *, direct: bool = False
    ) -> Share:
        """Return the share that a read takes of the bytes under way.

        Args:
            subject: whose newest message is read, None for any message of the bucket.
            direct: whether the answer is the bytes themselves.
        """
        limits, js = self._limits.get(names.bucket), self._js
        if limits is None:
            return js.reads.share(names.stored, js.largest_answer(None, direct=direct), subject)
        bound = js.largest_answer(limits.value_limit, direct=direct)
        return js.reads.share(names.stored, bound, subject, limits.usual)

    def known_limits(self, name: str) -> WriteLimits | None:
        """Return a bucket's limits if they are known, a few seconds old while the leader answers.

        Older limits are returned at once and refreshed in the background. While the leader is away
        for a moment, a write that waited for the refresh would take longer than one that is sent.
        """
        limits = self._limits.get(name)
        if limits is not None:
            # Whether direct reads are the leader's is asked again on each connection.
            here = self._js.connection.standing
            if limits.until < self._loop.time() or (here.alone and here is not limits.standing):
                self._refresh(name)
        return limits

    def _refresh(self, name: str) -> None:
        if name in self._refreshing:
            return
        task = self._loop.create_task(self._read_limits(name))
        self._refreshing[name] = task
        task.add_done_callback(lambda _: self._refreshing.pop(name, None))

    async def _read_limits(self, name: str) -> None:
        before = self._limits.get(name)
        try:
            await self.stream(name)
        except (BucketNotFound, BucketUnsuitable):
            if self._limits.get(name) is before:
                self.forget(name)
        except GatewayError as error:
            _log.debug("bucket %s could not be looked at: %s", name, error.message)

    async def fresh_limits(self, name: str, window: RetryWindow | None = None) -> WriteLimits:
        """Return a bucket's limits as they are now; raises as `limits`."""
        self.forget(name)
        await self.stream(name, window=window)
        return self._limits[name]

    def _remember(self, name: str, info: dict[str, Any], asked_on: Standing) -> None:
        config = info["config"]
        # One that came over another connection is of another server, or of another time.
        here = asked_on is self._js.connection.standing and asked_on.leads(info)
        limits = WriteLimits(
            value_limit=stream_value_limit(config),
            duplicate_window=config.get("duplicate_window", 0) / 1e9,
            resting=((config.get("consumer_limits") or {}).get("inactive_threshold") or 0) / 1e9
            or None,
            lifetime=lifetime_of(info, self._loop.time()),
            host=host_of(info),
            replicated=config.get("num_replicas", 1) > 1,
            leader=(info.get("cluster") or {}).get("leader"),
            servers=_servers_of(info),
            usual=info["state"]["bytes"] // max(1, info["state"]["messages"]),
            standing=asked_on,
            lone=asked_on if here else None,
            until=self._loop.time() + _LIMITS_SECONDS,
        )
        if len(self._limits) >= _LIMITS_KEPT:
            self._limits.clear()
        self._limits[name] = limits

    def may_be_past(self, name: str, entry: Entry, headers: str | bytes | None) -> bool:
        """Return whether an entry's time is up, by what is known of its bucket.

        Where nothing is known yet, the bucket is looked at for the next time.

        Args:
            headers: of its message, base64 as the API has them, or the block itself.
        """
        limits = self.known_limits(name)
        if limits is None:
            self._refresh(name)
            return False
        lifetime = limits.lifetime
        return lifetime is not None and lifetime.is_past(
            seconds_of(entry.created_at), headers, self._loop.time()
        )

    async def is_past(
        self, name: str, entry: Entry, headers: str | bytes | None, window: RetryWindow
    ) -> bool:
        """Return whether an entry's time is up, by its bucket as it is now; see `may_be_past`."""
        if not self.may_be_past(name, entry, headers):
            return False
        await self.fresh_limits(name, window)
        return self.may_be_past(name, entry, headers)

    def forget(self, name: str) -> None:
        self._limits.pop(name, None)

    async def stream(
        self,
        name: str,
        *,
        timeout: float | None = None,
        window: RetryWindow | None = None,
        retries: Retries | None = None,
    ) -> dict[str, Any]:
        """Return the info of a bucket's stream.

        Args:
            timeout: seconds, where the call's own differs from that of all.
            window: of the request that this is a part of.
            retries: counts what is tried again, where this is all that the request needs.

        Raises:
            BucketNotFound: there is none.
            BucketUnsuitable: there is a stream of that name which is no bucket.
        """
        check_bucket(name)
        asked_on = self._js.connection.standing
        info = await self._js.call(
            f"STREAM.INFO.{self._naming.stream(name)}",
            timeout=timeout,
            window=window,
            retries=retries,
        )
        reason = misfit(info["config"])
        if reason is not None:
            raise BucketUnsuitable(reason)
        self._remember(name, info, asked_on)
        return info

    def resting(self, name: str, wished: float) -> float:
        """Return for how many seconds a consumer may be inactive, `wished` or what is allowed.

        By the last look at the bucket; who is about to create a consumer has just taken one.
        """
        limits = self._limits.get(name)
        allowed = limits.resting if limits is not None else None
        return wished if allowed is None else min(wished, allowed)
