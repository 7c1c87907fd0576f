"""The ASGI app under uvicorn, and how it stops.

A stop goes step by step, each with a deadline: it is not ready any more; for `shutdown_delay` all
goes on, so that load balancers can send requests elsewhere; the listening socket is closed; each
connection gets its last answer; a request that has none by then is told what is known of it; the
consumers of watches are removed; NATS takes in what was sent.
"""

import asyncio
import functools
import logging
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from jetkv_gateway.serving.acceptor import Acceptor
from jetkv_gateway.serving.balance import Balance
from jetkv_gateway.serving.http1 import HttpConnection
from jetkv_gateway.serving.options import AppFactory, CannotStart, ServerOptions
from jetkv_gateway.serving.websockets import WebSocket
from jetkv_gateway.serving.worker_state import WorkerState

__all__ = [
    "STARTUP_FAILURE",
    "GatewayServer",
    "config_for",
    "listen",
    "logging_for",
    "serve",
    "stop_seconds",
]

_log = logging.getLogger("jetkv")

_BACKLOG = 4096
_LOOK_SECONDS = 0.02
_TICK_SECONDS = 1.0
_LAST_WORDS_SECONDS = 1.0
_LIFESPAN_SECONDS = 5.0
_LIFESPAN_SECONDS_IF_FORCED = 3.0


def listen(host: str, port: int, hint: str = "--port") -> socket.socket:
    """Return a listening socket.

    Args:
        hint: what sets another port.

    Raises:
        CannotStart: the address is in use, or not one of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Which those that it accepts take over: not all event loops set it themselves.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.bind((host, port))
        server.listen(_BACKLOG)
    except OSError as error:
        server.close()
        raise CannotStart(
            f"cannot listen on {host}:{port}: {error.strerror or error}; "
            f"choose another with {hint}, or end what uses it"
        ) from error
    server.set_inheritable(True)
    return server


class WorkerConfig(uvicorn.Config):
    """uvicorn's configuration; `worker` is what its connections share."""

    worker: WorkerState


def config_for(app: AppFactory, options: ServerOptions) -> WorkerConfig:
    """Return uvicorn's configuration."""
    worker = WorkerState(options)
    config = WorkerConfig(
        app,
        factory=True,
        http=functools.partial(HttpConnection, worker),  # type: ignore[arg-type] # it is called alone
        ws="none",
        workers=options.workers,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        log_config=logging_for(options.log_level),
        # What one request may take: waiting for a leader, and then for its answer.
        timeout_graceful_shutdown=math.ceil(options.request + 1),
    )
    config.worker = worker
    return config


def stop_seconds(options: ServerOptions) -> float:
    """Return how long a stop takes at most, in seconds."""
    requests = options.request + 2
    return options.shutdown_delay + requests + _LAST_WORDS_SECONDS + _LIFESPAN_SECONDS


class GatewayServer(uvicorn.Server):
    """uvicorn's server, with a stop of our own.

    Args:
        on_started: called when it serves.
        delay: seconds to go on serving once told to stop.
        on_second: called once a second, and when it begins to stop.
        balance: with other workers on the same socket.
    """

    def __init__(
        self,
        config: WorkerConfig,
        on_started: Callable[[], None],
        *,
        delay: float = 0.0,
        on_second: Callable[[], None] = lambda: None,
        balance: Balance | None = None,
    ) -> None:
        super().__init__(config)
        self._worker = config.worker
        self._on_started = on_started
        self._delay = delay
        self._on_second = on_second
        self._balance = balance
        self._acceptors: list[Acceptor] = []
        self._stop_at: float | None = None
        self._next_tick_at = 0.0
        self._reload = False

    def reload(self) -> None:
        """Have the gateway read its files again; a signal handler or another thread may call it."""
        self._reload = True

    def stop_now(self) -> None:
        """Stop, and skip the delay; a signal handler or another thread may call it."""
        self._delay = 0.0
        if self._stop_at is not None:
            self._stop_at = 0.0
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # They are the caller's: uvicorn's own way raises them once more in the end.
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # It gets none to listen on: they have acceptors.
        self._worker.gateway = self.config.loaded_app
        self._worker.tick(asyncio.get_running_loop().time())
        await super().startup([])
        self._acceptors = [
            Acceptor(
                listening,
                self._make_protocol,
                self.server_state.connections,
                may_accept=self.may_accept,
                free=self._worker.connections.free,
                on_full=self.make_room,
                balance=self._balance,
            )
            for listening in sockets or []
        ]
        self._on_started()

    def may_accept(self) -> bool:
        """Return whether there is room for one more connection, or has just been made."""
        return self._worker.make_room()

    def make_room(self) -> None:
        """End connections that nobody would miss: the system has no room for another one."""
        self._worker.make_room(full=True)

    def tick(self, now: float) -> None:
        """Call `tick(now)` of each connection once a second: one clock for all their deadlines.

        Args:
            now: the time of the event loop.
        """
        if now < self._next_tick_at:
            return
        self._next_tick_at = now + _TICK_SECONDS
        self._worker.tick(now)
        # A connection may end in its tick, or in another's.
        for connection in list(self.server_state.connections):
            tick: Callable[[float], None] | None = getattr(connection, "tick", None)
            if tick is not None:
                _call(connection, tick, now)

    async def on_tick(self, counter: int) -> bool:
        self.tick(asyncio.get_running_loop().time())
        for acceptor in self._acceptors:
            acceptor.publish()
        if not await super().on_tick(counter):
            if self._reload:
                self._reload = False
                self.config.loaded_app.reload()
            if counter % 10 == 0:
                self._on_second()
            return False
        now = asyncio.get_running_loop().time()
        if self._stop_at is None:
            self._stop_at = now + self._delay
            self._worker.draining = True
            self._on_second()
        return self.force_exit or now >= self._stop_at

    async def shutdown(
        self,
        sockets: list[socket.socket] | None = None,  # noqa: ARG002 - the signature is given
    ) -> None:
        self._worker.draining = True
        self._worker.is_stopping = True
        self._worker.stopping.set()
        for acceptor in self._acceptors:
            await acceptor.close()
        for connection in list(self.server_state.connections):
            _call(connection, connection.shutdown)
        await self._wait_idle(self.config.timeout_graceful_shutdown or 0, unless_forced=True)
        if self._busy:
            await self._cancel_requests()
        await self._end_lifespan()

    def _make_protocol(self) -> asyncio.Protocol:
        protocol: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg] # as uvicorn does
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol

    @property
    def _busy(self) -> bool:
        return bool(self.server_state.connections or self.server_state.tasks)

    async def _wait_idle(self, seconds: float, *, unless_forced: bool) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        # uvicorn's sets tell nobody that they are empty.
        while self._busy and loop.time() < end and not (unless_forced and self.force_exit):
            self.tick(loop.time())
            await asyncio.sleep(_LOOK_SECONDS)

    async def _end_lifespan(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + _LIFESPAN_SECONDS
        ending = asyncio.create_task(self.lifespan.shutdown())
        while not ending.done() and loop.time() < end:
            if self.force_exit:
                end = min(end, loop.time() + _LIFESPAN_SECONDS_IF_FORCED)
            await asyncio.wait([ending], timeout=_LOOK_SECONDS)
        if not ending.done():
            ending.cancel()
            _log.warning("stopping: NATS did not take its leave in time")

    async def _cancel_requests(self) -> None:
        """Have all requests answered now, with what is known of them, and end all connections."""
        state = self.server_state
        self._worker.admission.close()
        for connection in list(state.connections):
            if isinstance(connection, HttpConnection | WebSocket):
                _call(connection, connection.expire)
        # What only waited for a peer ends by itself.
        await asyncio.sleep(_LOOK_SECONDS)
        if state.tasks:
            _log.warning("stopping: %d requests did not end in time", len(state.tasks))
        for task in list(state.tasks):
            task.cancel()
        await self._wait_idle(_LAST_WORDS_SECONDS, unless_forced=False)
        for connection in list(state.connections):
            connection.transport.abort()


def _call(connection: Any, what: Callable[..., None], *told: float) -> None:
    """Call a method of a connection; a defect ends that one, and neither others nor the server."""
    try:
        what(*told)
    except Exception:  # noqa: BLE001 - as above
        _log.exception("a connection failed")
        connection.transport.abort()


def serve(server: GatewayServer, server_socket: socket.socket) -> int:
    """Run a server until it is told to stop, and return an exit code: 1 when it did not start."""
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[server_socket]))
    return 0 if server.started else 1


def logging_for(level: str) -> dict[str, Any]:
    """Return what goes to stderr, for `logging.config.dictConfig`."""
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
