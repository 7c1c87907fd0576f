"""The base of request bodies that are JSON objects with known fields."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from jetkv_gateway.kv.errors import InvalidArgument

__all__ = ["StrictBody"]

Read = TypeVar("Read", bound="StrictBody")


class StrictBody(BaseModel):
    """A body whose fields must all be known and have the right type."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @classmethod
    def read(cls: type[Read], body: bytes) -> Read:
        """Read a request's body.

        Raises:
            InvalidArgument: the text names the field and the rule.
        """
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            field = ".".join(str(part)[:100] for part in first["loc"])
            if first["type"] == "json_invalid":
                raise InvalidArgument(f"invalid JSON: {first['msg']}") from error
            if first["type"] == "extra_forbidden":
                known = ", ".join(cls.model_fields)
                raise InvalidArgument(
                    f"unknown field {field!r}", hint=f"known fields: {known}"
                ) from error
            raise InvalidArgument(f"invalid {field or 'body'}: {first['msg']}") from error
