"""One atomic batch, until its outcome is known. `batch_plan.py` decides, this carries it out.

What servers do, measured (2.12.8, 2.14.6 and 2.15.1; one replica and three):

- A batch is refused as a whole, also where the bucket has no room for all of it.
- Message ids are looked at before conditions. A batch with a known one is refused, and the id of a
  refused batch is not kept. So every batch has an id, its caller's or one of ours, and can be sent
  again until it is answered.
- Only the last message is answered. Where one before it was refused, the last one is incomplete.
"""

import secrets
from dataclasses import dataclass
from typing import NamedTuple

from jetkv_gateway.jetstream.batch_ids import BatchIds
from jetkv_gateway.jetstream.batch_messages import check_messages, check_sizes, messages_of
from jetkv_gateway.jetstream.batch_plan import (
    Plan,
    Said,
    Step,
    after_answer,
    after_look,
    failed,
    make_plan,
    may_need_newest,
    needs_look,
    numbered,
)
from jetkv_gateway.jetstream.bucket_cache import BucketCache, WriteLimits
from jetkv_gateway.jetstream.capabilities import Capability, since, since_each
from jetkv_gateway.jetstream.client import JetStream, RetryWindow, read_answer
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

__all__ = ["AtomicBatches"]

_WINDOW_MARGIN = 0.5

_HOW_TO_CHECK = (
    "read the keys: all of them show the batch, or none does; it may still be applied later, and a "
    "condition on each key guards against that"
)
_HOW_TO_REPEAT = "send it again with the same Idempotency-Key: it is applied once at most"


@dataclass(slots=True)
class _Work:
    """A batch, what is known of its bucket, and how far it has come.

    Attributes:
        identity: by which its tries are known.
        elsewhere: whether a message can have the condition of another key.
        uncertain: whether an earlier try may be applied, now or later.
    """

    command: BatchWrite
    names: BucketNames
    limits: WriteLimits
    identity: Idempotency
    elsewhere: bool
    uncertain: bool = False

    @property
    def named(self) -> bool:
        return self.command.identity is not None

    @property
    def looks(self) -> bool:
        """Whether its keys are looked at before it is sent."""
        return needs_look(self.command.ops, elsewhere=self.elsewhere)


class _Outcome(NamedTuple):
    """What became of a try.

    Attributes:
        revision: of its last write, where it was stored.
        error: why it was not.
    """

    said: Said
    revision: int = 0
    error: GatewayError | None = None


class AtomicBatches:
    """Atomic batches on buckets of one account."""

    def __init__(self, js: JetStream, buckets: BucketCache, snapshots: Snapshots) -> None:
        self._js = js
        self._buckets = buckets
        self._snapshots = snapshots
        self._ids = BatchIds(js, buckets)

    async def apply(self, command: BatchWrite, window: RetryWindow) -> Applied:
        """Apply a batch as a whole; a retry gets the first answer.

        Raises:
            ConditionsFailed: by the leader.
            IdempotencyConflict: the idempotency key belongs to another batch.
            BucketUnsuitable: the bucket, or the server that holds it, takes no such batch.
            OutcomeUnknown: no answer, or none that settles it.
            GatewayError: nothing was applied.
        """
        limits = await self._buckets.limits(command.bucket, window)
        if any(not isinstance(op, Check) for op in command.ops):
            limits = await self._suitable(command, limits, window)
        work = _Work(
            command,
            names_of(self._js.naming, command.bucket),
            limits,
            command.identity or Idempotency(secrets.token_hex(12), ""),
            elsewhere=limits.host.can(Capability.GUARDS_OTHER_KEYS),
        )
        try:
            return await self._carry_out(work, window)
        except (ConditionsFailed, IdempotencyConflict, OutcomeUnknown):
            raise
        except GatewayError as error:
            if work.uncertain:
                # An earlier try may still be applied, whatever is said to a later one.
                raise _unknown(work, window) from error
            raise

    async def _suitable(
        self, command: BatchWrite, limits: WriteLimits, window: RetryWindow
    ) -> WriteLimits:
        """Return the bucket's limits where it takes the batch.

        Raises:
            BucketUnsuitable, ValueTooLarge
        """
        largest = max(len(op.value) for op in command.ops if not isinstance(op, Check))
        limit = limits.value_limit
        if not limits.atomic or (limit is not None and largest > limit):
            # By what the bucket is now: it may have been changed a moment ago.
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
                "this bucket takes no atomic batches: its setting batches is false",
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

    @property
    def _most(self) -> int:
        return self._js.connection.max_value_bytes

    async def _carry_out(self, work: _Work, window: RetryWindow) -> Applied:
        ops = work.command.ops
        plan = make_plan(ops, None, 0, elsewhere=work.elsewhere) if not work.looks else None
        sent: Plan | None = None
        step = Step.LOOK if work.looks else Step.SEND
        outcome = _Outcome(Said.UNSENT)
        while True:
            match step:
                case Step.LOOK:
                    states, newest = await self._look(work, window)
                    fails = failed(ops, states)
                    plan = make_plan(ops, states, newest, elsewhere=work.elsewhere)
                    known = work.named or work.uncertain
                    if not fails and not plan.messages:
                        applied = await self._known(work, window) if known else None
                        return applied or Applied(numbered(len(ops), plan.fixed, 0), newest)
                    step = after_look(fails=bool(fails), moved=plan != sent, known=known)
                case Step.ASK:
                    applied = await self._known(work, window)
                    if applied is not None:
                        return applied
                    step = Step.CONFLICT
                case Step.CONFLICT:
                    raise ConditionsFailed([(at, ops[at].key, states[at].revision) for at in fails])
                case Step.WAIT:
                    if not await self._may_go_on(work, window):
                        raise _late(work, window, outcome.error)
                    if outcome.said is Said.INCOMPLETE:
                        await self._ask_again(work, window)
                    step = Step.SEND
                case Step.SEND:
                    assert plan is not None, "made at the beginning, or after a look"
                    sent = plan
                    outcome = await self._send(work, plan, window)
                    step = after_answer(outcome.said, uncertain=work.uncertain)
                    work.uncertain |= outcome.said in (Said.SILENT, Said.IN_PROCESS)
                case Step.VERIFY:
                    applied = await self._known(work, window)
                    if applied is None:
                        raise _unknown(work, window)
                    return applied
                case Step.DONE:
                    assert sent is not None, "it was stored"
                    first = outcome.revision - len(sent.messages) + 1
                    return Applied(numbered(len(ops), sent.fixed, first), outcome.revision)
                case Step.REFUSE:
                    assert outcome.error is not None, "a refusal has its error"
                    if isinstance(outcome.error, ValueTooLarge):
                        await self._ask_again(work, window)
                    raise outcome.error

    async def _ask_again(self, work: _Work, window: RetryWindow) -> None:
        """Look at the bucket as it is now: it, or the server that leads it, may be another.

        Raises:
            BucketUnsuitable, ValueTooLarge: the details name the item.
        """
        ops = work.command.ops
        limits = await self._buckets.fresh_limits(work.command.bucket, window)
        work.limits = await self._suitable(work.command, limits, window)
        plan = make_plan(ops, [KeyState()] * len(ops), 0, elsewhere=work.elsewhere)
        messages = messages_of(work.names, ops, plan, work.identity)
        check_messages(ops, plan, messages, work.limits.message_limit)

    async def _look(self, work: _Work, window: RetryWindow) -> tuple[list[KeyState], int]:
        """Return what the leader shows of each key, and the newest revision of the bucket."""
        ops, last = work.command.ops, 0
        if may_need_newest(ops, elsewhere=work.elsewhere):
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
        """Wait, and return whether another try has time, and does no harm."""
        return (
            not _forgotten(work, window)
            and await self._js.wait_reconnected(window)
            and await window.pause()
        )

    async def _send(self, work: _Work, plan: Plan, window: RetryWindow) -> _Outcome:
        """Make one try."""
        js, stream = self._js, work.names.stream
        ops = work.command.ops
        messages = messages_of(work.names, ops, plan, work.identity)
        check_messages(ops, plan, messages, work.limits.message_limit)
        try:
            reply = await js.mux.ask_last(messages, timeout=js.try_timeout(window))
            answer = read_answer(reply, stream)
            if "error" not in answer and type(answer.get("seq")) is not int:
                raise Unreadable(stream)
        except NoResponders as signal:
            await js.require_stream(stream)
            return _Outcome(Said.INCOMPLETE, error=request_error(signal, _HOW_TO_CHECK))
        except RequestFailed as signal:
            silent = isinstance(signal, RequestTimeout | ConnectionLost | Unreadable)
            said = Said.SILENT if silent else Said.UNSENT
            return _Outcome(said, error=request_error(signal, _HOW_TO_CHECK))
        except Unavailable as error:
            return _Outcome(Said.UNSENT, error=error)
        refused = answer.get("error")
        if refused is not None:
            return _Outcome(_said_of(refused.get("err_code")), error=api_error(refused))
        if answer.get("count") != len(messages):
            # A server that knows no batches stores each message for itself.
            raise OutcomeUnknown(_HOW_TO_CHECK)
        return _Outcome(Said.STORED, answer["seq"])

    async def _known(self, work: _Work, window: RetryWindow) -> Applied | None:
        """Return what an earlier try did, None where the server knows of none."""
        try:
            return await self._ids.applied(
                work.command, work.identity, work.limits, window, named=work.named
            )
        except IdempotencyConflict:
            raise
        except GatewayError as error:
            raise _unknown(work, window) from error


def _said_of(code: int | None) -> Said:
    if code in MISMATCHES:
        return Said.MISMATCH
    if code == KNOWN_IN_BATCH:
        return Said.KNOWN
    if code == IN_PROCESS:
        return Said.IN_PROCESS
    return Said.INCOMPLETE if code in TRANSIENT else Said.REFUSED


def _forgotten(work: _Work, window: RetryWindow) -> bool:
    """Return whether the server may not know an earlier try any more."""
    return window.spent + _WINDOW_MARGIN > work.limits.duplicate_window


def _late(work: _Work, window: RetryWindow, error: GatewayError | None) -> GatewayError:
    """Return what a batch is that has no time for another try."""
    if work.uncertain:
        return _unknown(work, window)
    if isinstance(error, Unavailable):
        return error
    return Unavailable("other writes on these keys are in flight; nothing was applied")


def _unknown(work: _Work, window: RetryWindow) -> OutcomeUnknown:
    if not work.named or _forgotten(work, window):
        return OutcomeUnknown(_HOW_TO_CHECK)
    return OutcomeUnknown(_HOW_TO_REPEAT, repeatable=True)
