"""The servers of a pytest run: started once, and repaired after a test that may have broken one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jetkv.testing.handles import ServerHandle
from jetkv.testing.ready import wait_until_ready

__all__ = ["Servers", "container_servers", "local_servers"]

_REPAIR_SECONDS = 30.0


class Servers:
    """NATS, and a gateway on it.

    Attributes:
        lent: whether a test has a handle of a server, so that it may have stopped or paused it.
    """

    def __init__(self, nats: ServerHandle, gateway: ServerHandle) -> None:
        self.nats = nats
        self.gateway = gateway
        self.lent = False

    def repair(self) -> None:
        """Resume and start both servers, and return when the gateway is ready.

        Raises:
            ServerDidNotStart: the gateway is not ready in 30 s.
        """
        if not self.lent:
            return
        for server in (self.nats, self.gateway):
            server.resume()
            server.start()
        wait_until_ready(self.gateway.url, seconds=_REPAIR_SECONDS)


@contextmanager
def local_servers(
    folder: Path, *, token: str | None, settings: Mapping[str, Any]
) -> Iterator[Servers]:
    """Run both servers as processes of this machine, with their files in `folder`."""
    from jetkv.testing.local import LocalGateway, LocalNats

    with (
        LocalNats(folder / "nats") as nats,
        LocalGateway(nats.url, token=token, folder=folder / "gateway", **settings) as gateway,
    ):
        yield Servers(nats, gateway)


@contextmanager
def container_servers(
    nats_image: str | None,
    gateway_image: str | None,
    *,
    token: str | None,
    settings: Mapping[str, Any],
) -> Iterator[Servers]:
    """Run both servers as containers. None stands for the default image."""
    from jetkv.testing.containers import JetKVContainer, NatsContainer

    with (
        NatsContainer(nats_image) as nats,
        JetKVContainer(gateway_image, nats=nats, token=token, **settings) as gateway,
    ):
        yield Servers(nats, gateway)
