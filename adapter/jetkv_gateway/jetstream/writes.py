"""One write to one key, until its outcome is known. The hot path.

A write names the stream it means (`Nats-Expected-Stream`): without it, a put to a deleted bucket
can be acked by another stream that captures its subject. A refusal that only a
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
from functools import lru_cache
from typing import Any

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
    get_next,
    get_sequence,
    read_entry,
)
from jetkv_gateway.jetstream.bucket_cache import BucketCache, WriteLimits
from jetkv_gateway.jetstream.capabilities import Capability
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.decisions import (
    Decision,
    Outcome,
    OutOfTime,
    Step,
    WriteState,
    after_answer,
    after_no_answer,
    after_probe,
    after_read,
)
from jetkv_gateway.jetstream.errors import MISMATCHES, api_error
from jetkv_gateway.jetstream.headers import with_line, write_headers
from jetkv_gateway.jetstream.names import BucketNames, names_of
from jetkv_gateway.jetstream.replica_versions import can_probe
from jetkv_gateway.jetstream.write_replies import LastMessage, key_state_of, parse_reply
from jetkv_gateway.kv.commands import Delete, Write
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
from jetkv_gateway.kv.model import MAX_REVISION, MUST_NOT_EXIST, Operation

__all__ = ["Writes"]

_NOT_KNOWN = frozenset({10111, 10165, 10166})
"""What servers from 2.11 on refuse the probe for, after they have looked at its id."""

_WINDOW_MARGIN = 0.5

_HOW_TO_CHECK = (
    "GET the key: another revision than before means that it was applied; "
    "it may still be applied later, and If-Match guards against that"
)
_HOW_TO_REPEAT = "send it again with the same Idempotency-Key: it is applied once at most"


@dataclass(slots=True)
class _Publish:
    """A command, and what is known of its bucket."""

    names: BucketNames
    command: Write
    limits: WriteLimits

    def forgotten(self, window: RetryWindow) -> bool:
        """Return whether another try could be applied again, beside one before it."""
        unconditional = self.command.expected is None
        return unconditional and window.spent + _WINDOW_MARGIN > self.limits.duplicate_window

    def conditional(self, headers: bytes, state: WriteState) -> bytes:
        """Return those of the tries on a course, without a message id."""
        if state.sent is None:
            return headers
        return with_line(headers, EXPECTED_REVISION, str(state.sent))


def _headers_of(names: BucketNames, command: Write) -> bytes:
    """Return the headers that are the same for many writes; see `_shared_headers`."""
    operation = None
    if isinstance(command, Delete):
        operation = "PURGE" if command.purge else "DEL"
    return _shared_headers(names.stream, command.content_type, command.content_encoding, operation)


@lru_cache(maxsize=4096)
def _shared_headers(
    stream: str, content_type: str | None, content_encoding: str | None, operation: str | None
) -> bytes:
    """Return the headers that are the same for many writes; most writes have no others."""
    headers = {EXPECTED_STREAM: stream}
    if content_type is not None:
        headers[CONTENT_TYPE] = content_type
    if content_encoding is not None:
        headers[CONTENT_ENCODING] = content_encoding
    if operation is not None:
        headers[OPERATION] = operation
    if operation == "PURGE":
        headers[ROLLUP] = "sub"
    return write_headers(headers)


class Writes:
    """Writes to buckets of one account."""

    def __init__(self, js: JetStream, buckets: BucketCache) -> None:
        self._js = js
        self._buckets = buckets

    async def apply(self, command: Write, limits: WriteLimits, window: RetryWindow) -> int:
        """Write, and return the revision; of a retry, that of the first time.

        Raises:
            KeyExists, RevisionMismatch: the condition does not hold, by the leader.
            IdempotencyConflict: the idempotency key belongs to another write.
            OutcomeUnknown: no answer, or none that settles it.
            GatewayError: nothing was applied.
        """
        names = names_of(self._js.naming, command.bucket)
        if command.identity is None and command.expected is None:
            answer = await self._js.publish(
                names.stream,
                names.publish_prefix + command.tokens,
                command.value,
                _headers_of(names, command),
                _HOW_TO_CHECK,
                window,
            )
            if "error" in answer:
                raise await self._explained(command, api_error(answer["error"]), window)
            plain: int = answer["seq"]
            return plain
        write = _Publish(names, command, limits)
        has_id = command.identity is not None
        decision = Decision(Step.SEND, WriteState.of(command.expected, has_id=has_id))
        headers = _headers_of(names, command)
        if command.identity is not None:
            headers = with_line(headers, REQUEST, command.identity.content)
        outcome, failure, last = Outcome.REFUSED, None, None
        holds = not limits.host.can(Capability.DROPS_REFUSED_IDS)
        try:
            while decision.step is not Step.DONE:
                state = decision.state
                match decision.step:
                    case Step.WAIT if not await self._may_go_on(write, window):
                        raise _late(decision, write, window) from failure
                    case Step.WAIT | Step.SEND:
                        outcome, decision, failure = await self._send(write, state, headers, window)
                    case Step.READ_KEY:
                        last = await self.look(write.names, command, window)
                        key_state = key_state_of(last, command.identity)
                        decision = after_read(state, outcome, key_state, keeps_refused_ids=holds)
                    case Step.PROBE_ID:
                        tried = write.conditional(headers, state)
                        known = await self._remembered(write, tried, state.message_id, window)
                        decision = after_probe(state, known)
                    case Step.VERIFY:
                        return await self._first_answer(write, decision.revision, window)
                    case Step.CONFLICT:
                        raise _mismatch(command.expected, last)
                    case Step.REFUSE:
                        assert failure is not None, "a refusal has its error"
                        raise await self._explained(command, failure, window)
        except (PreconditionFailed, IdempotencyConflict, OutcomeUnknown):
            raise
        except GatewayError as error:
            if decision.state.uncertain:
                # An earlier try may still be applied, whatever is said to a later one.
                raise _unknown(write, window) from error
            raise
        return decision.revision

    async def look(
        self, names: BucketNames, command: Write, window: RetryWindow
    ) -> LastMessage | None:
        """Return the newest message of the key; a value that is past its time is no value."""
        last = await self.last(names, command.tokens, command.key, window)
        if last is not None and last.entry.live:
            is_expired = self._buckets.is_expired
            if await is_expired(command.bucket, last.entry, last.headers, window):
                last.entry.operation = Operation.PURGE
        return last

    async def _may_go_on(self, write: _Publish, window: RetryWindow) -> bool:
        """Wait, and return whether another try has time, and does no harm."""
        return (
            not write.forgotten(window)
            and await self._js.wait_reconnected(window)
            and await window.pause()
        )

    async def _send(
        self, write: _Publish, state: WriteState, headers: bytes, window: RetryWindow
    ) -> tuple[Outcome, Decision, GatewayError | None]:
        """Make one try; return what was said, what comes next, and the error of a refusal."""
        wait = None
        headers = write.conditional(headers, state)
        identity = write.command.identity
        if identity is not None:
            headers = with_line(headers, MESSAGE_ID, _message_id(identity, state.message_id))
            wait = self._js.try_timeout(window)
        try:
            answer = await self._publish(write, headers, window, wait)
        except (OutcomeUnknown, Unavailable) as error:
            sent = isinstance(error, OutcomeUnknown)
            return Outcome.REFUSED, after_no_answer(state, sent=sent), error
        outcome, revision = parse_reply(answer)
        decision = after_answer(state, outcome, revision)
        return (
            outcome,
            decision,
            api_error(answer["error"]) if decision.step is Step.REFUSE else None,
        )

    async def last(
        self, names: BucketNames, tokens: str, key: str, window: RetryWindow
    ) -> LastMessage | None:
        """Return the newest message of a key by the leader, None where there is none."""
        subject = names.subject_prefix + tokens
        return await self.read(names, get_last(subject), subject, key, window)

    async def read(
        self, names: BucketNames, query: bytes, subject: str, key: str, window: RetryWindow
    ) -> LastMessage | None:
        """Return what the leader answers to a query, None where that is no message of the key."""
        try:
            credit = self._buckets.credit(names)
            reply = await self._js.call(names.get, query, window=window, credit=credit)
        except KeyNotFound:
            return None
        message = reply["message"]
        entry = read_entry(message, subject, key)
        return None if entry is None else LastMessage(entry, message.get("hdrs"))

    def _publish(
        self,
        write: _Publish,
        headers: bytes,
        window: RetryWindow,
        timeout: float | None = None,
    ) -> Coroutine[Any, Any, dict[str, Any]]:
        names = write.names
        subject = names.publish_prefix + write.command.tokens
        return self._js.publish(
            names.stream, subject, write.command.value, headers, _HOW_TO_CHECK, window, timeout
        )

    async def _explained(
        self, command: Write, failure: GatewayError, window: RetryWindow
    ) -> GatewayError:
        """Return the error of a refusal, with the limit that a value is over."""
        if isinstance(failure, ValueTooLarge):
            limits = await self._buckets.fresh_limits(command.bucket, window)
            hint = "NATS counts the headers of a value, too"
            return ValueTooLarge(limits.value_limit, hint=hint)
        return failure

    async def _first_answer(self, write: _Publish, revision: int, window: RetryWindow) -> int:
        """Return the revision that the first request with this idempotency key got.

        Raises:
            IdempotencyConflict: it was another request, as far as its write is still stored.
        """
        subject = write.names.subject_prefix + write.command.tokens
        first = await self.read(
            write.names, get_sequence(revision), subject, write.command.key, window
        )
        if first is not None and write.command.identity is not None:
            first.made_by(write.command.identity)
        return revision

    async def _remembered(
        self, write: _Publish, headers: bytes, number: int, window: RetryWindow
    ) -> int | None:
        """Return the revision that the server remembers for a message id, None for none.

        Args:
            headers: of its tries.
            number: which of the write's message ids.

        Servers that look at conditions before ids are asked by a message that is never stored,
        for another reason than a condition that they look at first. What fits one version is
        stored, not answered, or the end of the stream in another.

        Others are asked by the write itself. That the try before was refused says nothing of its
        id: in a rolling upgrade an older server may have refused it, and led the stream until now.
        """
        assert write.command.identity is not None, "only a write with an id is asked for"
        message_id = _message_id(write.command.identity, number)
        probe = {EXPECTED_REVISION: str(MAX_REVISION - 1)}
        expected_codes = MISMATCHES
        # Asked again, since in a rolling upgrade another server may lead the stream by now.
        limits = await self._buckets.fresh_limits(write.command.bucket, window)
        if limits.replicated and limits.host.can(Capability.IDS_BEFORE_CONDITIONS):
            return await self._sent_again(write, with_line(headers, MESSAGE_ID, message_id), window)
        if limits.replicated and not await can_probe(self._js, limits):
            return await self._succeeded(write, window)
        if limits.host.can(Capability.IDS_BEFORE_TTL):
            probe = {TTL: "none", ROLLUP: "none"}
            expected_codes = _NOT_KNOWN
        try:
            answer = await self._js.publish(
                write.names.stream,
                write.names.publish_prefix + write.command.tokens,
                b"",
                write_headers(
                    {EXPECTED_STREAM: write.names.stream, MESSAGE_ID: message_id, **probe}
                ),
                _HOW_TO_CHECK,
                window,
                self._js.retry_timeout,
            )
        except GatewayError as error:
            raise _unknown(write, window) from error
        if "error" in answer:
            if answer["error"].get("err_code") not in expected_codes:
                raise _unknown(write, window)
            return None
        known: int | None = answer["seq"] if answer.get("duplicate") else None
        return known

    async def _succeeded(self, write: _Publish, window: RetryWindow) -> int | None:
        """Return as `_remembered`, by what came after the revision that a condition names.

        Raises:
            OutcomeUnknown: what came next is not stored any more, or was another's without a
                condition.
        """
        expected, identity = write.command.expected, write.command.identity
        assert expected is not None, "only a write with a condition is asked for"
        assert identity is not None, "only a write with an id is asked for"
        subject = write.names.subject_prefix + write.command.tokens
        query = get_next(subject, expected + 1)
        following = await self.read(write.names, query, subject, write.command.key, window)
        if following is not None and following.made_by(identity):
            return following.entry.revision
        if following is not None and expected and following.expected == expected:
            return None
        raise _unknown(write, window)

    async def _sent_again(self, write: _Publish, headers: bytes, window: RetryWindow) -> int | None:
        """Return the revision of a write that was applied now or before, None where it was not."""
        try:
            answer = await self._publish(write, headers, window, self._js.retry_timeout)
        except GatewayError as error:
            raise _unknown(write, window) from error
        outcome, revision = parse_reply(answer)
        if outcome is Outcome.REFUSED:
            raise _unknown(write, window)
        return revision or None


def _message_id(identity: Idempotency, number: int) -> str:
    return f"{identity.scope}.{number}" if number else identity.scope


def _late(decision: Decision, write: _Publish, window: RetryWindow) -> GatewayError:
    """Return what a write is that has no time for another try."""
    if decision.out_of_time is OutOfTime.UNKNOWN:
        return _unknown(write, window)
    return Unavailable("another write on this key is in flight; nothing was applied")


def _unknown(write: _Publish, window: RetryWindow) -> OutcomeUnknown:
    """Return the error of a write with an id; a retry that its bucket may not know does harm."""
    if write.forgotten(window):
        return OutcomeUnknown(_HOW_TO_CHECK)
    return OutcomeUnknown(_HOW_TO_REPEAT, repeatable=True)


def _mismatch(expected: int | None, last: LastMessage | None) -> PreconditionFailed:
    """Return the error of a condition that does not hold by what the leader shows."""
    revision = last.entry.revision if last is not None else None
    return KeyExists(revision) if expected == MUST_NOT_EXIST else RevisionMismatch(revision)
