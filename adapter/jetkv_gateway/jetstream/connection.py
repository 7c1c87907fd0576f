"""The supervisor of the connection to NATS.

nats-py closes for good on any `-ERR` but two, and buffers writes while it reconnects, which makes
their outcome unknowable. So its own reconnection is switched off (docs/architecture.md, decision
2): when a client ends, for whatever reason, the supervisor builds a new one, with back-off; in
between, requests fail at once and are certainly not sent.
"""

import asyncio
import logging
import random
from contextlib import suppress
from typing import Any

from jetkv_gateway.jetstream.options import NatsOptions, Secrets
from jetkv_gateway.jetstream.requests import (
    HEADER_RESERVE,
    Multiplexer,
    NotConnected,
)
from jetkv_gateway.jetstream.server_connection import (
    ConnectFailed,
    ConnectFailure,
    FailureKind,
    ServerConnection,
)
from jetkv_gateway.jetstream.servers import Server, Servers
from jetkv_gateway.jetstream.standalone import ConnectedServer
from jetkv_gateway.stepping import deadline

__all__ = ["ConnectFailure", "Connection", "FailureKind", "NatsOptions"]

_log = logging.getLogger("jetkv.nats")

_CONNECT_TIMEOUT = 2.0
# Of several servers, one that is frozen must not be waited for while another one answers, and one
# that is far away needs more time than that.
_HEAD_START = 0.5
_BACKOFF_FIRST = 0.05
_BACKOFF_LAST = 0.25
_STOOD_SECONDS = 1.0
_FLUSH_SECONDS = 1.0
_LEAVE_LOOK_SECONDS = 0.05
_LEAVE_LOOKS = 200
_USUAL_MAX_PAYLOAD = 1024 * 1024  # until a server has said its own


class Connection:
    """A connection that is rebuilt whenever it ends. `start()` returns at once.

    Attributes:
        max_value_bytes: the largest payload that fits with our headers, by the newest INFO.
        connected_server: the server at the other end; a new object for each connection.
    """

    def __init__(self, options: NatsOptions) -> None:
        self._secrets = Secrets(options)
        self._servers = Servers(
            options.servers, certificate_name=options.tls_hostname, secure=options.tls_required
        )
        self._current: ServerConnection | None = None
        self._mux: Multiplexer | None = None
        self._connected = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._left: set[asyncio.Task[Any]] = set()
        self._attempts = 0
        self._failures: dict[Server, ConnectFailure] = {}
        self.max_value_bytes = _USUAL_MAX_PAYLOAD - HEADER_RESERVE
        self.server_version: tuple[int, int, int] = (0, 0, 0)
        self.server_info: dict[str, Any] = {}
        self.connected_server = ConnectedServer()

    def start(self) -> None:
        """Start to connect, and to keep connected until `close`."""
        self._supervisor = asyncio.create_task(self._supervise(), name="nats-supervisor")

    async def close(self) -> None:
        """Disconnect, once NATS has taken in what was sent, or does not answer.

        Requests still in flight end with `ConnectionLost`.
        """
        if self._mux is not None:
            await self._mux.flush(_FLUSH_SECONDS)
        tasks = [self._supervisor, *self._left] if self._supervisor is not None else []
        # nats-py swallows a cancellation that meets it while it closes: one may not do.
        while pending := [task for task in tasks if task is not None and not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=0.2)
        if self._supervisor is not None:
            with suppress(asyncio.CancelledError):
                self._supervisor.result()
            self._supervisor = None

    async def wait_connected(self, timeout: float) -> bool:
        """Return whether a connection stands, waiting up to `timeout` seconds for one."""
        with suppress(TimeoutError):
            async with deadline(timeout):
                await self._connected.wait()
        return self._mux is not None

    @property
    def connected(self) -> bool:
        return self._mux is not None

    @property
    def mux(self) -> Multiplexer:
        """The multiplexer of the connection that stands now.

        Raises:
            NotConnected: none stands.
        """
        if self._mux is None:
            raise NotConnected
        return self._mux

    @property
    def failure(self) -> ConnectFailure | None:
        """Why no connection stands, of all servers that were tried; None where nothing is known."""
        if not self._failures:
            return None
        failures = sorted(self._failures.values(), key=lambda failure: -failure.kind)
        texts = dict.fromkeys(failure.text for failure in failures)
        return ConnectFailure(failures[0].kind, "; ".join(texts))

    @property
    def last_error(self) -> str | None:
        """The text of `failure`."""
        failure = self.failure
        return failure.text if failure is not None else None

    @property
    def needs_operator(self) -> bool:
        """Whether every server was tried in vain, and one of them for more than being away."""
        failure = self.failure
        every = len(self._failures) >= len(self._servers)
        return every and failure is not None and failure.kind is not FailureKind.UNREACHABLE

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            server_connection = await self._connect()
            while server_connection is not None:
                since = loop.time()
                server_connection = await self._keep(server_connection)
                if loop.time() - since > _STOOD_SECONDS:
                    # A server that drops each connection at once is no reason to hurry.
                    self._attempts = 0
            await self._pause()

    async def _pause(self) -> None:
        rounds = max(0, self._attempts - 1) // len(self._servers)
        backoff = _BACKOFF_FIRST * 2 ** min(rounds, 10)
        await asyncio.sleep(min(backoff, _BACKOFF_LAST) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _connect(self) -> ServerConnection | None:
        """Try one server, and the next one as well while it does not answer.

        Returns:
            The first link that stands; it is in use. None where one server failed at once, or all.
        """
        race, left = asyncio.Event(), len(self._servers)
        attempts: set[asyncio.Task[ServerConnection | None]] = set()
        try:
            while True:
                if left:
                    left -= 1
                    attempt = asyncio.create_task(
                        self._attempt(self._servers.next(), race), name="nats-attempt"
                    )
                    # Those that lose end in their own time: who stands is not to wait for them.
                    self._left.add(attempt)
                    attempt.add_done_callback(self._left.discard)
                    attempts.add(attempt)
                done, attempts = await asyncio.wait(
                    attempts,
                    timeout=_HEAD_START if left else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if race.is_set() or not attempts:
                    return next(
                        (server_connection for one in done if (server_connection := one.result())),
                        None,
                    )
        except asyncio.CancelledError:
            if self._current is not None:
                await asyncio.shield(self._current.close())
            raise
        finally:
            race.set()
            for attempt in attempts:
                attempt.cancel()

    async def _attempt(self, server: Server, race: asyncio.Event) -> ServerConnection | None:
        """Try to connect to a server; the link is in use when it is returned.

        Args:
            race: set once an attempt beside this one has won.
        """
        self._attempts += 1
        server_connection = ServerConnection(
            server,
            self._secrets,
            secure=self._servers.secure,
            on_info=self._learn,
            on_end=self._drop,
        )
        opened = False
        try:
            await server_connection.open(_CONNECT_TIMEOUT)
            opened = not race.is_set()
        except ConnectFailed as failed:
            if race.is_set():
                return None
            if self._failures.get(server) != failed.failure:
                _log.warning("cannot reach NATS at %s: %s", server.url, failed.failure.text)
            self._failures[server] = failed.failure
        finally:
            if not opened:
                # A cancelled supervisor still has a socket to close.
                await asyncio.shield(server_connection.close())
        if not opened:
            return None
        race.set()
        self._use(server_connection)
        return server_connection

    def _use(self, server_connection: ServerConnection) -> None:
        self._current, self._mux = server_connection, server_connection.mux
        self.server_version = server_connection.version
        self.connected_server = server_connection.connected_server
        self._failures.clear()
        self._learn(server_connection)
        self._connected.set()
        _log.info("connected to NATS at %s", server_connection.server.url)

    def _learn(self, server_connection: ServerConnection) -> None:
        """Take over what a server says of itself and of its cluster, at first and later."""
        if server_connection is not self._current:
            return
        self.server_info = server_connection.info
        self.max_value_bytes = server_connection.mux.max_value_bytes
        places = server_connection.info.get("connect_urls")
        if isinstance(places, list) and places:
            self._servers.learn(
                server_connection.server, [place for place in places if isinstance(place, str)]
            )
            for server in [server for server in self._failures if server not in self._servers]:
                del self._failures[server]

    async def _keep(self, server_connection: ServerConnection) -> ServerConnection | None:
        """Wait for the end of a link; return the one that took its place, if its server let us."""
        try:
            await server_connection.end()
            if server_connection.leaving and not server_connection.ended:
                _log.info("NATS at %s is about to stop", server_connection.server.url)
                other = await self._move(server_connection)
                if other is not None:
                    task = asyncio.create_task(self._leave(server_connection), name="nats-leaving")
                    self._left.add(task)
                    task.add_done_callback(self._left.discard)
                    return other
            if server_connection.server in self._servers:
                self._failures[server_connection.server] = server_connection.failure
            _log.warning("connection to NATS lost: %s", server_connection.failure.text)
        finally:
            if self._current is server_connection or self._current is None:
                await asyncio.shield(server_connection.close())
        return None

    async def _move(self, server_connection: ServerConnection) -> ServerConnection | None:
        """Connect to another server while one that is about to stop still serves."""
        while not server_connection.ended:
            server = self._servers.next()
            if server is not server_connection.server:
                other = await self._attempt(server, asyncio.Event())
                if other is not None:
                    return other
            await self._pause()
        return None

    async def _leave(self, server_connection: ServerConnection) -> None:
        """Close a link that another one took the place of, once what is under way is done."""
        try:
            for _ in range(_LEAVE_LOOKS):
                if server_connection.ended or server_connection.mux.idle:
                    break
                await asyncio.sleep(_LEAVE_LOOK_SECONDS)
        finally:
            await asyncio.shield(server_connection.close())

    def _drop(self, server_connection: ServerConnection) -> None:
        """Use a link no more, from the moment that it ends."""
        if server_connection is self._current:
            self._connected.clear()
            self._mux = self._current = None
            self.connected_server = ConnectedServer()
