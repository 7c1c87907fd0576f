"""The address of a gateway, and how to reach it."""

import re
import ssl
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from jetkv._version import __version__
from jetkv.errors import InvalidArgumentError

__all__ = ["Address"]

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_SCHEMES = {"http": 80, "https": 443}
_CREDENTIAL_HINT = "pass a token as the argument `token`"


@dataclass(frozen=True, slots=True)
class Address:
    """The checked address of a gateway.

    Attributes:
        scheme: `http` or `https`.
        host: a name, or an IP address without brackets.
        port: the port.
        base: the path in front of `/api/v1`; usually empty.
        proxy: the proxy's URL without a login; None for no proxy.
        proxy_login: the proxy's user and password.
        ssl_context: for https; None trusts the certificate authorities of this system.
        headers: the headers of every request, the token among them.
    """

    scheme: str
    host: str
    port: int
    base: str = ""
    proxy: str | None = None
    proxy_login: tuple[str, str] | None = field(default=None, repr=False)
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)

    @property
    def proxy_headers(self) -> dict[str, str]:
        """The header with the proxy's login (RFC 7617); empty without a login."""
        if self.proxy is None or self.proxy_login is None:
            return {}
        login = b64encode(":".join(self.proxy_login).encode()).decode()
        return {"Proxy-Authorization": f"Basic {login}"}

    @property
    def origin(self) -> str:
        """Scheme, host and port, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def __str__(self) -> str:
        return self.origin + self.base

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        token: str | None = None,
        proxy: str | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> "Address":
        """Check the arguments of a client.

        Args:
            url: the gateway's URL.
            token: the token, or None.
            proxy: a proxy's URL. None uses `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the
                environment; an empty text uses no proxy.
            ssl_context: for https.

        Raises:
            InvalidArgumentError: the URL, the token or the proxy is invalid.
        """
        scheme, host, port, base = _split(url)
        if base == "/json":
            raise InvalidArgumentError(
                f"the SDK needs the URL without /json: {url.rstrip('/').removesuffix('/json')!r}"
            )
        if proxy is None:
            proxy = None if proxy_bypass(f"{host}:{port}") else getproxies().get(scheme)
        proxy_url, login = _proxy(proxy)
        headers = _headers(token)
        return cls(scheme, host, port, base, proxy_url, login, ssl_context, headers)


def _split(url: str) -> tuple[str, str, int, str]:
    if not isinstance(url, str):
        raise InvalidArgumentError(f"a URL must be text, not {type(url).__name__}")
    # Checked first, because the other errors show the URL.
    if "@" in re.split("[/?#]", url.rpartition("://")[2])[0]:
        raise InvalidArgumentError("a URL must not have a user or password", hint=_CREDENTIAL_HINT)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidArgumentError(f"not a URL: {url!r}: {error}") from error
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise InvalidArgumentError(
            f"not an http or https URL: {url!r}", hint="for example http://localhost:9123"
        )
    if port == 0 or not _is_host(parts.hostname):
        raise InvalidArgumentError(f"the host or port of the URL is invalid: {url!r}")
    if parts.query or parts.fragment:
        raise InvalidArgumentError(f"a base URL must not have a query or a fragment: {url!r}")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidArgumentError(f"a URL must be printable ASCII: {url!r}")
    base = parts.path.rstrip("/")
    if base.endswith("/api/v1"):
        raise InvalidArgumentError(
            f"a base URL must not have /api/v1: {url!r}", hint="for example http://localhost:9123"
        )
    return parts.scheme, parts.hostname, port or _SCHEMES[parts.scheme], base


def _is_host(host: str) -> bool:
    """Return whether a text is an IP address or a valid host name (RFC 1123 §2.1)."""
    if ":" in host:
        return _is_ipv6(host)
    return len(host) <= 253 and all(
        _LABEL.fullmatch(label) for label in host.removesuffix(".").split(".")
    )


def _is_ipv6(host: str) -> bool:
    try:
        return IPv6Address(host).scope_id is None
    except ValueError:
        return False


def _proxy(proxy: str | None) -> tuple[str | None, tuple[str, str] | None]:
    """Return a proxy's URL without its login, and the login."""
    if not proxy:
        return None, None
    if not isinstance(proxy, str):
        raise InvalidArgumentError(f"a proxy must be a URL, not {type(proxy).__name__}")
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        usable = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        # The error does not show the URL, because it may have a password.
        raise InvalidArgumentError("the proxy must be an http or https URL")
    login = None if parts.username is None else (parts.username, parts.password or "")
    proxy_url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return proxy_url, login and (unquote(login[0]), unquote(login[1]))


def _headers(token: str | None) -> dict[str, str]:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"jetkv-python/{__version__}",
    }
    if token is not None:
        if not isinstance(token, str):
            raise InvalidArgumentError(f"a token must be text, not {type(token).__name__}")
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            # The error does not show the token: it may be a valid one with a line break behind it.
            raise InvalidArgumentError("a token must be printable ASCII without spaces")
        headers["Authorization"] = f"Bearer {token}"
    return headers
