"""The options of a server, and the error if it cannot start.

This module knows neither settings, NATS nor uvicorn, so that you can serve another app with it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from jetkv_gateway.http.metrics import MetricsOptions
from jetkv_gateway.serving.admission import AdmissionLimits
from jetkv_gateway.serving.callers import CallerOptions
from jetkv_gateway.telemetry.logs import LogFormat

if TYPE_CHECKING:
    from jetkv_gateway.serving.tls import ServerTls

__all__ = ["App", "AppFactory", "CannotStart", "ServerOptions"]


class CannotStart(Exception):
    """Raised if the server cannot start. The text is one line for the operator."""


class App(Protocol):
    """An ASGI app that can reload its files."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Awaitable[None]: ...

    def reload(self) -> None: ...


AppFactory = Callable[[], App]
"""Creates the app in each serving process. With several workers, it is pickled for each.

It may raise `CannotStart`.
"""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to serve an app. Times are in seconds.

    Attributes:
        workers: processes that share the listening socket. With 1, the present process serves.
        log_level: debug, info, warning or error.
        log_format: lines for people, or JSON.
        request: the longest time for one request.
        ping: the time between pings of a WebSocket, and for the answer to one.
        shutdown_delay: how long to keep serving after the signal to stop, while not ready.
        admission: how many requests run and wait.
        callers: how to tell callers apart.
        connections: limit of one worker. None derives it from the limit on open files.
        metrics: what is counted, or None.
        held_bytes: limit of the bytes that one worker buffers for its clients.
        tls: for connections of clients. None accepts plain connections.
    """

    workers: int = 1
    log_level: str = "info"
    log_format: LogFormat = LogFormat.CONSOLE
    request: float = 10.0
    ping: float = 20.0
    shutdown_delay: float = 0.0
    admission: AdmissionLimits = field(default_factory=AdmissionLimits)
    callers: CallerOptions = field(default_factory=CallerOptions)
    connections: int | None = None
    metrics: MetricsOptions | None = field(default_factory=MetricsOptions)
    held_bytes: int = 32 * 1024 * 1024
    tls: "ServerTls | None" = None
