"""Errors as answers, in one form for all who answer (docs/http-api.md#errors)."""

from typing import Any, NamedTuple

import orjson

from jetkv_gateway.kv.errors import (
    GatewayError,
    MethodNotAllowed,
    Unauthenticated,
    UpgradeRequired,
)

__all__ = ["Failure", "failure", "failure_frame"]


class Failure(NamedTuple):
    """An error as an answer.

    Attributes:
        headers: lower-case names, without the length and the request id.
        body: JSON.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    def lines(self, request_id: bytes) -> bytes:
        """Return all header lines of the answer, each ended by CRLF."""
        headers = [*self.headers, (b"x-request-id", request_id)]
        headers.append((b"content-length", b"%d" % len(self.body)))
        return b"".join([b"%s: %s\r\n" % header for header in headers])


def failure(error: GatewayError, request_id: bytes) -> Failure:
    """Return the answer that an error is."""
    body: dict[str, Any] = {
        "error": error.message,
        "code": error.code,
        "retryable": error.retryable,
        "request_id": request_id.decode("ascii"),
    }
    headers = [(b"content-type", b"application/json")]
    if error.hint:
        body["hint"] = error.hint
    if error.details:
        body["details"] = error.details
    if error.retry_after is not None:
        body["retry_after"] = error.retry_after
        headers.append((b"retry-after", b"%d" % error.retry_after))
    if isinstance(error, Unauthenticated):
        headers.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", error.allow.encode("ascii")))
    if isinstance(error, UpgradeRequired):
        headers += [(b"upgrade", b"websocket"), (b"connection", b"upgrade")]
    return Failure(error.status, headers, orjson.dumps(body))


def failure_frame(error: GatewayError) -> bytes:
    """Return the frame that ends a watch where there is trouble (docs/watch.md)."""
    return orjson.dumps({"type": "error", "message": error.message, "code": error.code})
