"""A few nats-servers that form a cluster, and ports for them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jetkv.testing import LocalNats
from tests.support.ports import free_ports


def cluster_config(name: str, port: int, routes: list[int], *, advertise: bool = True) -> str:
    """What makes a nats-server a member of a cluster, of which `routes` are the ports.

    Without `advertise` clients are not told of the other members.
    """
    addresses = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
    return (
        f"server_name: {name}\n"
        f'cluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{addresses}], '
        f"no_advertise: {str(not advertise).lower()} }}"
    )


class Member(LocalNats):
    """A nats-server of a cluster.

    Attributes:
        name: in the cluster, such as `n0`.
    """

    def __init__(
        self, folder: Path, name: str, cluster: str, config: str, binary: Path | None = None
    ) -> None:
        super().__init__(folder / name, config=f"{cluster}\n{config}", binary=binary)
        self.name = name
        self._folder = folder
        self._cluster = cluster

    def upgrade(self, binary: Path) -> None:
        """Stop it, and start another version on the same port and data."""
        self.stop()
        self._binary = binary
        self.start()

    def otherwise(self, config: str) -> LocalNats:
        """The same member with other settings, to be started while this one is stopped."""
        return LocalNats(
            self._folder / self.name, port=self.port, config=f"{self._cluster}\n{config}"
        )


@contextmanager
def running_cluster(
    folder: Path,
    size: int = 3,
    *,
    config: str = "",
    advertise: bool = True,
    ports: list[int] | None = None,
    binary: Path | None = None,
) -> Iterator[list[Member]]:
    """Start the members; JetStream of a new cluster takes some two seconds to be ready.

    `ports` are those of their routes, free ones if None; `binary` is that of `LocalNats`.
    """
    ports = ports or free_ports(size)
    with ExitStack() as stack:
        members = []
        for number, port in enumerate(ports):
            name = f"n{number}"
            cluster = cluster_config(name, port, ports, advertise=advertise)
            members.append(stack.enter_context(Member(folder, name, cluster, config, binary)))
        try:
            yield members
        finally:
            for member in members:
                member.resume()
