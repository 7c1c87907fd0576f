"""Interprets answers and stored messages for a write. Pure."""

from dataclasses import dataclass
from typing import Any

from jetkv_gateway.jetstream.api import EXPECTED_REVISION, MESSAGE_ID, REQUEST, message_headers
from jetkv_gateway.jetstream.decisions import (
    Decision,
    KeyState,
    Outcome,
    Step,
    WriteState,
    after_answer,
    after_no_answer,
)
from jetkv_gateway.jetstream.errors import IN_PROCESS, MISMATCHES, api_error
from jetkv_gateway.kv.errors import GatewayError, IdempotencyConflict, OutcomeUnknown
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.kv.model import Entry

__all__ = ["LastMessage", "is_new", "judge", "key_state_of", "parse_reply"]


@dataclass(slots=True)
class LastMessage:
    """A message of a key from the leader; the newest one unless the caller says otherwise."""

    entry: Entry
    headers: str | None

    @property
    def expected(self) -> int | None:
        """The revision in the condition of the write that stored it; None without a condition."""
        text = message_headers(self.headers).get(EXPECTED_REVISION, "")
        return int(text) if text.isascii() and text.isdigit() else None

    def made_by(self, identity: Idempotency) -> bool:
        """Return whether a write with the same idempotency key stored this message.

        Raises:
            IdempotencyConflict: the key is the same, but the write was a different one.
        """
        headers = message_headers(self.headers)
        if headers.get(MESSAGE_ID, "").partition(".")[0] != identity.scope:
            return False
        if headers.get(REQUEST) != identity.content:
            raise IdempotencyConflict(self.entry.revision)
        return True


def is_new(answer: dict[str, Any], identity: Idempotency | None) -> bool:
    """Return whether an answer says that this try stored the write."""
    return "error" not in answer and (identity is None or not answer.get("duplicate"))


def parse_reply(answer: dict[str, Any]) -> tuple[Outcome, int]:
    """Return the outcome of a try, and the revision in the answer."""
    error = answer.get("error")
    if error is None:
        revision: int = answer["seq"]
        if not answer.get("duplicate"):
            return Outcome.STORED, revision
        # nats-server 2.10 answers "duplicate" without a revision while it stores the first try.
        return (Outcome.DUPLICATE, revision) if revision else (Outcome.IN_PROCESS, 0)
    code = error.get("err_code")
    if code == IN_PROCESS:
        return Outcome.IN_PROCESS, 0
    return (Outcome.MISMATCH if code in MISMATCHES else Outcome.REFUSED), 0


def key_state_of(last: LastMessage | None, identity: Idempotency | None) -> KeyState:
    """Return the state of a key, as a write sees its newest message.

    Raises:
        IdempotencyConflict: the message has the same idempotency key, but is a different write.
    """
    if last is None:
        return KeyState()
    is_this_write = identity is not None and last.made_by(identity)
    return KeyState(last.entry.revision, last.entry.live, is_this_write)


def judge(
    state: WriteState, answer: dict[str, Any] | GatewayError
) -> tuple[Outcome, Decision, GatewayError | None]:
    """Return the outcome of a try, the decision, and the error of a refusal.

    Args:
        answer: the answer, or the error if there is none.
    """
    if isinstance(answer, GatewayError):
        sent = isinstance(answer, OutcomeUnknown)
        return Outcome.REFUSED, after_no_answer(state, sent=sent), answer
    outcome, revision = parse_reply(answer)
    decision = after_answer(state, outcome, revision)
    failure = api_error(answer["error"]) if decision.step is Step.REFUSE else None
    return outcome, decision, failure
