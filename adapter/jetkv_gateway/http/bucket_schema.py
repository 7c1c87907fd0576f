"""Models of the JSON of buckets. They read, write and describe it."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic import Field as Described

from jetkv_gateway.http.answers import AnswerModel
from jetkv_gateway.kv import bucket_values
from jetkv_gateway.kv.buckets import FIELDS, BucketInfo, BucketSpec, Field
from jetkv_gateway.kv.errors import InvalidArgument, InvalidBucketName
from jetkv_gateway.kv.plans import BucketChange, Changed
from jetkv_gateway.kv.scopes import Grants, ScopeVerb

__all__ = ["BucketChanged", "BucketCreate", "BucketList", "BucketOut", "BucketPatch"]

Read = TypeVar("Read", bound="_Given")

_STRICT = ConfigDict(extra="forbid", strict=True)


class Placement(AnswerModel):
    """The location of a bucket in a super-cluster. {} means anywhere."""

    model_config = _STRICT

    cluster: Annotated[str | None, Described(description="The name of the NATS cluster")] = None
    tags: Annotated[
        list[str] | None, Described(description="Tags that each of its servers has")
    ] = None

    def value(self) -> bucket_values.Placement:
        return bucket_values.Placement(self.cluster or "", tuple(self.tags or ()))

    @classmethod
    def of(cls, value: bucket_values.Placement) -> "Placement":
        return cls(cluster=value.cluster or None, tags=list(value.tags) or None)


class Republish(AnswerModel):
    """The subjects where NATS publishes each stored message again. {} means nowhere."""

    model_config = _STRICT

    destination: Annotated[str | None, Described(description="A NATS subject")] = None
    source: Annotated[
        str | None,
        Described(description="A NATS subject filter, such as `$KV.cache.user.>`; all by default"),
    ] = None
    headers_only: Annotated[bool | None, Described(description="Leave the values out")] = None

    def value(self) -> bucket_values.Republish:
        given = self.model_dump(exclude_none=True)
        return bucket_values.Republish(**given)

    @classmethod
    def of(cls, value: bucket_values.Republish) -> "Republish":
        return cls(
            destination=value.destination,
            source=value.source,
            headers_only=value.headers_only or None,
        )


_MODELS: Mapping[type, Any] = {
    bucket_values.Placement: Placement,
    bucket_values.Republish: Republish,
}


def _json_type(setting: Field) -> Any:
    """Return the JSON type of a setting."""
    kind = setting.type
    if kind is dict:
        return dict[str, str]
    return Literal[tuple(map(str, kind))] if issubclass(kind, StrEnum) else _MODELS.get(kind, kind)


def _request_field(setting: Field) -> Any:
    """Return the field of a setting in a request. Null counts as absent."""
    limits: dict[str, Any] = {}
    if setting.type is int:
        limits = {"ge": setting.low, "le": setting.high}
    elif setting.type is str:
        limits = {"max_length": setting.high}
    field = Described(default=None, description=setting.description, **limits)
    kind = dict[str, str | None] if setting.type is dict else _json_type(setting)
    return kind | None, field


def _always_shown(setting: Field) -> bool:
    """Return whether a setting is always shown. Others are omitted when empty or 0."""
    return setting.type is bool or bool(setting.default)


def _answer_field(setting: Field) -> Any:
    """Return the field of a setting in an answer."""
    if _always_shown(setting):
        return Annotated[_json_type(setting), Described(description=setting.description)], ...
    text = f"{setting.description}; omitted when empty or 0"
    return Annotated[_json_type(setting) | None, Described(description=text)], None


class _Given(BaseModel):
    """A request's body."""

    model_config = _STRICT

    @classmethod
    def read(cls: type[Read], body: bytes) -> Read:
        """Read a request's body.

        Raises:
            InvalidBucketName: the name breaks its rule.
            InvalidArgument: another field is invalid. The text names the field and the rule.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise _request_error(error, cls) from error

    def settings(self) -> dict[str, Any]:
        """Return the settings that the body names."""
        given = {name: getattr(self, name) for name in FIELDS}
        return {
            name: value.value()
            if isinstance(value, Placement | Republish)
            else FIELDS[name].type(value)
            for name, value in given.items()
            if value is not None
        }


_NAME = Annotated[str, Described(pattern="^[A-Za-z0-9_-]{1,200}$", examples=["cache"])]
_SETTINGS: dict[str, Any] = {name: _request_field(one) for name, one in FIELDS.items()}
# The name is declared again below for type checkers. Here it comes before the settings.
_Create: Any = create_model("_Create", __base__=_Given, **{"name": (_NAME, ...), **_SETTINGS})
_Patch: Any = create_model("_Patch", __base__=_Given, **{"name": (str | None, None), **_SETTINGS})


class BucketCreate(_Create):
    """The settings of a new bucket; 0, null or an absent field means the default."""

    name: _NAME

    def spec(self) -> BucketSpec:
        """Return the bucket to create."""
        return BucketChange(self.name, self.settings()).spec


class BucketPatch(_Patch):
    """The wanted settings of a bucket. Null or absent fields do not change."""

    name: Annotated[_NAME | None, Described(description="That of the URL, if you give one")] = None

    def change(self, bucket: str, **how: Any) -> BucketChange:
        """Return the change of a bucket.

        Args:
            bucket: the name in the URL.
            how: the other fields of `BucketChange`.

        Raises:
            InvalidArgument: the body names another bucket.
        """
        if self.name not in (None, bucket):
            raise InvalidArgument("invalid name: it is not the one in the URL")
        return BucketChange(bucket, self.settings(), **how)


def _request_error(error: ValidationError, model: type[BaseModel]) -> InvalidArgument:
    first = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part)[:100] for part in first["loc"])
    if first["type"] == "json_invalid":
        return InvalidArgument(f"invalid JSON: {first['msg']}")
    if field == "name" and first["type"] == "string_pattern_mismatch":
        return InvalidBucketName(hint="1 to 200 characters of A-Z a-z 0-9 _ -")
    if first["type"] == "extra_forbidden":
        inner = _MODELS.get(FIELDS[str(first["loc"][0])].type) if len(first["loc"]) > 1 else None
        known = ", ".join((inner or model).model_fields)
        return InvalidArgument(f"unknown field {field!r}", hint=f"known fields: {known}")
    return InvalidArgument(f"invalid {field or 'body'}: {first['msg']}")


class BucketWarning(BaseModel):
    """A setting that weakens what the bucket guarantees."""

    code: Annotated[str, Described(description="For programs; later versions may add codes")]
    message: Annotated[str, Described(description="What it means, and what to do")]


_SHOWN: dict[str, Any] = {
    "name": (str, ...),
    "values": (
        Annotated[
            int | None,
            Described(
                description="Stored messages, with history and tombstones; omitted unless you may "
                "read all keys"
            ),
        ],
        None,
    ),
    "bytes": (
        Annotated[int | None, Described(description="Omitted unless you may read all keys")],
        None,
    ),
    "history": _answer_field(FIELDS["history"]),
    "created_at": (Annotated[str, Described(description="RFC 3339")], ...),
    **{name: _answer_field(one) for name, one in FIELDS.items() if name != "history"},
    "marker_ttl_seconds": (
        Annotated[
            int | None,
            Described(
                description="Seconds that the marker of an expired value stays; omitted without "
                "expiry_markers"
            ),
        ],
        None,
    ),
    "warnings": (
        Annotated[list[BucketWarning] | None, Described(description="Omitted when empty")],
        None,
    ),
}
_BucketOut: Any = create_model("_BucketOut", __base__=AnswerModel, **_SHOWN)


def _fields(info: BucketInfo, *, whole: bool) -> dict[str, Any]:
    """Return the fields of a bucket.

    Args:
        whole: whether the caller may read all keys. Else the size is left out, since it tells of
            the other keys.
    """
    settings: dict[str, Any] = {}
    for name, one in FIELDS.items():
        value = getattr(info, name)
        if value or _always_shown(one):
            model = _MODELS.get(one.type)
            settings[name] = model.of(value) if model else value
    warnings = [BucketWarning(code=one.code, message=one.message) for one in info.warnings]
    return {
        "name": info.name,
        "values": info.values if whole else None,
        "bytes": info.bytes if whole else None,
        "created_at": info.created_at,
        "marker_ttl_seconds": info.marker_ttl_seconds or None,
        "warnings": warnings or None,
        **settings,
    }


class BucketOut(_BucketOut):
    """A bucket: its settings and its size."""

    @classmethod
    def of(cls, info: BucketInfo, grants: Grants) -> "BucketOut":
        return cls(**_fields(info, whole=grants.covers(ScopeVerb.READ, info.name)))


class BucketChanged(BucketOut):
    """A bucket, and the settings that a PUT or PATCH has changed."""

    changed: Annotated[
        list[str],
        Described(description="The settings that were changed; [] if there was nothing to do"),
    ]
    created: Annotated[
        bool | None, Described(description="True if there was no such bucket; else omitted")
    ] = None

    @classmethod
    def of_change(cls, change: Changed, grants: Grants) -> "BucketChanged":
        return cls(
            **_fields(change.info, whole=grants.covers(ScopeVerb.READ, change.info.name)),
            changed=list(change.changed),
            created=change.created or None,
        )


class BucketList(AnswerModel):
    buckets: list[BucketOut]
    count: int
