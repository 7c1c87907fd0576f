"""What is known of buckets: their streams as the leader describes them, for a few seconds each."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from jetkv_gateway.jetstream.api import get_last
from jetkv_gateway.jetstream.budget import Share
from jetkv_gateway.jetstream.capabilities import Host, host_of
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.expiry import Lifetime, lifetime_of, seconds_of
from jetkv_gateway.jetstream.lone import Standing
from jetkv_gateway.jetstream.names import BucketNames, names_of
from jetkv_gateway.jetstream.streams import misfit, stream_value_limit
from jetkv_gateway.kv.errors import (
    BucketNotFound,
    BucketUnsuitable,
    GatewayError,
    KeyNotFound,
)
from jetkv_gateway.kv.keys import check_bucket
from jetkv_gateway.kv.model import Entry
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.kv.store import Newest

__all__ = ["KnownBuckets", "WriteLimits"]

_log = logging.getLogger("jetkv.nats")

_LIMITS_SECONDS = 5.0
_LIMITS_KEPT = 4096


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
        atomic: whether it takes atomic batches.
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
    atomic: bool
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


class KnownBuckets:
    """The streams of buckets, asked for once in a few seconds."""

    def __init__(self, js: JetStream) -> None:
        self._js = js
        self._naming = js.naming
        self._loop = asyncio.get_running_loop()
        self._limits: dict[str, WriteLimits] = {}
        self._refreshing: dict[str, asyncio.Task[None]] = {}

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
            atomic=bool(config.get("allow_atomic")),
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
