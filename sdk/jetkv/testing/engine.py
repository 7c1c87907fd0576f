"""One container of the Docker engine as a server that a test can stop, kill, freeze and restart."""

import weakref
from abc import ABC, abstractmethod
from contextlib import ExitStack, suppress
from typing import Any, Self, cast

from jetkv.testing.handles import ServerDidNotStart, ServerNotRunning
from jetkv.testing.ports import PortHolder

try:
    # docker-py has no annotations; what comes from it is Any.
    from docker.errors import (  # type: ignore[import-untyped]
        APIError,
        DockerException,
        ImageNotFound,
        NotFound,
    )
    from testcontainers.core.config import ConnectionMode, testcontainers_config
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.network import Network
    from testcontainers.core.utils import default_gateway_ip
except ModuleNotFoundError as error:
    raise ImportError(
        f"{error.name} is not installed; containers for tests need an extra: "
        'pip install "jetkv[testing]"'
    ) from error

__all__ = [
    "START_SECONDS",
    "ContainerServer",
    "DockerContainer",
    "DockerException",
    "Network",
]

START_SECONDS = 30.0

_LOOPBACK = "127.0.0.1"
_STOP_SECONDS = 25
_TRIES_FOR_A_PORT = 5


class ContainerServer(ABC):
    """One container with one published port, whose number is the same until `remove`.

    The container goes with this object, at the latest when the interpreter ends.
    """

    def __init__(self, image: str, port: int) -> None:
        self._image = image
        self._inner_port = port
        self._host = ""
        self._port = 0
        self._container: DockerContainer | None = None
        # No callback in here may know this object, or it would never be collected.
        self._belongings = ExitStack()
        weakref.finalize(self, self._belongings.close)

    @property
    def container(self) -> DockerContainer:
        """What testcontainers knows of it, for all that a handle does not do.

        Raises:
            ServerNotRunning: it was never started.
        """
        if self._container is None:
            raise ServerNotRunning(f"there is no container of {self._image} yet: start() it first")
        return self._container

    @property
    def running(self) -> bool:
        return bool(self._state("Running"))

    def _state(self, name: str) -> bool:
        if self._container is None:
            return False
        wrapped = self._container.get_wrapped_container()
        try:
            wrapped.reload()
        except NotFound:
            return False
        return bool(wrapped.attrs["State"][name])

    def start(self) -> None:
        """Start, and return when it answers; nothing happens to a server that runs.

        Raises:
            ServerDidNotStart
        """
        if self.running:
            return
        try:
            if self._container is None:
                self._create()
            else:
                self._container.get_wrapped_container().start()
        except DockerException as error:
            raise ServerDidNotStart(self._why_it_does_not_start(error)) from error
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.kill()
            raise

    def _create(self) -> None:
        for tries_left in reversed(range(_TRIES_FOR_A_PORT)):
            try:
                with ExitStack() as made:
                    container = DockerContainer(self._image)
                    self._choose_address(container, made)
                    self._configure(container, made)
                    made.callback(_take_away, container)
                    container.start()
                    self._belongings.push(made.pop_all())
            except APIError as error:
                # Somebody was faster: the number was free, and is not any more.
                if tries_left and _is_about_a_port(error):
                    continue
                raise
            self._container = container
            return

    def _why_it_does_not_start(self, error: Exception) -> str:
        # A pull fails with whatever the registry or the way there says; its address tells it.
        if isinstance(error, ImageNotFound) or "/images/create" in str(error):
            return f"no image {self._image} here, and it cannot be pulled: {self._image_advice()}"
        if isinstance(error, APIError):
            return f"the Docker engine does not start {self._image}: {error.explanation}"
        return (
            f"no Docker engine answers: start one, or name it in DOCKER_HOST if it is not where "
            f"engines usually are ({error})"
        )

    def _choose_address(self, container: DockerContainer, made: ExitStack) -> None:
        client = container.get_docker_client()
        mode = client.get_connection_mode()
        if mode is not ConnectionMode.docker_host:
            raise ServerDidNotStart(_why_it_has_no_address(mode))
        here = client.host() in ("localhost", _LOOPBACK)
        if here:
            self._host, self._port = _LOOPBACK, made.enter_context(PortHolder()).port
            published: Any = (_LOOPBACK, self._port)
        else:
            # What is free over there is for the engine to say: it refuses what is not.
            self._host = client.host()
            with PortHolder() as holder:
                published = self._port = holder.port
        # testcontainers passes it on to the engine as it is, but is annotated for numbers alone.
        cast("dict[str, Any]", container.ports)[f"{self._inner_port}/tcp"] = published

    @abstractmethod
    def _configure(self, container: DockerContainer, made: ExitStack) -> None:
        """Say what the new container is to run; what has to go with it is put on `made`."""

    @abstractmethod
    def _wait_until_it_answers(self) -> None:
        """Return when it does; raise ServerDidNotStart after START_SECONDS, or when it ended."""

    @abstractmethod
    def _image_advice(self) -> str:
        """Return what to do when there is no such image."""

    def _why_it_ended(self) -> str | None:
        return None if self.running else f"{self._image} ended at once: {self.last_words()}"

    def last_words(self) -> str:
        """Return the last lines of its log."""
        if self._container is None:
            return "it was never started"
        try:
            log = self._container.get_wrapped_container().logs(tail=5)
        except DockerException as error:
            return f"its log cannot be read: {error}"
        return log.decode(errors="replace").strip() or "its log is empty"

    def stop(self) -> None:
        """End it gently, paused or not; its data stays. Nothing happens if it does not run."""
        if self.running:
            self.resume()
            self.container.get_wrapped_container().stop(timeout=_STOP_SECONDS)

    def kill(self) -> None:
        """End it as a crash does, paused or not; its data stays."""
        if not self.running:
            return
        # Some engines do not kill what is frozen.
        self.resume()
        wrapped = self.container.get_wrapped_container()
        wrapped.kill()
        wrapped.wait(timeout=_STOP_SECONDS)

    def pause(self) -> None:
        """Freeze it: its connections stand, nothing answers.

        Raises:
            ServerNotRunning
        """
        if not self.running:
            raise ServerNotRunning(
                f"{self._image} does not run, so nothing can be paused: start() it first"
            )
        if not self._state("Paused"):
            self.container.get_wrapped_container().pause()

    def resume(self) -> None:
        """End `pause`; nothing happens to a server that is not paused."""
        if self._state("Paused"):
            self.container.get_wrapped_container().unpause()

    def restart(self) -> None:
        """`stop` and `start`.

        Raises:
            ServerDidNotStart
        """
        self.stop()
        self.start()

    def remove(self) -> None:
        """Take the container and its data away; it can be started anew, on another address."""
        self._container = None
        self._belongings.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.remove()


def _why_it_has_no_address(mode: ConnectionMode) -> str:
    # testcontainers would ask for the container's own address, once it has one. Here it is known
    # before the container starts, and stays the same over restarts.
    override = testcontainers_config.connection_mode_override
    reason = (
        "this process runs in a container itself, where published ports are not on its loopback"
        if override is None
        else f"TESTCONTAINERS_CONNECTION_MODE is {override.value}"
    )
    return (
        f"it has no address that stays the same: {reason}, so that testcontainers takes "
        f"{mode.value}. Set TESTCONTAINERS_CONNECTION_MODE=docker_host, and "
        "TESTCONTAINERS_HOST_OVERRIDE to the address of the engine's machine as it is seen from "
        f"here{_gateway()}; leave the latter out where both share a loopback, as with "
        "`docker run --network host`"
    )


def _gateway() -> str:
    try:
        found = default_gateway_ip()
    except OSError:
        found = None
    return f", such as {found}" if found else ", such as host.docker.internal"


def _is_about_a_port(error: APIError) -> bool:
    text = str(error)
    return "port is already allocated" in text or "address already in use" in text


def _take_away(container: DockerContainer) -> None:
    # An engine that is gone has taken it along.
    with suppress(NotFound, OSError):
        container.stop()
