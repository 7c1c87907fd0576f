"""The JSON that goes in and out of the FastAPI routes, and their errors in OpenAPI."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jetkv_gateway.kv import model
from jetkv_gateway.kv.errors import InvalidArgument, InvalidBucketName

__all__ = [
    "BucketCreate",
    "BucketList",
    "BucketOut",
    "BucketWarning",
    "EntryOut",
    "Error",
    "History",
    "KeyList",
    "errors",
    "parameter",
]

_DESCRIPTIONS = {
    400: "A part of the request breaks a rule; the text names both",
    401: "authentication required",
    403: "permission denied",
    404: "bucket not found, or key not found",
    405: "method not allowed",
    409: "bucket already exists, or the bucket cannot do this; the text says why",
    412: "key already exists, or revision mismatch",
    413: "value too large",
    426: "Neither a WebSocket nor an event stream was asked for",
    429: "too many requests; see Retry-After",
    501: "A Transfer-Encoding other than chunked; nothing was applied",
    503: "NATS is not available; nothing was applied; see Retry-After",
    504: "No answer in time; a write may or may not have been applied",
    507: "bucket is full",
}


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


class Error(_Answer):
    """Every error."""

    error: str
    code: str
    retryable: bool
    request_id: str
    hint: str | None = None
    details: dict[str, Any] | None = None
    retry_after: int | None = None


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI responses for error statuses."""
    return {status: {"model": Error, "description": _DESCRIPTIONS[status]} for status in statuses}


def parameter(name: str, where: str, description: str, **schema: object) -> dict[str, Any]:
    """Return an OpenAPI parameter, a string; `where` is `path`, `query` or `header`."""
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": description,
        "schema": {"type": "string", **schema},
    }


class BucketCreate(BaseModel):
    """Settings of a bucket; 0, null or absent means the default."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{1,200}$", examples=["cache"])]
    description: Annotated[str | None, Field(max_length=4096)] = None
    ttl_seconds: Annotated[
        int | None, Field(ge=0, le=model.MAX_TTL_SECONDS, description="0 = never")
    ] = None
    history: Annotated[
        int | None, Field(ge=1, le=model.MAX_HISTORY, description="Revisions kept; default 1")
    ] = None
    max_value_size: Annotated[
        int | None, Field(ge=0, le=model.MAX_VALUE_SIZE, description="Bytes; 0 = unlimited")
    ] = None
    max_bytes: Annotated[
        int | None, Field(ge=0, le=model.MAX_BYTES, description="Of the bucket; 0 = unlimited")
    ] = None
    storage: Literal["file", "memory"] | None = None
    replicas: Annotated[int | None, Field(ge=1, le=5)] = None
    expiry_markers: Annotated[
        bool | None,
        Field(description="Watchers see keys expire; default: with a TTL, on nats-server 2.11+"),
    ] = None

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
            raise _explain(error) from error

    def spec(self) -> model.BucketSpec:
        """Return the settings as the language of the gateway has them."""
        given = self.model_dump(exclude_none=True)
        if "storage" in given:
            given["storage"] = model.Storage(given["storage"])
        return model.BucketSpec(**given)


def _explain(error: ValidationError) -> InvalidArgument:
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
    """What a bucket's settings promise less than its callers may think."""

    code: Annotated[str, Field(description="For programs; more of them may come")]
    message: Annotated[str, Field(description="What it means and what to do about it")]


class BucketOut(_Answer):
    """A bucket as it stands."""

    name: str
    values: Annotated[int, Field(description="Stored messages, history and tombstones included")]
    bytes: int
    history: int
    created_at: Annotated[str, Field(description="RFC 3339")]
    description: Annotated[str | None, Field(description="Left out when empty")] = None
    ttl_seconds: Annotated[
        int | None, Field(description="Rounded up to whole seconds; left out when 0")
    ] = None
    max_value_size: Annotated[int | None, Field(description="Left out when unlimited")] = None
    max_bytes: Annotated[int | None, Field(description="Left out when unlimited")] = None
    storage: Literal["file", "memory"]
    replicas: int
    expiry_markers: Annotated[bool, Field(description="Whether watchers see keys expire")]
    warnings: Annotated[list[BucketWarning] | None, Field(description="Left out when empty")] = None

    @classmethod
    def of(cls, info: model.BucketInfo) -> "BucketOut":
        return cls(
            name=info.name,
            values=info.values,
            bytes=info.bytes,
            history=info.history,
            created_at=info.created_at,
            description=info.description or None,
            ttl_seconds=info.ttl_seconds or None,
            max_value_size=info.max_value_size or None,
            max_bytes=info.max_bytes or None,
            storage=info.storage.value,
            replicas=info.replicas,
            expiry_markers=info.expiry_markers,
            warnings=[
                BucketWarning(code=warning.code, message=warning.message)
                for warning in info.warnings
            ]
            or None,
        )


class BucketList(BaseModel):
    buckets: list[BucketOut]
    count: int


class KeyList(BaseModel):
    keys: list[str]
    count: int


class EntryOut(_Answer):
    """One revision of a key; the last two only where values are shown ready to use."""

    key: str
    value: Annotated[Any, Field(description="base64, or the ready value with values=json")]
    revision: int
    created_at: str
    operation: Literal["put", "delete", "purge"]
    encoding: Literal["json", "text", "base64"] | None = None
    content_encoding: Annotated[
        str | None, Field(description="How the PUT said that the value is coded, such as gzip")
    ] = None


class History(BaseModel):
    entries: list[EntryOut]
