"""The servers that the gateway may connect to: those of the settings, and those that NATS names.

A server that is learned inherits what the settings say of the one that named it: scheme, login, and
the name in its certificate, since a cluster names its members by IP address. nats-py would know
this for as long as one of its clients lives; ours live as long as a connection.
"""

import ipaddress
import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["Login", "Server", "Servers", "parse_server"]

_SCHEMES = ("nats", "tls", "ws", "wss")
_PORTS = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443}


class Login(NamedTuple):
    """The login of an address: user and password, or a token, or nothing."""

    user: str | None = None
    password: str | None = None
    token: str | None = None


@dataclass(slots=True, eq=False)
class Server:
    """One address of NATS.

    Attributes:
        path: of a WebSocket's URL, else "".
        names: that its certificate may be for; the first is tried first.
        given: whether the settings have it; others go when the cluster names them no more.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    login: Login = field(default=Login(), repr=False)
    names: list[str] = field(default_factory=list)
    given: bool = True

    def __post_init__(self) -> None:
        self.names = self.names or [self.host]

    @property
    def place(self) -> str:
        """Host and port, as NATS writes them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address without its login."""
        return f"{self.scheme}://{self.place}{self.path}"

    @property
    def websocket(self) -> bool:
        return self.scheme in ("ws", "wss")

    @property
    def secure(self) -> bool:
        """Whether its scheme demands TLS."""
        return self.scheme in ("tls", "wss")

    def try_another_name(self) -> None:
        """Expect the next of its names in its certificate from now on."""
        self.names.append(self.names.pop(0))


def parse_server(address: str) -> Server:
    """Read an address such as `nats://user:password@host:4222`; the login is percent-decoded.

    Raises:
        ValueError: it is none; the text never shows the login.
    """
    scheme, found, rest = address.partition("://")
    if not found:
        scheme, rest = "nats", address
    shown = f"{scheme}://{rest.rpartition('@')[2]}"
    if scheme not in _SCHEMES:
        raise ValueError(f"{shown!r} must start with nats://, tls://, ws:// or wss://")
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{shown!r} is no address: is it host:port, or [IPv6]:port?") from error
    path = parts.path if scheme in ("ws", "wss") else parts.path.rstrip("/")
    if not host or parts.query or parts.fragment or (path and scheme not in ("ws", "wss")):
        raise ValueError(
            f"{shown!r} is no address: write host:port, and percent-encode the characters "
            "/ ? # @ % of a user, password or token"
        )
    user, password = parts.username, parts.password
    login = Login()
    if user is not None and password is not None:
        login = Login(unquote(user), unquote(password))
    elif user:
        login = Login(token=unquote(user))
    return Server(scheme, host, port or _PORTS[scheme], path, login)


class Servers:
    """Whom to try next: the one that was tried last comes last.

    Args:
        given: addresses of the settings.
        certificate_name: expected of all of them, or None for that of each.
        secure: whether all have to offer TLS, as they do when one of `given` has to.
    """

    def __init__(self, given: Iterable[str], *, certificate_name: str | None, secure: bool) -> None:
        self._all = [parse_server(address) for address in given]
        self._certificate_name = certificate_name
        self.secure = secure or any(server.secure for server in self._all)
        if certificate_name is not None:
            for server in self._all:
                server.names = [certificate_name]

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, server: Server) -> bool:
        return server in self._all

    def next(self) -> Server:
        """Return whom to try now."""
        server = self._all.pop(0)
        self._all.append(server)
        return server

    def learn(self, source: Server, places: Iterable[str]) -> None:
        """Take over which members the cluster has now, as `source` names them.

        New ones come before `source` in turn, in any order, so that not all gateways go the same
        way. The servers of the settings stay, whoever is named.
        """
        named = {
            server.place: server
            for place in places
            if (server := self._learned(source, place)) is not None
        }
        known = {server.place for server in self._all}
        new = [server for place, server in named.items() if place not in known]
        random.shuffle(new)
        self._all = [
            server
            for server in self._all
            if server.given or server is source or server.place in named
        ]
        at = self._all.index(source) if source in self._all else len(self._all)
        self._all[at:at] = new

    def _learned(self, source: Server, place: str) -> Server | None:
        """Return the server at a place, with what it inherits; None where that is no place."""
        try:
            server = parse_server(f"{source.scheme}://{place}")
        except ValueError:
            return None
        if server.login != Login():
            return None
        names = [server.host]
        if self._certificate_name is not None:
            names = [self._certificate_name]
        elif _is_ip(server.host):
            # A certificate seldom has the members' IP addresses, unless it was made so.
            names = [source.names[0], server.host]
            if _is_ip(source.names[0]):
                names.reverse()
        return replace(server, login=source.login, names=list(dict.fromkeys(names)), given=False)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
