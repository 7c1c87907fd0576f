"""The callers of a worker, and the accounts that their requests count for."""

from collections.abc import Mapping
from dataclasses import dataclass

from jetkv_gateway.kv.access import ANONYMOUS, Principal
from jetkv_gateway.serving.addresses import (
    Caller,
    TrustedProxies,
    block_of,
    find_caller,
    is_loopback,
)
from jetkv_gateway.serving.shares import Account, Accounts

__all__ = ["CallerOptions", "Callers", "Peer"]

_NO_PROXIES = TrustedProxies()


@dataclass(frozen=True, slots=True)
class CallerOptions:
    """How to tell callers apart.

    Attributes:
        proxies: the proxies whose headers count.
        proxy_protocol: whether their connections start with a PROXY protocol header.
        limit_loopback: whether the share also applies to callers on this machine.
    """

    proxies: TrustedProxies = _NO_PROXIES
    proxy_protocol: bool = False
    limit_loopback: bool = False


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    Attributes:
        address: in its shortest form.
        block: the IPv4 address or IPv6 network that counts as one caller.
        account: the account that the connection counts for.
        trusted: whether its requests may name another caller.
    """

    address: str
    block: str
    account: Account
    trusted: bool


class Callers:
    """The callers. A trusted proxy has no share itself, only the callers behind it."""

    def __init__(self, options: CallerOptions) -> None:
        self._options = options
        self._accounts = Accounts()
        self.unknown_peer = Peer("", "", self._accounts.unlimited, trusted=False)

    def peer(self, address: str, *, from_proxy: bool = False) -> Peer:
        """Return the peer of a connection.

        Args:
            address: as the socket reports it, or empty.
            from_proxy: whether it comes from a PROXY protocol header. A loopback address then means
                the proxy's machine, not this one.
        """
        shown = find_caller(address, {}, self._options.proxies).address
        block = block_of(shown)
        if self._options.proxies.trusts(address):
            return Peer(shown, block, self._accounts.unlimited, trusted=True)
        if is_loopback(address) and not from_proxy and not self._options.limit_loopback:
            return Peer(shown, block, self._accounts.unlimited, trusted=False)
        return Peer(shown, block, self._accounts.of_address(block), trusted=False)

    def begins_with_proxy_header(self, peer: Peer) -> bool:
        """Return whether a connection must start with a PROXY protocol header."""
        return self._options.proxy_protocol and peer.trusted

    def forwarded(
        self, peer: Peer, headers: Mapping[bytes, bytes], scheme: str
    ) -> tuple[Caller, Account]:
        """Return the caller of a request through a trusted proxy, and its account.

        A proxy that names no caller is itself the caller, with a share. A loopback address that a
        proxy names has a share, too.
        """
        found = find_caller(peer.address, headers, self._options.proxies, scheme)
        block = block_of(found.address)
        return found._replace(address=block), self._accounts.of_address(block)

    def of_token(self, account: Account, principal: Principal) -> Account | None:
        """Return the account of a token, or None without a token or without a limit."""
        if principal is ANONYMOUS or not account.limited:
            return None
        # Names of different kinds of credentials may be equal.
        return self._accounts.of_token(principal.identity or principal.name)
