"""Which web pages may call the gateway, and CORS for those (docs/http-api.md).

A browser lets any page send requests to any host, including localhost, and only hides the answer.
So a request with a foreign `Origin` is refused before it does anything. Requests of images and
links have no `Origin`; `Sec-Fetch-Site` identifies those. `Cross-Origin-Resource-Policy` prevents
other pages from embedding an answer. A page whose host name an attacker points at the gateway has
the gateway's own origin. `hosts.py` refuses it by that name.
"""

from dataclasses import dataclass

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.hosts import ANY_HOST, AllowedHosts, is_loopback, printable
from jetkv_gateway.kv.errors import PermissionDenied

__all__ = ["LOOPBACK", "SANDBOX_POLICY", "AllowedOrigins", "isolation_headers"]

LOOPBACK = "loopback"
"""In the list of allowed origins: loopback names with any port."""

_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}

SANDBOX_POLICY = b"sandbox; default-src 'none'"
"""A Content-Security-Policy. A stored page must not run with the gateway's origin."""

_ALLOW_ORIGIN = b"access-control-allow-origin"

_METHODS = b"GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS"
_REQUEST_HEADERS = (
    b"Authorization, Content-Encoding, Content-Type, If-Match, If-None-Match, Idempotency-Key, "
    b"JetKV-TTL-Seconds, Last-Event-ID, X-Ironflow-Environment, X-Ironflow-SDK, X-Request-Id, "
    b"traceparent, tracestate"
)
_ANSWER_HEADERS = (
    b"Content-Encoding, ETag, Last-Modified, Retry-After, WWW-Authenticate, X-Request-Id, "
    b"JetKV-Consistency, JetKV-Filtered, JetKV-Retries, JetKV-Stale, traceparent"
)
_ALLOWED_LINES = b"%s: %%s\r\naccess-control-expose-headers: %s\r\nvary: Origin\r\n" % (
    _ALLOW_ORIGIN,
    _ANSWER_HEADERS,
)
_ANY_ORIGIN_LINES = b"%s: *\r\nvary: Origin\r\n" % _ALLOW_ORIGIN
_PREFLIGHT_LINES = (
    b"access-control-allow-methods: %s\r\naccess-control-allow-headers: %s\r\n"
    b"access-control-max-age: 600\r\n" % (_METHODS, _REQUEST_HEADERS)
)
_ISOLATION_LINES = (
    b"x-content-type-options: nosniff\r\ncontent-security-policy: %s\r\n"
    b"cross-origin-resource-policy: %s\r\n"
)


@dataclass(frozen=True, slots=True)
class AllowedOrigins:
    """The rule for the origins of web pages.

    Attributes:
        allowed: origins such as `https://app.example`, `LOOPBACK`, or `*` for any.
        hosts: the host names that the gateway accepts.
    """

    allowed: frozenset[str] = frozenset()
    hosts: AllowedHosts = ANY_HOST

    def check(self, call: Call) -> None:
        """Refuse a foreign page, and add CORS headers for an allowed one.

        Raises:
            PermissionDenied
        """
        headers = call.headers
        host = headers.get(b"host")
        if host not in self.hosts.known:
            self.hosts.check(host)
        if b"origin" in headers:
            self._check_origin(call, headers[b"origin"])
        elif b"sec-fetch-site" in headers:
            self._check_site(call)
        else:
            call.request.findings.origins = self

    def _check_origin(self, call: Call, origin: bytes) -> None:
        if self._is_allowed(origin):
            call.lines += _ALLOWED_LINES % origin
        elif not _same_host(origin, call.headers.get(b"host", b"")) or _is_cross_site(call):
            # The browser knows more: to it, http and https are different sites.
            raise PermissionDenied(
                f"permission denied: origin {printable(origin)} is not allowed",
                hint="add it to the setting cors_origins (--cors-origin)",
            )

    def _check_site(self, call: Call) -> None:
        """Refuse requests for resources that a page of another site embeds or links to.

        Pages of the same site, such as one on another port, may send requests without `Origin`.
        They cannot read the answer, and GETs change nothing.
        """
        if "*" in self.allowed:
            call.lines += _ANY_ORIGIN_LINES
        elif _is_cross_site(call) and not _is_page_navigation(call):
            raise PermissionDenied(
                "permission denied: the request comes from a page of another site",
                hint="open the address directly, or let the page call it by fetch() and add its "
                "origin to the setting cors_origins (--cors-origin)",
            )

    def _is_allowed(self, origin: bytes) -> bool:
        if "*" in self.allowed or origin.decode("latin-1") in self.allowed:
            return True
        scheme, _, host = origin.partition(b"://")
        return LOOPBACK in self.allowed and scheme in _DEFAULT_PORTS and is_loopback(host)

    @staticmethod
    def preflight(call: Call) -> bytes:
        """Return the additional header lines of a preflight's answer. Call `check` first."""
        if b"access-control-request-method" not in call.headers:
            return b""
        return _PREFLIGHT_LINES


def isolation_headers(call: Call, policy: bytes = SANDBOX_POLICY) -> bytes:
    """Return the header lines that make an answer other than JSON safe in a browser.

    The browser uses the answer only as its declared type, runs no stored script, and lets no page
    of another origin embed it, unless CORS allows that page to read it.

    Args:
        policy: the answer's Content-Security-Policy.
    """
    resource = b"cross-origin" if _ALLOW_ORIGIN + b": " in call.lines else b"same-origin"
    return _ISOLATION_LINES % (policy, resource)


def _is_cross_site(call: Call) -> bool:
    return b"cross-site" in call.headers.get(b"sec-fetch-site", b"")


def _is_page_navigation(call: Call) -> bool:
    """Return whether a user follows a link to one of the gateway's pages."""
    headers, match = call.headers, call.target.match
    return (
        call.method == "GET"
        and headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest") == b"document"
        and match is not None
        and any(route.page for route in match[0].routes.values())
    )


def _same_host(origin: bytes, host: bytes) -> bool:
    scheme, _, name = origin.lower().partition(b"://")
    port = _DEFAULT_PORTS.get(scheme)
    if port is None or not name:
        return False
    return name.removesuffix(port) == host.lower().removesuffix(port)
