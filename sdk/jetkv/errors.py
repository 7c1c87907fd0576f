"""Every error of the SDK, in one tree.

    JetKVError
    ├── InvalidArgumentError       400  a part of the call breaks a rule
    ├── ValueDecodeError                the stored bytes are not a value of the bucket's type
    ├── ClientClosedError               the client was closed before the call
    ├── AuthenticationError        401  no token, or a wrong one
    ├── PermissionDeniedError      403  the token does not allow this
    ├── NotFoundError              404
    │   ├── BucketNotFoundError
    │   └── KeyNotFoundError            no live value: never written, deleted or expired
    ├── BucketExistsError          409
    ├── BucketUnsuitableError      409  the bucket, as it is configured, cannot do this
    │   ├── BucketProtectedError        it cannot be deleted
    │   ├── CannotBeChangedError        NATS cannot change such a setting of a bucket
    │   └── WouldLoseDataError          the change of the bucket would remove what is stored
    ├── CursorExpiredError         410  a further page of a bucket that is another one by now
    ├── PreconditionFailedError    412
    │   ├── KeyExistsError
    │   ├── ConditionsFailedError       of a transaction; `failed` names the keys
    │   └── RevisionMismatchError       `current_revision` says what is there instead
    ├── ValueTooLargeError         413  `limit_bytes` says what is allowed
    ├── BucketFullError            507  of no use to repeat
    ├── UnavailableError           503  certainly not applied: the gateway or NATS is away
    │   └── TooManyRequestsError   429
    ├── DeadlineExceededError      504  a read that got no answer in time
    ├── OutcomeUnknownError        504  a write that may have been applied, or may be later
    ├── WatchLostError                  a watch cannot go on without missing something
    ├── LockError                       of `jetkv.recipes`
    │   ├── LockTimeoutError            somebody else held it all the time
    │   └── LockLostError               it is not held any more
    ├── UnexpectedAnswerError           what answers is no jetkv gateway
    └── GatewayError               500  a defect of the gateway; its log has the request id

A transport's own exceptions never come out; they are the `__cause__` of one of these.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = [
    "AuthenticationError",
    "BucketExistsError",
    "BucketFullError",
    "BucketNotFoundError",
    "BucketProtectedError",
    "BucketUnsuitableError",
    "CannotBeChangedError",
    "ClientClosedError",
    "ConditionsFailedError",
    "CursorExpiredError",
    "DeadlineExceededError",
    "GatewayError",
    "InvalidArgumentError",
    "JetKVError",
    "KeyExistsError",
    "KeyNotFoundError",
    "LockError",
    "LockLostError",
    "LockTimeoutError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "PreconditionFailedError",
    "RevisionMismatchError",
    "TooManyRequestsError",
    "UnavailableError",
    "UnexpectedAnswerError",
    "ValueDecodeError",
    "ValueTooLargeError",
    "WatchLostError",
    "WouldLoseDataError",
]


class JetKVError(Exception):
    """Root of the tree.

    Attributes:
        message: what went wrong.
        hint: what to do next, or None.
        status: HTTP status of the answer, None where there was none.
        code: the kind of error, such as `not_found`.
        retryable: whether the same call can work later and does no harm; what could be repeated
            at once has been, so this is for after a longer wait.
        request_id: under which the gateway logged the request, or None.
        details: machine-readable facts of the answer.
    """

    default_code: ClassVar[str] = "internal"
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        status: int | None = None,
        code: str | None = None,
        retryable: bool | None = None,
        request_id: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.status = status
        self.code = code or self.default_code
        self.retryable = self.default_retryable if retryable is None else retryable
        self.request_id = request_id
        self.details: Mapping[str, Any] = dict(details or {})

    def __str__(self) -> str:
        text = f"{self.message} ({self.hint})" if self.hint else self.message
        return f"{text} [request {self.request_id}]" if self.request_id else text


class InvalidArgumentError(JetKVError):
    """Raised when a part of the call breaks a rule; the text names the part and the rule."""

    default_code = "invalid_argument"


class ValueDecodeError(JetKVError):
    """Raised when stored bytes are not a value of the bucket's type.

    Attributes:
        raw: the bytes as they are stored.
    """

    default_code = "invalid_value"

    def __init__(self, message: str, *, raw: bytes = b"", **rest: Any) -> None:
        super().__init__(message, **rest)
        self.raw = raw


class ClientClosedError(JetKVError):
    """Raised for a call on a client that is closed; make another client."""

    default_code = "client_closed"


class AuthenticationError(JetKVError):
    """Raised when the gateway wants a token and got none, or a wrong one."""

    default_code = "unauthenticated"


class PermissionDeniedError(JetKVError):
    """Raised when the token is known and does not allow this; the text names verb and bucket."""

    default_code = "permission_denied"


class NotFoundError(JetKVError):
    """Raised when the address is a gateway's, and there is nothing under it."""

    default_code = "not_found"


class BucketNotFoundError(NotFoundError):
    """Raised when the bucket does not exist; `create_bucket(name, exist_ok=True)` makes it."""


class KeyNotFoundError(NotFoundError):
    """Raised when there is no live value: never written, deleted, or expired."""


class BucketExistsError(JetKVError):
    """Raised when a bucket exists already, or, with `exist_ok`, exists with other settings."""

    default_code = "already_exists"


class BucketUnsuitableError(JetKVError):
    """Raised when the bucket, as it is configured, cannot do this; the text has the reason."""

    default_code = "failed_precondition"


class BucketProtectedError(BucketUnsuitableError):
    """Raised when a bucket to be deleted is protected; nothing was deleted."""


class CannotBeChangedError(BucketUnsuitableError):
    """Raised when NATS cannot change such a setting of a bucket; nothing was changed.

    `details` has the settings by name, each with `current` and `wanted`.
    """


class CursorExpiredError(JetKVError):
    """Raised for a further page of a bucket that was deleted or created again meanwhile.

    Start again with the first page.
    """


class WouldLoseDataError(BucketUnsuitableError):
    """Raised when a change of a bucket would remove what is stored; nothing was changed.

    `details` has the settings by name, each with `current` and `wanted`.
    """


class PreconditionFailedError(JetKVError):
    """Raised when a condition of the write does not hold; nothing was written.

    Attributes:
        current_revision: the revision of the key as it is now, None when there is none, or it
            is not known.
    """

    default_code = "failed_precondition"

    @property
    def current_revision(self) -> int | None:
        revision = self.details.get("current_revision")
        return revision if type(revision) is int else None


class KeyExistsError(PreconditionFailedError):
    """Raised when `create` finds a live value."""


class ConditionsFailedError(PreconditionFailedError):
    """Raised when conditions of a transaction do not hold; nothing was written.

    Attributes:
        failed: by key, the revision of each key whose condition does not hold, as it is now; 0 for
            a key of which nothing is stored.
    """

    @property
    def failed(self) -> dict[str, int]:
        found = self.details.get("failed")
        return {
            one["key"]: one["current_revision"]
            for one in (found if isinstance(found, list) else [])
            if isinstance(one, dict)
            and isinstance(one.get("key"), str)
            and type(one.get("current_revision")) is int
        }


class RevisionMismatchError(PreconditionFailedError):
    """Raised when the key is at another revision than the one given; read it again."""


class ValueTooLargeError(JetKVError):
    """Raised when a value is over the bucket's or the server's limit; nothing was written.

    Attributes:
        limit_bytes: the limit, None when it is not known.
    """

    default_code = "invalid_argument"

    @property
    def limit_bytes(self) -> int | None:
        limit = self.details.get("limit_bytes")
        return limit if type(limit) is int else None


class BucketFullError(JetKVError):
    """Raised when the bucket or the account has no room left."""

    default_code = "failed_precondition"


class UnavailableError(JetKVError):
    """Raised when the gateway cannot be reached, or NATS is away: certainly not applied."""

    default_code = "unavailable"
    default_retryable = True


class TooManyRequestsError(UnavailableError):
    """Raised when the gateway has more to do than it takes on; nothing was applied."""

    default_code = "resource_exhausted"


class DeadlineExceededError(JetKVError):
    """Raised when a read got no answer in time; reading again is safe."""

    default_code = "deadline_exceeded"
    default_retryable = True


class OutcomeUnknownError(JetKVError):
    """Raised when a write may have been applied, or may be later; the hint says what to check.

    It was not repeated, since a second try could undo what others wrote in between.
    """

    default_code = "deadline_exceeded"


class WatchLostError(JetKVError):
    """Raised when a watch cannot go on without missing something; begin with a snapshot.

    One that began with a snapshot takes another by itself on `resync`, and does not raise.

    Attributes:
        reason: `bucket_deleted` (or it is another one of that name by now) or `resync` (changes
            may be missing since `last_revision`).
        last_revision: the newest revision that this watch has seen, or None.
    """

    def __init__(
        self, message: str, *, reason: str = "", last_revision: int | None = None, **rest: Any
    ) -> None:
        super().__init__(message, code=rest.pop("code", None) or reason, **rest)
        self.reason = reason
        self.last_revision = last_revision


class LockError(JetKVError):
    """Root of what `jetkv.recipes.Lock` and `Election` raise themselves."""

    default_code = "lock"


class LockTimeoutError(LockError):
    """Raised when somebody else held the lock for as long as was waited."""

    default_retryable = True


class LockLostError(LockError):
    """Raised when the lock is not held any more: what it guards must stop."""


class UnexpectedAnswerError(JetKVError):
    """Raised when what answers is no jetkv gateway: check the address."""

    default_code = "unexpected_answer"


class GatewayError(JetKVError):
    """Raised for a defect of the gateway; its log has the traceback under the request id."""
