"""A bucket in the settings."""

from typing import Any

from pydantic import ConfigDict, create_model

from jetkv_gateway.kv.buckets import FIELDS, BucketSpec

__all__ = ["BucketSetting"]

_FIELDS: dict[str, Any] = {
    name: (one.type if one.default is not None else one.type | None, one.default)
    for name, one in FIELDS.items()
}
_BucketFields: Any = create_model("_BucketFields", **{"name": (str, ...), **_FIELDS})


class BucketSetting(_BucketFields):
    """A bucket that must exist, as `name[,setting=value…]` or a TOML table."""

    model_config = ConfigDict(extra="forbid")

    def spec(self) -> BucketSpec:
        """Return the bucket as a `BucketSpec`. Raises as `BucketSpec` does."""
        return BucketSpec(**{name: getattr(self, name) for name in type(self).model_fields})

    @classmethod
    def parse(cls, text: str) -> "BucketSetting":
        """Read `cache,ttl_seconds=300,history=5`; a dot leads into a setting that has parts.

        Raises:
            ValueError: a part is not `setting=value`, or the setting is unknown.
        """
        name, *parts = text.split(",")
        fields: dict[str, Any] = {"name": name}
        for part in parts:
            field, equals, value = part.partition("=")
            if not equals:
                raise ValueError(f"bucket {name!r}: {part!r} is not setting=value")
            whole, dot, inner = field.strip().partition(".")
            into = fields.setdefault(whole, {}) if dot else fields
            if not isinstance(into, dict) or (inner or whole) in into:
                raise ValueError(f"bucket {name!r}: {field.strip()!r} is given twice")
            into[inner or whole] = [value.strip()] if inner == "tags" else value.strip()
        return cls.model_validate(fields)
