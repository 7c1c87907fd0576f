"""The callers of a worker: who sends a request, and the accounts that it counts for."""

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
    """How callers are told apart.

    Attributes:
        proxies: whose word on the caller counts.
        proxy_protocol: whether their connections begin with a header of the PROXY protocol.
        limit_loopback: whether callers on this machine have a share, too.
    """

    proxies: TrustedProxies = _NO_PROXIES
    proxy_protocol: bool = False
    limit_loopback: bool = False


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    Attributes:
        address: in its shortest form.
        block: what counts as one caller: the address, of IPv6 its network.
        account: that the connection counts for.
        trusted: whether requests on it may tell another caller.
    """

    address: str
    block: str
    account: Account
    trusted: bool


class Callers:
    """Who calls. Of a proxy that is trusted, only the callers behind it have a share."""

    def __init__(self, options: CallerOptions) -> None:
        self._options = options
        self._accounts = Accounts()
        self.unknown_peer = Peer("", "", self._accounts.unlimited, trusted=False)

    def peer(self, address: str, *, from_proxy: bool = False) -> Peer:
        """Return what is known of the other end of a connection.

        Args:
            address: as the socket has it, empty where it has none.
            from_proxy: whether the PROXY protocol told it. A loopback address then means the
                proxy's machine, not this one.
        """
        shown = find_caller(address, {}, self._options.proxies).address
        block = block_of(shown)
        if self._options.proxies.trusts(address):
            return Peer(shown, block, self._accounts.unlimited, trusted=True)
        if is_loopback(address) and not from_proxy and not self._options.limit_loopback:
            return Peer(shown, block, self._accounts.unlimited, trusted=False)
        return Peer(shown, block, self._accounts.of_address(block), trusted=False)

    def begins_with_proxy_header(self, peer: Peer) -> bool:
        """Return whether a connection has to begin with a header of the PROXY protocol."""
        return self._options.proxy_protocol and peer.trusted

    def forwarded(
        self, peer: Peer, headers: Mapping[bytes, bytes], scheme: str
    ) -> tuple[Caller, Account]:
        """Return who sends a request by a trusted proxy, as one caller, and whom it counts for.

        A proxy that names nobody is a caller like any other. So is one on this machine, and whoever
        says through a proxy to be on this machine.
        """
        found = find_caller(peer.address, headers, self._options.proxies, scheme)
        block = block_of(found.address)
        return found._replace(address=block), self._accounts.of_address(block)

    def of_token(self, account: Account, principal: Principal) -> Account | None:
        """Return the account of a token, None where a request has none or is without a limit."""
        if principal is ANONYMOUS or not account.limited:
            return None
        return self._accounts.of_token(principal.name)
