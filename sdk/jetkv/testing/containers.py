"""NATS and the gateway as containers, on testcontainers.

    with JetKVContainer() as jetkv:             # with a NATS of its own
        client = Client(jetkv.url)

    with NatsContainer() as nats, JetKVContainer(nats=nats) as jetkv:
        nats.kill()

Both are a `ServerHandle`. `stop` and `kill` keep the container, so that `start` finds its data
again. `remove`, and the end of the `with` block, delete it.

Choose the images by arguments, or by `JETKV_TEST_NATS_IMAGE` and `JETKV_TEST_GATEWAY_IMAGE`.
"""

import hashlib
import json
import os
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

from jetkv.testing.engine import (
    START_SECONDS,
    ContainerServer,
    DockerContainer,
    DockerException,
    Network,
)
from jetkv.testing.handles import ServerDidNotStart, ServerNotRunning
from jetkv.testing.ready import wait_until_ready

__all__ = [
    "GATEWAY_IMAGE",
    "GATEWAY_IMAGE_VARIABLE",
    "NATS_IMAGE",
    "NATS_IMAGE_VARIABLE",
    "ContainerSetting",
    "JetKVContainer",
    "NatsContainer",
]

NATS_IMAGE = "nats:2.12-alpine"
NATS_IMAGE_VARIABLE = "JETKV_TEST_NATS_IMAGE"
GATEWAY_IMAGE = "jetkv:latest"
GATEWAY_IMAGE_VARIABLE = "JETKV_TEST_GATEWAY_IMAGE"

ContainerSetting = str | int | float | Iterable[str]
"""The types of a gateway's setting. docs/configuration.md lists the settings."""

_NATS_PORT = 4222
_GATEWAY_PORT = 9123

_OWN_SETTINGS = {
    "host": "the image sets it",
    "port": "it is 9123 inside the container; see `url` for the address outside",
    "nats_url": "use `nats` or `nats_url`",
    "auth": "use `token`; without it, the gateway accepts every caller",
    "auth_tokens": "use `token`",
}

# The container writes the file of tokens itself: its root file system is read-only, and the engine
# may be on another machine. Every container has a writable /dev/shm.
_TOKENS = "/dev/shm/tokens"  # noqa: S108 - inside the container, where no other program runs
_WRITE_AND_SERVE = f'echo "$JETKV_TEST_TOKEN_LINE" >{_TOKENS} && exec jetkv serve'


class NatsContainer(ContainerServer):
    """A nats-server with JetStream, on a network of its own that gateways can join.

    Args:
        image: the image. None uses `JETKV_TEST_NATS_IMAGE`, or else an official image.
        arguments: further arguments of nats-server, such as `["--user", "me"]`.
    """

    ALIAS = "nats"

    def __init__(self, image: str | None = None, *, arguments: Iterable[str] = ()) -> None:
        super().__init__(image or os.environ.get(NATS_IMAGE_VARIABLE) or NATS_IMAGE, _NATS_PORT)
        self._arguments = list(arguments)
        self._network: Network | None = None

    @property
    def url(self) -> str:
        """The address for this process."""
        _check_started(self._port, "NATS")
        return f"nats://{self._host}:{self._port}"

    @property
    def url_for_containers(self) -> str:
        """The address for containers on `network`."""
        return f"nats://{self.ALIAS}:{_NATS_PORT}"

    @property
    def network(self) -> Network:
        """The container's network.

        Raises:
            ServerNotRunning: the container was not started yet, or was removed.
        """
        if self._network is None or self._container is None:
            raise ServerNotRunning("NATS has no network yet: call start() first")
        return self._network

    def _configure(self, container: DockerContainer, cleanup: ExitStack) -> None:
        self._network = Network().create()
        cleanup.callback(_remove, self._network)
        container.with_network(self._network).with_network_aliases(self.ALIAS)
        container.with_command(["--jetstream", "--store_dir", "/data", *self._arguments])

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if (end := self._why_it_ended()) is not None:
                raise ServerDidNotStart(end)
            if time.monotonic() > deadline:
                raise ServerDidNotStart(
                    f"{self._image} does not answer after {START_SECONDS:g} s: {self.last_words()}"
                )
            time.sleep(0.02)

    def _answers(self) -> bool:
        # The engine accepts connections before the container listens, so only an answer counts.
        with suppress(OSError), socket.create_connection((self._host, self._port), 1) as connection:
            return connection.recv(4) == b"INFO"
        return False

    def _image_advice(self) -> str:
        return f"set {NATS_IMAGE_VARIABLE} to another image"


class JetKVContainer(ContainerServer):
    """A gateway in the image of deploy/Dockerfile: without root, on a read-only file system.

    Args:
        image: the image. None uses `JETKV_TEST_GATEWAY_IMAGE`, or else `jetkv:latest`.
        nats: a NATS container, which must be started. Without `nats` and `nats_url`, the gateway
            gets a NATS container of its own.
        nats_url: the address of another NATS that the container can reach.
        token: the token that callers must send. None accepts every caller.
        settings: the gateway's settings, such as `request_timeout=1` or
            `buckets=["cache,history=5"]`.

    Raises:
        ValueError: a test cannot choose this setting, or `nats_url` is a loopback address, which
            in the container means the container itself.
    """

    def __init__(
        self,
        image: str | None = None,
        *,
        nats: NatsContainer | None = None,
        nats_url: str | None = None,
        token: str | None = None,
        **settings: ContainerSetting,
    ) -> None:
        for name in settings.keys() & _OWN_SETTINGS.keys():
            raise ValueError(f"{name} cannot be set: {_OWN_SETTINGS[name]}")
        if nats is not None and nats_url is not None:
            raise ValueError("use nats or nats_url, not both")
        _check_reachable(nats_url or "")
        image = image or os.environ.get(GATEWAY_IMAGE_VARIABLE) or GATEWAY_IMAGE
        super().__init__(image, _GATEWAY_PORT)
        self._own_nats = NatsContainer() if nats is None and nats_url is None else None
        self._nats = nats or self._own_nats
        self._nats_url = nats_url
        self._token = token
        self._settings = settings

    @property
    def url(self) -> str:
        """The address for this process."""
        _check_started(self._port, "the gateway")
        return f"http://{self._host}:{self._port}"

    @property
    def nats(self) -> NatsContainer:
        """The gateway's NATS container.

        Raises:
            ServerNotRunning: the gateway was made with a `nats_url`.
        """
        if self._nats is None:
            raise ServerNotRunning(f"NATS at {self._nats_url} is not a container of this test")
        return self._nats

    def start(self) -> None:
        """Start the gateway, and return when `/ready` answers 200.

        The first call also starts the gateway's own NATS container, if it has one.

        Raises:
            ServerDidNotStart: a server did not start in time.
            ServerNotRunning: the given NATS container was not started.
        """
        # Only at the first start. After that, the test decides what happens to NATS.
        if self._own_nats is not None and self._container is None:
            self._own_nats.start()
            self._cleanup.callback(self._own_nats.remove)
        super().start()

    def _configure(
        self,
        container: DockerContainer,
        cleanup: ExitStack,  # noqa: ARG002 - the base class has this parameter
    ) -> None:
        for name, value in self._settings.items():
            container.with_env(f"JETKV_{name.upper()}", _text(value))
        url = self._nats_url
        if self._nats is not None:
            container.with_network(self._nats.network)
            url = self._nats.url_for_containers
        container.with_env("JETKV_NATS_URL", url or "")
        hardened = {
            "read_only": True,
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges:true"],
        }
        if self._token is None:
            if "allowed_hosts" not in self._settings:
                # The engine's machine may have a name that the gateway does not accept by default.
                container.with_env("JETKV_ALLOWED_HOSTS", "*")
            container.with_env("JETKV_AUTH", "off").with_env("JETKV_INSECURE", "true")
            container.with_kwargs(**hardened)
            return
        line = f"tests:{hashlib.sha256(self._token.encode()).hexdigest()} *:*"
        container.with_env("JETKV_TEST_TOKEN_LINE", line)
        container.with_env("JETKV_AUTH", "tokens").with_env("JETKV_AUTH_TOKENS", _TOKENS)
        container.with_kwargs(entrypoint=["/bin/sh", "-c", _WRITE_AND_SERVE], **hardened)

    def _wait_until_it_answers(self) -> None:
        wait_until_ready(self.url, seconds=START_SECONDS, ended=self._why_it_ended)

    def _image_advice(self) -> str:
        return (
            "build it with `docker build -f deploy/Dockerfile -t jetkv .`, "
            f"or set {GATEWAY_IMAGE_VARIABLE} to another image"
        )


def _check_started(port: int, server: str) -> None:
    if not port:
        raise ServerNotRunning(f"{server} has no address yet: call start() first")


def _check_reachable(nats_url: str) -> None:
    for address in nats_url.replace(",", " ").split():
        host = urlsplit(address if "://" in address else f"nats://{address}").hostname or ""
        if host == "localhost" or host == "::1" or host.startswith("127."):
            raise ValueError(
                f"nats_url {address} is the container's own loopback: use nats=NatsContainer(), or "
                "an address of this machine that containers can reach"
            )


def _text(value: ContainerSetting) -> str:
    return value if isinstance(value, str) else json.dumps(_plain(value))


def _plain(value: ContainerSetting) -> object:
    return list(value) if isinstance(value, Iterable) else value


def _remove(network: Network) -> None:
    # This fails while a gateway is still on the network. Then an empty network remains.
    with suppress(DockerException, OSError):
        network.remove()
