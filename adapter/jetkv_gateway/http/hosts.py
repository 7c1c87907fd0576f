"""Which names the gateway answers under (docs/deployment.md#names).

An attacker can point a name of his own at any address, this machine's loopback included. To a
browser, his page and the gateway then have the same origin, so nothing that a browser enforces
keeps them apart (DNS rebinding). What the request still tells is the name: it stands in `Host`.

An address is no name, so nobody can point it elsewhere; `localhost` and the names under it never
leave the machine; and a name without a dot is one of the local network, such as a service of a
compose file. These pass. All other names have to be allowed.
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
    """The rule.

    Args:
        allowed: as `allowed_host` returns them.
        loopback: whether of all others only this machine's loopback passes, and nothing without a
            name.
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
        """Refuse a request by the value of its `Host`, None where it has none.

        Raises:
            PermissionDenied
        """
        # Those who come back, which is nearly everybody, cost one look.
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
            # HTTP/1.0 may leave it out, as some probes do; no browser does.
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
    """Return an entry of the setting `allowed_hosts` in the form that hosts are compared in.

    Raises:
        ValueError: it is neither a name, nor `*.` and a name, nor an address, nor `*`.
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
    """Return whether a host, with or without a port, is this machine's loopback for sure."""
    read = _read(host)
    return read is not None and _is_loopback(*read)


def printable(raw: bytes) -> str:
    """Return what a caller sent, for the text of an error."""
    return raw[:200].decode("latin-1")


def _read(host: bytes) -> tuple[str, Address | None] | None:
    """Return the name in a host, and the address that it is; None where it is neither.

    An address counts only as browsers write it. `0x7f.1` and `127.1`, too, are addresses to some,
    but no browser sends them.
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
        # A top-level domain, whose owner may point it anywhere: no search list is asked for it.
        return ("localhost" if name == "localhost" else f"{name}."), None
    return name, None


def _is_loopback(name: str, address: Address | None) -> bool:
    if address is not None:
        return address.is_loopback
    return name == "localhost" or name.endswith(".localhost")
