"""The base of the models of answers."""

from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = ["AnswerModel"]


def _without_nulls(schema: dict[str, Any]) -> None:
    for field in schema["properties"].values():
        kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
        if kinds:
            del field["anyOf"]
            field.pop("default", None)
            field.update(kinds[0] if len(kinds) == 1 else {"anyOf": kinds})


class AnswerModel(BaseModel):
    # A field without a value is omitted, so no field is null.
    model_config = ConfigDict(json_schema_extra=_without_nulls)

    def json_bytes(self) -> bytes:
        """Return the answer as JSON."""
        return self.model_dump_json(exclude_none=True).encode()
