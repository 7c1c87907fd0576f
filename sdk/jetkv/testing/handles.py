"""What a test can do to a server, whether it is a process on this machine or a container."""

from typing import Protocol, runtime_checkable

__all__ = ["ServerDidNotStart", "ServerHandle", "ServerNotRunning"]


class ServerDidNotStart(Exception):
    """Raised when a server does not start in time; the text ends with its last words."""


class ServerNotRunning(Exception):
    """Raised when a server that does not run should be paused; `start` it first."""


@runtime_checkable
class ServerHandle(Protocol):
    """One server: NATS, or a gateway.

    Its address is the same for as long as the handle lives, its data outlives `stop` and `kill`.
    All methods block until what they say is done.
    """

    @property
    def url(self) -> str:
        """Where clients reach it: `nats://…` or `http://…`, without a slash at the end."""
        ...

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended; a paused server runs."""
        ...

    def start(self) -> None:
        """Start, and return when it answers; nothing happens to a server that runs.

        Raises:
            ServerDidNotStart
        """
        ...

    def stop(self) -> None:
        """End it gently, paused or not; nothing happens to a server that does not run."""
        ...

    def kill(self) -> None:
        """End it as a crash does, paused or not."""
        ...

    def pause(self) -> None:
        """Freeze it: its connections stand, nothing answers.

        Raises:
            ServerNotRunning
        """
        ...

    def resume(self) -> None:
        """End `pause`; nothing happens to a server that is not paused."""
        ...

    def restart(self) -> None:
        """`stop` and `start`.

        Raises:
            ServerDidNotStart
        """
        ...
