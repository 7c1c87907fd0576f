"""Errors about HTTP itself, such as an unknown method or a head that is too large.

They belong to the tree in `kv.errors`; import them from there.
"""

from jetkv_gateway.kv.error_root import GatewayError

__all__ = [
    "CodingUnsupported",
    "ExpectationFailed",
    "HeadTooLarge",
    "MethodNotAllowed",
    "MethodUnknown",
    "RequestTooSlow",
    "UpgradeRequired",
    "UrlTooLong",
]


class UpgradeRequired(GatewayError):
    """Raised for a watch that asks for neither a WebSocket nor an event stream."""

    status = 426
    code = "invalid_argument"
    text = "a watch is a WebSocket or an event stream"

    def __init__(self) -> None:
        super().__init__(hint="upgrade to a WebSocket, or send Accept: text/event-stream")


class MethodNotAllowed(GatewayError):
    """Raised if the route exists, but not with this method; `allow` lists its methods."""

    status = 405
    code = "invalid_argument"
    text = "method not allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(hint=f"allowed here: {allow}")
        self.allow = allow


class MethodUnknown(GatewayError):
    """Raised for a method that no route has (RFC 9110 §9.1)."""

    status = 501
    code = "invalid_argument"
    text = "unknown method"

    def __init__(self) -> None:
        super().__init__(hint="methods are written in capitals, such as GET")


class HeadTooLarge(GatewayError):
    """Raised for a request whose line and headers are too large (RFC 6585 §5)."""

    status = 431
    code = "invalid_argument"
    text = "request head too large"


class UrlTooLong(GatewayError):
    """Raised for a request whose first line alone is too large (RFC 9112 §3)."""

    status = 414
    code = "invalid_argument"
    text = "URL too long"


class ExpectationFailed(GatewayError):
    """Raised for an `Expect` other than `100-continue` (RFC 9110 §10.1.1)."""

    status = 417
    code = "invalid_argument"
    text = "expectation not known"

    def __init__(self) -> None:
        super().__init__(hint="the gateway supports only Expect: 100-continue")


class RequestTooSlow(GatewayError):
    """Raised if a request does not arrive in time; nothing was done."""

    status = 408
    code = "deadline_exceeded"
    text = "the request did not come in time"


class CodingUnsupported(GatewayError):
    """Raised for a Transfer-Encoding other than chunked; nothing was stored."""

    status = 501
    code = "invalid_argument"
    text = "Transfer-Encoding not supported"

    def __init__(self) -> None:
        super().__init__(
            hint="use chunked; to store a compressed value, name its coding in Content-Encoding"
        )
