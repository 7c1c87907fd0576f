"""A few nats-servers that form a cluster, and ports for them."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jetkv_gateway.embedded import NatsServer


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)
        ]
        return [taken.getsockname()[1] for taken in sockets]


def cluster_config(name: str, port: int, routes: list[int]) -> str:
    """What makes a nats-server a member of a cluster, of which `routes` are the ports."""
    addresses = ", ".join(f'"nats://127.0.0.1:{route}"' for route in routes)
    return (
        f"server_name: {name}\n"
        f'cluster {{ name: test, listen: "127.0.0.1:{port}", routes: [{addresses}] }}'
    )


@contextmanager
def running_cluster(folder: Path, size: int = 3, *, config: str = "") -> Iterator[list[NatsServer]]:
    """Start the members; JetStream of a new cluster takes some two seconds to be ready."""
    ports = free_ports(size)
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                NatsServer(
                    folder / f"n{number}",
                    config=f"{cluster_config(f'n{number}', port, ports)}\n{config}",
                )
            )
            for number, port in enumerate(ports)
        ]
