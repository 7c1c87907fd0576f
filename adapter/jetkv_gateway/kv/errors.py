"""Every error that a caller of the gateway can get, in one tree.

    GatewayError
    ├── InvalidArgument        400  a part of the request breaks a rule
    │   ├── InvalidBucketName  400
    │   └── InvalidHandshake   400  of a WebSocket; the answer names the supported version
    ├── EvaluationFailed       400  of a feature flag; `error_code` is OpenFeature's
    │   └── FlagNotFound       404
    ├── Unauthenticated        401
    ├── PermissionDenied       403
    ├── NotFound               404  no such route
    │   ├── BucketNotFound     404
    │   ├── KeyNotFound        404
    │   └── TokenNotFound      404
    ├── MethodNotAllowed       405
    ├── RequestTooSlow         408  a head or body that makes no progress
    ├── BucketExists           409
    ├── TokenExists            409  the name is in use
    ├── TokenKept              409  a token that cannot be withdrawn here
    ├── BucketUnsuitable       409  the configuration of the bucket does not allow this
    ├── BucketProtected        409  it cannot be deleted before the protection is removed
    ├── CannotBeChanged        409  NATS cannot change this setting of a bucket
    ├── WouldLoseData          409  a change would remove stored data
    ├── IdempotencyConflict    409  the idempotency key belongs to another request
    ├── CursorExpired          410  the bucket of the page was deleted or created again
    ├── PreconditionFailed     412
    │   ├── KeyExists          412
    │   ├── RevisionMismatch   412
    │   └── ConditionsFailed   412  of an atomic batch
    ├── ValueTooLarge          413
    ├── AnswerTooLarge         413  of a batch get
    ├── UrlTooLong             414
    ├── ExpectationFailed      417  an unknown `Expect`
    ├── TooManyRequests        429
    ├── HeadTooLarge           431
    ├── WatchEnded             500  a watch cannot continue; its subclasses appear in frames only
    │   ├── BucketDeleted      410  or replaced by a new one of the same name
    │   ├── Resync             409
    │   └── SlowConsumer       429
    ├── UpgradeRequired        426
    ├── InternalError          500  a bug in the gateway
    ├── CodingUnsupported      501  a Transfer-Encoding other than chunked
    ├── MethodUnknown          501  a method that no route has
    ├── Unavailable            503  certainly not applied; retry
    ├── DeadlineExceeded       504  a read without an answer in time; retry
    │   └── OutcomeUnknown     504  a write that may or may not have been applied
    └── BucketFull             507
        └── QuotaExceeded      507  of the caller

Status, code and text are those of docs/http-api.md#errors. The text of an error is part of the API:
official clients show it, and some compare it. If the error occurs after a WebSocket's upgrade, the
WebSocket is closed with `close_code` (docs/watch.md#errors-and-close-codes).
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jetkv_gateway.kv.error_root import GatewayError
from jetkv_gateway.kv.flag_errors import EvaluationFailed, FlagNotFound
from jetkv_gateway.kv.http_errors import (
    CodingUnsupported,
    ExpectationFailed,
    HeadTooLarge,
    MethodNotAllowed,
    MethodUnknown,
    RequestTooSlow,
    UpgradeRequired,
    UrlTooLong,
)
from jetkv_gateway.kv.watch_errors import BucketDeleted, Resync, SlowConsumer, WatchEnded

__all__ = [
    "AnswerTooLarge",
    "BucketDeleted",
    "BucketExists",
    "BucketFull",
    "BucketNotFound",
    "BucketProtected",
    "BucketUnsuitable",
    "CannotBeChanged",
    "CodingUnsupported",
    "ConditionsFailed",
    "CursorExpired",
    "DeadlineExceeded",
    "EvaluationFailed",
    "ExpectationFailed",
    "FlagNotFound",
    "GatewayError",
    "HeadTooLarge",
    "IdempotencyConflict",
    "InternalError",
    "InvalidArgument",
    "InvalidBucketName",
    "InvalidHandshake",
    "KeyExists",
    "KeyNotFound",
    "MethodNotAllowed",
    "MethodUnknown",
    "NotFound",
    "OutcomeUnknown",
    "PermissionDenied",
    "PreconditionFailed",
    "QuotaExceeded",
    "RequestTooSlow",
    "Resync",
    "RevisionMismatch",
    "SlowConsumer",
    "TokenExists",
    "TokenKept",
    "TokenNotFound",
    "TooManyRequests",
    "Unauthenticated",
    "Unavailable",
    "UpgradeRequired",
    "UrlTooLong",
    "ValueTooLarge",
    "WatchEnded",
    "WouldLoseData",
]


class InternalError(GatewayError):
    """Raised for a bug in the gateway; the log has the traceback under the request id."""


class InvalidArgument(GatewayError):
    """Raised when a part of the request breaks a rule; the text names the part and the rule."""

    status = 400
    code = "invalid_argument"
    text = "invalid argument"


class InvalidBucketName(InvalidArgument):
    """Raised when a bucket name is not `[A-Za-z0-9_-]{1,200}` (docs/http-api.md#buckets)."""

    text = "invalid bucket name"


class InvalidHandshake(InvalidArgument):
    """Raised when a WebSocket handshake breaks a rule of RFC 6455; the text names it."""

    text = "invalid WebSocket handshake"

    def __init__(self, rule: str) -> None:
        super().__init__(f"{self.text}: {rule}")


class Unauthenticated(GatewayError):
    """Raised when the credential is missing or wrong."""

    status = 401
    code = "unauthenticated"
    text = "authentication required"


class PermissionDenied(GatewayError):
    """Raised when a known caller lacks a permission; the text names verb and bucket."""

    status = 403
    code = "permission_denied"
    text = "permission denied"
    close_code = 4403


class NotFound(GatewayError):
    """Raised for a route that does not exist."""

    status = 404
    code = "not_found"
    text = "route not found"


class BucketNotFound(NotFound):
    """Raised when the bucket does not exist."""

    text = "bucket not found"
    close_code = 4404


class KeyNotFound(NotFound):
    """Raised when there is no live value under the key."""

    text = "key not found"


class TokenNotFound(NotFound):
    """Raised when no token has the name."""

    text = "token not found"


class BucketExists(GatewayError):
    """Raised when a bucket to create exists already, with any settings."""

    status = 409
    code = "already_exists"
    text = "bucket already exists"


class TokenExists(GatewayError):
    """Raised when a token to create has the name of another one."""

    status = 409
    code = "already_exists"
    text = "token already exists"


class TokenKept(GatewayError):
    """Raised when a token cannot be withdrawn; the hint says why."""

    status = 409
    code = "failed_precondition"
    text = "token cannot be withdrawn"


class BucketUnsuitable(GatewayError):
    """Raised when the configuration of the bucket does not allow the operation."""

    status = 409
    code = "failed_precondition"
    text = "the bucket cannot do this"


class BucketProtected(GatewayError):
    """Raised when a bucket to delete is protected."""

    status = 409
    code = "failed_precondition"
    text = "bucket is protected"

    def __init__(self) -> None:
        super().__init__(hint='PATCH the bucket with {"protected":false} first')


class CannotBeChanged(GatewayError):
    """Raised when NATS cannot make a change of a bucket; nothing was changed.

    `details` has the current and the wanted value of each setting.
    """

    status = 409
    code = "failed_precondition"
    text = "cannot be changed"

    def __init__(self, details: Mapping[str, Any]) -> None:
        super().__init__(hint="keep these settings, or create another bucket", details=details)


class WouldLoseData(GatewayError):
    """Raised when a change of a bucket would remove what is stored; nothing was changed.

    `details` has the current and the wanted value of each setting.
    """

    status = 409
    code = "failed_precondition"
    text = "would lose data"

    def __init__(self, details: Mapping[str, Any]) -> None:
        super().__init__(hint="send ?allow_data_loss=true to change it anyway", details=details)


class IdempotencyConflict(GatewayError):
    """Raised when another write of this key has used the idempotency key."""

    status = 409
    code = "failed_precondition"
    text = "the Idempotency-Key was used for another request"

    def __init__(self, revision: int) -> None:
        super().__init__(
            hint="a new request needs a new Idempotency-Key; only a retry repeats one",
            details={"revision": revision},
        )


class CursorExpired(GatewayError):
    """Raised for a cursor whose bucket was deleted, even if there is a new one of the same name."""

    status = 410
    code = "failed_precondition"
    text = "cursor expired"

    def __init__(self) -> None:
        super().__init__(hint="the bucket was deleted or created again: list it from the start")


class PreconditionFailed(GatewayError):
    """Raised when a condition of the request does not hold."""

    status = 412
    code = "failed_precondition"
    text = "precondition failed"

    def __init__(self, current_revision: int | None = None) -> None:
        details = None if current_revision is None else {"current_revision": current_revision}
        super().__init__(details=details)
        self.current_revision = current_revision


class KeyExists(PreconditionFailed):
    """Raised when a create finds a live value."""

    text = "key already exists"


class RevisionMismatch(PreconditionFailed):
    """Raised when a compare-and-set finds another revision or no value."""

    text = "revision mismatch"


class ConditionsFailed(PreconditionFailed):
    """Raised when conditions of an atomic batch do not hold; nothing was applied."""

    text = "conditions do not hold"

    def __init__(self, failed: Sequence[tuple[int, str, int]]) -> None:
        """Name the ops that failed.

        Args:
            failed: of each, its number, its key, and the newest revision of that, 0 for none.
        """
        super().__init__()
        self.failed = tuple(failed)
        self.details = {
            "failed": [
                {"index": index, "key": key, "current_revision": revision}
                for index, key, revision in failed
            ]
        }


class ValueTooLarge(GatewayError):
    """Raised when a value exceeds the limit of the bucket or the server; nothing was stored."""

    status = 413
    code = "invalid_argument"
    text = "value too large"

    def __init__(self, limit_bytes: int | None = None, *, hint: str | None = None) -> None:
        details = None if limit_bytes is None else {"limit_bytes": limit_bytes}
        super().__init__(hint=hint, details=details)
        self.limit_bytes = limit_bytes


class AnswerTooLarge(GatewayError):
    """Raised when a batch get asks for more value bytes than one answer may have."""

    status = 413
    code = "invalid_argument"
    text = "answer too large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(hint="ask for fewer keys", details={"limit_bytes": limit_bytes})


class TooManyRequests(GatewayError):
    """Raised when a limit on concurrent work is reached."""

    status = 429
    code = "resource_exhausted"
    retryable = True
    text = "too many requests"

    def __init__(self, message: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(message, retry_after=retry_after)


class Unavailable(GatewayError):
    """Raised when NATS is down, or has no leader or quorum; nothing was applied."""

    status = 503
    code = "unavailable"
    retryable = True
    text = "NATS is not available"

    def __init__(self, message: str | None = None, *, retry_after: int = 1) -> None:
        super().__init__(message, retry_after=retry_after)


class DeadlineExceeded(GatewayError):
    """Raised when a read got no answer in time; it is safe to read again."""

    status = 504
    code = "deadline_exceeded"
    retryable = True
    text = "no answer from NATS in time"


class OutcomeUnknown(DeadlineExceeded):
    """Raised when a write got no answer in time. It may have been applied, or may be applied later.

    It is not retryable, because a client that resends a create would fail on its own value. It is
    `repeatable` if the write has an idempotency key, so that a second try is recognised.
    """

    retryable = False
    text = "no answer from NATS in time: the write may or may not have been applied"

    def __init__(self, hint: str, *, repeatable: bool = False) -> None:
        super().__init__(hint=hint, details={"outcome": "unknown"})
        self.retryable = repeatable


class BucketFull(GatewayError):
    """Raised when the bucket or the account is full; a retry does not help."""

    status = 507
    code = "failed_precondition"
    text = "bucket is full"


class QuotaExceeded(BucketFull):
    """Raised when a caller's quota does not allow a bucket."""

    text = "quota exceeded"
