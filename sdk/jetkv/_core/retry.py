"""Which requests the client resends, and which error it raises for the others.

| What happened | Read | Write with an idempotency key | Other write |
|---|---|---|---|
| no connection was made | resent | resent | resent |
| 503 from the gateway | resent after `Retry-After`, while `patience` lasts | same | same |
| 429 from the gateway | resent after `Retry-After` | same | same |
| 504; a broken connection; no answer; 502 to 504 from a proxy | resent | resent if the gateway \
honours the key | `OutcomeUnknownError` |
| an answer that is too large or has an unknown coding | error | `OutcomeUnknownError` | same |
| any other answer; an answer that is not HTTP | error | error | error |
"""

import random
from dataclasses import dataclass
from enum import Enum

from jetkv import errors
from jetkv._core.answers import error_of, is_from_gateway, retry_after
from jetkv._core.messages import (
    Answer,
    Kind,
    NoAnswer,
    NotHTTP,
    NotSent,
    Request,
    TransportError,
    Unreadable,
)

__all__ = [
    "CONTENTION",
    "RETRY_HORIZON",
    "Resend",
    "Retry",
    "Verdict",
    "jitter",
    "judge",
    "read_timeout",
]


RETRY_HORIZON = 50.0
"""How many seconds after its start a write of unknown outcome may be resent. A gateway knows the
idempotency key for a minute, and may need some seconds of it for its own retries. A bucket that
knows it for less has the warning `short_duplicate_window`."""

_FIRST_SHARE = 2 / 3
_MAX_READ_TIMEOUT = 12.0  # seconds; a gateway answers sooner, even if NATS does not
_LARGE_BYTES = 256 * 1024

_DOUBLINGS = 30  # Far below 2.0 ** 1024, which is an OverflowError.


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how long the client resends a request.

    If your program should rather wait than fail, raise `attempts`, `patience` and the client's
    `timeout`.

    Attributes:
        attempts: the number of requests of one call, the first one included; 1 for no retries.
        first_delay: seconds before the second request. The delay doubles with each further one.
        longest_delay: the longest delay in seconds, unless the gateway asks for a longer one.
        patience: seconds after the start of a call. After a 503, the client sends no request later
            than that: NATS is away, and may be away for long.

    Raises:
        InvalidArgumentError: `attempts` is no whole number from 1, or another value is no number
            from 0.
    """

    attempts: int = 6
    first_delay: float = 0.1
    longest_delay: float = 2.0
    patience: float = 3.0

    def __post_init__(self) -> None:
        delays = (self.first_delay, self.longest_delay, self.patience)
        if not (_is_count(self.attempts) and all(map(_is_duration, delays))):
            raise errors.InvalidArgumentError(
                f"attempts must be a whole number from 1, the others seconds from 0: {self!r}"
            )

    def delay(self, tried: int, at_least: float, jitter: float) -> float:
        """Return the seconds to wait before the next request.

        Args:
            tried: how many requests have been sent, from 1.
            at_least: seconds that the gateway asked for.
            jitter: a random number from 0 to 1.
        """
        back_off = min(self.longest_delay, self.first_delay * 2.0 ** min(tried - 1, _DOUBLINGS))
        return at_least + back_off * (0.5 + 0.5 * jitter)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_duration(value: object) -> bool:
    # NaN fails the comparison. Infinity passes: it means "wait as long as it takes".
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


CONTENTION = Retry(first_delay=0.002, longest_delay=0.2)
"""The delays of writers that lose a compare-and-set: without a delay they lose again."""


class Resend(Enum):
    """Whether a request may be resent."""

    YES = "yes"
    IF_HONOURED = "if the gateway honours its idempotency key"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one attempt.

    Attributes:
        resend: whether the request may be resent.
        error: the error to raise if this was the last attempt; None if the answer is final.
        min_delay: seconds to wait before the next attempt.
        unavailable: whether the gateway answered that NATS, or a proxy that the gateway, is away.
            `Retry.patience` limits how long the client waits for that.
    """

    resend: Resend
    error: errors.JetKVError | None = None
    min_delay: float = 0.0
    unavailable: bool = False


_FINAL = Verdict(Resend.NO)
_RESEND_IF_UNKNOWN = {
    Kind.READ: Resend.YES,
    Kind.KEYED: Resend.IF_HONOURED,
    Kind.WRITE: Resend.NO,
}


def judge(request: Request, outcome: Answer | TransportError, address: object) -> Verdict:
    """Return the verdict on an attempt.

    Args:
        request: the request that was sent.
        outcome: the answer, or the error of the connection.
        address: the gateway's address, for the texts of errors.
    """
    if isinstance(outcome, Answer):
        return _judge_answer(request, outcome)
    if isinstance(outcome, NotSent):
        error: errors.JetKVError = errors.UnavailableError(
            f"{request.description}: no connection to {address}: {outcome}",
            hint="nothing was sent; check the address, and whether the gateway runs",
            retryable=not outcome.permanent,
        )
        return Verdict(Resend.NO if outcome.permanent else Resend.YES, error)
    if isinstance(outcome, NotHTTP):
        error = errors.UnexpectedAnswerError(
            f"{request.description}: {outcome}",
            hint=f"the client needs the address of `jetkv serve`, such as http://localhost:9123; "
            f"it was given {address}",
        )
        return Verdict(Resend.NO, error)
    if isinstance(outcome, Unreadable):
        return Verdict(Resend.NO, _unreadable(request, outcome))
    return Verdict(_RESEND_IF_UNKNOWN[request.kind], _unknown(request, outcome))


def _judge_answer(request: Request, answer: Answer) -> Verdict:
    if answer.status not in (429, 502, 503, 504):
        return _FINAL
    error = error_of(answer, request)
    again = _RESEND_IF_UNKNOWN[request.kind]
    if is_from_gateway(answer):
        if answer.status in (429, 503):
            again = Resend.YES
    elif request.kind is not Kind.READ:
        # This answer comes from a proxy, which may have passed the request on to the gateway.
        error = errors.OutcomeUnknownError(
            f"{error.message}; it may have been applied",
            hint=request.how_to_check,
            status=answer.status,
        )
    return Verdict(again, error, retry_after(answer), unavailable=answer.status in (502, 503))


def _unknown(request: Request, outcome: TransportError) -> errors.JetKVError:
    if request.kind is not Kind.READ:
        return errors.OutcomeUnknownError(
            f"{request.description}: {outcome}; it may or may not have been applied",
            hint=request.how_to_check,
        )
    if isinstance(outcome, NoAnswer):
        return errors.DeadlineExceededError(
            f"{request.description}: {outcome}",
            hint="to give calls more time, use Client(timeout=…)",
        )
    return errors.UnavailableError(f"{request.description}: {outcome}")


def _unreadable(request: Request, outcome: Unreadable) -> errors.JetKVError:
    if request.kind is not Kind.READ:
        return _unknown(request, outcome)
    return errors.UnexpectedAnswerError(
        f"{request.description}: {outcome}",
        hint="check the address; to read larger answers, use Client(max_response_bytes=…)"
        if request.large
        else "check the address",
    )


def read_timeout(request: Request, attempt: int, left: float) -> float:
    """Return how many seconds an attempt waits for the next byte before the client resends it.

    A network may drop packets without an error, and a new connection may get through. The first
    attempt gets two thirds of the time: 6.7 of 10 seconds by default, which is more than the 6
    seconds that a gateway uses for its own retries. A request that must not be sent twice gets all
    of the time. So does a large one: its bytes may still wait in this system's buffers.

    Args:
        request: the request.
        attempt: the number of the attempt, from 1. Do not call this for the last one.
        left: seconds that the call has left.
    """
    if request.kind is Kind.WRITE or len(request.body or b"") > _LARGE_BYTES:
        return left
    return min(left * _FIRST_SHARE if attempt == 1 else left, _MAX_READ_TIMEOUT)


def jitter() -> float:
    """Return a random number from 0 to 1, so that many clients do not all return at one moment."""
    return random.random()  # noqa: S311 - spreads load, guards nothing
