"""When a request is sent again, and what it comes to when it is not.

| What happened | Read | Write with an idempotency key | Other write |
|---|---|---|---|
| no connection was made | again | again | again |
| 503 of a gateway | again, after `Retry-After`, while `patience` lasts | same | same |
| 429 of a gateway | again, after `Retry-After` | same | same |
| 504; a broken connection; no answer; 502 to 504 of a proxy | again | again, where the gateway \
honours the key | no: `OutcomeUnknownError` |
| an answer that is too large, or in an unknown coding | no | no: `OutcomeUnknownError` | same |
| any other answer; somebody who speaks no HTTP | no | no | no |
"""

import random
from dataclasses import dataclass
from enum import Enum

from jetkv import errors
from jetkv._core.answers import error_of, is_gateways, retry_after
from jetkv._core.wire import (
    Answer,
    Kind,
    NoAnswer,
    NotSent,
    Request,
    Stranger,
    TransportError,
    Unreadable,
)

__all__ = ["CONTENTION", "RETRY_HORIZON", "Again", "Retry", "Verdict", "judge", "silence"]


RETRY_HORIZON = 50.0
"""Seconds after its beginning in which a write of unknown outcome is sent again: gateways know its
idempotency key for a minute, of which one may take some seconds for itself (a bucket that does not
has the warning `short_duplicate_window`)."""

_PART = 2 / 3
_LONGEST_SILENCE = 12.0  # seconds; a gateway answers within, whatever NATS does
_LARGE_BYTES = 256 * 1024

_DOUBLINGS = 30  # 2.0 ** 1024 is an OverflowError


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how long to try again.

    Attributes:
        attempts: requests of one call, the first included; 1 = never again.
        first_delay: seconds before the second, doubling from there.
        longest_delay: seconds, where the gateway asks for no more.
        patience: seconds from the beginning of a call within which the next request begins, where
            the last was answered by 503: NATS is away, and each answer asks for a wait of its own.
            A program that would rather wait than fail sets it, `attempts` and the
            client's `timeout` higher.
    """

    attempts: int = 6
    first_delay: float = 0.1
    longest_delay: float = 2.0
    patience: float = 3.0

    def __post_init__(self) -> None:
        delays = (self.first_delay, self.longest_delay, self.patience)
        if not (_is_count(self.attempts) and all(map(_are_seconds, delays))):
            raise errors.InvalidArgumentError(
                f"attempts is a whole number from 1, the others are seconds from 0: {self!r}"
            )

    def delay(self, tried: int, at_least: float, jitter: float) -> float:
        """Return the seconds to wait after the `tried`-th request; `jitter` is from 0 to 1."""
        back_off = min(self.longest_delay, self.first_delay * 2.0 ** min(tried - 1, _DOUBLINGS))
        return at_least + back_off * (0.5 + 0.5 * jitter)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _are_seconds(value: object) -> bool:
    # Of a NaN nothing holds; infinitely many are patience.
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


CONTENTION = Retry(first_delay=0.002, longest_delay=0.2)
"""Of writers that lose to each other: those who come back at once only get in each other's way."""


class Again(Enum):
    """May a request be sent again?"""

    YES = "yes"
    IF_HONOURED = "where the gateway honours its idempotency key"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one try came to.

    Attributes:
        error: what is raised when it was the last one; None for an answer that stands.
        at_least: seconds to wait before the next one.
        not_now: what answered waits for something else, such as NATS: `patience` bounds that.
    """

    again: Again
    error: errors.JetKVError | None = None
    at_least: float = 0.0
    not_now: bool = False


_ANSWERED = Verdict(Again.NO)
_UNKNOWN = {
    Kind.READ: Again.YES,
    Kind.KEYED: Again.IF_HONOURED,
    Kind.WRITE: Again.NO,
}


def judge(request: Request, outcome: Answer | TransportError, address: object) -> Verdict:
    """Return what a try came to.

    Args:
        address: of the gateway, for the text of errors.
    """
    if isinstance(outcome, Answer):
        return _judge_answer(request, outcome)
    if isinstance(outcome, NotSent):
        error: errors.JetKVError = errors.UnavailableError(
            f"{request.what}: no connection to {address}: {outcome}",
            hint="nothing was sent; check the address, and that the gateway runs",
            retryable=not outcome.permanent,
        )
        return Verdict(Again.NO if outcome.permanent else Again.YES, error)
    if isinstance(outcome, Stranger):
        error = errors.UnexpectedAnswerError(
            f"{request.what}: {outcome}",
            hint=f"{address} is its address; a client wants that of `jetkv serve`, such as "
            "http://localhost:9123",
        )
        return Verdict(Again.NO, error)
    if isinstance(outcome, Unreadable):
        return Verdict(Again.NO, _unreadable(request, outcome))
    return Verdict(_UNKNOWN[request.kind], _unknown(request, outcome))


def _judge_answer(request: Request, answer: Answer) -> Verdict:
    if answer.status not in (429, 502, 503, 504):
        return _ANSWERED
    error = error_of(answer, request)
    again = _UNKNOWN[request.kind]
    if is_gateways(answer):
        if answer.status in (429, 503):
            again = Again.YES
    elif request.kind is not Kind.READ:
        # Not the gateway speaks, but what stands before it: it may have passed the request on.
        error = errors.OutcomeUnknownError(
            f"{error.message}; it may have been applied", hint=request.check, status=answer.status
        )
    return Verdict(again, error, retry_after(answer), not_now=answer.status in (502, 503))


def _unknown(request: Request, outcome: TransportError) -> errors.JetKVError:
    if request.kind is not Kind.READ:
        return errors.OutcomeUnknownError(
            f"{request.what}: {outcome}; it may or may not have been applied", hint=request.check
        )
    if isinstance(outcome, NoAnswer):
        return errors.DeadlineExceededError(
            f"{request.what}: {outcome}", hint="Client(timeout=…) gives calls more time"
        )
    return errors.UnavailableError(f"{request.what}: {outcome}")


def _unreadable(request: Request, outcome: Unreadable) -> errors.JetKVError:
    if request.kind is not Kind.READ:
        return _unknown(request, outcome)
    return errors.UnexpectedAnswerError(
        f"{request.what}: {outcome}",
        hint="is there a gateway? Client(max_response_bytes=…) takes larger answers"
        if request.large
        else "is there a gateway?",
    )


def silence(request: Request, tried: int, left: float) -> float:
    """Return the seconds without a byte after which a try that is not the last one is given up.

    A link may swallow packets without a word, and a new connection may get through. The first try
    has two thirds of the time: of the default 10 s that is 6.7, more than the 6 s that a gateway's
    own tries share. What may not be sent twice has all of the time; and so has what is large: it
    may still wait in this system's buffers, of which nobody hears.

    Args:
        tried: which try it is, from 1.
        left: seconds that the call has left.
    """
    if request.kind is Kind.WRITE or len(request.body or b"") > _LARGE_BYTES:
        return left
    return min(left * _PART if tried == 1 else left, _LONGEST_SILENCE)


def jitter() -> float:
    """Return a random part of a delay, so that many who failed at once do not return at once."""
    return random.random()  # noqa: S311 - spreads load, guards nothing
