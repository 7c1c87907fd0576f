"""Every error of the SDK, in one tree.

    JetKVError
    ├── InvalidArgumentError       400  an argument is invalid
    ├── ValueDecodeError                the stored bytes do not fit the bucket's type
    ├── ClientClosedError               the client was closed before the call
    ├── AuthenticationError        401  no token, or a wrong one
    ├── PermissionDeniedError      403  the token does not allow this
    ├── NotFoundError              404
    │   ├── BucketNotFoundError
    │   ├── KeyNotFoundError            the key has no value: never written, deleted or expired
    │   └── TokenNotFoundError
    ├── BucketExistsError          409
    ├── TokenExistsError           409  the name is in use
    ├── TokenKeptError             409  the token cannot be withdrawn here
    ├── BucketUnsuitableError      409  the bucket's settings do not allow this
    │   ├── BucketProtectedError        it cannot be deleted
    │   ├── CannotBeChangedError        NATS cannot change such a setting of a bucket
    │   └── WouldLoseDataError          the change of the bucket would remove what is stored
    ├── CursorExpiredError         410  a further page of a bucket that is another one by now
    ├── PreconditionFailedError    412
    │   ├── KeyExistsError
    │   ├── ConditionsFailedError       of a transaction; `failed` names the keys
    │   └── RevisionMismatchError       `current_revision` is the key's revision
    ├── ValueTooLargeError         413  `limit_bytes` is the limit
    ├── BucketFullError            507  repeating the call does not help
    ├── UnavailableError           503  the gateway or NATS is away; nothing was applied
    │   └── TooManyRequestsError   429
    ├── DeadlineExceededError      504  a read that got no answer in time
    ├── OutcomeUnknownError        504  a write that may have been applied, or may be applied later
    ├── WatchLostError                  a watch cannot go on without missing changes
    ├── LockError                       errors of `jetkv.recipes.Lock` and `Election`
    │   ├── LockTimeoutError            another holder held the lock all the time
    │   └── LockLostError               the lock is no longer held
    ├── EvaluationError                 a flag has no value; `error_code` is OpenFeature's
    │   ├── FlagParseError              what is stored is not a flag
    │   ├── InvalidContextError         the context is not an object, or its targeting key not text
    │   └── TargetingKeyMissingError    the flag is on for a part of the users; say for whom you ask
    ├── UnexpectedAnswerError           the answer does not come from a jetkv gateway
    └── GatewayError               500  a defect of the gateway; its log has the request id

You never see an exception of the HTTP library; it is the `__cause__` of one of these errors.
"""

from collections.abc import Mapping
from datetime import timedelta
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
    "EvaluationError",
    "FlagParseError",
    "GatewayError",
    "InvalidArgumentError",
    "InvalidContextError",
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
    "TargetingKeyMissingError",
    "TokenExistsError",
    "TokenKeptError",
    "TokenNotFoundError",
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
        status: the HTTP status of the answer; None if there was no answer.
        code: the kind of error, such as `not_found`.
        retryable: whether the same call may succeed later and does no harm. The client has already
            retried, so wait longer before you repeat the call.
        request_id: the id of the request in the gateway's log, or None.
        details: machine-readable details of the answer.
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
    """Raised if an argument is invalid; the text names the argument and the rule."""

    default_code = "invalid_argument"


class ValueDecodeError(JetKVError):
    """Raised if stored bytes do not fit the bucket's type.

    Attributes:
        raw: the stored bytes.
    """

    default_code = "invalid_value"

    def __init__(self, message: str, *, raw: bytes = b"", **rest: Any) -> None:
        super().__init__(message, **rest)
        self.raw = raw


class ClientClosedError(JetKVError):
    """Raised for a call on a closed client; make another client."""

    default_code = "client_closed"


class AuthenticationError(JetKVError):
    """Raised if the gateway requires a token, and the client has no valid one."""

    default_code = "unauthenticated"


class PermissionDeniedError(JetKVError):
    """Raised if the token does not allow the call; the text names the verb and the bucket."""

    default_code = "permission_denied"


class NotFoundError(JetKVError):
    """Raised if the gateway does not know the requested path."""

    default_code = "not_found"


class BucketNotFoundError(NotFoundError):
    """Raised if the bucket does not exist; `create_bucket(name, exist_ok=True)` creates it."""


class KeyNotFoundError(NotFoundError):
    """Raised if the key has no value: it was never written, was deleted, or has expired."""


class TokenNotFoundError(NotFoundError):
    """Raised if no token has the name."""


class TokenExistsError(JetKVError):
    """Raised if you create a token with the name of another one."""

    default_code = "already_exists"


class TokenKeptError(JetKVError):
    """Raised if a token cannot be withdrawn; the hint says why."""

    default_code = "failed_precondition"


class BucketExistsError(JetKVError):
    """Raised if a bucket already exists; with `exist_ok`, if it exists with other settings."""

    default_code = "already_exists"


class BucketUnsuitableError(JetKVError):
    """Raised if the bucket's settings do not allow the call; the text has the reason.

    Attributes:
        shortest_ttl: the shortest TTL that a value of the bucket can have, if yours was shorter;
            else None.
    """

    default_code = "failed_precondition"

    @property
    def shortest_ttl(self) -> timedelta | None:
        seconds = self.details.get("shortest_ttl_seconds")
        # A larger number does not come from a gateway, and may not fit a timedelta.
        return timedelta(seconds=seconds) if type(seconds) is int and 0 < seconds < 2**40 else None


class BucketProtectedError(BucketUnsuitableError):
    """Raised if you delete a bucket that is protected; nothing was deleted."""


class CannotBeChangedError(BucketUnsuitableError):
    """Raised if NATS cannot change a setting of a bucket; nothing was changed.

    `details` has the settings by name, each with `current` and `wanted`.
    """


class CursorExpiredError(JetKVError):
    """Raised for a further page of a bucket that was deleted or created again meanwhile.

    Start again with the first page.
    """


class WouldLoseDataError(BucketUnsuitableError):
    """Raised if a change of a bucket would remove stored data; nothing was changed.

    `details` has the settings by name, each with `current` and `wanted`.
    """


class PreconditionFailedError(JetKVError):
    """Raised if the condition of a write is not met; nothing was written.

    Attributes:
        current_revision: the key's revision now; None if the key has no revision, or if the
            gateway does not say.
    """

    default_code = "failed_precondition"

    @property
    def current_revision(self) -> int | None:
        revision = self.details.get("current_revision")
        return revision if type(revision) is int else None


class KeyExistsError(PreconditionFailedError):
    """Raised if `create` finds a value."""


class ConditionsFailedError(PreconditionFailedError):
    """Raised if conditions of a transaction are not met; nothing was written.

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
    """Raised if the key is at another revision than the given one; read the key again."""


class ValueTooLargeError(JetKVError):
    """Raised if a value exceeds the limit of the bucket or the server; nothing was written.

    Attributes:
        limit_bytes: the limit in bytes; None if it is not known.
    """

    default_code = "invalid_argument"

    @property
    def limit_bytes(self) -> int | None:
        limit = self.details.get("limit_bytes")
        return limit if type(limit) is int else None


class BucketFullError(JetKVError):
    """Raised if the bucket or the NATS account has no room left."""

    default_code = "failed_precondition"


class UnavailableError(JetKVError):
    """Raised if the gateway cannot be reached or NATS is away; nothing was applied."""

    default_code = "unavailable"
    default_retryable = True


class TooManyRequestsError(UnavailableError):
    """Raised if the gateway has too many requests; nothing was applied."""

    default_code = "resource_exhausted"


class DeadlineExceededError(JetKVError):
    """Raised if a read got no answer in time; it is safe to read again."""

    default_code = "deadline_exceeded"
    default_retryable = True


class OutcomeUnknownError(JetKVError):
    """Raised if a write may have been applied, or may be applied later.

    The hint says how to check. The client did not repeat the write, because that could undo the
    write of another client.
    """

    default_code = "deadline_exceeded"


class WatchLostError(JetKVError):
    """Raised if a watch cannot go on without missing changes; start another one with a snapshot.

    A watch that started with a snapshot does not raise this on `resync`: it takes a new one.

    Attributes:
        reason: `bucket_deleted` (the bucket was deleted, or deleted and created again) or `resync`
            (changes since `last_revision` may be missing).
        last_revision: the newest revision that this watch has seen, or None.
        bookmark: in place of it for a watch over several buckets; else None.
        bucket: the name of the bucket that ended the watch.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        last_revision: int | None = None,
        bookmark: str | None = None,
        bucket: str | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(message, code=rest.pop("code", None) or reason, **rest)
        self.reason = reason
        self.last_revision = last_revision
        self.bookmark = bookmark
        self.bucket = bucket


class LockError(JetKVError):
    """Root of the errors that only `jetkv.recipes.Lock` and `Election` raise."""

    default_code = "lock"


class LockTimeoutError(LockError):
    """Raised if another holder held the lock until the timeout."""

    default_retryable = True


class LockLostError(LockError):
    """Raised if the lock is no longer held: stop the work that it protects."""


class EvaluationError(JetKVError):
    """Raised if a feature flag cannot be evaluated; the text says what to change.

    Attributes:
        error_code: OpenFeature's code, such as `PARSE_ERROR`
            (https://openfeature.dev/specification/types#error-code).
    """

    default_error_code: ClassVar[str] = "GENERAL"

    def __init__(self, message: str, *, error_code: str | None = None, **rest: Any) -> None:
        self.error_code = error_code or self.default_error_code
        super().__init__(message, code=rest.pop("code", None) or self.error_code.lower(), **rest)


class FlagParseError(EvaluationError):
    """Raised if what is stored under a flag's key is not a flag."""

    default_error_code = "PARSE_ERROR"


class InvalidContextError(EvaluationError):
    """Raised if a context is not an object, or its targeting key is not text."""

    default_error_code = "INVALID_CONTEXT"


class TargetingKeyMissingError(EvaluationError):
    """Raised if a flag is on for a part of the users, and the context has no targeting key."""

    default_error_code = "TARGETING_KEY_MISSING"


class UnexpectedAnswerError(JetKVError):
    """Raised if the answer does not come from a jetkv gateway: check the address."""

    default_code = "unexpected_answer"


class GatewayError(JetKVError):
    """Raised for a defect of the gateway. Its log has the traceback under the request id."""
