"""One connection to one NATS server, from its opening to its end.

It enforces the TLS and login settings before any credential is sent. nats-py does not: it continues
in plain text if a server, or somebody in between, offers no TLS, and without a login if it is not
asked for a signature.
"""

import asyncio
import os
import ssl
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import Any, NamedTuple

from nats import errors as nats_errors

from jetkv_gateway.jetstream.credentials import SecretError, expecting
from jetkv_gateway.jetstream.options import Secrets
from jetkv_gateway.jetstream.protocol import NatsProtocol
from jetkv_gateway.jetstream.request_errors import LoginNotPermitted
from jetkv_gateway.jetstream.requests import ConnectionLost, Multiplexer
from jetkv_gateway.jetstream.servers import Server
from jetkv_gateway.jetstream.standalone import ConnectedServer
from jetkv_gateway.jetstream.wire import Violation

__all__ = ["ConnectFailed", "ConnectFailure", "FailureKind", "ServerConnection"]

_CHECK_SECONDS = 0.1
_QUIET_CHECKS = 10
_PING_SECONDS = 1.0

_LOGIN_WORDS = ("authorization", "authentication", "credentials", "nkeys", "control line")
"""A login that exceeds the server's `max_control_line` cannot become right, either."""

_OTHER_NAME = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""


class FailureKind(IntEnum):
    """The kind of a failure; a higher number needs more attention from an operator."""

    UNREACHABLE = 0
    """It may resolve itself."""

    UNUSABLE = 1
    """The server answers, but the gateway cannot use it as configured."""

    REPLIES_REFUSED = 2
    """The login is right, but it may not receive replies."""

    LOGIN_REFUSED = 3


class ConnectFailure(NamedTuple):
    """Why there is no connection. The text contains no address, path or secret."""

    kind: FailureKind
    text: str


class ConnectFailed(Exception):
    """Raised if no connection can be opened."""

    def __init__(self, failure: ConnectFailure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class ServerConnection:
    """A connection to one server. Create one for each attempt.

    Args:
        secure: whether the server must offer TLS.
        on_info: called when the server sends another INFO.
        on_end: called when the connection cannot be used any more.
        on_refused: called with the subject of a refused subscription; returns whether the
            connection can be used without it.

    Attributes:
        info: what the server says about itself.
        connected_server: whether it is standalone, by that.
        version: of the server.
        leaving: whether the server has announced that it will stop.
    """

    def __init__(
        self,
        server: Server,
        secrets: Secrets,
        *,
        secure: bool,
        on_info: Callable[["ServerConnection"], None],
        on_end: Callable[["ServerConnection"], None],
        on_refused: Callable[[str], bool] | None = None,
    ) -> None:
        self.server = server
        self.protocol = NatsProtocol(self._process_info, self._on_violation, self._finish)
        self.info: dict[str, Any] = {}
        self.connected_server = ConnectedServer()
        self.version = (0, 0, 0)
        self.leaving = False
        self._mux: Multiplexer | None = None
        self._secrets = secrets
        self._options = secrets.options
        self._secure = secure
        self._on_info = on_info
        self._on_end = on_end
        self._on_refused = on_refused
        self._ended = asyncio.Event()
        self._failure: ConnectFailure | None = None

    @property
    def mux(self) -> Multiplexer:
        assert self._mux is not None, "it is open"
        return self._mux

    @property
    def failure(self) -> ConnectFailure:
        """Why it ended."""
        error = self.protocol.error
        if self._failure is None and error is not None:
            return self._failure_of(error)
        return self._failure or ConnectFailure(FailureKind.UNREACHABLE, "closed")

    async def open(self, timeout: float) -> None:
        """Connect.

        Args:
            timeout: seconds for each step; all steps together take at most twice as long.

        Raises:
            ConnectFailed: the reason.
        """
        link, prefix = self.protocol, self._options.inbox_prefix
        try:
            async with asyncio.timeout(timeout * 2):
                await self._connect(timeout)
                # Check that consumers may deliver here. If not, the server reports it before the
                # multiplexer is open, which checks the same for replies.
                link.unsubscribe(link.subscribe(f"{prefix}.probe".encode(), lambda *_: None))
                mux = await Multiplexer.open(link, prefix)
                if self._options.of_caller:
                    mux.not_permitted = LoginNotPermitted
                self.version = link.version
        except Exception as error:
            failure = self._failure or self._failure_of(error)
            if _is_for_another(_tls_error(error)):
                self.server.try_another_name()
            raise ConnectFailed(failure) from error
        if self._failure is not None:
            raise ConnectFailed(self._failure)
        self._mux = mux

    async def _connect(self, timeout: float) -> None:
        options, server = self._options, self.server
        # Without a context, nats-py uses the system's trust store when the server requires TLS.
        context = self._secrets.tls.get() if self._secure else None
        if context is not None and server.websocket:
            context = expecting(context, server.names[0])
        await self.protocol.open(
            server.url,
            timeout,
            name=options.name,
            tls=context,
            tls_hostname=server.names[0],
            tls_handshake_first=options.tls_first and not server.websocket,
            **self._secrets.login(server),
        )

    def _process_info(self, info: dict[str, Any], first: bool) -> None:
        if first:
            self.info = info  # not a copy, because the change below must reach nats-py
        else:
            self.info = {**self.info, **info}
        self.connected_server.update(self.info)
        self.leaving = bool(info.get("ldm"))
        if not first:
            self._on_info(self)
            return
        tls_is_on = self.server.scheme == "wss" or (
            self._options.tls_first and not self.server.websocket
        )
        if self._secure and not tls_is_on:
            offered = info.get("tls_required") or info.get("tls_available")
            if self.server.websocket or not offered:
                raise ConnectFailed(
                    ConnectFailure(
                        FailureKind.UNUSABLE,
                        "the server offers no TLS, which tls:// or a TLS setting requires; "
                        "nothing was sent to it",
                    )
                )
            info["tls_required"] = True
        if self._secrets.signs and not info.get("nonce"):
            raise ConnectFailed(
                ConnectFailure(
                    FailureKind.LOGIN_REFUSED,
                    "the server asks for no signature, so it accepts no nkey or credentials file",
                )
            )

    async def end(self) -> None:
        """Wait until the connection has ended or its server announces that it will stop.

        A server that is frozen, or behind a half-open connection, does not close its connections,
        and another server may lead the stream by now. So if requests wait and nothing arrives, the
        server gets a PING. This counts checks, not seconds, so that a pause of this process does
        not count against the server.
        """
        protocol = self.protocol
        quiet = 0
        last = protocol.activity
        while not (self.ended or self.leaving):
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_SECONDS):
                    await self._ended.wait()
                    return
            before, last = last, protocol.activity
            quiet = quiet + 1 if self.mux.in_flight and last == before else 0
            if quiet >= _QUIET_CHECKS:
                quiet = 0
                if not await self._alive():
                    self._failure = ConnectFailure(
                        FailureKind.UNREACHABLE, "the server does not answer"
                    )
                    self._finish()

    async def _alive(self) -> bool:
        """Send a PING; return whether anything arrived."""
        before = self.protocol.activity
        await self.mux.flush(_PING_SECONDS)
        if self.protocol.activity[0] == before[0]:
            await asyncio.sleep(_CHECK_SECONDS)
        now = self.protocol.activity
        # Fewer unsent bytes also show that the server reads; the PING itself only adds some.
        return now[0] != before[0] or now[1] < before[1]

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def _finish(self) -> None:
        self._ended.set()
        self._on_end(self)
        if self._mux is not None:
            self._mux.close(ConnectionLost)

    async def close(self) -> None:
        """Close the socket; requests in flight end with `ConnectionLost`."""
        self._finish()
        await self.protocol.close()

    def _on_violation(self, refused: Violation) -> None:
        if refused.kind != "subscription":
            if self._mux is not None:
                self._mux.on_violation(refused)
            return
        if self._on_refused is not None and self._on_refused(refused.subject):
            return
        # Nothing works without replies, so end this connection; the next attempt may be permitted.
        prefix = self._options.inbox_prefix
        self._failure = ConnectFailure(
            FailureKind.REPLIES_REFUSED,
            f"the gateway's NATS user may not subscribe to {prefix}.>: grant it, or set "
            "nats_inbox_prefix to what it may subscribe to",
        )
        self._finish()

    def _failure_of(self, error: Exception) -> ConnectFailure:
        """Explain an error to the operator."""
        if isinstance(error, ConnectFailed):
            return error.failure
        if isinstance(error, SecretError):
            return ConnectFailure(FailureKind.LOGIN_REFUSED, str(error))
        if (tls := _tls_error(error)) is not None:
            return self._tls_failure(tls)
        text = _text_of(error)
        if isinstance(error, TimeoutError):
            text = "no answer in time"
            connected = not isinstance(error.__cause__, nats_errors.NoServersError)
            if connected and not self.info and not self._options.tls_first:
                text += "; does the server want TLS first (nats_tls_first)?"
        elif any(word in text.lower() for word in _LOGIN_WORDS):
            return ConnectFailure(FailureKind.LOGIN_REFUSED, text)
        elif not isinstance(error, (OSError, nats_errors.Error)):
            text += f" ({type(error).__name__}): is this NATS, are the credentials complete?"
        return ConnectFailure(FailureKind.UNREACHABLE, text)

    def _tls_failure(self, error: ssl.SSLError) -> ConnectFailure:
        if isinstance(error, ssl.SSLCertVerificationError):
            why, hint = error.verify_message.rstrip("."), "is its CA in nats_tls_ca?"
            if _is_for_another(error):
                why, hint = "it is for another name", "set nats_tls_hostname to a name of it"
            return ConnectFailure(
                FailureKind.UNUSABLE, f"the server's certificate is refused: {why}; {hint}"
            )
        reason = error.reason or str(error)
        if "WRONG_VERSION" in reason or "RECORD_LAYER" in reason:
            hint = "; does it begin in plain text? then unset nats_tls_first"
        elif "CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason:
            hint = "; does it want another client certificate (nats_tls_cert)?"
        else:
            return ConnectFailure(
                FailureKind.UNREACHABLE, f"TLS with the server broke off: {reason}"
            )
        return ConnectFailure(FailureKind.UNUSABLE, f"no TLS with the server: {reason}{hint}")


def _text_of(error: Exception) -> str:
    """Return the text of an error without the address or path that asyncio and the OS add."""
    number = error.errno if isinstance(error, OSError) else None
    if number is not None and number > 0:
        return os.strerror(number)
    return str(error) or type(error).__name__


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    """Return the TLS error inside a library's error, or None."""
    while error is not None:
        # aiohttp wraps certificate errors in a class of its own.
        error = getattr(error, "certificate_error", error)
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__
    return None


def _is_for_another(error: ssl.SSLError | None) -> bool:
    """Whether a certificate is valid, but for another name than the expected one."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _OTHER_NAME
