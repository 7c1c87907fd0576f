"""NATS and the gateway as containers, on testcontainers.

    with JetKVContainer() as jetkv:             # with a NATS of its own
        client = Client(jetkv.url)

    with NatsContainer() as nats, JetKVContainer(nats=nats) as jetkv:
        nats.kill()

Both are `ServerHandle`s. `stop` and `kill` leave the container where it is, so that `start` finds
its data again; leaving the `with` block, or `remove`, takes it away.

Images are arguments, else `JETKV_TEST_NATS_IMAGE` and `JETKV_TEST_GATEWAY_IMAGE`.
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
"""What a setting of the gateway can be; docs/configuration.md has their names."""

_NATS_PORT = 4222
_GATEWAY_PORT = 9123

_OWN_SETTINGS = {
    "host": "the image listens where the engine can reach it",
    "port": "the container's is 9123, and the address to call is `url`",
    "nats_url": "give `nats` or `nats_url`",
    "auth": "give `token`, or nothing for a gateway that lets everybody in",
    "auth_tokens": "give `token`",
}

# Its root file system is read-only and the engine may be on another machine, so the file of tokens
# is written by the container itself; every engine gives it a /dev/shm of its own.
_TOKENS = "/dev/shm/tokens"  # noqa: S108 - the container's, and nobody else is in there
_WRITE_AND_SERVE = f'echo "$JETKV_TEST_TOKEN_LINE" >{_TOKENS} && exec jetkv serve'


class NatsContainer(ContainerServer):
    """A nats-server with JetStream, on a network of its own that gateways can join.

    Args:
        image: the server's; `JETKV_TEST_NATS_IMAGE`, else an official one, when None.
        arguments: more of nats-server's command line, such as `["--user", "me"]`.
    """

    ALIAS = "nats"

    def __init__(self, image: str | None = None, *, arguments: Iterable[str] = ()) -> None:
        super().__init__(image or os.environ.get(NATS_IMAGE_VARIABLE) or NATS_IMAGE, _NATS_PORT)
        self._arguments = list(arguments)
        self._network: Network | None = None

    @property
    def url(self) -> str:
        """Where this process reaches it."""
        _check_started(self._port, "NATS")
        return f"nats://{self._host}:{self._port}"

    @property
    def url_for_containers(self) -> str:
        """Where containers on `network` reach it."""
        return f"nats://{self.ALIAS}:{_NATS_PORT}"

    @property
    def network(self) -> Network:
        """The network that it is on.

        Raises:
            ServerNotRunning: it was never started, or is removed.
        """
        if self._network is None or self._container is None:
            raise ServerNotRunning("NATS has no network yet: start() it first")
        return self._network

    def _configure(self, container: DockerContainer, made: ExitStack) -> None:
        self._network = Network().create()
        made.callback(_take_away, self._network)
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
        # The engine takes connections for a container that does not listen yet: only words count.
        with suppress(OSError), socket.create_connection((self._host, self._port), 1) as connection:
            return connection.recv(4) == b"INFO"
        return False

    def _image_advice(self) -> str:
        return f"name another in {NATS_IMAGE_VARIABLE}"


class JetKVContainer(ContainerServer):
    """A gateway, in the image of deploy/Dockerfile: no root, read-only root file system.

    Args:
        image: the gateway's; `JETKV_TEST_GATEWAY_IMAGE`, else `jetkv:latest`, when None.
        nats: the NATS it works on, which has to be started; its own when neither this nor
            `nats_url` is given.
        nats_url: a NATS that the container can reach.
        token: the one token that lets a caller in; None lets everybody in.
        settings: the gateway's, such as `request_timeout=1` or `buckets=["cache,history=5"]`.

    Raises:
        ValueError: a setting that is not for tests to choose, or an address that means the
            container itself.
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
            raise ValueError("give nats or nats_url, not both")
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
        """Where this process reaches it."""
        _check_started(self._port, "the gateway")
        return f"http://{self._host}:{self._port}"

    @property
    def nats(self) -> NatsContainer:
        """The NATS it works on, its own or the one that was given.

        Raises:
            ServerNotRunning: it works on one that is known by its address alone.
        """
        if self._nats is None:
            raise ServerNotRunning(f"NATS at {self._nats_url} is not a container of this test")
        return self._nats

    def start(self) -> None:
        """Start, its own NATS first, and return when `/ready` answers 200.

        Raises:
            ServerDidNotStart
            ServerNotRunning: the NATS that was given is not started.
        """
        # Only the first time: what becomes of it afterwards is the test's to say.
        if self._own_nats is not None and self._container is None:
            self._own_nats.start()
            self._belongings.callback(self._own_nats.remove)
        super().start()

    def _configure(
        self,
        container: DockerContainer,
        made: ExitStack,  # noqa: ARG002 - the signature is given
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
                # The engine's machine may be known by a name with dots.
                container.with_env("JETKV_ALLOWED_HOSTS", "*")
            container.with_env("JETKV_AUTH", "off").with_kwargs(**hardened)
            return
        line = f"tests:{hashlib.sha256(self._token.encode()).hexdigest()}"
        container.with_env("JETKV_TEST_TOKEN_LINE", line)
        container.with_env("JETKV_AUTH", "tokens").with_env("JETKV_AUTH_TOKENS", _TOKENS)
        container.with_kwargs(entrypoint=["/bin/sh", "-c", _WRITE_AND_SERVE], **hardened)

    def _wait_until_it_answers(self) -> None:
        wait_until_ready(self.url, seconds=START_SECONDS, ended=self._why_it_ended)

    def _image_advice(self) -> str:
        return (
            "build it with `docker build -f deploy/Dockerfile -t jetkv .`, "
            f"or name another in {GATEWAY_IMAGE_VARIABLE}"
        )


def _check_started(port: int, who: str) -> None:
    if not port:
        raise ServerNotRunning(f"{who} has no address yet: start() it first")


def _check_reachable(nats_url: str) -> None:
    for address in nats_url.replace(",", " ").split():
        host = urlsplit(address if "://" in address else f"nats://{address}").hostname or ""
        if host == "localhost" or host == "::1" or host.startswith("127."):
            raise ValueError(
                f"nats_url {address} is the container's own loopback: give nats=NatsContainer(), "
                "or an address of this machine that containers reach"
            )


def _text(value: ContainerSetting) -> str:
    return value if isinstance(value, str) else json.dumps(_plain(value))


def _plain(value: ContainerSetting) -> object:
    return list(value) if isinstance(value, Iterable) else value


def _take_away(network: Network) -> None:
    # A gateway that is not removed yet holds on to it: what stays then is an empty network.
    with suppress(DockerException, OSError):
        network.remove()
