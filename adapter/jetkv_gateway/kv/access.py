"""Decides what a caller may do: the one place that every route asks. Pure.

A route has a `Verb`, which says what a request does. `NEEDS` says which scopes it takes
(`kv.scopes`). Nothing here depends on whether a bucket or a key exists, so a refusal says nothing
about that.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum

from jetkv_gateway.kv.errors import ConditionsFailed, PermissionDenied, PreconditionFailed
from jetkv_gateway.kv.quotas import Quota
from jetkv_gateway.kv.scopes import FULL, NOBODY, Grants, ScopeVerb

__all__ = [
    "ANONYMOUS",
    "NEEDS",
    "OF_ONE_KEY",
    "Extent",
    "Need",
    "Principal",
    "Verb",
    "conceal_revisions",
    "denial",
    "is_allowed",
]


class Verb(StrEnum):
    """What a caller wants to do."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    BATCH = "batch"
    """This is checked for the bucket first; then each item of the batch is checked by its own verb
    and key."""

    LIST_KEYS = "list keys"
    DELETE_KEYS = "delete keys"
    COMPACT = "compact"
    WATCH = "watch"
    EVALUATE = "evaluate flags"
    """This is checked for any bucket first, then for the bucket of flags."""

    LIST_BUCKETS = "list buckets"
    CREATE_BUCKET = "create bucket"
    CHANGE_BUCKET = "change bucket"
    DELETE_BUCKET = "delete bucket"
    BUCKET_INFO = "bucket info"
    API_DESCRIPTION = "api description"
    IDENTITY = "identity"
    METRICS = "metrics"
    TOKENS = "manage tokens"


class Extent(Enum):
    """How much of a bucket a scope must cover for a request."""

    KEY = "the key of the request"
    ANY_KEY = "any key of the bucket"
    ALL_KEYS = "all keys of the bucket"
    NO_BUCKET = "anything"
    EVERYTHING = "everything: the scope *:*"


@dataclass(frozen=True, slots=True)
class Need:
    """The scopes that a request takes.

    Attributes:
        verbs: one of them must be allowed. Without verbs, any caller with a valid credential may.
    """

    verbs: tuple[ScopeVerb, ...]
    extent: Extent


_READ, _WRITE, _DELETE = (ScopeVerb.READ,), (ScopeVerb.WRITE,), (ScopeVerb.DELETE,)
_ADMIN = (ScopeVerb.ADMIN,)

NEEDS: Mapping[Verb, Need] = {
    Verb.READ: Need(_READ, Extent.KEY),
    Verb.WRITE: Need(_WRITE, Extent.KEY),
    Verb.DELETE: Need(_DELETE, Extent.KEY),
    Verb.BATCH: Need(_READ + _WRITE + _DELETE, Extent.ANY_KEY),
    Verb.LIST_KEYS: Need(_READ, Extent.ANY_KEY),
    Verb.DELETE_KEYS: Need(_DELETE, Extent.ANY_KEY),
    Verb.COMPACT: Need(_DELETE, Extent.ALL_KEYS),
    Verb.WATCH: Need(_READ, Extent.ANY_KEY),
    Verb.EVALUATE: Need(_READ, Extent.ANY_KEY),
    Verb.LIST_BUCKETS: Need((), Extent.NO_BUCKET),
    Verb.CREATE_BUCKET: Need(_ADMIN, Extent.ALL_KEYS),
    Verb.CHANGE_BUCKET: Need(_ADMIN, Extent.ALL_KEYS),
    Verb.DELETE_BUCKET: Need(_ADMIN, Extent.ALL_KEYS),
    Verb.BUCKET_INFO: Need(_READ, Extent.ANY_KEY),
    Verb.API_DESCRIPTION: Need((), Extent.NO_BUCKET),
    Verb.IDENTITY: Need((), Extent.NO_BUCKET),
    Verb.TOKENS: Need((), Extent.EVERYTHING),
    Verb.METRICS: Need((ScopeVerb.METRICS,), Extent.NO_BUCKET),
}
"""The scopes that each verb of a route takes."""

OF_ONE_KEY: Mapping[Verb, ScopeVerb] = {
    verb: need.verbs[0] for verb, need in NEEDS.items() if need.extent is Extent.KEY
}
"""The scope's verb for each verb that is about one key, for the hot path."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller.

    Attributes:
        name: of the token or login.
        method: how the caller proved its name; "none" with auth off.
        grants: what it may do.
        identity: goes into the digests of idempotency keys, so that those belong to the credential.
            Empty with auth off.
        expires_at: when the credential expires, in seconds since 1970; None if it does not.
        requests_per_second: the rate that the credential allows; None without a limit of its own.
        quota: how much the caller may store; None without a limit.
        proof: what the credential was checked with, for `auth/` alone.
    """

    name: str
    method: str
    grants: Grants = NOBODY
    identity: bytes = b""
    expires_at: float | None = None
    requests_per_second: int | None = None
    proof: bytes = b""
    quota: Quota | None = None


ANONYMOUS = Principal("anonymous", "none", FULL)


def is_allowed(
    grants: Grants, verb: Verb, bucket: str | None = None, key: str | None = None
) -> bool:
    """Return whether a caller may do something.

    Args:
        bucket: None if the request has none, or its name is not known yet. The caller must then
            have the permission for any bucket.
    """
    need = NEEDS[verb]
    if need.extent is _KEY:
        return bucket is not None and grants.allows(need.verbs[0], bucket, key)
    if need.extent is Extent.EVERYTHING:
        return grants is FULL
    if not need.verbs:
        return True
    if bucket is None:
        return any(grants.anywhere(one) for one in need.verbs)
    asked = grants.touches if need.extent is Extent.ANY_KEY else grants.covers
    return any(asked(one, bucket) for one in need.verbs)


def denial(verb: Verb, bucket: str | None = None) -> PermissionDenied:
    """Return the error of a refusal. It names the scope's verb and the bucket, and no key."""
    *others, last = NEEDS[verb].verbs or (verb,)
    words = f"{', '.join(others)} or {last}" if others else last
    where = f" in bucket {bucket}" if bucket is not None else ""
    return PermissionDenied(
        f"permission denied: {words}{where}", hint="GET /api/v1/auth/whoami shows your scopes"
    )


def conceal_revisions(
    error: PreconditionFailed, grants: Grants, bucket: str, key: str | None = None
) -> None:
    """Take the current revisions of keys that the caller may not read out of an error.

    Args:
        key: of the request; None for an atomic batch, whose error names the keys.
    """
    if isinstance(error, ConditionsFailed):
        readable = {one: grants.allows(ScopeVerb.READ, bucket, one) for _, one, _ in error.failed}
        error.details = {
            "failed": [
                {"index": index, "key": one, "current_revision": revision}
                if readable[one]
                else {"index": index, "key": one}
                for index, one, revision in error.failed
            ]
        }
    elif not grants.allows(ScopeVerb.READ, bucket, key):
        error.details = None


# Looked up once: of an enum, that takes as long as a call before Python 3.12.
_KEY = Extent.KEY
