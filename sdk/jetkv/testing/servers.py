"""The servers of a pytest run: started once, mended after each test that may have broken one."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jetkv.testing.handles import ServerHandle
from jetkv.testing.ready import wait_until_ready

__all__ = ["Servers", "container_servers", "local_servers"]

_MEND_SECONDS = 30.0


class Servers:
    """NATS, and a gateway on it.

    Attributes:
        lent: whether a test has a handle of one of them, so that anything may have been done.
    """

    def __init__(self, nats: ServerHandle, gateway: ServerHandle) -> None:
        self.nats = nats
        self.gateway = gateway
        self.lent = False

    def mend(self) -> None:
        """Undo what a test has done to them, and return when the gateway is ready again.

        Raises:
            ServerDidNotStart: it is not in time.
        """
        if not self.lent:
            return
        for server in (self.nats, self.gateway):
            server.resume()
            server.start()
        wait_until_ready(self.gateway.url, seconds=_MEND_SECONDS)


@contextmanager
def local_servers(
    folder: Path, *, token: str | None, settings: Mapping[str, Any]
) -> Iterator[Servers]:
    """Run both as processes of this machine; their files are in `folder`."""
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
    """Run both as containers; of an image, None is the container's own default."""
    from jetkv.testing.containers import JetKVContainer, NatsContainer

    with (
        NatsContainer(nats_image) as nats,
        JetKVContainer(gateway_image, nats=nats, token=token, **settings) as gateway,
    ):
        yield Servers(nats, gateway)
