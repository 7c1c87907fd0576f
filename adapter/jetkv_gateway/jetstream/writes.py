"""One write to one key, until its outcome is known. The hot path.

A write names the stream it means (`Nats-Expected-Stream`): without it, a put to a deleted bucket
can be acked by another stream that captures its subject (nats-notes §0.11). A refusal that only a
read can explain is settled by the leader: what it shows is said to the caller, nothing else.

A write with an idempotency key bears a message id, and may therefore be sent again. Servers differ
in what they say to the second one (measured, 2.10.25 to 2.15.1):

| Second try of | R1 | R3 |
|---|---|---|
| a put | known | known; at the same moment: in process, 2.10 "known" with sequence 0 |
| a conditional write | 2.10, 2.11 known; later refused by its condition | 2.10 refused; known |
| one that was refused before | as if new | 2.11 in process for as long as ids are kept; as if new |

So a conditional write that is refused looks for itself: at what the leader has, and, where another
write has replaced it since, by a message that no server stores but some answer by "known".
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn

from jetkv_gateway.jetstream.api import (
    CONTENT_ENCODING,
    CONTENT_TYPE,
    EXPECTED_REVISION,
    EXPECTED_STREAM,
    MESSAGE_ID,
    OPERATION,
    REQUEST,
    ROLLUP,
    TTL,
    get_last,
    get_sequence,
    message_headers,
    read_entry,
)
from jetkv_gateway.jetstream.buckets import BucketNames, JetStreamBuckets
from jetkv_gateway.jetstream.client import Effort, JetStream
from jetkv_gateway.jetstream.errors import IN_PROCESS, MISMATCHES, refusal
from jetkv_gateway.kv.errors import (
    GatewayError,
    IdempotencyConflict,
    KeyExists,
    KeyNotFound,
    OutcomeUnknown,
    PreconditionFailed,
    RevisionMismatch,
    Unavailable,
    ValueTooLarge,
)
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.kv.model import MAX_REVISION, MUST_NOT_EXIST, Entry, Operation

__all__ = ["Last", "Write", "Writes"]

_PROBE_SINCE = (2, 11)
_FORGETS_THE_REFUSED_SINCE = (2, 12)
_NOT_KNOWN = frozenset({10111, 10165, 10166})
"""What servers from 2.11 on refuse the probe for; replicated streams do so before they look at its
id, but look at ids before conditions, so that none is known whose write they refused by those."""

_WINDOW_MARGIN = 0.5

_HOW_TO_CHECK = (
    "GET the key: another revision than before means that it was applied; "
    "it may still be applied later, and If-Match guards against that"
)
_HOW_TO_REPEAT = "send it again with the same Idempotency-Key: it is applied once at most"


@dataclass(slots=True)
class Write:
    """What is to be written.

    Attributes:
        names: of the bucket.
        tokens: the key, encoded.
        key: decoded.
        expected: the revision the key must have, `MUST_NOT_EXIST`, or None for any.
        identity: by which a retry is known, or None.
        window: seconds that the bucket knows it for.
    """

    names: BucketNames
    tokens: str
    key: str
    value: bytes = b""
    operation: Operation = Operation.PUT
    content_type: str | None = None
    content_encoding: str | None = None
    expected: int | None = None
    identity: Idempotency | None = None
    window: float = 0.0

    def forgotten(self, effort: Effort) -> bool:
        """Return whether another try could be applied again, beside one before it."""
        return self.expected is None and effort.spent + _WINDOW_MARGIN > self.window

    def headers(self) -> dict[str, str]:
        """Return the headers that all tries share."""
        headers = {EXPECTED_STREAM: self.names.stream}
        if self.content_type is not None:
            headers[CONTENT_TYPE] = self.content_type
        if self.content_encoding is not None:
            headers[CONTENT_ENCODING] = self.content_encoding
        if self.operation is Operation.DELETE:
            headers[OPERATION] = "DEL"
        elif self.operation is Operation.PURGE:
            headers[OPERATION] = "PURGE"
            headers[ROLLUP] = "sub"
        if self.identity is not None:
            headers[REQUEST] = self.identity.content
        return headers


@dataclass(slots=True)
class Last:
    """The newest message of a key, by the leader."""

    entry: Entry
    headers: str | None

    def made_by(self, identity: Idempotency) -> bool:
        """Return whether a write with the same idempotency key stored it.

        Raises:
            IdempotencyConflict: it did, and was another write.
        """
        headers = message_headers(self.headers)
        if headers.get(MESSAGE_ID, "").partition(".")[0] != identity.scope:
            return False
        if headers.get(REQUEST) != identity.content:
            raise IdempotencyConflict(self.entry.revision)
        return True


class Writes:
    """Writes to buckets of one account."""

    def __init__(self, js: JetStream, buckets: JetStreamBuckets) -> None:
        self._js = js
        self._buckets = buckets

    async def apply(self, write: Write, effort: Effort) -> int:
        """Write, and return the revision; of a retry, that of the first time.

        Raises:
            KeyExists, RevisionMismatch: the condition does not hold, by the leader.
            IdempotencyConflict: the idempotency key belongs to another write.
            OutcomeUnknown: no answer, or none that settles it.
            GatewayError: nothing was applied.
        """
        if write.identity is None and write.expected is None:
            answer = await self._publish(write, write.headers(), effort)
            if "error" in answer:
                await self._refuse(write, answer["error"], effort)
            plain: int = answer["seq"]
            return plain
        tries = _Tries()
        try:
            return await self._until_known(write, effort, tries)
        except (PreconditionFailed, IdempotencyConflict, OutcomeUnknown):
            raise
        except GatewayError as error:
            if tries.doubtful:
                # An earlier try may still be applied, whatever is said to a later one.
                raise _unknown(write, effort) from error
            raise

    async def _until_known(self, write: Write, effort: Effort, tries: "_Tries") -> int:
        headers = write.headers()
        identity, sent = write.identity, write.expected
        while True:
            if sent is not None:
                headers[EXPECTED_REVISION] = str(sent)
            if identity is not None:
                headers[MESSAGE_ID] = tries.message_id(identity)
                answer = await self._repeat(write, headers, effort, tries)
            else:
                answer = await self._publish(write, headers, effort)
            error: dict[str, Any] = answer.get("error", {})
            if not error:
                revision: int = answer["seq"]
                if not answer.get("duplicate"):
                    return revision
                tries.doubtful = True
                if revision and identity is not None:
                    return await self._first_answer(write, identity, revision, effort)
            in_process = not error or error.get("err_code") == IN_PROCESS
            tries.doubtful = tries.doubtful or in_process
            if not in_process and (sent is None or error.get("err_code") not in MISMATCHES):
                await self._refuse(write, error, effort)
            if sent is None:
                if write.forgotten(effort) or not await effort.pause():
                    raise _unknown(write, effort)
                continue
            last = await self.last(write.names, write.tokens, write.key, effort)
            if identity is not None and last is not None and last.made_by(identity):
                return last.entry.revision
            revision = last.entry.revision if last is not None else 0
            if last is not None and last.entry.live and await self._is_past(write, last, effort):
                last.entry.operation = Operation.PURGE
            mismatch = _mismatch(write.expected, last, revision)
            if mismatch is not None:
                if identity is not None:
                    if in_process:
                        if self._holds_ids_of_the_refused and tries.rename():
                            continue
                        if await effort.pause():
                            continue
                        raise _unknown(write, effort)
                    known = await self._remembered(write, headers, effort)
                    if known:
                        return await self._first_answer(write, identity, known, effort)
                raise mismatch
            if revision == sent:
                if in_process and self._holds_ids_of_the_refused:
                    tries.rename()
                if not await effort.pause():
                    raise Unavailable("another write on this key is in flight; nothing was applied")
            sent = revision

    async def _is_past(self, write: Write, last: Last, effort: Effort) -> bool:
        bucket = write.names.bucket
        return await self._buckets.is_past(bucket, last.entry, last.headers, effort)

    @property
    def _holds_ids_of_the_refused(self) -> bool:
        return self._js.server_version < _FORGETS_THE_REFUSED_SINCE

    async def last(self, names: BucketNames, tokens: str, key: str, effort: Effort) -> Last | None:
        """Return the newest message of a key by the leader, None where there is none."""
        subject = names.stored + tokens
        return await self.read(names, get_last(subject), subject, key, effort)

    async def read(
        self, names: BucketNames, query: bytes, subject: str, key: str, effort: Effort
    ) -> Last | None:
        """Return what the leader answers to a query, None where that is no message of the key."""
        try:
            share = self._buckets.share(names)
            reply = await self._js.call(names.get, query, effort=effort, share=share)
        except KeyNotFound:
            return None
        message = reply["message"]
        entry = read_entry(message, subject, key)
        return None if entry is None else Last(entry, message.get("hdrs"))

    def _publish(
        self, write: Write, headers: dict[str, str], effort: Effort, timeout: float | None = None
    ) -> Coroutine[Any, Any, dict[str, Any]]:
        names = write.names
        subject = names.written + write.tokens
        return self._js.publish(
            names.stream, subject, write.value, headers, _HOW_TO_CHECK, effort, timeout
        )

    async def _repeat(
        self, write: Write, headers: dict[str, str], effort: Effort, tries: "_Tries"
    ) -> dict[str, Any]:
        """Send a write that has a message id as often as it takes to get an answer."""
        while True:
            try:
                return await self._publish(write, headers, effort, self._js.wait_of(effort))
            except OutcomeUnknown as error:
                tries.doubtful = True
                if (
                    not await self._js.reconnected(effort)
                    or write.forgotten(effort)
                    or not await effort.pause()
                ):
                    raise _unknown(write, effort) from error
            except Unavailable:
                if not tries.doubtful or write.forgotten(effort) or not await effort.pause():
                    raise

    async def _refuse(self, write: Write, error: dict[str, Any], effort: Effort) -> NoReturn:
        """Raise what a refusal means that has nothing to do with conditions."""
        failure = refusal(error)
        if isinstance(failure, ValueTooLarge):
            profile = await self._buckets.fresh_profile(write.names.bucket, effort)
            raise ValueTooLarge(profile.value_limit, hint="NATS counts the headers of a value, too")
        raise failure

    async def _first_answer(
        self, write: Write, identity: Idempotency, revision: int, effort: Effort
    ) -> int:
        """Return the revision that the first request with this idempotency key got.

        Raises:
            IdempotencyConflict: it was another request, as far as its write is still stored.
        """
        subject = write.names.stored + write.tokens
        first = await self.read(write.names, get_sequence(revision), subject, write.key, effort)
        if first is not None:
            first.made_by(identity)
        return revision

    async def _remembered(
        self, write: Write, headers: dict[str, str], effort: Effort
    ) -> int | None:
        """Return the revision that the server remembers for a message id, None for none.

        Servers that look at conditions before ids are asked by a message that is never stored,
        for another reason than a condition that they look at first. What fits one version is
        stored, not answered, or the end of the stream in another.
        """
        probe = {EXPECTED_REVISION: str(MAX_REVISION - 1)}
        expected_codes = MISMATCHES
        if self._js.server_version >= _PROBE_SINCE:
            probe = {TTL: "none", ROLLUP: "none"}
            expected_codes = _NOT_KNOWN
        try:
            answer = await self._js.publish(
                write.names.stream,
                write.names.written + write.tokens,
                b"",
                {EXPECTED_STREAM: write.names.stream, MESSAGE_ID: headers[MESSAGE_ID], **probe},
                _HOW_TO_CHECK,
                effort,
                self._js.patience,
            )
        except GatewayError as error:
            raise _unknown(write, effort) from error
        if "error" in answer:
            if answer["error"].get("err_code") not in expected_codes:
                raise _unknown(write, effort)
            return None
        known: int | None = answer["seq"] if answer.get("duplicate") else None
        return known


class _Tries:
    """What became of the tries of one write so far.

    Attributes:
        doubtful: whether one of them may still be applied.
    """

    __slots__ = ("_name", "doubtful")

    _NAMES = 3

    def __init__(self) -> None:
        self._name = 0
        self.doubtful = False

    def message_id(self, identity: Idempotency) -> str:
        return f"{identity.scope}.{self._name}" if self._name else identity.scope

    def rename(self) -> bool:
        """Take another message id, and return whether there was one left.

        Only for conditional writes, of which no two can be applied whatever their ids: where the
        server holds on to the id of a try that it refused, or that is under way.
        """
        if self._name + 1 >= self._NAMES:
            return False
        self._name += 1
        return True


def _unknown(write: Write, effort: Effort) -> OutcomeUnknown:
    """Return the error of a write with an id; a retry that its bucket may not know does harm."""
    if write.forgotten(effort):
        return OutcomeUnknown(_HOW_TO_CHECK)
    return OutcomeUnknown(_HOW_TO_REPEAT, repeatable=True)


def _mismatch(expected: int | None, last: Last | None, revision: int) -> PreconditionFailed | None:
    """Return why a condition does not hold, None where it does."""
    if expected == MUST_NOT_EXIST:
        return KeyExists(revision) if last is not None and last.entry.live else None
    return RevisionMismatch(revision or None) if revision != expected else None
