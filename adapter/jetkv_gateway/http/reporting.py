"""Reports errors that callers get as events."""

from jetkv_gateway.kv.errors import (
    BucketExists,
    ConditionsFailed,
    GatewayError,
    HeadTooLarge,
    IdempotencyConflict,
    KeyExists,
    OutcomeUnknown,
    PermissionDenied,
    PreconditionFailed,
    RequestTooSlow,
    TooManyRequests,
    Unauthenticated,
    UrlTooLong,
    ValueTooLarge,
)
from jetkv_gateway.telemetry.events import EVENTS

__all__ = ["report_error", "report_refusal"]

_REFUSALS: tuple[tuple[type[GatewayError], str], ...] = (
    (Unauthenticated, "unauthenticated"),
    (PermissionDenied, "permission_denied"),
    (TooManyRequests, "too_many_requests"),
    (ValueTooLarge, "too_large"),
    (HeadTooLarge, "too_large"),
    (UrlTooLong, "too_large"),
    (RequestTooSlow, "too_slow"),
)
# A subclass comes before its base.
_CONFLICTS: tuple[tuple[type[GatewayError], str], ...] = (
    (KeyExists, "key_exists"),
    (ConditionsFailed, "batch_condition"),
    (PreconditionFailed, "revision_mismatch"),
    (IdempotencyConflict, "idempotency"),
    (BucketExists, "bucket_exists"),
)


def report_error(error: GatewayError) -> None:
    """Report an error of a request, or of one operation of a batch."""
    if isinstance(error, OutcomeUnknown):
        if EVENTS.outcome_unknown is not None:
            EVENTS.outcome_unknown()
        return
    if (kind := _look_up(_CONFLICTS, error)) is not None:
        if EVENTS.conflicted is not None:
            EVENTS.conflicted(kind)
    elif (reason := _look_up(_REFUSALS, error)) is not None and EVENTS.request_refused is not None:
        EVENTS.request_refused(reason)


def report_refusal(error: GatewayError) -> None:
    """Report that a request was refused before its head was complete and valid."""
    if EVENTS.request_refused is not None:
        EVENTS.request_refused(_look_up(_REFUSALS, error) or "protocol")


def _look_up(table: tuple[tuple[type[GatewayError], str], ...], error: GatewayError) -> str | None:
    return next((word for kind, word in table if isinstance(error, kind)), None)
