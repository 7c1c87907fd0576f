"""Errors as answers (contract 1.4)."""

from typing import Any

import orjson

from jetkv_gateway.kv.errors import (
    GatewayError,
    MethodNotAllowed,
    Unauthenticated,
    UpgradeRequired,
)

__all__ = ["error_body", "error_headers"]


def error_body(error: GatewayError, request_id: str) -> bytes:
    """Return the JSON body of an error."""
    body: dict[str, Any] = {
        "error": error.message,
        "code": error.code,
        "retryable": error.retryable,
        "request_id": request_id,
    }
    if error.hint:
        body["hint"] = error.hint
    if error.details:
        body["details"] = error.details
    if error.retry_after is not None:
        body["retry_after"] = error.retry_after
    return orjson.dumps(body)


def error_headers(error: GatewayError) -> list[tuple[bytes, bytes]]:
    """Return the headers that belong to an error, beside type and length."""
    headers: list[tuple[bytes, bytes]] = []
    if error.retry_after is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode("ascii")))
    if isinstance(error, UpgradeRequired):
        headers += [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]
    return headers
