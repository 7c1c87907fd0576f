"""The supervisor of the connection to NATS.

nats-py closes for good on any `-ERR` but two, and it buffers writes while it reconnects, so their
outcome would be unknown. So its own reconnection is off (docs/architecture.md, decision 2). When a
connection ends, the supervisor opens a new one, with back-off. In between, requests fail at once
and are certainly not sent.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from jetkv_gateway.jetstream.options import NatsOptions, Secrets
from jetkv_gateway.jetstream.protocol import NatsProtocol
from jetkv_gateway.jetstream.request_errors import unsent
from jetkv_gateway.jetstream.requests import (
    HEADER_RESERVE,
    Multiplexer,
    NotConnected,
    Request,
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
from jetkv_gateway.telemetry.events import EVENTS

__all__ = ["ConnectFailure", "Connection", "FailureKind", "NatsOptions", "Service"]

_log = logging.getLogger("jetkv.nats")

_CONNECT_TIMEOUT = 2.0
# A frozen server must not delay a connection to another one, but a distant server needs the full
# timeout.
_HEAD_START = 0.5
_BACKOFF_FIRST = 0.05
_BACKOFF_LAST = 0.25
_STABLE_SECONDS = 1.0
_FLUSH_SECONDS = 1.0
_SETTLE_SECONDS = 0.02
_IDLE_CHECK_SECONDS = 0.05
_IDLE_CHECKS = 200
_DEFAULT_MAX_PAYLOAD = 1024 * 1024  # until the first INFO


class Service(Protocol):
    """Something that has subscriptions of its own on the connection, and that is not vital."""

    def connected(self, protocol: NatsProtocol) -> None:
        """Subscribe on this connection, and no longer on the one before."""
        ...

    def refused(self, subject: str) -> bool:
        """Handle that the server refused a subscription. Return whether it was one of these."""
        ...


def _refuse(*_message: Any, **_options: Any) -> Request:
    """Refuse a request while there is no connection."""
    raise unsent(NotConnected)


class Connection:
    """A connection that is replaced whenever it ends. `start()` returns at once.

    Args:
        service: has its subscriptions on whichever connection there is.

    Attributes:
        max_value_bytes: the largest payload that fits with the gateway's headers, by the newest
            INFO.
        connected_server: the server at the other end; a new object for each connection.
        era: a new object whenever there is another connection or none, and whenever the server
            says something new about itself. What is worked out from a connection holds as long as
            this is the same object.
        ask: sends a request on the current connection; see `Multiplexer.ask`.
    """

    def __init__(self, options: NatsOptions, service: Service | None = None) -> None:
        self._secrets = Secrets(options)
        self._servers = Servers(
            options.servers, certificate_name=options.tls_hostname, secure=options.tls_required
        )
        self._service = service
        self._quiet = options.of_caller
        self._current: ServerConnection | None = None
        self._mux: Multiplexer | None = None
        self.ask: Callable[..., Request] = _refuse
        self._connected = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[Any]] = set()
        self._attempts = 0
        self._was_connected = False
        self._failures: dict[Server, ConnectFailure] = {}
        self.max_value_bytes = _DEFAULT_MAX_PAYLOAD - HEADER_RESERVE
        self.server_version: tuple[int, int, int] = (0, 0, 0)
        self.server_info: dict[str, Any] = {}
        self.connected_server = ConnectedServer()
        self.era = object()

    def start(self) -> None:
        """Connect, and stay connected until `close`."""
        self._supervisor = asyncio.create_task(self._supervise(), name="nats-supervisor")

    async def close(self) -> None:
        """Disconnect, after the server has processed everything sent or does not answer.

        Requests in flight end with `ConnectionLost`.
        """
        if self._mux is not None:
            await self._mux.flush(_FLUSH_SECONDS)
        tasks = [self._supervisor, *self._closing] if self._supervisor is not None else []
        # nats-py may swallow a cancellation while it closes, so cancel again until the tasks end.
        while pending := [task for task in tasks if task is not None and not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=0.2)
        if self._supervisor is not None:
            with suppress(asyncio.CancelledError):
                self._supervisor.result()
            self._supervisor = None

    @property
    def is_closed(self) -> bool:
        """Whether it is closed, and will not connect again."""
        return self._supervisor is None

    async def wait_connected(self, timeout: float) -> bool:
        """Wait for a connection, at most `timeout` seconds; return whether there is one."""
        with suppress(TimeoutError):
            async with deadline(timeout):
                await self._connected.wait()
        return self._mux is not None

    async def wait_tried(self, timeout: float) -> bool:
        """Wait for a connection, or until every server has failed once.

        Nobody waits for more: a server may end the connection of one caller again and again, such
        as for a limit of its account, and the places for logins are few.

        Args:
            timeout: in seconds.

        Returns:
            Whether there is a connection.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while not self.connected and loop.time() < end:
            if len(self._failures) >= len(self._servers):
                break
            await self.wait_connected(_SETTLE_SECONDS)
        return self.connected

    @property
    def connected(self) -> bool:
        return self._mux is not None

    @property
    def mux(self) -> Multiplexer:
        """The multiplexer of the current connection.

        Raises:
            NotConnected: there is no connection.
        """
        if self._mux is None:
            raise unsent(NotConnected)
        return self._mux

    @property
    def failure(self) -> ConnectFailure | None:
        """Why there is no connection, for all servers that were tried; None if nothing is known."""
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

    def look_at_files(self) -> None:
        """Read the files for NATS if they have changed. It blocks, so call it in a thread."""
        self._secrets.look()

    @property
    def files_problem(self) -> str | None:
        """Why the files for NATS cannot be used as they are now, or None; without details."""
        return self._secrets.problem

    @property
    def needs_operator(self) -> bool:
        """Whether all servers failed, and not only because they are unreachable."""
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
                if loop.time() - since > _STABLE_SECONDS:
                    # Only reset the back-off if the server did not drop the connection at once.
                    self._attempts = 0
            await self._pause()

    async def _pause(self) -> None:
        rounds = max(0, self._attempts - 1) // len(self._servers)
        backoff = _BACKOFF_FIRST * 2 ** min(rounds, 10)
        await asyncio.sleep(min(backoff, _BACKOFF_LAST) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _connect(self) -> ServerConnection | None:
        """Try one server, and the next one too while the first does not answer.

        Returns:
            The first open connection, which is in use; None if one server failed at once, or all
            failed.
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
                    # Attempts that lose the race end on their own; the winner does not wait for
                    # them.
                    self._closing.add(attempt)
                    attempt.add_done_callback(self._closing.discard)
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
        """Try to connect to a server. If this returns a connection, it is in use.

        Args:
            race: set when a parallel attempt has won.
        """
        self._attempts += 1
        server_connection = ServerConnection(
            server,
            self._secrets,
            secure=self._servers.secure,
            on_info=self._learn,
            on_end=self._drop,
            on_refused=None if self._service is None else self._service.refused,
        )
        opened = False
        try:
            await server_connection.open(_CONNECT_TIMEOUT)
            opened = not race.is_set()
        except ConnectFailed as failed:
            if race.is_set():
                return None
            if self._failures.get(server) != failed.failure and not self._quiet:
                _log.warning("cannot reach NATS at %s: %s", server.url, failed.failure.text)
            self._failures[server] = failed.failure
        finally:
            if not opened:
                # Close the socket even if the supervisor is cancelled.
                await asyncio.shield(server_connection.close())
        if not opened:
            return None
        race.set()
        self._use(server_connection)
        return server_connection

    def _use(self, server_connection: ServerConnection) -> None:
        self._current, self._mux = server_connection, server_connection.mux
        self.ask = self._mux.ask
        self.server_version = server_connection.version
        self.connected_server = server_connection.connected_server
        self._failures.clear()
        self._learn(server_connection)
        if self._service is not None:
            self._service.connected(server_connection.protocol)
        self._connected.set()
        if self._was_connected and EVENTS.nats_reconnected is not None:
            EVENTS.nats_reconnected()
        self._was_connected = not self._quiet
        if not self._quiet:
            _log.info("connected to NATS at %s", server_connection.server.url)

    def _learn(self, server_connection: ServerConnection) -> None:
        """Process what a server says about itself and its cluster, at first and later."""
        if server_connection is not self._current:
            return
        self.era = object()
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
        """Wait for the end of a connection; return its replacement, if there is one by then."""
        try:
            await server_connection.end()
            if server_connection.leaving and not server_connection.ended:
                if not self._quiet:
                    _log.info("NATS at %s is about to stop", server_connection.server.url)
                other = await self._move(server_connection)
                if other is not None:
                    task = asyncio.create_task(self._leave(server_connection), name="nats-leaving")
                    self._closing.add(task)
                    task.add_done_callback(self._closing.discard)
                    return other
            if server_connection.server in self._servers:
                self._failures[server_connection.server] = server_connection.failure
            if not self._quiet:
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
        """Close a replaced connection after its requests in flight are done."""
        try:
            for _ in range(_IDLE_CHECKS):
                if server_connection.ended or server_connection.mux.idle:
                    break
                await asyncio.sleep(_IDLE_CHECK_SECONDS)
        finally:
            await asyncio.shield(server_connection.close())

    def _drop(self, server_connection: ServerConnection) -> None:
        """Stop using a connection when it ends."""
        if server_connection is self._current:
            self._connected.clear()
            self._mux = self._current = None
            self.era = object()
            self.ask = _refuse
            self.connected_server = ConnectedServer()
