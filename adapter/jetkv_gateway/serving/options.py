"""What a server has to be told, and how it says that it cannot start.

Nothing here knows settings, NATS or uvicorn: who serves another app makes the same of its own.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from jetkv_gateway.serving.admission import AdmissionLimits
from jetkv_gateway.serving.callers import CallerOptions

__all__ = ["App", "AppFactory", "CannotStart", "ServerOptions"]


class CannotStart(Exception):
    """Raised where nothing can be served; the text is one line for the operator."""


class App(Protocol):
    """An ASGI app that can be told to read its files again."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]: ...

    def reload(self) -> None: ...


AppFactory = Callable[[], App]
"""Makes the app in the process that serves it; with several workers it is pickled for each.

It may raise `CannotStart`.
"""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to serve an app. Times are in seconds.

    Attributes:
        workers: processes on one listening socket; one serves where it was started.
        log_level: debug, info, warning or error.
        request: what one request may take at most.
        ping: between the pings of a WebSocket, and for the answer to one.
        shutdown_delay: to go on serving once told to stop, no longer ready.
        admission: how many requests are carried out at a time, and how many wait.
        callers: how they are told apart.
        connections: of one worker; None for as many as open files allow.
        held_bytes: that one worker holds for its clients at most.
    """

    workers: int = 1
    log_level: str = "info"
    request: float = 10.0
    ping: float = 20.0
    shutdown_delay: float = 0.0
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    callers: CallerOptions = field(default_factory=CallerOptions)
    connections: int | None = None
    held_bytes: int = 32 * 1024 * 1024
