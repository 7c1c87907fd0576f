"""The interface of a server in tests, whether it is a process on this machine or a container."""

from typing import Protocol, runtime_checkable

__all__ = ["ServerDidNotStart", "ServerHandle", "ServerNotRunning"]


class ServerDidNotStart(Exception):
    """Raised if a server does not start in time. The text ends with the end of its log."""


class ServerNotRunning(Exception):
    """Raised if the server must run for a call and does not; call `start` first."""


@runtime_checkable
class ServerHandle(Protocol):
    """One server: NATS, or a gateway.

    Its address stays the same as long as the handle lives. Its data survives `stop` and `kill`.
    Every method returns when the server has reached the new state.
    """

    @property
    def url(self) -> str:
        """The address for clients: `nats://…` or `http://…`, without a slash at the end."""
        ...

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended. A paused server is running."""
        ...

    def start(self) -> None:
        """Start the server, and return when it answers. If it is running, this does nothing.

        Raises:
            ServerDidNotStart: it did not start in time.
        """
        ...

    def stop(self) -> None:
        """Stop the server, even if it is paused. If it is not running, this does nothing."""
        ...

    def kill(self) -> None:
        """End the server at once, like a crash, even if it is paused."""
        ...

    def pause(self) -> None:
        """Freeze the server: its connections stay open, but it does not answer.

        Raises:
            ServerNotRunning: it is not running.
        """
        ...

    def resume(self) -> None:
        """End `pause`. If the server is not paused, this does nothing."""
        ...

    def restart(self) -> None:
        """Call `stop` and `start`.

        Raises:
            ServerDidNotStart: it did not start in time.
        """
        ...
