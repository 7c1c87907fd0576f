"""The connections of callers that present a login of NATS: one for each login and worker.

Nothing is shared between logins: each has its own connection, caches, listings and watches.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic

from jetkv_gateway.auth.nats_logins import NatsLogin
from jetkv_gateway.http.call import Call, Handler
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.connection import Connection, FailureKind, NatsOptions
from jetkv_gateway.jetstream.credentials import TlsFiles
from jetkv_gateway.jetstream.store import open_store
from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import PermissionDenied, TooManyRequests, Unauthenticated, Unavailable
from jetkv_gateway.kv.store import Store
from jetkv_gateway.watch.hub import Hub, WatchLimits

__all__ = ["LoginPool", "PoolOptions"]

_log = logging.getLogger("jetkv.auth")

_LOGIN_SECONDS = 5.0
_LOOK_SECONDS = 1.0
_AT_ONCE = 8
"""Logins at the same time."""
_MOST_OPENING = 1024
"""Logins that wait for their turn. They go on when their callers leave."""
_CHECKED_SECONDS = 60.0
_IN_FLIGHT_BYTES = 8 * 1024 * 1024
_CLOSE_SECONDS = 1.5

Handlers = Mapping[str, Handler]


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """How the pool connects, and its limits.

    Attributes:
        nats: the gateway's own options. The login in them is never used.
        naming: of the buckets.
        timeout: seconds that one request to NATS waits for its reply.
        watches: the limits of each login.
        most: open connections of a worker.
        idle: seconds after which an unused connection is closed.
    """

    nats: NatsOptions
    naming: Naming
    timeout: float
    watches: WatchLimits
    most: int
    idle: float

    def of(self, login: NatsLogin) -> NatsOptions:
        """Return the options of a login: its own, and nothing that is the gateway's.

        NATS can be set up to take the user from a client certificate. So the gateway's certificate
        is left out, or each caller would be the gateway.
        """
        own = self.nats
        return NatsOptions(
            servers=own.servers,
            user=login.user,
            password=login.password,
            token=login.token,
            jwt=login.jwt,
            tls=TlsFiles(own.tls.ca),
            tls_hostname=own.tls_hostname,
            tls_first=own.tls_first,
            tls_required=own.tls_required,
            inbox_prefix=own.inbox_prefix,
            name="jetkv caller",
            of_caller=True,
        )


@dataclass(slots=True, eq=False)
class _Backend:
    """The connection of one login."""

    principal: Principal
    connection: Connection
    hub: Hub
    handlers: Handlers
    users: int = 0
    used_at: float = field(default_factory=monotonic)

    async def close(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.hub.close()
        except TimeoutError:
            _log.debug("consumers of a login are left to NATS")
        finally:
            await self.connection.close()


class LoginPool:
    """The open connections of callers.

    Args:
        handlers: builds the handlers of routes to data, on a store.

    Attributes:
        version: grows when a login is not valid any more.
    """

    def __init__(self, options: PoolOptions, handlers: Callable[[Store, Hub], Handlers]) -> None:
        self.version = 0
        self._options = options
        self._handlers = handlers
        self._backends: dict[bytes, _Backend] = {}
        self._opening: dict[bytes, asyncio.Task[Principal]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._checked_at: float | None = None
        self._task: asyncio.Task[None] | None = None

    def find(self, identity: bytes) -> Principal | None:
        backend = self._backends.get(identity)
        if backend is None or _is_refused(backend.connection):
            return None
        backend.used_at = monotonic()
        return backend.principal

    def is_open(self, identity: bytes) -> bool:
        return identity in self._backends

    def handlers_of(self, principal: Principal) -> Handlers:
        """Return the handlers that run on the connection of a caller.

        Raises:
            Unavailable: the connection was closed a moment ago.
        """
        backend = self._backends.get(principal.identity)
        if backend is None:
            raise Unavailable("the connection of this login to NATS has ended", retry_after=0)
        return backend.handlers

    async def open(self, login: NatsLogin) -> Principal:
        opening = self._opening.get(login.identity)
        if opening is None:
            if len(self._opening) >= _MOST_OPENING:
                raise TooManyRequests("too many logins of NATS at the same time")
            opening = asyncio.create_task(self._open(login), name="login at NATS")
            self._opening[login.identity] = opening
            opening.add_done_callback(lambda task: self._opened(login.identity, task))
        # It goes on if this caller leaves, since others may wait for it.
        return await asyncio.shield(opening)

    def _opened(self, identity: bytes, task: asyncio.Task[Principal]) -> None:
        del self._opening[identity]
        if not task.cancelled():
            # All of its callers may have left, and nobody else asks why it failed.
            task.exception()

    def start(self) -> None:
        self._task = asyncio.create_task(self._look(), name="logins at NATS")

    async def close(self) -> None:
        tasks = [task for task in (self._task, *self._opening.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        backends, self._backends = list(self._backends.values()), {}
        await asyncio.gather(*(one.close() for one in backends), *self._closing)

    async def _open(self, login: NatsLogin) -> Principal:
        async with self._gate:
            backend = self._backends.get(login.identity)
            if backend is not None and not _is_refused(backend.connection):
                return backend.principal
            self._unused()
            await self._check_server()
            connection = await self._connect(login)
            self._drop(login.identity)
            try:
                # Not before NATS has accepted the login, or wrong ones would end those of others.
                self._make_room()
            except TooManyRequests:
                await asyncio.shield(connection.close())
                raise
            self._backends[login.identity] = self._backend(login, connection)
            return login.principal

    async def _connect(self, login: NatsLogin) -> Connection:
        """Log in. The connection stays until `close`.

        Raises:
            Unauthenticated, PermissionDenied, Unavailable
        """
        connection = Connection(self._options.of(login))
        connection.start()
        try:
            await _settled(connection)
        except BaseException:
            await asyncio.shield(connection.close())
            raise
        return connection

    async def _check_server(self) -> None:
        """Check that NATS refuses a wrong login, or it would let everybody in.

        Raises:
            Unavailable: it does not, or it cannot be reached.
        """
        if self._checked_at is not None and monotonic() - self._checked_at < _CHECKED_SECONDS:
            return
        name = f"jetkv-{secrets.token_hex(8)}"
        wrong = NatsLogin(name, b"", user=name, password=secrets.token_hex(16))
        try:
            connection = await self._connect(wrong)
        except Unauthenticated:
            self._checked_at = monotonic()
            return
        await connection.close()
        _log.error("NATS accepts any login, so --auth nats cannot tell callers apart")
        raise Unavailable("NATS accepts any login: ask the operator to set up users there")

    def _backend(self, login: NatsLogin, connection: Connection) -> _Backend:
        options = self._options
        store = open_store(
            connection, options.naming, timeout=options.timeout, in_flight_bytes=_IN_FLIGHT_BYTES
        )
        hub = Hub(store.changes, options.watches)
        backend = _Backend(login.principal, connection, hub, {})
        backend.handlers = {
            name: _counted(backend, handler) for name, handler in self._handlers(store, hub).items()
        }
        return backend

    def _make_room(self) -> None:
        """Close the connection that was unused for longest if there are too many.

        Raises:
            TooManyRequests: all are in use.
        """
        identity = self._unused()
        if identity is not None:
            self._drop(identity)

    def _unused(self) -> bytes | None:
        """Return the login that was unused for longest if there are too many, else None.

        Raises:
            TooManyRequests: all are in use.
        """
        if len(self._backends) + len(self._closing) < self._options.most:
            return None
        unused = [(one.used_at, key) for key, one in self._backends.items() if not one.users]
        if not unused:
            raise TooManyRequests("too many logins of NATS at the same time")
        return min(unused)[1]

    def _drop(self, identity: bytes) -> None:
        backend = self._backends.pop(identity, None)
        if backend is not None:
            task = asyncio.create_task(backend.close(), name="end of a login")
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def _look(self) -> None:
        """Close what is unused, or not valid any more."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                self._sweep()
            except Exception:  # noqa: BLE001 - else logins that NATS refuses stay
                _log.exception("the connections of callers are looked at again")

    def _sweep(self) -> None:
        now = monotonic()
        for identity, one in list(self._backends.items()):
            if _is_refused(one.connection):
                self._drop(identity)
                self.version += 1
            elif not one.users and now - one.used_at > self._options.idle:
                self._drop(identity)


async def _settled(connection: Connection) -> None:
    """Wait until a new connection is open.

    Raises:
        Unauthenticated: NATS refuses the login.
        PermissionDenied: the login may not receive replies.
        Unavailable: NATS does not answer.
    """
    if await connection.wait_tried(_LOGIN_SECONDS):
        return
    failure = connection.failure
    if failure is not None and failure.kind is FailureKind.LOGIN_REFUSED:
        raise Unauthenticated(hint="NATS refuses this login")
    if failure is not None and failure.kind is FailureKind.REPLIES_REFUSED:
        raise PermissionDenied(
            "permission denied: this NATS user may not receive replies",
            hint="ask the operator of NATS to allow the subjects of nats_inbox_prefix",
        )
    raise Unavailable("NATS cannot be reached with this login", retry_after=1)


def _is_refused(connection: Connection) -> bool:
    """Return whether NATS does not accept the login any more."""
    failure = connection.failure
    return (
        not connection.connected
        and failure is not None
        and failure.kind is FailureKind.LOGIN_REFUSED
    )


def _counted(backend: _Backend, handler: Handler) -> Handler:
    async def run(call: Call, *names: str) -> None:
        backend.users += 1
        try:
            await handler(call, *names)
        finally:
            backend.users -= 1
            backend.used_at = monotonic()

    return run
