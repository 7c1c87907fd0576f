"""Single keys on JetStream: get, put, delete, history. The hot path.

A write names the stream it means (`Nats-Expected-Stream`): without it, a put to a deleted bucket
can be acked by another stream that captures its subject (nats-notes §0.11). A conditional write
that the server refuses is settled by reading the leader: only what the leader shows is said to
the caller.
"""

from typing import Any

from jetkv_gateway.jetstream.api import (
    CONTENT_TYPE,
    EXPECTED_REVISION,
    EXPECTED_STREAM,
    OPERATION,
    ROLLUP,
    get_last,
    get_next,
    get_sequence,
    header_kind,
    message_kind,
)
from jetkv_gateway.jetstream.buckets import BucketNames, JetStreamBuckets, names_of
from jetkv_gateway.jetstream.client import Backoff, JetStream
from jetkv_gateway.jetstream.errors import MISMATCHES, nothing_applied, refusal
from jetkv_gateway.kv.errors import (
    BucketNotFound,
    BucketUnsuitable,
    DeadlineExceeded,
    KeyExists,
    KeyNotFound,
    RevisionMismatch,
    Unavailable,
    ValueTooLarge,
)
from jetkv_gateway.kv.keys import encode
from jetkv_gateway.kv.model import MUST_NOT_EXIST, Consistency, Entry, Operation, to_base64

__all__ = ["JetStreamEntries"]

_REPLICA_TIMEOUT = 1.0


class JetStreamEntries:
    """`kv.store.Entries` on JetStream."""

    def __init__(self, js: JetStream, buckets: JetStreamBuckets) -> None:
        self._js = js
        self._naming = js.naming
        self._buckets = buckets

    @property
    def max_value_bytes(self) -> int:
        return self._js.max_value_bytes

    async def get(
        self,
        bucket: str,
        key: str,
        *,
        revision: int | None = None,
        consistency: Consistency = Consistency.STRONG,
    ) -> Entry:
        names = names_of(self._naming, bucket)
        subject = names.stored + encode(key)
        query = get_last(subject) if revision is None else get_sequence(revision)
        entry = None
        if consistency is Consistency.EVENTUAL:
            entry = await self._from_replica(names, subject, key, query)
        if entry is None:
            try:
                reply = await self._js.call(names.get, query)
                entry = _entry(reply["message"], subject, key)
            except KeyNotFound:
                entry = None
        if entry is None or entry.operation is not Operation.PUT:
            await self._buckets.profile(bucket)
            raise KeyNotFound
        return entry

    async def put(
        self,
        bucket: str,
        key: str,
        value: bytes,
        *,
        content_type: str | None = None,
        expected: int | None = None,
    ) -> int:
        names = names_of(self._naming, bucket)
        tokens = encode(key)
        try:
            buckets = self._buckets
            profile = buckets.known_profile(bucket) or await buckets.fresh_profile(bucket)
            if profile.value_limit is not None and len(value) > profile.value_limit:
                await self._check_size(bucket, len(value))
            headers = {EXPECTED_STREAM: names.stream}
            if content_type is not None:
                headers[CONTENT_TYPE] = content_type
            if expected is not None:
                headers[EXPECTED_REVISION] = str(expected)
            answer = await self._js.publish(
                names.stream, names.written + tokens, value, headers, _HOW_TO_CHECK
            )
            if "error" in answer:
                await self._raise_refusal(names, answer["error"])
                answer = await self._settle(names, tokens, key, value, headers, expected, answer)
        except BucketNotFound:
            await self._buckets.fresh_profile(bucket)
            raise
        except DeadlineExceeded as error:
            raise nothing_applied(error) from error.__cause__
        revision: int = answer["seq"]
        return revision

    async def delete(
        self, bucket: str, key: str, *, purge: bool = False, expected: int | None = None
    ) -> None:
        names = names_of(self._naming, bucket)
        tokens = encode(key)
        try:
            await self._delete(names, tokens, key, purge, expected)
        except BucketNotFound:
            await self._buckets.fresh_profile(bucket)
            raise
        except DeadlineExceeded as error:
            raise nothing_applied(error) from error.__cause__
        except ValueTooLarge as error:
            raise BucketUnsuitable(
                "the bucket's max_value_size is too small for a tombstone",
                hint="NATS counts headers: it takes at least 256 bytes",
            ) from error

    async def _delete(
        self, names: BucketNames, tokens: str, key: str, purge: bool, expected: int | None
    ) -> None:
        current = await self._last(names, tokens, key)
        if current is None or not current.live:
            if expected is not None:
                raise RevisionMismatch(current.revision if current else None)
            if purge and current is not None and current.operation is Operation.DELETE:
                await self._drop_history(names, tokens, current.revision)
            if current is None:
                await self._buckets.profile(names.bucket)
            return
        if expected is not None and current.revision != expected:
            raise RevisionMismatch(current.revision)
        await self._buckets.profile(names.bucket)
        headers = {EXPECTED_STREAM: names.stream, OPERATION: "PURGE" if purge else "DEL"}
        if purge:
            headers[ROLLUP] = "sub"
        if expected is not None:
            headers[EXPECTED_REVISION] = str(expected)
        answer = await self._publish(names, tokens, b"", headers)
        if "error" in answer:
            await self._settle(names, tokens, key, b"", headers, expected, answer)

    async def history(self, bucket: str, key: str) -> list[Entry]:
        names = names_of(self._naming, bucket)
        tokens = encode(key)
        subject = names.stored + tokens
        last = await self._last(names, tokens, key)
        entries: list[Entry] = []
        start = 1
        while last is not None and start <= last.revision:
            entry = await self._from_leader(names, subject, key, get_next(subject, start))
            if entry is None or entry.revision > last.revision:
                break
            entries.append(entry)
            start = entry.revision + 1
        if not entries:
            await self._buckets.profile(bucket)
            raise KeyNotFound
        return entries

    async def _check_size(self, bucket: str, size: int) -> None:
        """Refuse a value by the limit as it is now: it may have been raised a moment ago."""
        limit = (await self._buckets.fresh_profile(bucket)).value_limit
        if limit is not None and size > limit:
            raise ValueTooLarge(limit)

    async def _publish(
        self, names: BucketNames, tokens: str, value: bytes, headers: dict[str, str]
    ) -> dict[str, Any]:
        """Publish one write; raises all refusals but those that a read has to settle."""
        answer = await self._js.publish(
            names.stream, names.written + tokens, value, headers, _HOW_TO_CHECK
        )
        if "error" in answer:
            await self._raise_refusal(names, answer["error"])
        return answer

    async def _raise_refusal(self, names: BucketNames, error: dict[str, Any]) -> None:
        """Raise what a refusal means, unless a read has to settle it."""
        if error.get("err_code") in MISMATCHES:
            return
        failure = refusal(error)
        if isinstance(failure, ValueTooLarge):
            limit = (await self._buckets.fresh_profile(names.bucket)).value_limit
            raise ValueTooLarge(limit, hint="NATS counts the headers of a value, too")
        raise failure

    async def _settle(
        self,
        names: BucketNames,
        tokens: str,
        key: str,
        value: bytes,
        headers: dict[str, str],
        expected: int | None,
        answer: dict[str, Any],
    ) -> dict[str, Any]:
        """Find out why a write was refused, and write again where nothing speaks against it.

        Where the leader still shows the expected revision, another write on the key is in flight
        and may yet fail: that is no mismatch, so the write is tried again, then 503.
        """
        if expected is None:
            raise refusal(answer["error"])
        backoff = Backoff()
        sent = expected
        while True:
            current = await self._last(names, tokens, key)
            revision = current.revision if current else 0
            if expected == MUST_NOT_EXIST:
                if current is not None and current.live:
                    raise KeyExists(revision)
            elif revision != expected:
                raise RevisionMismatch(revision or None)
            if revision == sent and not await backoff.pause():
                raise Unavailable("another write on this key is in flight; nothing was applied")
            sent = revision
            headers = {**headers, EXPECTED_REVISION: str(sent)}
            answer = await self._publish(names, tokens, value, headers)
            if "error" not in answer:
                return answer

    async def _last(self, names: BucketNames, tokens: str, key: str) -> Entry | None:
        subject = names.stored + tokens
        return await self._from_leader(names, subject, key, get_last(subject))

    async def _from_leader(
        self, names: BucketNames, subject: str, key: str, query: bytes
    ) -> Entry | None:
        try:
            reply = await self._js.call(names.get, query)
        except KeyNotFound:
            return None
        return _entry(reply["message"], subject, key)

    async def _from_replica(
        self, names: BucketNames, subject: str, key: str, query: bytes
    ) -> Entry | None:
        """Return what any replica has, or None where the leader has to be asked.

        A bucket without direct gets has no replica that answers, a frozen one does not in time.
        A replica's "not found" may be a value that has not reached it: the leader is asked.
        """
        message = await self._js.direct_get(names.stream, query, timeout=_REPLICA_TIMEOUT)
        headers = (message.headers if message else None) or {}
        if message is None or "Nats-Sequence" not in headers or headers["Nats-Subject"] != subject:
            return None
        operation, content_type = header_kind(headers)
        return Entry(
            key,
            to_base64(message.data),
            int(headers["Nats-Sequence"]),
            headers["Nats-Time-Stamp"],
            operation,
            content_type,
            Consistency.EVENTUAL,
        )

    async def _drop_history(self, names: BucketNames, tokens: str, tombstone: int) -> None:
        """Drop what lies before a tombstone: newer values than it are kept by the sequence."""
        await self._js.call(
            f"STREAM.PURGE.{names.stream}",
            b'{"filter":"%s","seq":%d}' % ((names.stored + tokens).encode(), tombstone),
            check="read the key's history: it is empty but for a tombstone once it was purged",
        )


_HOW_TO_CHECK = (
    "GET the key: another revision than before means that it was applied; "
    "it may still be applied later, and If-Match guards against that"
)


def _entry(message: dict[str, Any], subject: str, key: str) -> Entry | None:
    """Read a stored message; None where it belongs to another key."""
    if message["subject"] != subject:
        return None
    operation, content_type = message_kind(message.get("hdrs"))
    return Entry(
        key, message.get("data", ""), message["seq"], message["time"], operation, content_type
    )
