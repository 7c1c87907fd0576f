"""Turns errors into answers of one format (docs/http-api.md#errors)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from jetkv_gateway.kv.errors import (
    EvaluationFailed,
    GatewayError,
    InvalidHandshake,
    MethodNotAllowed,
    PermissionDenied,
    Unauthenticated,
    UpgradeRequired,
)

__all__ = ["Failure", "failure", "failure_frame", "failure_line", "flag_failure"]


class Failure(NamedTuple):
    """An error as an answer.

    Attributes:
        lines: header lines, each ended by CRLF, without the length and the request id.
        body: JSON.
    """

    status: int
    lines: bytes
    body: bytes


def failure(error: GatewayError, request_id: bytes, flag: Sequence[str] | None = None) -> Failure:
    """Return the answer for an error.

    Args:
        flag: of an evaluation, the name of the flag, or nothing for all flags. The answer then has
            the fields of OFREP, too (docs/flags.md#errors).
    """
    body: dict[str, Any] = {
        "error": error.message,
        "code": error.code,
        "retryable": error.retryable,
        "request_id": request_id.decode("ascii"),
    }
    lines = b"content-type: application/json\r\n"
    if flag is not None:
        # A refusal of access names no key.
        refused = isinstance(error, Unauthenticated | PermissionDenied)
        body |= flag_failure(error, *(() if refused else flag))
    if error.hint:
        body["hint"] = error.hint
    if error.details:
        body["details"] = error.details
    if error.retry_after is not None:
        # Providers of OFREP take 0 for no time at all.
        seconds = error.retry_after if flag is None else max(1, error.retry_after)
        body["retry_after"] = seconds
        lines += b"retry-after: %d\r\n" % seconds
    if isinstance(error, Unauthenticated):
        lines += b"www-authenticate: Bearer\r\n"
    if isinstance(error, InvalidHandshake):
        lines += b"sec-websocket-version: 13\r\n"  # RFC 6455 §4.2.2
    if isinstance(error, MethodNotAllowed):
        lines += b"allow: %s\r\n" % error.allow.encode("ascii")
    if isinstance(error, UpgradeRequired):
        lines += b"upgrade: websocket\r\nconnection: upgrade\r\n"
    return Failure(error.status, lines, orjson.dumps(body))


def flag_failure(error: GatewayError, flag: str | None = None) -> dict[str, str]:
    """Return an error of an evaluation as OFREP has it.

    Args:
        flag: the name of the flag, or None for all flags.
    """
    code = error.error_code if isinstance(error, EvaluationFailed) else "GENERAL"
    details = error.message if error.hint is None else f"{error.message}: {error.hint}"
    fields = {"errorCode": code, "errorDetails": details}
    return fields if flag is None else {"key": flag, **fields}


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
