"""Addresses of NATS instead of a gateway: a command starts a gateway for itself.

The gateway's package offers that by the entry point `private` of the group `jetkv.gateways`: a
function that takes the address of NATS, and returns a context manager that yields the address and
the token of a gateway.
"""

from contextlib import AbstractContextManager
from importlib.metadata import entry_points

from jetkv.cli.exits import CommandError, Exit

__all__ = ["is_nats", "private_gateway"]

_GROUP = "jetkv.gateways"
_SCHEMES = ("nats", "tls", "ws", "wss")


def is_nats(url: str) -> bool:
    """Return whether an address is one of NATS."""
    return url.partition("://")[0].lower() in _SCHEMES


def private_gateway(url: str) -> AbstractContextManager[tuple[str, str]]:
    """Return a gateway that runs as long as the context manager is entered.

    Raises:
        CommandError: the gateway is not installed.
    """
    needs = CommandError(
        "an address of NATS needs the gateway",
        Exit.USAGE,
        hint='pip install "jetkv[gateway]", or give the address of a gateway, such as '
        "http://localhost:9123",
    )
    found = next(iter(entry_points(group=_GROUP, name="private")), None)
    if found is None:
        raise needs
    try:
        start = found.load()
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.startswith("jetkv"):
            raise
        raise needs from error
    gateway: AbstractContextManager[tuple[str, str]] = start(url)
    return gateway
