"""Turns errors into answers of one format (docs/http-api.md#errors)."""

from typing import Any, NamedTuple

import orjson

from jetkv_gateway.kv.errors import (
    GatewayError,
    InvalidHandshake,
    MethodNotAllowed,
    Unauthenticated,
    UpgradeRequired,
)

__all__ = ["Failure", "failure", "failure_frame", "failure_line"]


class Failure(NamedTuple):
    """An error as an answer.

    Attributes:
        lines: header lines, each ended by CRLF, without the length and the request id.
        body: JSON.
    """

    status: int
    lines: bytes
    body: bytes


def failure(error: GatewayError, request_id: bytes) -> Failure:
    """Return the answer for an error."""
    body: dict[str, Any] = {
        "error": error.message,
        "code": error.code,
        "retryable": error.retryable,
        "request_id": request_id.decode("ascii"),
    }
    lines = b"content-type: application/json\r\n"
    if error.hint:
        body["hint"] = error.hint
    if error.details:
        body["details"] = error.details
    if error.retry_after is not None:
        body["retry_after"] = error.retry_after
        lines += b"retry-after: %d\r\n" % error.retry_after
    if isinstance(error, Unauthenticated):
        lines += b"www-authenticate: Bearer\r\n"
    if isinstance(error, InvalidHandshake):
        lines += b"sec-websocket-version: 13\r\n"  # RFC 6455 §4.2.2
    if isinstance(error, MethodNotAllowed):
        lines += b"allow: %s\r\n" % error.allow.encode("ascii")
    if isinstance(error, UpgradeRequired):
        lines += b"upgrade: websocket\r\nconnection: upgrade\r\n"
    return Failure(error.status, lines, orjson.dumps(body))


def failure_frame(error: GatewayError) -> bytes:
    """Return the error frame that ends a watch (docs/watch.md).

    It names the bucket where the watch has several.
    """
    frame = {"type": "error", "message": error.message, "code": error.code}
    bucket = (error.details or {}).get("bucket")
    if bucket is not None:
        frame["bucket"] = bucket
    return orjson.dumps(frame)


def failure_line(error: GatewayError) -> bytes:
    """Return the last line of JSON lines that broke off (docs/http-api.md#json-lines).

    Its details say how much of a request was done.
    """
    line = {"type": "error", "message": error.message, "code": error.code}
    return orjson.dumps(line if error.details is None else {**line, "details": error.details})
