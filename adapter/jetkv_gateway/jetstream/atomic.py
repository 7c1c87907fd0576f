"""Applies one atomic batch and finds out its outcome, by the decisions of `batch_plan.py`.

These facts were measured with nats-server 2.12.8, 2.14.6 and 2.15.1, with one replica and with
three:

- A server refuses a batch as a whole, even if only the last message has no room.
- It checks message ids before conditions. It refuses a batch with a known id, and it drops the id
  of a refused batch. So every batch has an id, the caller's or its own, and can be sent again until
  it is answered.
- Only the last message gets an answer. If an earlier one was refused, the last one is incomplete.
"""

import secrets
from dataclasses import dataclass
from typing import NamedTuple

from jetkv_gateway.jetstream.answers import read_ack
from jetkv_gateway.jetstream.batch_ids import BatchIds
from jetkv_gateway.jetstream.batch_messages import check_messages, check_sizes, messages_of
from jetkv_gateway.jetstream.batch_plan import (
    Outcome,
    Plan,
    Step,
    after_answer,
    after_read,
    failed,
    make_plan,
    may_need_newest,
    needs_read,
    numbered,
)
from jetkv_gateway.jetstream.bucket_cache import BucketCache, WriteLimits
from jetkv_gateway.jetstream.capabilities import Capability, since, since_each
from jetkv_gateway.jetstream.client import JetStream, RetryWindow
from jetkv_gateway.jetstream.decisions import KeyState
from jetkv_gateway.jetstream.errors import (
    IN_PROCESS,
    KNOWN_IN_BATCH,
    MISMATCHES,
    TRANSIENT,
    api_error,
    request_error,
)
from jetkv_gateway.jetstream.names import BucketNames, names_of
from jetkv_gateway.jetstream.requests import (
    ConnectionLost,
    NoResponders,
    RequestFailed,
    RequestTimeout,
    Unreadable,
)
from jetkv_gateway.jetstream.snapshots import Snapshots
from jetkv_gateway.jetstream.trace_headers import with_trace_context
from jetkv_gateway.jetstream.ttl import check_ttls
from jetkv_gateway.kv.batches import Applied, BatchWrite, Check
from jetkv_gateway.kv.errors import (
    BucketUnsuitable,
    ConditionsFailed,
    GatewayError,
    IdempotencyConflict,
    OutcomeUnknown,
    Unavailable,
    ValueTooLarge,
)
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.telemetry.events import EVENTS

__all__ = ["AtomicBatches"]

_WINDOW_MARGIN = 0.5

_HOW_TO_CHECK = (
    "read the keys: either all or none of them show the batch; it may still be applied later, "
    "and a condition on each key guards against that"
)
_HOW_TO_REPEAT = "send it again with the same Idempotency-Key: it is applied once at most"


@dataclass(slots=True)
class _Work:
    """A batch, its bucket's limits, and its progress.

    Attributes:
        identity: identifies its tries.
        can_guard_others: whether a message can have the condition of another key.
        uncertain: whether an earlier try may be applied, now or later.
    """

    command: BatchWrite
    names: BucketNames
    limits: WriteLimits
    identity: Idempotency
    can_guard_others: bool
    uncertain: bool = False

    @property
    def named(self) -> bool:
        return self.command.identity is not None

    @property
    def needs_read(self) -> bool:
        """Whether its keys must be read before it is sent."""
        return needs_read(self.command.ops, can_guard_others=self.can_guard_others)


class _Result(NamedTuple):
    """The result of a try.

    Attributes:
        revision: of its last write, if it was stored.
        error: the reason if it was not.
    """

    outcome: Outcome
    revision: int = 0
    error: GatewayError | None = None


class AtomicBatches:
    """Atomic batches on the buckets of one account."""

    def __init__(self, js: JetStream, buckets: BucketCache, snapshots: Snapshots) -> None:
        self._js = js
        self._buckets = buckets
        self._snapshots = snapshots
        self._ids = BatchIds(js, buckets)

    async def apply(self, command: BatchWrite, window: RetryWindow) -> Applied:
        """Apply a batch as a whole; a retry gets the first answer.

        Raises:
            ConditionsFailed: conditions do not hold, as the leader shows.
            IdempotencyConflict: the idempotency key belongs to another batch.
            BucketUnsuitable: the bucket, or the server that holds it, does not accept the batch.
            OutcomeUnknown: no answer came, or none that settles the outcome.
            GatewayError: nothing was applied.
        """
        limits = await self._buckets.limits(command.bucket, window)
        if any(not isinstance(op, Check) for op in command.ops):
            limits = await self._suitable(command, limits, window)
            command = await self._with_ttls(command, limits, window)
        work = _Work(
            command,
            names_of(self._js.naming, command.bucket),
            limits,
            command.identity or Idempotency(content="", scope=secrets.token_hex(12)),
            can_guard_others=limits.host.can(Capability.GUARDS_OTHER_KEYS),
        )
        try:
            return await self._carry_out(work, window)
        except (ConditionsFailed, IdempotencyConflict, OutcomeUnknown):
            raise
        except GatewayError as error:
            if work.uncertain:
                # An earlier try may still be applied, whatever the answer to a later one is.
                raise _unknown(work, window) from error
            raise

    async def _suitable(
        self, command: BatchWrite, limits: WriteLimits, window: RetryWindow
    ) -> WriteLimits:
        """Return the bucket's limits if it accepts the batch.

        Raises:
            BucketUnsuitable, ValueTooLarge: it does not.
        """
        largest = max(len(op.value) for op in command.ops if not isinstance(op, Check))
        limit = limits.value_limit
        if not limits.atomic or (limit is not None and largest > limit):
            # Decide by fresh limits, because the bucket may have changed a moment ago.
            limits = await self._buckets.fresh_limits(command.bucket, window)
        host = limits.host
        if not host.can(Capability.ATOMIC_BATCHES):
            raise BucketUnsuitable(
                f"atomic batches need nats-server {since(Capability.ATOMIC_BATCHES)} or newer; "
                f"the one that holds this bucket is {host.name}",
                hint='with "atomic": false each op is applied for itself',
            )
        if not limits.atomic:
            raise BucketUnsuitable(
                "this bucket does not accept atomic batches: its setting batches is false",
                hint='set batches to true, or send "atomic": false',
            )
        has_check = any(isinstance(op, Check) for op in command.ops)
        if has_check and not host.can(Capability.GUARDS_OTHER_KEYS):
            raise BucketUnsuitable(
                "a check beside writes needs nats-server "
                f"{since_each(Capability.GUARDS_OTHER_KEYS)}, or newer; "
                f"the one that holds this bucket is {host.name}"
            )
        check_sizes(command.ops, min(limits.value_limit or largest, self._most))
        return limits

    async def _with_ttls(
        self, command: BatchWrite, limits: WriteLimits, window: RetryWindow
    ) -> BatchWrite:
        """Return the batch with what the TTLs of its items need.

        Raises:
            BucketUnsuitable: the bucket takes no such TTL, as it is now.
        """
        try:
            return command._replace(ops=check_ttls(command.ops, limits))
        except BucketUnsuitable:
            limits = await self._buckets.fresh_limits(command.bucket, window)
            return command._replace(ops=check_ttls(command.ops, limits))

    @property
    def _most(self) -> int:
        return self._js.connection.max_value_bytes

    async def _carry_out(self, work: _Work, window: RetryWindow) -> Applied:
        ops = work.command.ops
        plan = (
            make_plan(ops, None, 0, can_guard_others=work.can_guard_others)
            if not work.needs_read
            else None
        )
        sent: Plan | None = None
        step = Step.READ_KEYS if work.needs_read else Step.SEND
        result = _Result(Outcome.UNSENT)
        while True:
            match step:
                case Step.READ_KEYS:
                    states, newest = await self._read(work, window)
                    fails = failed(ops, states)
                    plan = make_plan(ops, states, newest, can_guard_others=work.can_guard_others)
                    known = work.named or work.uncertain
                    if not fails and not plan.messages:
                        applied = await self._known(work, window) if known else None
                        return applied or Applied(numbered(len(ops), plan.fixed, 0), newest)
                    step = after_read(fails=bool(fails), moved=plan != sent, known=known)
                case Step.PROBE_ID:
                    applied = await self._known(work, window)
                    if applied is not None:
                        return applied
                    step = Step.CONFLICT
                case Step.CONFLICT:
                    raise ConditionsFailed([(at, ops[at].key, states[at].revision) for at in fails])
                case Step.WAIT:
                    if not await self._may_go_on(work, window):
                        raise _late(work, window, result.error)
                    if result.outcome is Outcome.INCOMPLETE:
                        await self._ask_again(work, window)
                    step = Step.SEND
                case Step.SEND:
                    assert plan is not None, "it was made at the beginning or after a read"
                    sent = plan
                    result = await self._send(work, plan, window)
                    step = after_answer(result.outcome, uncertain=work.uncertain)
                    work.uncertain |= result.outcome in (Outcome.SILENT, Outcome.IN_PROCESS)
                case Step.VERIFY:
                    applied = await self._known(work, window)
                    if applied is None:
                        raise _unknown(work, window)
                    return applied
                case Step.DONE:
                    assert sent is not None, "it was stored"
                    first = result.revision - len(sent.messages) + 1
                    return Applied(numbered(len(ops), sent.fixed, first), result.revision)
                case Step.REFUSE:
                    assert result.error is not None, "a refusal has its error"
                    if isinstance(result.error, ValueTooLarge):
                        await self._ask_again(work, window)
                    raise result.error

    async def _ask_again(self, work: _Work, window: RetryWindow) -> None:
        """Check the bucket again, because it or its leader may have changed.

        Raises:
            BucketUnsuitable, ValueTooLarge: the details name the item.
        """
        ops = work.command.ops
        limits = await self._buckets.fresh_limits(work.command.bucket, window)
        work.limits = await self._suitable(work.command, limits, window)
        plan = make_plan(ops, [KeyState()] * len(ops), 0, can_guard_others=work.can_guard_others)
        messages = messages_of(work.names, ops, plan, work.identity)
        check_messages(ops, plan, messages, work.limits.message_limit)

    async def _read(self, work: _Work, window: RetryWindow) -> tuple[list[KeyState], int]:
        """Return the leader's state of each key, and the newest revision of the bucket."""
        ops, last = work.command.ops, 0
        if may_need_newest(ops, can_guard_others=work.can_guard_others):
            # Also where the message that had it is gone.
            info = await self._buckets.stream(work.command.bucket, window=window)
            last = info["state"]["last_seq"]
        keys = {op.tokens: op.key for op in ops}
        async with self._snapshots.collect(
            work.command.bucket, keys, window, values=False
        ) as found:
            entries = [found.newest.get(op.tokens) for op in ops]
            states = [
                KeyState() if one is None else KeyState(one.revision, one.live) for one in entries
            ]
            return states, max(found.revision, last)

    async def _may_go_on(self, work: _Work, window: RetryWindow) -> bool:
        """Wait; return whether another try is safe and there is time for it."""
        return (
            not _forgotten(work, window)
            and await self._js.wait_reconnected(window)
            and await window.pause()
        )

    async def _send(self, work: _Work, plan: Plan, window: RetryWindow) -> _Result:
        """Make one try."""
        js, stream = self._js, work.names.stream
        ops = work.command.ops
        messages = messages_of(work.names, ops, plan, work.identity)
        if EVENTS.write_context is not None:
            messages = [(to, value, with_trace_context(block)) for to, value, block in messages]
        check_messages(ops, plan, messages, work.limits.message_limit)
        try:
            data, _ = await js.mux.ask_last(messages, timeout=js.try_timeout(window))
            answer = read_ack(data, stream)
        except NoResponders as signal:
            await js.require_stream(stream)
            return _Result(Outcome.INCOMPLETE, error=request_error(signal, _HOW_TO_CHECK))
        except RequestFailed as signal:
            silent = isinstance(signal, RequestTimeout | ConnectionLost | Unreadable)
            said = Outcome.SILENT if silent else Outcome.UNSENT
            return _Result(said, error=request_error(signal, _HOW_TO_CHECK))
        except Unavailable as error:
            return _Result(Outcome.UNSENT, error=error)
        refused = answer.get("error")
        if refused is not None:
            return _Result(_said_of(refused.get("err_code")), error=api_error(refused))
        if answer.get("count") != len(messages):
            # A server without atomic batches stores each message on its own.
            raise OutcomeUnknown(_HOW_TO_CHECK)
        return _Result(Outcome.STORED, answer["seq"])

    async def _known(self, work: _Work, window: RetryWindow) -> Applied | None:
        """Return the result of an earlier try; None if the server knows none."""
        try:
            return await self._ids.applied(
                work.command, work.identity, work.limits, window, named=work.named
            )
        except IdempotencyConflict:
            raise
        except GatewayError as error:
            if (error.details or {}).get("outcome") == "applied":
                raise
            raise _unknown(work, window) from error


def _said_of(code: int | None) -> Outcome:
    if code in MISMATCHES:
        return Outcome.MISMATCH
    if code == KNOWN_IN_BATCH:
        return Outcome.DUPLICATE
    if code == IN_PROCESS:
        return Outcome.IN_PROCESS
    return Outcome.INCOMPLETE if code in TRANSIENT else Outcome.REFUSED


def _forgotten(work: _Work, window: RetryWindow) -> bool:
    """Return whether the server may have forgotten an earlier try."""
    return window.spent + _WINDOW_MARGIN > work.limits.duplicate_window


def _late(work: _Work, window: RetryWindow, error: GatewayError | None) -> GatewayError:
    """Return the error of a batch that has no time for another try."""
    if work.uncertain:
        return _unknown(work, window)
    if isinstance(error, Unavailable):
        return error
    return Unavailable("other writes on these keys are in flight; nothing was applied")


def _unknown(work: _Work, window: RetryWindow) -> OutcomeUnknown:
    if not work.named or _forgotten(work, window):
        return OutcomeUnknown(_HOW_TO_CHECK)
    return OutcomeUnknown(_HOW_TO_REPEAT, repeatable=True)
