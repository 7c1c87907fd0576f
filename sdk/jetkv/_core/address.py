"""Where a gateway is, and how it is reached."""

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
_CREDENTIAL = "A token goes in the argument `token`"


@dataclass(frozen=True, slots=True)
class Address:
    """A gateway's address, checked.

    Attributes:
        origin: scheme, host and port, without a path.
        base: what stands before `/api/v1`, empty for most.
        proxy: the proxy's URL, None for a direct way.
        proxy_login: user and password for it.
        ssl_context: of an https address; None = the system's trust.
        headers: go with every request, the token among them.
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
        """What lets us use the proxy (RFC 7617), empty where it asks for nothing."""
        if self.proxy is None or self.proxy_login is None:
            return {}
        login = b64encode(":".join(self.proxy_login).encode()).decode()
        return {"Proxy-Authorization": f"Basic {login}"}

    @property
    def origin(self) -> str:
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
        """Check what a client was given.

        Args:
            proxy: None takes what the environment says (`HTTP_PROXY`, `HTTPS_PROXY`,
                `NO_PROXY`), an empty text none.

        Raises:
            InvalidArgumentError: the URL, the token or the proxy cannot be used.
        """
        scheme, host, port, base = _split(url)
        if base == "/json":
            raise InvalidArgumentError(
                f"the SDK decodes values itself: give it {url.rstrip('/').removesuffix('/json')!r}"
            )
        if proxy is None:
            proxy = None if proxy_bypass(f"{host}:{port}") else getproxies().get(scheme)
        where, login = _proxy(proxy)
        headers = _headers(token)
        return cls(scheme, host, port, base, where, login, ssl_context, headers)


def _split(url: str) -> tuple[str, str, int, str]:
    if not isinstance(url, str):
        raise InvalidArgumentError(f"a URL is text, not {type(url).__name__}")
    # First of all, since the other texts show the URL.
    if "@" in re.split("[/?#]", url.rpartition("://")[2])[0]:
        raise InvalidArgumentError("a URL with a user or password in it", hint=_CREDENTIAL)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidArgumentError(f"no URL: {url!r}: {error}") from error
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise InvalidArgumentError(
            f"no http or https URL: {url!r}", hint="such as http://localhost:9123"
        )
    if port == 0 or not _is_host(parts.hostname):
        raise InvalidArgumentError(f"no host that can be reached: {url!r}")
    if parts.query or parts.fragment:
        raise InvalidArgumentError(f"a base URL has neither query nor fragment: {url!r}")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidArgumentError(f"a URL is printable ASCII: {url!r}")
    base = parts.path.rstrip("/")
    if base.endswith("/api/v1"):
        raise InvalidArgumentError(
            f"the base URL stands without /api/v1: {url!r}", hint="such as http://localhost:9123"
        )
    return parts.scheme, parts.hostname, port or _SCHEMES[parts.scheme], base


def _is_host(host: str) -> bool:
    """Return whether it is an address, or a name that can be looked up at all (RFC 1123 §2.1)."""
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
    """Return a proxy's address, and user and password apart from it."""
    if not proxy:
        return None, None
    if not isinstance(proxy, str):
        raise InvalidArgumentError(f"a proxy is a URL, not {type(proxy).__name__}")
    try:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        usable = parts.scheme in _SCHEMES and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        # Not shown: it may have a password in it.
        raise InvalidArgumentError("the proxy is no http or https URL")
    login = None if parts.username is None else (parts.username, parts.password or "")
    where = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    return where, login and (unquote(login[0]), unquote(login[1]))


def _headers(token: str | None) -> dict[str, str]:
    headers = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": f"jetkv-python/{__version__}",
    }
    if token is not None:
        if not isinstance(token, str):
            raise InvalidArgumentError(f"a token is text, not {type(token).__name__}")
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            # Not shown: it may be the right one with a stray line break.
            raise InvalidArgumentError("a token is printable ASCII without spaces")
        headers["Authorization"] = f"Bearer {token}"
    return headers
