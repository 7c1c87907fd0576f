"""jetkv: key-value buckets on NATS JetStream over HTTP.

    from jetkv import Client

    with Client("http://localhost:9123") as client:
        users = client.kv().bucket("users")
        users.put("user:1", {"name": "Ada"})

`AsyncClient` has the same methods; you await them. `jetkv.recipes` has caches, locks and more.
`jetkv.testing` has a pytest plugin.
"""

from jetkv._async.bucket import AsyncBucket
from jetkv._async.client import AsyncClient
from jetkv._async.kv import AsyncKV
from jetkv._async.watch import AsyncMultiWatch, AsyncWatch
from jetkv._core.retry import Retry
from jetkv._sync.bucket import Bucket
from jetkv._sync.client import Client
from jetkv._sync.kv import KV
from jetkv._sync.watch import MultiWatch, Watch
from jetkv._version import __version__
from jetkv.codec import Codec
from jetkv.errors import (
    AuthenticationError,
    BucketExistsError,
    BucketFullError,
    BucketNotFoundError,
    BucketProtectedError,
    BucketUnsuitableError,
    CannotBeChangedError,
    ClientClosedError,
    ConditionsFailedError,
    CursorExpiredError,
    DeadlineExceededError,
    GatewayError,
    InvalidArgumentError,
    JetKVError,
    KeyExistsError,
    KeyNotFoundError,
    LockError,
    LockLostError,
    LockTimeoutError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    PreconditionFailedError,
    RevisionMismatchError,
    TokenExistsError,
    TokenKeptError,
    TokenNotFoundError,
    TooManyRequestsError,
    UnavailableError,
    UnexpectedAnswerError,
    ValueDecodeError,
    ValueTooLargeError,
    WatchLostError,
    WouldLoseDataError,
)
from jetkv.models import (
    NEVER,
    TTL,
    BucketInfo,
    BucketWarning,
    Caller,
    Change,
    Deleted,
    Entry,
    EntryMeta,
    KeyPage,
    NewToken,
    Operation,
    Permission,
    Placement,
    Republish,
    Snapshot,
    TokenInfo,
    Touched,
    Update,
)

__all__ = [
    "KV",
    "NEVER",
    "TTL",
    "AsyncBucket",
    "AsyncClient",
    "AsyncKV",
    "AsyncMultiWatch",
    "AsyncWatch",
    "AuthenticationError",
    "Bucket",
    "BucketExistsError",
    "BucketFullError",
    "BucketInfo",
    "BucketNotFoundError",
    "BucketProtectedError",
    "BucketUnsuitableError",
    "BucketWarning",
    "Caller",
    "CannotBeChangedError",
    "Change",
    "Client",
    "ClientClosedError",
    "Codec",
    "ConditionsFailedError",
    "CursorExpiredError",
    "DeadlineExceededError",
    "Deleted",
    "Entry",
    "EntryMeta",
    "GatewayError",
    "InvalidArgumentError",
    "JetKVError",
    "KeyExistsError",
    "KeyNotFoundError",
    "KeyPage",
    "LockError",
    "LockLostError",
    "LockTimeoutError",
    "MultiWatch",
    "NewToken",
    "NotFoundError",
    "Operation",
    "OutcomeUnknownError",
    "Permission",
    "PermissionDeniedError",
    "Placement",
    "PreconditionFailedError",
    "Republish",
    "Retry",
    "RevisionMismatchError",
    "Snapshot",
    "TokenExistsError",
    "TokenInfo",
    "TokenKeptError",
    "TokenNotFoundError",
    "TooManyRequestsError",
    "Touched",
    "UnavailableError",
    "UnexpectedAnswerError",
    "Update",
    "ValueDecodeError",
    "ValueTooLargeError",
    "Watch",
    "WatchLostError",
    "WouldLoseDataError",
    "__version__",
]
