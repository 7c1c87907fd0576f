"""The host names that the gateway accepts (docs/deployment.md#names).

An attacker can point a name of theirs at any address, including loopback. To a browser, the
attacker's page and the gateway then have the same origin, so the browser does not separate them
(DNS rebinding). Only the `Host` header of the request still shows the attacker's name.

Addresses pass, since nobody can point them elsewhere. `localhost` and the names under it pass,
since they never leave the machine. A name without a dot passes, since it belongs to the local
network, such as a service of a compose file. All other names must be allowed.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from jetkv_gateway.kv.errors import PermissionDenied

__all__ = ["ANY_HOST", "AllowedHosts", "allowed_host", "is_loopback", "printable"]

_HOST = re.compile(
    rb"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)(?P<root>\.?))(?::[0-9]*)?",
    re.IGNORECASE,
)
_PATTERN = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_LONGEST = 270
"""Bytes of a name, its last dot and a port."""

_MOST_KNOWN = 1024

Address = IPv4Address | IPv6Address


class AllowedHosts:
    """The rule for the `Host` header.

    Args:
        allowed: as `allowed_host` returns them.
        loopback: accept, besides `allowed`, only loopback, and refuse requests without a host.
    """

    __slots__ = ("_any", "_loopback", "_names", "_suffixes", "known")

    def __init__(self, allowed: Iterable[str] = (), *, loopback: bool = False) -> None:
        names = frozenset(allowed)
        self._any = "*" in names
        self._names = names
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))
        self._loopback = loopback
        self.known: set[bytes | None] = set()

    def check(self, host: bytes | None) -> None:
        """Refuse a request by its `Host` header, which is None if it is absent.

        Raises:
            PermissionDenied
        """
        # Nearly all requests repeat a known host and need only this look-up.
        if host in self.known:
            return
        if not self._passes(host):
            raise self._refusal(host)
        if len(self.known) >= _MOST_KNOWN:
            self.known.clear()
        self.known.add(host)

    def _passes(self, host: bytes | None) -> bool:
        if self._any:
            return True
        if not host:
            # HTTP/1.0 allows a request without it, and some probes send none. Browsers always send
            # it.
            return not self._loopback
        read = _read(host)
        if read is None:
            return False
        name, address = read
        if name.removesuffix(".") in self._names or name.endswith(self._suffixes):
            return True
        if self._loopback:
            return _is_loopback(name, address)
        return address is not None or "." not in name or _is_loopback(name, None)

    def _refusal(self, host: bytes | None) -> PermissionDenied:
        if self._loopback:
            what = (
                f"host {printable(host)} is not" if host else "a request without a Host is not for"
            )
            return PermissionDenied(
                f"permission denied: {what} this machine's loopback",
                hint="call it as localhost, name the host in the setting allowed_hosts "
                "(JETKV_ALLOWED_HOSTS), or run `jetkv serve` with --auth",
            )
        return PermissionDenied(
            f"permission denied: host {printable(host or b'')} is not allowed",
            hint="add it to the setting allowed_hosts (--allowed-host), or use --auth tokens",
        )


ANY_HOST = AllowedHosts(["*"])


def allowed_host(text: str) -> str:
    """Return an entry of the setting `allowed_hosts` in its normal form.

    Raises:
        ValueError: it is not a name, `*.` and a name, an address, or `*`.
    """
    entry = text.lower()
    if entry == "*":
        return entry
    if entry.startswith("[") or entry.count(":") > 1:
        return str(IPv6Address(entry.removeprefix("[").removesuffix("]")))
    entry = entry.removesuffix(".")
    if _PATTERN.fullmatch(entry) is None:
        raise ValueError(
            f"{text!r} must be like kv.example.org, *.example.org or *, without scheme and port"
        )
    return entry


def is_loopback(host: bytes) -> bool:
    """Return whether a host, with or without a port, is certainly loopback."""
    read = _read(host)
    return read is not None and _is_loopback(*read)


def printable(raw: bytes) -> str:
    """Return a caller's bytes as text for an error message."""
    return raw[:200].decode("latin-1")


def _read(host: bytes) -> tuple[str, Address | None] | None:
    """Return the name in a host, and its address if it is one; None if it is malformed.

    Only addresses as browsers write them count. Some programs also accept `0x7f.1` and `127.1`, but
    no browser sends them.
    """
    found = _HOST.fullmatch(host) if len(host) <= _LONGEST else None
    if found is None:
        return None
    v6 = found["v6"]
    try:
        if v6 is not None:
            inner = IPv6Address(v6.decode("ascii"))
            return str(inner), inner.ipv4_mapped or inner
        name = found["name"].decode("ascii").lower()
        if "." in name and name.replace(".", "").isdigit():
            return name, IPv4Address(name)
    except ValueError:
        return None
    if found["root"] and "." not in name:
        # A name with a root dot is a top-level domain, and its owner may point it anywhere.
        return ("localhost" if name == "localhost" else f"{name}."), None
    return name, None


def _is_loopback(name: str, address: Address | None) -> bool:
    if address is not None:
        return address.is_loopback
    return name == "localhost" or name.endswith(".localhost")
