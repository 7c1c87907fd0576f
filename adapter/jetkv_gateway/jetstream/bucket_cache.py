"""A cache of what the leader says about the stream of each bucket, for a few seconds."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from jetkv_gateway.jetstream.api import get_last
from jetkv_gateway.jetstream.capabilities import Host, host_of
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.configs import shortest_ttl, stream_value_limit
from jetkv_gateway.jetstream.credits import CreditRequest
from jetkv_gateway.jetstream.direct_read import DirectRead
from jetkv_gateway.jetstream.expiry import Lifetime, lifetime_of, seconds_of
from jetkv_gateway.jetstream.names import BucketNames, names_of
from jetkv_gateway.jetstream.standalone import ConnectedServer
from jetkv_gateway.jetstream.streams import unsuitable_reason
from jetkv_gateway.kv.errors import (
    BucketNotFound,
    BucketUnsuitable,
    GatewayError,
    KeyNotFound,
)
from jetkv_gateway.kv.keys import check_bucket
from jetkv_gateway.kv.model import Entry
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.kv.store import NewestRevision
from jetkv_gateway.kv.timestamps import nanoseconds_of

__all__ = ["BucketCache", "WriteLimits"]

_log = logging.getLogger("jetkv.nats")

_LIMITS_SECONDS = 5.0
_LIMITS_KEPT = 4096


@dataclass(slots=True, eq=False)
class WriteLimits:
    """What reads and writes need to know about a bucket. Only `direct_read` changes.

    Attributes:
        value_limit: the largest value in bytes; None for no limit.
        message_limit: the largest value with its headers in bytes; None for no limit.
        duplicate_window: seconds for which the stream remembers a message id.
        max_inactive_seconds: the limit on a consumer's inactive_threshold; None for no limit.
        lifetime: how long values live; None if they never expire.
        history: how many revisions of a key the bucket keeps.
        shortest_ttl: the shortest TTL of a single value in seconds; None if values cannot have one.
        host: the server that leads the stream.
        replicated: whether another server can take over the lead.
        atomic: whether the bucket accepts atomic batches.
        leader: the name of the leader; None outside a cluster.
        servers: the names of all servers that hold the stream, including the leader.
        average_size: the average size of a message in bytes.
        connected_server: the server whose connection delivered this information.
        direct_server: the same server if its direct reads are leader reads; else None.
        until: the time of the event loop after which to refresh this information.
        direct_read: how to read any key's newest value directly; None if that is not worked out.
            `DirectReads` keeps it here, so it is gone when these limits are.
    """

    value_limit: int | None
    message_limit: int | None
    duplicate_window: float
    max_inactive_seconds: float | None
    lifetime: Lifetime | None
    history: int
    shortest_ttl: int | None
    host: Host
    replicated: bool
    atomic: bool
    leader: str | None
    servers: frozenset[str]
    average_size: int
    connected_server: ConnectedServer
    direct_server: ConnectedServer | None
    until: float
    direct_read: DirectRead | None = None


def _servers_of(info: dict[str, Any]) -> frozenset[str]:
    """Return the names of the servers that hold a stream; empty outside a cluster."""
    cluster = info.get("cluster") or {}
    names = [cluster.get("leader"), *(peer.get("name") for peer in cluster.get("replicas") or [])]
    return frozenset(name for name in names if name)


class BucketCache:
    """Reads the streams of buckets and caches their limits.

    Attributes:
        cached: bucket → its limits as they were read last. `known_limits` refreshes them too.
    """

    def __init__(self, js: JetStream) -> None:
        self._js = js
        self._connection = js.connection
        self._naming = js.naming
        self._loop = asyncio.get_running_loop()
        self.cached: dict[str, WriteLimits] = {}
        self._refreshing: dict[str, asyncio.Task[None]] = {}

    async def newest(self, name: str, *, timeout: float | None = None) -> NewestRevision | None:
        """Return the newest stored revision as the leader has it; None in an empty bucket.

        A consumer may run on a replica that is behind the leader. Add the key of this revision to
        the consumer's filters: once the consumer delivers this revision or a newer one, it has
        caught up with the moment of this call.
        """
        names = names_of(self._naming, name)
        query, credit = get_last(names.subject_prefix + ">"), self.credit(names)
        try:
            reply = await self._js.call(names.get, query, timeout=timeout, credit=credit)
        except KeyNotFound:
            return None
        message = reply["message"]
        return NewestRevision(message["seq"], message["subject"][len(names.subject_prefix) :])

    async def limits(self, name: str, window: RetryWindow | None = None) -> WriteLimits:
        """Return a bucket's limits; see `known_limits`.

        Raises:
            BucketNotFound, BucketUnsuitable: see `stream`.
        """
        return self.known_limits(name) or await self.fresh_limits(name, window)

    def credit(
        self, names: BucketNames, subject: str | None = None, *, direct: bool = False
    ) -> CreditRequest:
        """Return the credit that a read needs.

        Args:
            subject: the subject whose newest message is read; None for any message of the bucket.
            direct: whether the reply is raw bytes, not base64 in JSON.
        """
        limits, js = self.cached.get(names.bucket), self._js
        if limits is None:
            return js.read_sizes.credit(
                names.subject_prefix, js.max_answer_bytes(None, direct=direct), subject
            )
        bound = js.max_answer_bytes(limits.value_limit, direct=direct)
        return js.read_sizes.credit(names.subject_prefix, bound, subject, limits.average_size)

    def known_limits(self, name: str, now: float | None = None) -> WriteLimits | None:
        """Return a bucket's cached limits, None if there are none.

        Args:
            now: the time of the event loop, for a caller that has it.

        Limits older than a few seconds are returned at once and refreshed in the background. A
        write must not wait for the refresh: while the leader is away, the wait would make it slower
        than a plain publish.
        """
        limits = self.cached.get(name)
        if limits is not None:
            # A new connection may lead to another server, so check direct reads again.
            here = self._connection.connected_server
            if limits.until < (self._loop.time() if now is None else now) or (
                here is not limits.connected_server and here.standalone
            ):
                self._refresh(name)
        return limits

    def _refresh(self, name: str) -> None:
        if name in self._refreshing:
            return
        task = self._loop.create_task(self._read_limits(name))
        self._refreshing[name] = task
        task.add_done_callback(lambda _: self._refreshing.pop(name, None))

    async def _read_limits(self, name: str) -> None:
        before = self.cached.get(name)
        try:
            await self.stream(name)
        except (BucketNotFound, BucketUnsuitable):
            if self.cached.get(name) is before:
                self.forget(name)
        except GatewayError as error:
            _log.debug("cannot read the limits of bucket %s: %s", name, error.message)

    async def fresh_limits(self, name: str, window: RetryWindow | None = None) -> WriteLimits:
        """Read a bucket's limits from the leader; raises as `limits`."""
        before = self.cached.get(name)
        try:
            await self.stream(name, window=window)
        except (BucketNotFound, BucketUnsuitable):
            if self.cached.get(name) is before:
                self.forget(name)
            raise
        return self.cached[name]

    def _remember(self, name: str, info: dict[str, Any], asked_on: ConnectedServer) -> None:
        config = info["config"]
        # A reply from an earlier connection may describe another server.
        here = asked_on is self._js.connection.connected_server and asked_on.leads(info)
        limits = WriteLimits(
            value_limit=stream_value_limit(config),
            message_limit=size if (size := config.get("max_msg_size", -1)) >= 0 else None,
            duplicate_window=config.get("duplicate_window", 0) / 1e9,
            max_inactive_seconds=(
                (config.get("consumer_limits") or {}).get("inactive_threshold") or 0
            )
            / 1e9
            or None,
            lifetime=lifetime_of(info, self._loop.time()),
            history=config["max_msgs_per_subject"],
            shortest_ttl=shortest_ttl(config),
            host=host_of(info),
            replicated=config.get("num_replicas", 1) > 1,
            atomic=bool(config.get("allow_atomic")),
            leader=(info.get("cluster") or {}).get("leader"),
            servers=_servers_of(info),
            average_size=info["state"]["bytes"] // max(1, info["state"]["messages"]),
            connected_server=asked_on,
            direct_server=asked_on if here else None,
            until=self._loop.time() + _LIMITS_SECONDS,
        )
        if len(self.cached) >= _LIMITS_KEPT:
            self.cached.clear()
        self.cached[name] = limits

    async def is_expired(
        self, name: str, entry: Entry, headers: str | bytes | None, window: RetryWindow
    ) -> bool:
        """Return whether an entry has expired, by fresh limits if the cached ones say so.

        Args:
            headers: the message's headers, base64 as in the API, or the raw block.
        """
        limits = await self.limits(name, window)
        lifetime = limits.lifetime
        if lifetime is None or not lifetime.concerns(headers):
            return False
        stored = seconds_of(entry.created_at)
        if not lifetime.is_expired(stored, headers, self._loop.time()):
            return False
        lifetime = (await self.fresh_limits(name, window)).lifetime
        return lifetime is not None and lifetime.is_expired(stored, headers, self._loop.time())

    def set_expiry(self, name: str, entry: Entry, headers: str | bytes | None) -> None:
        """Set when a live entry expires, as far as the cached limits tell.

        Args:
            headers: the message's headers, base64 as in the API, or the raw block.
        """
        lifetime = self.lifetime(name)
        if lifetime is None or not lifetime.concerns(headers) or not entry.live:
            return
        entry.expires_at = lifetime.expires_at_text(nanoseconds_of(entry.created_at), headers)

    def lifetime(self, name: str) -> Lifetime | None:
        """Return how long a bucket's values live, by the last look at it."""
        limits = self.cached.get(name)
        return None if limits is None else limits.lifetime

    def forget(self, name: str) -> None:
        """Forget the limits of a bucket that does not exist, or may be another one by now.

        Otherwise, the answer to a read would be that the key is missing, not the bucket.
        """
        self.cached.pop(name, None)

    async def stream(
        self,
        name: str,
        *,
        timeout: float | None = None,
        window: RetryWindow | None = None,
        retries: Retries | None = None,
    ) -> dict[str, Any]:
        """Return STREAM.INFO of a bucket.

        Args:
            timeout: seconds; None for the default of all calls.
            window: the retry window of the request that this call belongs to.
            retries: counts the retries, if this call is the whole request.

        Raises:
            BucketNotFound: there is no such bucket.
            BucketUnsuitable: the stream of that name is not a bucket.
        """
        check_bucket(name)
        asked_on = self._js.connection.connected_server
        info = await self._js.call(
            f"STREAM.INFO.{self._naming.stream(name)}",
            timeout=timeout,
            window=window,
            retries=retries,
        )
        reason = unsuitable_reason(info["config"])
        if reason is not None:
            raise BucketUnsuitable(reason)
        self._remember(name, info, asked_on)
        return info

    def inactive_seconds(self, name: str, wished: float) -> float:
        """Return the inactive_threshold for a consumer: `wished`, or less if the bucket limits it.

        This uses the cached limits: every caller has just read the stream's info.
        """
        limits = self.cached.get(name)
        allowed = limits.max_inactive_seconds if limits is not None else None
        return wished if allowed is None else min(wished, allowed)
