"""A container of the Docker engine that a test can stop, kill, pause and restart."""

import weakref
from abc import ABC, abstractmethod
from contextlib import ExitStack, suppress
from typing import Any, Self, cast

from jetkv.testing.handles import ServerDidNotStart, ServerNotRunning
from jetkv.testing.ports import PortHolder

try:
    # docker-py has no annotations, so its objects are Any.
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
        f'{error.name} is not installed; containers for tests need it: pip install "jetkv[testing]"'
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
    """One container with one published port. The port stays the same until `remove`.

    The container is removed together with this object, or when the interpreter ends.

    Args:
        image: the image.
        port: the server's port inside the container.
    """

    def __init__(self, image: str, port: int) -> None:
        self._image = image
        self._inner_port = port
        self._host = ""
        self._port = 0
        self._container: DockerContainer | None = None
        # Its callbacks must not refer to this object, or the object would never be collected.
        self._cleanup = ExitStack()
        weakref.finalize(self, self._cleanup.close)

    @property
    def container(self) -> DockerContainer:
        """The container of testcontainers, for everything that a `ServerHandle` does not have.

        Raises:
            ServerNotRunning: the container was not started yet.
        """
        if self._container is None:
            raise ServerNotRunning(
                f"there is no container of {self._image} yet: call start() first"
            )
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
        """Start the server, and return when it answers. If it is running, this does nothing.

        Raises:
            ServerDidNotStart: it did not start in time, or the engine refused to start it.
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
                with ExitStack() as cleanup:
                    container = DockerContainer(self._image)
                    self._choose_address(container, cleanup)
                    self._configure(container, cleanup)
                    cleanup.callback(_remove, container)
                    container.start()
                    self._cleanup.push(cleanup.pop_all())
            except APIError as error:
                # Another process has taken the port in the meantime.
                if tries_left and _is_about_a_port(error):
                    continue
                raise
            self._container = container
            return

    def _why_it_does_not_start(self, error: Exception) -> str:
        # The text of a failed pull varies, but it has this path of the engine's API.
        if isinstance(error, ImageNotFound) or "/images/create" in str(error):
            return (
                f"there is no image {self._image}, and it cannot be pulled: {self._image_advice()}"
            )
        if isinstance(error, APIError):
            return f"the Docker engine does not start {self._image}: {error.explanation}"
        return (
            "no Docker engine answers: start one, or set DOCKER_HOST if it has an unusual address "
            f"({error})"
        )

    def _choose_address(self, container: DockerContainer, cleanup: ExitStack) -> None:
        client = container.get_docker_client()
        mode = client.get_connection_mode()
        if mode is not ConnectionMode.docker_host:
            raise ServerDidNotStart(_why_it_has_no_address(mode))
        here = client.host() in ("localhost", _LOOPBACK)
        if here:
            self._host, self._port = _LOOPBACK, cleanup.enter_context(PortHolder()).port
            published: Any = (_LOOPBACK, self._port)
        else:
            # This process cannot see which ports are free on the engine's machine. The engine
            # refuses a port that is taken.
            self._host = client.host()
            with PortHolder() as holder:
                published = self._port = holder.port
        # testcontainers passes the pair on to the engine, but its annotation allows only numbers.
        cast("dict[str, Any]", container.ports)[f"{self._inner_port}/tcp"] = published

    @abstractmethod
    def _configure(self, container: DockerContainer, cleanup: ExitStack) -> None:
        """Configure the new container. Callbacks on `cleanup` run when it is removed."""

    @abstractmethod
    def _wait_until_it_answers(self) -> None:
        """Return when it answers.

        Raises:
            ServerDidNotStart: it has ended, or does not answer within START_SECONDS.
        """

    @abstractmethod
    def _image_advice(self) -> str:
        """Return what a user can do if the image does not exist."""

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
        """Stop the server, even if it is paused. Its data stays.

        If it is not running, this does nothing.
        """
        if self.running:
            self.resume()
            self.container.get_wrapped_container().stop(timeout=_STOP_SECONDS)

    def kill(self) -> None:
        """End the server at once, like a crash, even if it is paused. Its data stays."""
        if not self.running:
            return
        # Some engines cannot kill a paused container.
        self.resume()
        wrapped = self.container.get_wrapped_container()
        wrapped.kill()
        wrapped.wait(timeout=_STOP_SECONDS)

    def pause(self) -> None:
        """Freeze the server: its connections stay open, but it does not answer.

        Raises:
            ServerNotRunning: it is not running.
        """
        if not self.running:
            raise ServerNotRunning(
                f"{self._image} is not running, so it cannot be paused: call start() first"
            )
        if not self._state("Paused"):
            self.container.get_wrapped_container().pause()

    def resume(self) -> None:
        """End `pause`. If the server is not paused, this does nothing."""
        if self._state("Paused"):
            self.container.get_wrapped_container().unpause()

    def restart(self) -> None:
        """Call `stop` and `start`.

        Raises:
            ServerDidNotStart: it did not start in time.
        """
        self.stop()
        self.start()

    def remove(self) -> None:
        """Remove the container and its data. `start` then makes another one, on another address."""
        self._container = None
        self._cleanup.close()

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
    # In this mode, testcontainers uses the address that the container gets when it starts. It may
    # change with each start, but a handle promises one address.
    override = testcontainers_config.connection_mode_override
    reason = (
        "this process runs in a container, where published ports are not on its loopback"
        if override is None
        else f"TESTCONTAINERS_CONNECTION_MODE is {override.value}"
    )
    return (
        f"the container has no address that stays the same: {reason}, so testcontainers uses "
        f"{mode.value}. Set TESTCONTAINERS_CONNECTION_MODE=docker_host, and set "
        "TESTCONTAINERS_HOST_OVERRIDE to the address of the engine's machine as this process "
        f"reaches it{_gateway()}; leave the latter out if both share a loopback, as with "
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


def _remove(container: DockerContainer) -> None:
    # If the engine is gone, so is the container.
    with suppress(NotFound, OSError):
        container.stop()
