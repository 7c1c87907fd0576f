"""Applies one write to one key and finds out its outcome.

`JetStreamEntries.put` makes the first try of most puts itself: small ones without a condition and
without a TTL. They come here (`go_on`) if the answer is anything but the acknowledgement of a new
message. All other writes begin here (`apply`): other puts, deletes and touches.

Every write names its stream (`Nats-Expected-Stream`). Without that header, another stream that
captures the subject could acknowledge a put to a deleted bucket. If only a read can explain a
refusal, the write reads the leader and answers with what the leader shows.

A write with an idempotency key carries a message id, so it can be sent again. Servers differ in
their answer to the second try (measured with 2.10.25 to 2.15.1):

| Second try of | R1 | R3 |
|---|---|---|
| a put | duplicate | duplicate; at the same moment: in process, 2.10: duplicate with sequence 0 |
| a conditional write | 2.10, 2.11 duplicate; later: mismatch | 2.10 mismatch; later: duplicate |
| a refused write | like a new write | 2.11 in process until the id expires; else as new |

So a refused conditional write reads the leader's state of the key. If another write has replaced
its value since, it sends a probe: a message that no server stores, but that some servers answer
with "duplicate". See also docs/nats.md.
"""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from jetkv_gateway.jetstream.api import (
    EXPECTED_REVISION,
    EXPECTED_STREAM,
    MESSAGE_ID,
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
    after_probe,
    after_read,
)
from jetkv_gateway.jetstream.errors import MISMATCHES, api_error
from jetkv_gateway.jetstream.headers import with_line, write_headers
from jetkv_gateway.jetstream.names import BucketNames, key_names_of, names_of
from jetkv_gateway.jetstream.replica_versions import can_probe
from jetkv_gateway.jetstream.request_errors import RequestFailed
from jetkv_gateway.jetstream.write_replies import (
    LastMessage,
    is_new,
    judge,
    key_state_of,
    parse_reply,
)
from jetkv_gateway.jetstream.written_headers import headers_of, with_first_id
from jetkv_gateway.kv.commands import Touch, Write
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
"""The codes with which servers from 2.11 on refuse the probe after they have checked its id."""

_WINDOW_MARGIN = 0.5

_HOW_TO_CHECK = (
    "GET the key: if its revision changed, the write was applied; "
    "it may still be applied later, and If-Match guards against that"
)
_HOW_TO_REPEAT = "send it again with the same Idempotency-Key: it is applied at most once"


@dataclass(slots=True)
class _Publish:
    """A command, and what the gateway knows about its bucket."""

    names: BucketNames
    subject: bytes
    command: Write
    limits: WriteLimits

    def forgotten(self, window: RetryWindow) -> bool:
        """Return whether another try could be applied in addition to an earlier one."""
        unconditional = self.command.expected is None
        return unconditional and window.spent + _WINDOW_MARGIN > self.limits.duplicate_window

    def conditional(self, headers: bytes, state: WriteState) -> bytes:
        """Return the headers of the next try, without the message id."""
        if state.sent is None:
            return headers
        return with_line(headers, EXPECTED_REVISION, str(state.sent))


class Writes:
    """Writes to the buckets of one account."""

    def __init__(self, js: JetStream, buckets: BucketCache) -> None:
        self._js = js
        self._buckets = buckets

    async def go_on(
        self,
        command: Write,
        limits: WriteLimits,
        window: RetryWindow,
        tried: dict[str, Any] | RequestFailed,
    ) -> int:
        """Do the work of `apply` after the first try of a write without a condition.

        Args:
            tried: the answer to the try, or its failure.
        """
        first: dict[str, Any] | GatewayError | None = None
        if isinstance(tried, RequestFailed):
            stream = names_of(self._js.naming, command.bucket).stream
            try:
                await self._js.prepare_retry(tried, stream, _HOW_TO_CHECK, window)
            except (OutcomeUnknown, Unavailable) as error:
                if command.identity is None:
                    raise
                first = error
        elif not await self._js.may_repeat(tried, window):
            first = tried
        return await self.apply(command, limits, window, first)

    async def apply(
        self,
        command: Write,
        limits: WriteLimits,
        window: RetryWindow,
        first: dict[str, Any] | GatewayError | None = None,
    ) -> int:
        """Write, and return the revision; a retry returns the revision of the first try.

        Args:
            first: the answer to the first try of a write without a condition, or its error, if it
                was made.

        Raises:
            KeyExists, RevisionMismatch: the condition does not hold, as the leader shows.
            IdempotencyConflict: the idempotency key belongs to another write.
            OutcomeUnknown: no answer came, or none that settles the outcome.
            GatewayError: nothing was applied.
        """
        key_names = key_names_of(self._js.naming, command.bucket, command.tokens)
        names, subject = key_names.bucket, key_names.publish
        headers, identity = headers_of(names, command), command.identity
        if command.expected is None and first is None:
            tried, wait = headers, None
            if identity is not None:
                tried = with_first_id(headers, identity)
                # This may be the last try, too, if reads before it took most of the window.
                wait = self._js.try_timeout(window)
            try:
                first = await self._js.publish(
                    names.stream, subject, command.value, tried, _HOW_TO_CHECK, window, wait
                )
            except (OutcomeUnknown, Unavailable) as error:
                if identity is None:
                    raise
                first = error
        if isinstance(first, dict):
            # Most writes without a condition end here. The loop below goes on from other answers.
            if is_new(first, identity):
                stored: int = first["seq"]
                return stored
            if identity is None:
                raise await self._explained(command, api_error(first["error"]), window)
        write = _Publish(names, subject, command, limits)
        if identity is not None:
            headers = with_line(headers, REQUEST, identity.content)
        decision = Decision(Step.SEND, WriteState.of(command.expected, has_id=identity is not None))
        outcome, failure, last = Outcome.REFUSED, None, None
        if first is not None:
            outcome, decision, failure = judge(decision.state, first)
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
                        key_state = key_state_of(last, identity)
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
                # An earlier try may still be applied, whatever the answer to a later one is.
                raise _unknown(write, window) from error
            raise
        return decision.revision

    async def look(
        self, names: BucketNames, command: Write | Touch, window: RetryWindow
    ) -> LastMessage | None:
        """Return the newest message of the key; an expired value counts as purged."""
        last = await self.last(names, command.tokens, command.key, window)
        if last is not None and last.entry.live:
            is_expired = self._buckets.is_expired
            if await is_expired(command.bucket, last.entry, last.headers, window):
                last.entry.operation = Operation.PURGE
        return last

    async def _may_go_on(self, write: _Publish, window: RetryWindow) -> bool:
        """Wait; return whether another try is safe and there is time for it."""
        return (
            not write.forgotten(window)
            and await self._js.wait_reconnected(window)
            and await window.pause()
        )

    async def _send(
        self, write: _Publish, state: WriteState, headers: bytes, window: RetryWindow
    ) -> tuple[Outcome, Decision, GatewayError | None]:
        """Make one try; return the outcome, the decision, and the error of a refusal."""
        wait = None
        headers = write.conditional(headers, state)
        identity = write.command.identity
        if identity is not None:
            headers = with_line(headers, MESSAGE_ID, _message_id(identity, state.message_id))
            wait = self._js.try_timeout(window)
        try:
            answer = await self._publish(write, headers, window, wait)
        except (OutcomeUnknown, Unavailable) as error:
            return judge(state, error)
        return judge(state, answer)

    async def last(
        self, names: BucketNames, tokens: str, key: str, window: RetryWindow
    ) -> LastMessage | None:
        """Return the newest message of a key from the leader; None if there is none."""
        subject = names.subject_prefix + tokens
        return await self.read(names, get_last(subject), subject, key, window)

    async def read(
        self, names: BucketNames, query: bytes, subject: str, key: str, window: RetryWindow
    ) -> LastMessage | None:
        """Return the leader's reply to a query; None if it is not a message of the key."""
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
        stream, value = write.names.stream, write.command.value
        return self._js.publish(
            stream, write.subject, value, headers, _HOW_TO_CHECK, window, timeout
        )

    async def _explained(
        self, command: Write, failure: GatewayError, window: RetryWindow
    ) -> GatewayError:
        """Return the error of a refusal; for a value that is too large, add the limit."""
        if isinstance(failure, ValueTooLarge):
            limits = await self._buckets.fresh_limits(command.bucket, window)
            hint = "NATS counts the headers of a value too"
            return ValueTooLarge(limits.value_limit, hint=hint)
        return failure

    async def _first_answer(self, write: _Publish, revision: int, window: RetryWindow) -> int:
        """Return the revision that the first request with this idempotency key got.

        Raises:
            IdempotencyConflict: the first request was a different one, if its message is still
                stored.
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
        """Return the revision that the server stored for a message id; None if it knows no such id.

        Args:
            headers: the headers of the tries.
            number: the number of the message id.

        Servers that check conditions before ids get a probe, a message that they never store and
        that they refuse for a reason they check after the id. A probe depends on the version: with
        the wrong one, a server stores the message, does not answer, or breaks the stream.

        Other servers get the write itself again. A refusal of the previous try does not prove that
        they know no id: in a rolling upgrade an older server may have led the stream and refused
        it.
        """
        assert write.command.identity is not None, "only a write with an id is asked for"
        message_id = _message_id(write.command.identity, number)
        probe = {EXPECTED_REVISION: str(MAX_REVISION - 1)}
        expected_codes = MISMATCHES
        # Read the limits again: in a rolling upgrade another server may lead the stream by now.
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
                write.subject,
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
        """Do the work of `_remembered` by the message that follows the revision of the condition.

        Raises:
            OutcomeUnknown: that message is not stored any more, or another unconditional write
                stored it.
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
        """Send the write again; return the revision if it was applied now or before, else None."""
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
    """Return the error of a write that has no time for another try."""
    if decision.out_of_time is OutOfTime.UNKNOWN:
        return _unknown(write, window)
    return Unavailable("another write on this key is in flight; nothing was applied")


def _unknown(write: _Publish, window: RetryWindow) -> OutcomeUnknown:
    """Return the error of a write whose outcome is unknown.

    It is repeatable as long as the bucket remembers the message id.
    """
    if write.forgotten(window):
        return OutcomeUnknown(_HOW_TO_CHECK)
    return OutcomeUnknown(_HOW_TO_REPEAT, repeatable=True)


def _mismatch(expected: int | None, last: LastMessage | None) -> PreconditionFailed:
    """Return the error of a condition that does not hold, with the leader's revision."""
    revision = last.entry.revision if last is not None else None
    return KeyExists(revision) if expected == MUST_NOT_EXIST else RevisionMismatch(revision)
