"""The servers to connect to: those of the settings, and those that the cluster announces.

An announced server inherits scheme, login and certificate name from the server that announced it,
because a cluster announces its members by IP address. nats-py has the same list, but it is lost
with each of its clients, and the gateway needs a new client for each connection.
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
    """The login in an address: user and password, or a token, or nothing."""

    user: str | None = None
    password: str | None = None
    token: str | None = None


@dataclass(slots=True, eq=False)
class Server:
    """One address of NATS.

    Attributes:
        path: of a WebSocket URL, else "".
        names: possible names in its certificate, in the order to try them.
        given: whether it comes from the settings. Other servers are dropped when the cluster no
            longer announces them.
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
        """Host and port in NATS's notation."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The address without the login."""
        return f"{self.scheme}://{self.place}{self.path}"

    @property
    def websocket(self) -> bool:
        return self.scheme in ("ws", "wss")

    @property
    def secure(self) -> bool:
        """Whether the scheme requires TLS."""
        return self.scheme in ("tls", "wss")

    def try_another_name(self) -> None:
        """Expect the next possible name in the certificate from now on."""
        self.names.append(self.names.pop(0))


def parse_server(address: str) -> Server:
    """Parse an address such as `nats://user:password@host:4222`; the login is percent-decoded.

    Raises:
        ValueError: it is not an address. The text never contains the login.
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
        raise ValueError(
            f"{shown!r} is not an address: is it host:port, or [IPv6]:port?"
        ) from error
    path = parts.path if scheme in ("ws", "wss") else parts.path.rstrip("/")
    if not host or parts.query or parts.fragment or (path and scheme not in ("ws", "wss")):
        raise ValueError(
            f"{shown!r} is not an address: write host:port, and percent-encode the characters "
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
    """The order in which servers are tried: the last one tried moves to the end.

    Args:
        given: the addresses of the settings.
        certificate_name: the name to expect in every certificate; None for each server's own.
        secure: whether all servers must offer TLS; one address in `given` that requires TLS implies
            it.
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
        """Return the server to try now."""
        server = self._all.pop(0)
        self._all.append(server)
        return server

    def learn(self, source: Server, places: Iterable[str]) -> None:
        """Process the members of a cluster, as `source` announces them.

        New members are placed before `source` in random order, so that gateways spread over them.
        The servers of the settings always stay.
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
        """Return the server at a place, with what it inherits; None if the place is invalid."""
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
            # Certificates rarely contain the members' IP addresses, so try the name first.
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
