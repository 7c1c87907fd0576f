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

from jetkv_gateway.jetstream.lone import Standing
from jetkv_gateway.jetstream.options import NatsOptions, Secrets
from jetkv_gateway.jetstream.requests import (
    HEADER_RESERVE,
    Multiplexer,
    NotConnected,
)
from jetkv_gateway.jetstream.servers import Server, Servers
from jetkv_gateway.jetstream.uplink import Kind, Trouble, Uplink, UplinkFailed
from jetkv_gateway.stepping import deadline

__all__ = ["Connection", "Kind", "NatsOptions", "Trouble"]

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
        standing: of the server that the connection which stands now leads to; another object for
            each connection.
    """

    def __init__(self, options: NatsOptions) -> None:
        self._secrets = Secrets(options)
        self._servers = Servers(
            options.servers, certificate_name=options.tls_hostname, secure=options.tls_required
        )
        self._link: Uplink | None = None
        self._mux: Multiplexer | None = None
        self._connected = asyncio.Event()
        self._supervisor: asyncio.Task[None] | None = None
        self._left: set[asyncio.Task[Any]] = set()
        self._attempts = 0
        self._troubles: dict[Server, Trouble] = {}
        self.max_value_bytes = _USUAL_MAX_PAYLOAD - HEADER_RESERVE
        self.server_version: tuple[int, int, int] = (0, 0, 0)
        self.server_info: dict[str, Any] = {}
        self.standing = Standing()

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
    def trouble(self) -> Trouble | None:
        """Why no connection stands, of all servers that were tried; None where nothing is known."""
        if not self._troubles:
            return None
        troubles = sorted(self._troubles.values(), key=lambda trouble: -trouble.kind)
        texts = dict.fromkeys(trouble.text for trouble in troubles)
        return Trouble(troubles[0].kind, "; ".join(texts))

    @property
    def last_error(self) -> str | None:
        """The text of `trouble`."""
        trouble = self.trouble
        return trouble.text if trouble is not None else None

    @property
    def hopeless(self) -> bool:
        """Whether every server was tried in vain, and one of them for more than being away."""
        trouble = self.trouble
        every = len(self._troubles) >= len(self._servers)
        return every and trouble is not None and trouble.kind is not Kind.UNREACHABLE

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            link = await self._connect()
            while link is not None:
                since = loop.time()
                link = await self._keep(link)
                if loop.time() - since > _STOOD_SECONDS:
                    # A server that drops each connection at once is no reason to hurry.
                    self._attempts = 0
            await self._pause()

    async def _pause(self) -> None:
        rounds = max(0, self._attempts - 1) // len(self._servers)
        backoff = _BACKOFF_FIRST * 2 ** min(rounds, 10)
        await asyncio.sleep(min(backoff, _BACKOFF_LAST) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    async def _connect(self) -> Uplink | None:
        """Try one server, and the next one as well while it does not answer.

        Returns:
            The first link that stands; it is in use. None where one server failed at once, or all.
        """
        race, left = asyncio.Event(), len(self._servers)
        attempts: set[asyncio.Task[Uplink | None]] = set()
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
                    return next((link for one in done if (link := one.result())), None)
        except asyncio.CancelledError:
            if self._link is not None:
                await asyncio.shield(self._link.close())
            raise
        finally:
            race.set()
            for attempt in attempts:
                attempt.cancel()

    async def _attempt(self, server: Server, race: asyncio.Event) -> Uplink | None:
        """Try to connect to a server; the link is in use when it is returned.

        Args:
            race: set once an attempt beside this one has won.
        """
        self._attempts += 1
        link = Uplink(
            server,
            self._secrets,
            secure=self._servers.secure,
            on_info=self._learn,
            on_end=self._drop,
        )
        opened = False
        try:
            await link.open(_CONNECT_TIMEOUT)
            opened = not race.is_set()
        except UplinkFailed as failed:
            if race.is_set():
                return None
            if self._troubles.get(server) != failed.trouble:
                _log.warning("cannot reach NATS at %s: %s", server.url, failed.trouble.text)
            self._troubles[server] = failed.trouble
        finally:
            if not opened:
                # A cancelled supervisor still has a socket to close.
                await asyncio.shield(link.close())
        if not opened:
            return None
        race.set()
        self._use(link)
        return link

    def _use(self, link: Uplink) -> None:
        self._link, self._mux = link, link.mux
        self.server_version = link.version
        self.standing = link.standing
        self._troubles.clear()
        self._learn(link)
        self._connected.set()
        _log.info("connected to NATS at %s", link.server.url)

    def _learn(self, link: Uplink) -> None:
        """Take over what a server says of itself and of its cluster, at first and later."""
        if link is not self._link:
            return
        self.server_info = link.info
        self.max_value_bytes = link.mux.max_value_bytes
        places = link.info.get("connect_urls")
        if isinstance(places, list) and places:
            self._servers.learn(link.server, [place for place in places if isinstance(place, str)])
            for server in [server for server in self._troubles if server not in self._servers]:
                del self._troubles[server]

    async def _keep(self, link: Uplink) -> Uplink | None:
        """Wait for the end of a link; return the one that took its place, if its server let us."""
        try:
            await link.end()
            if link.leaving and not link.ended:
                _log.info("NATS at %s is about to stop", link.server.url)
                other = await self._move(link)
                if other is not None:
                    task = asyncio.create_task(self._leave(link), name="nats-leaving")
                    self._left.add(task)
                    task.add_done_callback(self._left.discard)
                    return other
            if link.server in self._servers:
                self._troubles[link.server] = link.trouble
            _log.warning("connection to NATS lost: %s", link.trouble.text)
        finally:
            if self._link is link or self._link is None:
                await asyncio.shield(link.close())
        return None

    async def _move(self, link: Uplink) -> Uplink | None:
        """Connect to another server while one that is about to stop still serves."""
        while not link.ended:
            server = self._servers.next()
            if server is not link.server:
                other = await self._attempt(server, asyncio.Event())
                if other is not None:
                    return other
            await self._pause()
        return None

    async def _leave(self, link: Uplink) -> None:
        """Close a link that another one took the place of, once what is under way is done."""
        try:
            for _ in range(_LEAVE_LOOKS):
                if link.ended or link.mux.idle:
                    break
                await asyncio.sleep(_LEAVE_LOOK_SECONDS)
        finally:
            await asyncio.shield(link.close())

    def _drop(self, link: Uplink) -> None:
        """Use a link no more, from the moment that it ends."""
        if link is self._link:
            self._connected.clear()
            self._mux = self._link = None
            self.standing = Standing()
