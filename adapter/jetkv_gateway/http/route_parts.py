"""Parts that several routes share."""

from typing import Any

from jetkv_gateway.http.router import Answer, Parameter

__all__ = [
    "AUTH",
    "BUCKET",
    "BUCKETS",
    "CONSOLE",
    "FILTERED",
    "FLAG",
    "KV",
    "OFREP",
    "TEXT",
    "VALUES",
    "json_answer",
]

AUTH = "/api/v1/auth"
CONSOLE = "/console"
KV = "/api/v1/kv"
OFREP = "/ofrep/v1"
BUCKETS = f"{KV}/buckets"
BUCKET = f"{BUCKETS}/{{bucket}}"
FLAG = {"enum": ["true", "false"]}
TEXT = {"type": "string"}
FILTERED: dict[str, dict[str, Any]] = {
    "JetKV-Filtered": {
        "schema": {"type": "string", "enum": ["true"]},
        "description": "Present if your scopes do not cover all that the request asks for",
    }
}
VALUES = Parameter("values", "The format of the values", {"enum": ["base64", "json"]})


def json_answer(
    description: str, schema: str, headers: dict[str, dict[str, Any]] | None = None
) -> Answer:
    return Answer(description, {"application/json": schema}, headers or {})
