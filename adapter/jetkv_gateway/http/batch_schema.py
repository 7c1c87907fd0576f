"""The JSON of batches as the OpenAPI document describes it. `kv/batches.py` reads it."""

from typing import Any

from jetkv_gateway.kv.batches import MAX_ITEMS
from jetkv_gateway.kv.keys import MAX_KEY_BYTES
from jetkv_gateway.kv.model import MAX_REVISION
from jetkv_gateway.kv.ttl import MAX_TTL_SECONDS

__all__ = ["BATCH_ANSWER", "BATCH_BODY"]

_KEY: dict[str, Any] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_KEY_BYTES,
    "pattern": r"^[^\x00-\x1f\x7f]+$",
}
_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_CONTENTS: dict[str, dict[str, Any]] = {
    "value": {"type": "string", "pattern": _BASE64, "description": "The bytes in base64"},
    "text": {"type": "string", "description": "Stored as text/plain; charset=utf-8"},
    "json": {"description": "Any JSON; stored as application/json"},
}
_MORE: dict[str, dict[str, Any]] = {
    "content_type": {"type": "string", "description": "Stored with the value"},
    "ttl_seconds": {
        "oneOf": [
            {"type": "integer", "minimum": 1, "maximum": MAX_TTL_SECONDS},
            {"const": "never"},
        ],
        "description": "When the value expires",
    },
}


def _revision(least: int, description: str) -> dict[str, Any]:
    return {
        "type": "integer",
        "minimum": least,
        "maximum": MAX_REVISION,
        "description": description,
    }


def _op(names: list[str], required: list[str], **properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"op": {"enum": names}, "key": _KEY, **properties},
        "required": ["op", "key", *required],
        "additionalProperties": False,
    }


_OPS = [
    *(
        _op(["put", "create"], [name], **{name: schema}, **_MORE)
        for name, schema in _CONTENTS.items()
    ),
    *(
        _op(
            ["update"],
            [name, "revision"],
            **{name: schema},
            **_MORE,
            revision=_revision(1, "The revision that the key must have"),
        )
        for name, schema in _CONTENTS.items()
    ),
    _op(
        ["delete", "purge"],
        [],
        revision=_revision(1, "The revision that the live value must have"),
    ),
    _op(
        ["check"],
        ["revision"],
        revision=_revision(0, "The revision that the key must have; 0: no live value"),
    ),
]

BATCH_BODY: dict[str, Any] = {
    "oneOf": [
        {
            "type": "object",
            "properties": {
                "get": {"type": "array", "items": _KEY, "minItems": 1, "maxItems": MAX_ITEMS}
            },
            "required": ["get"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "ops": {
                    "type": "array",
                    "items": {"oneOf": _OPS},
                    "minItems": 1,
                    "maxItems": MAX_ITEMS,
                },
                "atomic": {
                    "type": "boolean",
                    "default": True,
                    "description": "Apply all ops or none; false: each op for itself",
                },
            },
            "required": ["ops"],
            "additionalProperties": False,
        },
    ]
}

_WRITTEN = {"type": "integer", "minimum": 0}

BATCH_ANSWER: dict[str, Any] = {
    "oneOf": [
        {
            "type": "object",
            "properties": {
                "entries": {
                    "type": "array",
                    "items": {
                        "oneOf": [{"$ref": "#/components/schemas/EntryOut"}, {"type": "null"}]
                    },
                    "description": "In the order asked; null for a key without a live value",
                },
                "revision": {**_WRITTEN, "description": "The moment of the snapshot"},
            },
            "required": ["entries", "revision"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "results": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "revision": _WRITTEN,
                            "status": {"type": "integer", "description": "Where atomic is false"},
                            "error": {"type": "string"},
                            "code": {"type": "string"},
                            "details": {"type": "object"},
                        },
                        "additionalProperties": False,
                    },
                    "description": "One for each op, in their order",
                },
                "revision": {**_WRITTEN, "description": "Of the last write; if atomic"},
            },
            "required": ["results"],
            "additionalProperties": False,
        },
    ]
}
