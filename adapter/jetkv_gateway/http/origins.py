"""Which pages may call the gateway, and CORS for those that may (contract 1.6).

A browser lets any page send requests to any host, localhost included, and only hides the answer.
So a foreign `Origin` is refused before anything is done. A name that an attacker points at
127.0.0.1 makes the page same-origin, and its GETs carry no `Origin`: therefore a gateway without
authentication on loopback also wants a loopback `Host`.
"""

import re
from dataclasses import dataclass

from jetkv_gateway.http.call import Call
from jetkv_gateway.kv.errors import PermissionDenied

__all__ = ["LOOPBACK", "Origins"]

LOOPBACK = "loopback"
"""In the list of allowed origins: any port of this machine's loopback names."""

_LOOPBACK_HOST = re.compile(
    rb"(?:localhost|(?:[a-z0-9-]+\.)*localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?",
    re.IGNORECASE,
)
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}

_METHODS = b"GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS"
_REQUEST_HEADERS = (
    b"Authorization, Content-Encoding, Content-Type, If-Match, If-None-Match, Idempotency-Key, "
    b"JetKV-TTL-Seconds, Last-Event-ID, X-Ironflow-Environment, X-Ironflow-SDK, X-Request-Id, "
    b"traceparent, tracestate"
)
_ANSWER_HEADERS = (
    b"Content-Encoding, ETag, Last-Modified, Retry-After, WWW-Authenticate, X-Request-Id, "
    b"JetKV-Consistency, JetKV-Retries"
)


@dataclass(frozen=True, slots=True)
class Origins:
    """The rule.

    Attributes:
        allowed: origins such as `https://app.example`, `LOOPBACK`, or `*` for any.
        loopback_host: whether the request's own `Host` has to be a loopback name.
    """

    allowed: frozenset[str] = frozenset()
    loopback_host: bool = False

    def check(self, call: Call) -> None:
        """Refuse a foreign page, and put CORS headers on the answers to an allowed one.

        Raises:
            PermissionDenied
        """
        origin = call.headers.get(b"origin")
        if origin is None and not self.loopback_host:
            return
        host = call.headers.get(b"host", b"")
        if self.loopback_host and host and _LOOPBACK_HOST.fullmatch(host) is None:
            raise PermissionDenied(
                f"permission denied: host {_shown(host)} is not this machine's loopback",
                hint="call it as localhost, or run `jetkv serve` with --auth",
            )
        if origin is None:
            return
        if self._is_allowed(origin):
            call.answer_headers += [
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", _ANSWER_HEADERS),
                (b"vary", b"Origin"),
            ]
        elif not _same_host(origin, host):
            raise PermissionDenied(
                f"permission denied: origin {_shown(origin)} is not allowed",
                hint="add it to the setting cors_origins (--cors-origin)",
            )

    def _is_allowed(self, origin: bytes) -> bool:
        if "*" in self.allowed or origin.decode("latin-1") in self.allowed:
            return True
        scheme, _, host = origin.partition(b"://")
        return (
            LOOPBACK in self.allowed
            and scheme in _DEFAULT_PORTS
            and _LOOPBACK_HOST.fullmatch(host) is not None
        )

    @staticmethod
    def preflight(call: Call) -> list[tuple[bytes, bytes]]:
        """Return what a preflight's answer adds; `check` has let the origin in."""
        if b"access-control-request-method" not in call.headers:
            return []
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", b"600"),
        ]


def _same_host(origin: bytes, host: bytes) -> bool:
    scheme, _, name = origin.lower().partition(b"://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None or not name:
        return False
    return name.removesuffix(port) == host.lower().removesuffix(port)


def _shown(raw: bytes) -> str:
    return raw[:200].decode("latin-1")
