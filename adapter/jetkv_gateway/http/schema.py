"""Models of the JSON in requests and answers. They read, write and describe it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel
from pydantic import Field as Described

from jetkv_gateway.http.answers import AnswerModel
from jetkv_gateway.http.auth_schema import CanOut, WhoAmI
from jetkv_gateway.http.bucket_schema import (
    BucketChanged,
    BucketCreate,
    BucketList,
    BucketOut,
    BucketPatch,
)
from jetkv_gateway.http.strict_body import StrictBody
from jetkv_gateway.http.token_schema import (
    TicketCreate,
    TicketOut,
    TokenCreate,
    TokenCreated,
    TokenList,
    TokenOut,
)

__all__ = [
    "ERROR_DESCRIPTIONS",
    "MODELS",
    "READ",
    "Capabilities",
    "CompactIn",
    "Compacted",
    "EntryList",
    "EntryMeta",
    "EntryOut",
    "Error",
    "HealthStatus",
    "History",
    "KeyList",
    "Readiness",
    "SweptOut",
]

ERROR_DESCRIPTIONS = {
    400: "A part of the request breaks a rule; `error` names the part and the rule",
    401: "authentication required",
    403: "permission denied",
    404: "bucket not found, or key not found",
    405: "method not allowed",
    409: "bucket already exists, would lose data, cannot be changed, or the bucket cannot do this; "
    "`error` says why",
    410: "cursor expired: the bucket was deleted or created again",
    412: "key already exists, or revision mismatch",
    413: "value too large",
    426: "The request asks for neither a WebSocket nor an event stream",
    429: "too many requests; see Retry-After",
    501: "A Transfer-Encoding other than chunked; nothing was applied",
    503: "NATS is not available; nothing was applied; see Retry-After",
    504: "No answer in time; a write may or may not have been applied",
    507: "bucket is full",
}
"""The meaning of each error status, for all routes."""


class Error(AnswerModel):
    """The body of every error."""

    error: str
    code: str
    retryable: bool
    request_id: str
    hint: str | None = None
    details: dict[str, Any] | None = None
    retry_after: int | None = None
    errorCode: Annotated[  # noqa: N815 - OFREP names it
        str | None, Described(description="Of an evaluation of flags: OpenFeature's error code")
    ] = None
    errorDetails: Annotated[  # noqa: N815 - as above
        str | None, Described(description="Of an evaluation of flags: what went wrong")
    ] = None
    key: Annotated[str | None, Described(description="Of an evaluation of one flag: its name")] = (
        None
    )


_MAX_SECONDS = (2**63 - 1) // 10**9

_NextCursor = Annotated[
    str | None, Described(description="Where the next page begins; only while there is more")
]


class KeyList(AnswerModel):
    keys: list[str]
    count: int
    next_cursor: _NextCursor = None


class EntryOut(AnswerModel):
    """One revision of a key. values=json adds `encoding` and `content_encoding`."""

    key: str
    value: Annotated[Any, Described(description="base64; with values=json, the decoded value")]
    revision: int
    created_at: str
    operation: Literal["put", "delete", "purge"]
    encoding: Literal["json", "text", "base64"] | None = None
    content_encoding: Annotated[
        str | None, Described(description="The Content-Encoding of the PUT, such as gzip")
    ] = None
    content_type: Annotated[
        str | None, Described(description="The Content-Type of the PUT; in JSON lines only")
    ] = None
    expires_at: Annotated[
        str | None,
        Described(description="When the value expires, in RFC 3339; absent if it does not"),
    ] = None


class EntryMeta(AnswerModel):
    """What is known of a live key without its value."""

    key: str
    size: Annotated[int, Described(description="Bytes of the value")]
    revision: int
    created_at: str
    operation: Literal["put"]
    content_type: str | None = None
    expires_at: Annotated[
        str | None, Described(description="RFC 3339; only if the value expires")
    ] = None


class EntryList(AnswerModel):
    """With `include=values` or `include=meta`."""

    entries: list[EntryOut | EntryMeta]
    count: int
    next_cursor: _NextCursor = None


class SweptOut(AnswerModel):
    """What a deletion of many keys has done."""

    matched: Annotated[int, Described(description="Live keys that were found")]
    deleted: Annotated[int, Described(description="Those that were deleted; the rest was written")]
    revision: Annotated[int, Described(description="Of the newest tombstone, if there is one")]


class CompactIn(StrictBody):
    """Which tombstones to remove."""

    older_than_seconds: Annotated[
        int, Described(ge=0, le=_MAX_SECONDS, description="Since the delete, at least")
    ] = 0


class Compacted(AnswerModel):
    removed: Annotated[int, Described(description="Tombstones that were removed")]


class History(BaseModel):
    entries: list[EntryOut]


class HealthStatus(AnswerModel):
    status: Literal["ok"]
    version: str
    timestamp: str


class Readiness(AnswerModel):
    status: Literal["ready", "not ready"]
    issues: dict[str, str]
    warnings: dict[str, str]


class Capabilities(AnswerModel):
    transports: list[str]
    features: list[str]
    version: str
    auth_required: bool


MODELS: tuple[type[BaseModel], ...] = (
    BucketChanged,
    BucketCreate,
    BucketList,
    BucketOut,
    BucketPatch,
    CanOut,
    Capabilities,
    CompactIn,
    Compacted,
    EntryList,
    EntryMeta,
    EntryOut,
    Error,
    HealthStatus,
    History,
    KeyList,
    Readiness,
    SweptOut,
    TicketCreate,
    TicketOut,
    TokenCreate,
    TokenCreated,
    TokenList,
    TokenOut,
    WhoAmI,
)
"""All models that the table of routes refers to."""

READ: tuple[type[BaseModel], ...] = (
    BucketCreate,
    BucketPatch,
    CompactIn,
    TicketCreate,
    TokenCreate,
)
"""Those of them that a request's body is read by."""
