"""The supervisor of the connection to NATS.

nats-py closes for good on any `-ERR` but two (nats-notes §0.1), and buffers writes while it
reconnects, which makes their outcome unknowable. So its own reconnection is switched off: when a
client ends, for whatever reason, the supervisor builds a new one, with back-off; in between,
requests fail at once and are certainly not sent.
"""

import asyncio
import itertools
import logging
import random
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nats import errors as nats_errors

from jetkv_gateway.jetstream.requests import (
    HEADER_RESERVE,
    ConnectionLost,
    Multiplexer,
    NotConnected,
    ReplyClient,
    Signal,
)
from jetkv_gateway.jetstream.wire import Violation

__all__ = ["Connection", "NatsOptions"]

_log = logging.getLogger("jetkv.nats")

_CONNECT_TIMEOUT = 2.0
# Of several servers, one that is frozen must not be waited for while another one answers.
_CONNECT_TIMEOUT_FIRST = 0.5
_BACKOFF_FIRST = 0.05
_BACKOFF_LAST = 0.25
_STOOD_SECONDS = 1.0
_LOOK_SECONDS = 0.1
_QUIET_LOOKS = 10
_PING_SECONDS = 1.0
_FLUSH_SECONDS = 1.0
_USUAL_MAX_PAYLOAD = 1024 * 1024  # until a server has said its own


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """How to reach NATS.

    Attributes:
        servers: addresses, tried in turn.
        domain: JetStream domain, or "".
        tls: context for TLS, or None (an address with `tls://` uses the system's trust store).
    """

    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = None
    token: str | None = None
    credentials: str | None = None
    nkey_seed: str | None = None
    tls: ssl.SSLContext | None = None
    tls_hostname: str | None = None
    domain: str = ""
    name: str = "jetkv"

    def client_options(self) -> dict[str, Any]:
        """Return the keyword arguments of `nats.aio.client.Client.connect` that are set."""
        options = {
            "user": self.user,
            "password": self.password,
            "token": self.token,
            "user_credentials": self.credentials,
            "nkeys_seed": self.nkey_seed,
            "tls": self.tls,
            "tls_hostname": self.tls_hostname,
        }
        return {name: value for name, value in options.items() if value is not None}


class Connection:
    """A connection that is rebuilt whenever it ends. `start()` returns at once."""

    def __init__(self, options: NatsOptions) -> None:
        self._options = options
        self._servers = list(options.servers)
        self._client: ReplyClient | None = None
        self._mux: Multiplexer | None = None
        self._ended = asyncio.Event()
        self._connected = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._max_value_bytes = _USUAL_MAX_PAYLOAD - HEADER_RESERVE
        self.last_error: str | None = None
        self.server_version: tuple[int, int, int] = (0, 0, 0)
        self.server_info: dict[str, Any] = {}

    def start(self) -> None:
        """Start to connect, and to keep connected until `close`."""
        self._supervisor = asyncio.create_task(self._supervise(), name="nats-supervisor")

    async def close(self) -> None:
        """Disconnect, once NATS has taken in what was sent, or does not answer.

        Requests still in flight end with `ConnectionLost`.
        """
        if self._mux is not None:
            # nats-py's own flush overtakes what waits to be written; an answer comes after it.
            with suppress(Signal):
                await self._mux.request("$JS.API.INFO", timeout=_FLUSH_SECONDS)
        if self._supervisor is not None:
            # nats-py swallows a cancellation that meets it while it closes: one may not do.
            while not self._supervisor.done():
                self._supervisor.cancel()
                await asyncio.wait([self._supervisor], timeout=0.2)
            with suppress(asyncio.CancelledError):
                self._supervisor.result()
            self._supervisor = None

    async def wait_connected(self, timeout: float) -> bool:
        """Return whether a connection stands, waiting up to `timeout` seconds for one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
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
    def max_value_bytes(self) -> int:
        """The largest payload that fits with our headers, by the server's newest INFO."""
        return self._mux.max_value_bytes if self._mux is not None else self._max_value_bytes

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        attempts = 0
        for url in self._turns():
            self._ended.clear()
            client = ReplyClient()
            client.on_violation = self._on_violation
            try:
                first = attempts < len(self._servers) and len(self._servers) > 1
                timeout = _CONNECT_TIMEOUT_FIRST if first else _CONNECT_TIMEOUT
                mux = await self._connect(client, url, timeout)
                if mux is not None:
                    since = loop.time()
                    await self._end_of(client, mux)
                    if loop.time() - since > _STOOD_SECONDS:
                        # A server that drops each connection at once is no reason to hurry.
                        attempts = 0
                    _log.warning("connection to NATS lost: %s", self.last_error or "closed")
            finally:
                self._drop()
                # A cancelled supervisor still has a socket to close.
                await asyncio.shield(_end(client))
            backoff = _BACKOFF_FIRST * 2 ** min(attempts // len(self._servers), 10)
            attempts += 1
            await asyncio.sleep(min(backoff, _BACKOFF_LAST) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _end_of(self, client: ReplyClient, mux: Multiplexer) -> None:
        """Wait until a client has ended, or its server has.

        nats-py says so by `closed_cb`, but not always: when the last flush of a broken connection
        raises, it is closed and says nothing. So its state is looked at, too.

        A server that is frozen, or behind a half-open link, keeps its connections, and another one
        may lead the stream by now: when requests wait and nothing at all is heard, it is asked for
        a sign of life. Looks are counted, not seconds, so that a pause of this process is none of
        the server's.
        """
        quiet = 0
        signs = client.signs
        while client.is_connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._ended.wait()
                    return
            before, signs = signs, client.signs
            quiet = quiet + 1 if mux.in_flight and signs == before else 0
            if quiet >= _QUIET_LOOKS:
                quiet = 0
                if not await self._alive(client):
                    self.last_error = "the server does not answer"
                    return

    async def _alive(self, client: ReplyClient) -> bool:
        """Ask a server for a sign of life, and return whether one came."""
        signs = client.signs
        with suppress(nats_errors.Error, OSError):
            await client.flush(_PING_SECONDS)  # type: ignore[arg-type] # seconds, float works
        if client.signs[0] == signs[0]:
            await asyncio.sleep(_LOOK_SECONDS)
        now = client.signs
        # What was sent meanwhile leaves us, but the ping alone adds to what is to be sent.
        return now[0] != signs[0] or now[1] < signs[1]

    def _turns(self) -> Iterator[str]:
        """Yield addresses in turn for ever; the list grows as the cluster names its members."""
        for turn in itertools.count():
            yield self._servers[turn % len(self._servers)]

    async def _connect(self, client: ReplyClient, url: str, timeout: float) -> Multiplexer | None:
        before = self.last_error
        try:
            async with asyncio.timeout(timeout * 2):
                await client.connect(
                    servers=[url],
                    name=self._options.name,
                    allow_reconnect=False,
                    # Even so, nats-py tries an address that refuses again, with pauses of its own.
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=timeout,  # type: ignore[arg-type] # seconds, float works
                    ping_interval=10,
                    max_outstanding_pings=2,
                    pending_size=0,
                    # Keys reach subjects through the codec alone, and the API's JSON is ours.
                    skip_subject_validation=True,
                    error_cb=self._on_error,
                    closed_cb=self._on_closed,
                    **self._options.client_options(),
                )
                mux = await Multiplexer.open(client)
        except Exception as error:  # noqa: BLE001 - nothing may end the supervisor
            reason = str(error) or type(error).__name__
            if isinstance(error, nats_errors.NoServersError) and self.last_error:
                reason = self.last_error  # why it gave up, from `_on_error`
            elif not isinstance(error, (OSError, TimeoutError, nats_errors.Error)):
                # A credential file that is damaged, or just being written, raises anything.
                reason += f" ({type(error).__name__}): is this NATS, are the credentials whole?"
            if reason != before:
                _log.warning("cannot reach NATS at %s: %s", _without_secret(url), reason)
            self.last_error = reason
            return None
        self._client, self._mux = client, mux
        version = client.connected_server_version
        self.server_version = version.major, version.minor, version.patch
        self.server_info = client._server_info  # what INFO said; nats-py shows parts of it only
        self.last_error = None
        self._learn_servers(client)
        self._connected.set()
        _log.info("connected to NATS at %s", _without_secret(url))
        return mux

    def _learn_servers(self, client: ReplyClient) -> None:
        known = {address.rpartition("@")[2].rpartition("/")[2] for address in self._servers}
        self._servers += [
            server.geturl() for server in client.discovered_servers if server.netloc not in known
        ]

    def _drop(self) -> None:
        self._connected.clear()
        if self._mux is not None:
            self._max_value_bytes = self._mux.max_value_bytes
            self._mux.close(ConnectionLost())
        self._mux = self._client = None

    async def _on_closed(self) -> None:
        self._drop()
        self._ended.set()

    async def _on_error(self, error: Exception) -> None:
        text = str(error)
        self.last_error = text or type(error).__name__

    def _on_violation(self, refused: Violation) -> None:
        if self._mux is not None:
            self._mux.violated(refused)


async def _end(client: ReplyClient) -> None:
    # A client whose connecting failed early cannot be closed, and says so by an AssertionError.
    with suppress(Exception, asyncio.CancelledError):
        async with asyncio.timeout(1):
            await client.close()
    for name in ("_reading_task", "_flusher_task", "_ping_interval_task"):
        # What ended them is known by now, and would be logged once more, with a traceback.
        task: asyncio.Task[None] | None = getattr(client, name, None)
        if task is not None and task.done() and not task.cancelled():
            task.exception()


def _without_secret(url: str) -> str:
    scheme, sep, rest = url.partition("://")
    return f"{scheme}{sep}{rest.rpartition('@')[2]}" if sep else url.rpartition("@")[2]
