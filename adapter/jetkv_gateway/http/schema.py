"""Models of the JSON in requests and answers: they read it, write it and describe it."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic import Field as Described

from jetkv_gateway.kv.buckets import FIELDS, BucketInfo, BucketSpec, Field
from jetkv_gateway.kv.errors import InvalidArgument, InvalidBucketName

__all__ = [
    "ERROR_DESCRIPTIONS",
    "MODELS",
    "BucketCreate",
    "BucketList",
    "BucketOut",
    "BucketWarning",
    "Capabilities",
    "EntryList",
    "EntryMeta",
    "EntryOut",
    "Error",
    "HealthStatus",
    "History",
    "KeyList",
    "Readiness",
]

ERROR_DESCRIPTIONS = {
    400: "A part of the request breaks a rule; `error` names the part and the rule",
    401: "authentication required",
    403: "permission denied",
    404: "bucket not found, or key not found",
    405: "method not allowed",
    409: "bucket already exists, or the bucket cannot do this; `error` says why",
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
"""What the status of an error means, in every row of the table."""


def _without_nulls(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
        if kinds:
            del field["anyOf"]
            field.pop("default", None)
            field.update(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})


class _Answer(BaseModel):
    # A field without a value is left out of an answer, so none is ever null.
    model_config = ConfigDict(json_schema_extra=_without_nulls)

    def json_bytes(self) -> bytes:
        """Return the answer as JSON."""
        return self.model_dump_json(exclude_none=True).encode()


class Error(_Answer):
    """The body of every error."""

    error: str
    code: str
    retryable: bool
    request_id: str
    hint: str | None = None
    details: dict[str, Any] | None = None
    retry_after: int | None = None


def _json_type(setting: Field) -> Any:
    """Return the type of a setting in JSON."""
    kind = setting.type
    return Literal[tuple(map(str, kind))] if issubclass(kind, StrEnum) else kind


def _request_field(setting: Field) -> Any:
    """Return the field of a setting in a request: null counts as absent."""
    limits: dict[str, Any] = {}
    if setting.type is int:
        limits = {"ge": setting.low, "le": setting.high}
    elif setting.type is str:
        limits = {"max_length": setting.high}
    field = Described(default=None, description=setting.description, **limits)
    return _json_type(setting) | None, field


def _always_shown(setting: Field) -> bool:
    """Return whether a setting is always shown; others are omitted when empty or 0."""
    return setting.type is bool or bool(setting.default)


def _answer_field(setting: Field) -> Any:
    """Return the field of a setting in an answer."""
    if _always_shown(setting):
        return Annotated[_json_type(setting), Described(description=setting.description)], ...
    text = f"{setting.description}; omitted when empty or 0"
    return Annotated[_json_type(setting) | None, Described(description=text)], None


_NAME = Annotated[str, Described(pattern="^[A-Za-z0-9_-]{1,200}$", examples=["cache"])]
_SETTINGS: dict[str, Any] = {name: _request_field(one) for name, one in FIELDS.items()}
_Settings: Any = create_model("_Settings", **{"name": (_NAME, ...), **_SETTINGS})


class BucketCreate(_Settings):
    """The settings of a new bucket; 0, null or an absent field means the default."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @classmethod
    def read(cls, body: bytes) -> "BucketCreate":
        """Read a request's body.

        Raises:
            InvalidBucketName: the name breaks its rule.
            InvalidArgument: anything else; the text names the field and the rule.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise _request_error(error) from error

    def spec(self) -> BucketSpec:
        """Return the settings as a `BucketSpec`."""
        given = self.model_dump(exclude_none=True)
        for name, setting in FIELDS.items():
            if name in given:
                given[name] = setting.type(given[name])
        return BucketSpec(**given)


def _request_error(error: ValidationError) -> InvalidArgument:
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part)[:100] for part in first["loc"])
    if first["type"] == "json_invalid":
        return InvalidArgument(f"invalid JSON: {first['msg']}")
    if field == "name" and first["type"] == "string_pattern_mismatch":
        return InvalidBucketName(hint="1 to 200 characters of A-Z a-z 0-9 _ -")
    if first["type"] == "extra_forbidden":
        known = ", ".join(BucketCreate.model_fields)
        return InvalidArgument(f"unknown field {field!r}", hint=f"known fields: {known}")
    return InvalidArgument(f"invalid {field or 'body'}: {first['msg']}")


class BucketWarning(BaseModel):
    """A setting because of which the bucket promises less than callers may expect."""

    code: Annotated[str, Described(description="For programs; later versions may add codes")]
    message: Annotated[str, Described(description="What it means, and what to do")]


_SHOWN: dict[str, Any] = {
    "name": (str, ...),
    "values": (
        Annotated[int, Described(description="Stored messages, with history and tombstones")],
        ...,
    ),
    "bytes": (int, ...),
    "history": _answer_field(FIELDS["history"]),
    "created_at": (Annotated[str, Described(description="RFC 3339")], ...),
    **{name: _answer_field(one) for name, one in FIELDS.items() if name != "history"},
    "warnings": (
        Annotated[list[BucketWarning] | None, Described(description="Omitted when empty")],
        None,
    ),
}
_BucketOut: Any = create_model("_BucketOut", __base__=_Answer, **_SHOWN)


class BucketOut(_BucketOut):
    """A bucket: its settings, and what it holds."""

    @classmethod
    def of(cls, info: BucketInfo) -> "BucketOut":
        settings = {
            name: getattr(info, name) if _always_shown(one) else getattr(info, name) or None
            for name, one in FIELDS.items()
        }
        warnings = [BucketWarning(code=one.code, message=one.message) for one in info.warnings]
        return cls(
            name=info.name,
            values=info.values,
            bytes=info.bytes,
            created_at=info.created_at,
            warnings=warnings or None,
            **settings,
        )


class BucketList(_Answer):
    buckets: list[BucketOut]
    count: int


_NextCursor = Annotated[
    str | None, Described(description="Where the next page begins; only while there is more")
]


class KeyList(_Answer):
    keys: list[str]
    count: int
    next_cursor: _NextCursor = None


class EntryOut(_Answer):
    """One revision of a key; the last two fields are present only with values=json."""

    key: str
    value: Annotated[Any, Described(description="base64; with values=json, the decoded value")]
    revision: int
    created_at: str
    operation: Literal["put", "delete", "purge"]
    encoding: Literal["json", "text", "base64"] | None = None
    content_encoding: Annotated[
        str | None, Described(description="The Content-Encoding of the PUT, such as gzip")
    ] = None


class EntryMeta(_Answer):
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


class EntryList(_Answer):
    """With `include=values` or `include=meta`."""

    entries: list[EntryOut | EntryMeta]
    count: int
    next_cursor: _NextCursor = None


class History(BaseModel):
    entries: list[EntryOut]


class HealthStatus(_Answer):
    status: Literal["ok"]
    version: str
    timestamp: str


class Readiness(_Answer):
    status: Literal["ready", "not ready"]
    issues: dict[str, str]
    warnings: dict[str, str]


class Capabilities(_Answer):
    transports: list[str]
    features: list[str]
    version: str
    auth_required: bool


MODELS: tuple[type[BaseModel], ...] = (
    BucketCreate,
    BucketList,
    BucketOut,
    Capabilities,
    EntryList,
    EntryMeta,
    EntryOut,
    Error,
    HealthStatus,
    History,
    KeyList,
    Readiness,
)
"""All models that the table of routes uses."""
