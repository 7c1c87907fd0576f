"""Run the ASGI app under uvicorn: sockets, workers, signals."""

import asyncio
import functools
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from jetkv_gateway.app import gateway
from jetkv_gateway.http.metrics import share_metrics
from jetkv_gateway.protocol import GatewayProtocol
from jetkv_gateway.settings import Settings, SettingsError
from jetkv_gateway.sockets import WatchProtocol

__all__ = ["GatewayServer", "config_for", "listen", "run"]

_SHUTDOWN_SECONDS = 10
# Longer than clients keep a quiet connection (Go 90 s, ours 50): one that is closed just as a
# request goes out leaves a write unknown.
_KEEP_ALIVE_SECONDS = 120
_MAX_MESSAGE = 4096  # of what a watcher sends, which nobody reads


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        SettingsError: the address is in use, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(2048)
    except OSError as error:
        server.close()
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; "
            "choose another with --port, or end what uses it"
        ) from error
    server.set_inheritable(True)
    return server


def config_for(settings: Settings) -> uvicorn.Config:
    """Return uvicorn's configuration; it can be sent to another process."""
    return uvicorn.Config(
        functools.partial(gateway, settings),
        factory=True,
        http=GatewayProtocol,
        ws=WatchProtocol,
        ws_max_size=_MAX_MESSAGE,
        ws_per_message_deflate=False,
        ws_ping_interval=settings.watch_ping_seconds,
        ws_ping_timeout=settings.watch_ping_seconds,
        workers=settings.workers,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        log_config=_logging(settings.log_level),
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
    )


class GatewayServer(uvicorn.Server):
    """uvicorn's server, telling when it serves."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_started()


def run(settings: Settings, server_socket: socket.socket, on_started: Callable[[], None]) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code.

    With one worker this process serves, with more it watches over them.
    """
    # uvicorn raises a signal again when it has shut down; by then there is nothing left to end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    config = config_for(settings)
    if settings.workers > 1:
        on_started()
        with share_metrics():
            Multiprocess(config, sockets=[server_socket]).run()
        return 0
    server = GatewayServer(config, on_started)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[server_socket]))
    return 0 if server.started else 1


def _logging(level: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {
            "jetkv": {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
            "uvicorn": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},
        },
    }
