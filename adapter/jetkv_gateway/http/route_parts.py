"""Parts that several routes share."""

from jetkv_gateway.http.router import Answer, Parameter

__all__ = ["AUTH", "BUCKET", "BUCKETS", "FLAG", "TEXT", "VALUES", "json_answer"]

AUTH = "/api/v1/auth"
BUCKETS = "/api/v1/kv/buckets"
BUCKET = f"{BUCKETS}/{{bucket}}"
FLAG = {"enum": ["true", "false"]}
TEXT = {"type": "string"}
VALUES = Parameter("values", "The format of the values", {"enum": ["base64", "json"]})


def json_answer(description: str, schema: str) -> Answer:
    return Answer(description, {"application/json": schema})
