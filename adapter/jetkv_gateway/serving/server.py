"""The ASGI app under uvicorn, and how it stops.

A stop has these steps, each with a deadline. The gateway reports that it is not ready. It keeps
serving for `shutdown_delay`, so that load balancers can send requests elsewhere. It closes the
listening socket. Each connection gets its last answer. Requests without an answer get an error that
tells what is known of them. The consumers of watches are removed. Data for NATS is flushed.
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

from jetkv_gateway.filewatch import FileWatcher
from jetkv_gateway.serving.acceptor import Acceptor
from jetkv_gateway.serving.balance import Balance
from jetkv_gateway.serving.http1 import HttpConnection
from jetkv_gateway.serving.options import AppFactory, CannotStart, ServerOptions
from jetkv_gateway.serving.tls import ServerTls
from jetkv_gateway.serving.websockets import WebSocket
from jetkv_gateway.serving.worker_state import WorkerState
from jetkv_gateway.telemetry.logs import logging_for

__all__ = [
    "STARTUP_FAILURE",
    "STOPPING",
    "GatewayServer",
    "config_for",
    "listen",
    "serve",
    "stop_seconds",
]

_log = logging.getLogger("jetkv")

STOPPING = "stopping: requests that run get their answers"
"""A line of the log, in one process of the gateway."""

_BACKLOG = 4096
_POLL_SECONDS = 0.02
_TICK_SECONDS = 1.0
_LAST_WORDS_SECONDS = 1.0
_LIFESPAN_SECONDS = 5.0
_LIFESPAN_SECONDS_IF_FORCED = 3.0


def listen(host: str, port: int, hint: str = "--port") -> socket.socket:
    """Return a listening socket.

    Args:
        hint: the option that sets another port.

    Raises:
        CannotStart: the address is in use, or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit the option. Not all event loops set it.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.bind((host, port))
        server.listen(_BACKLOG)
    except OSError as error:
        server.close()
        raise CannotStart(
            f"cannot listen on {host}:{port}: {error.strerror or error}; "
            f"choose another one with {hint}, or stop the program that uses it"
        ) from error
    server.set_inheritable(True)
    return server


class WorkerConfig(uvicorn.Config):
    """uvicorn's configuration with the state that its connections share."""

    worker: WorkerState
    tls: ServerTls | None


def config_for(app: AppFactory, options: ServerOptions) -> WorkerConfig:
    """Return uvicorn's configuration."""
    worker = WorkerState(options)
    config = WorkerConfig(
        app,
        factory=True,
        http=functools.partial(HttpConnection, worker),  # type: ignore[arg-type] # uvicorn only calls it
        ws="none",
        workers=options.workers,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        log_config=logging_for(options.log_level, options.log_format),
        # The longest time for one request, including waiting for a leader.
        timeout_graceful_shutdown=math.ceil(options.request + 1),
    )
    config.worker, config.tls = worker, options.tls
    return config


def stop_seconds(options: ServerOptions) -> float:
    """Return how many seconds a stop may take."""
    requests = options.request + 2
    return options.shutdown_delay + requests + _LAST_WORDS_SECONDS + _LIFESPAN_SECONDS


class GatewayServer(uvicorn.Server):
    """uvicorn's server, with its own way to accept connections and to stop.

    Args:
        on_started: called when the server accepts connections.
        delay: seconds to keep serving after the signal to stop.
        on_second: called once a second, and when the server starts to stop.
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
        self._tls = config.tls
        self._on_started = on_started
        self._delay = delay
        self._on_second = on_second
        self._balance = balance
        self._acceptors: list[Acceptor] = []
        self._stop_at: float | None = None
        self._next_tick_at = 0.0
        self._reload = False
        self._files: FileWatcher | None = None

    def reload(self) -> None:
        """Reload the gateway's files. Signal handlers and other threads may call it."""
        self._reload = True

    def stop_now(self) -> None:
        """Stop without the delay. Signal handlers and other threads may call it."""
        self._delay = 0.0
        if self._stop_at is not None:
            self._stop_at = 0.0
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The caller handles signals. uvicorn would raise them again at the end.
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn gets no sockets, since the acceptors handle them.
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
                handshakes=self._worker.handshakes,
            )
            for listening in sockets or []
        ]
        if self._tls is not None:
            reload = functools.partial(self._tls.refresh, force=True)
            self._files = FileWatcher(self._tls.refresh, reload)
            self._files.start()
        self._on_started()

    def may_accept(self) -> bool:
        """Make room for one more connection if necessary. Return whether there is room."""
        return self._worker.make_room()

    def make_room(self) -> None:
        """Close idle connections, since the system has no room for another one."""
        self._worker.make_room(full=True)

    def tick(self, now: float) -> None:
        """Call `tick(now)` of each connection once a second. One timer serves all deadlines.

        Args:
            now: the time of the event loop.
        """
        if now < self._next_tick_at:
            return
        self._next_tick_at = now + _TICK_SECONDS
        self._worker.tick(now)
        # A connection may close during its own tick or another one.
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
                if self._files is not None:
                    self._files.ask()
            if counter % 10 == 0:
                self._on_second()
            return False
        now = asyncio.get_running_loop().time()
        if self._stop_at is None:
            self._stop_at = now + self._delay
            if self._balance is None:
                _log.info(STOPPING)
            self._worker.draining = True
            self._on_second()
        return self.force_exit or now >= self._stop_at

    async def shutdown(
        self,
        sockets: list[socket.socket] | None = None,  # noqa: ARG002 - the interface has it
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
        if self._files is not None:
            self._files.close()

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
        # uvicorn's sets cannot notify anybody, so poll them.
        while self._busy and loop.time() < end and not (unless_forced and self.force_exit):
            self.tick(loop.time())
            await asyncio.sleep(_POLL_SECONDS)

    async def _end_lifespan(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + _LIFESPAN_SECONDS
        ending = asyncio.create_task(self.lifespan.shutdown())
        while not ending.done() and loop.time() < end:
            if self.force_exit:
                end = min(end, loop.time() + _LIFESPAN_SECONDS_IF_FORCED)
            await asyncio.wait([ending], timeout=_POLL_SECONDS)
        if not ending.done():
            ending.cancel()
            _log.warning("stopping: the connection to NATS did not close in time")

    async def _cancel_requests(self) -> None:
        """Answer all requests now with what is known of them, and close all connections."""
        state = self.server_state
        self._worker.admission.close()
        for connection in list(state.connections):
            if isinstance(connection, HttpConnection | WebSocket):
                _call(connection, connection.expire)
        # Requests that only waited for their clients end by themselves.
        await asyncio.sleep(_POLL_SECONDS)
        if state.tasks:
            _log.warning("stopping: %d requests did not end in time", len(state.tasks))
        for task in list(state.tasks):
            task.cancel()
        await self._wait_idle(_LAST_WORDS_SECONDS, unless_forced=False)
        for connection in list(state.connections):
            connection.transport.abort()


def _call(connection: Any, what: Callable[..., None], *told: float) -> None:
    """Call a method of a connection. A defect ends that connection only."""
    try:
        what(*told)
    except Exception:  # noqa: BLE001 - as above
        _log.exception("a connection failed")
        connection.transport.abort()


def serve(server: GatewayServer, server_socket: socket.socket) -> int:
    """Run a server until it stops. Return the exit code, which is 1 if it did not start."""
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[server_socket]))
    return 0 if server.started else 1
