"""Streamable HTTP on loopback, for clients that have the bearer token."""

import hmac
import ipaddress
import signal
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.transport_security import TransportSecuritySettings
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["PATH", "is_loopback", "serve"]

PATH = "/mcp"

_MAX_SESSIONS = 100
_STOP_SECONDS = 5


def is_loopback(host: str) -> bool:
    """Return whether a host is an address of this machine that no other machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(
    server: Server[Any], host: str, port: int, token: str, started: Callable[[str, int], None]
) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        server: what to serve.
        host: an address of loopback, or `localhost`.
        port: a TCP port; 0 for any.
        token: what clients must send as a bearer token.
        started: is called with the URL and the port once clients can connect.

    Raises:
        OSError: the port cannot be used.
    """
    address = "127.0.0.1" if host == "localhost" else host
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family) as listening:
        bound = listening.getsockname()[1]
        named = f"[{address}]" if ":" in address else address
        # A page of another site may reach loopback under a name of its own, or from its origin.
        hosts = [one for name in (named, "localhost") for one in (name, f"{name}:*")]
        inner = server.streamable_http_app(
            streamable_http_path=PATH,
            max_sessions=_MAX_SESSIONS,
            transport_security=TransportSecuritySettings(
                allowed_hosts=hosts, allowed_origins=[f"http://{one}" for one in hosts]
            ),
        )
        config = uvicorn.Config(
            _WithToken(inner, token),
            log_level="warning",
            timeout_graceful_shutdown=_STOP_SECONDS,
            server_header=False,
        )
        started(f"http://{named}:{bound}{PATH}", bound)
        # uvicorn raises a signal again that it has obeyed; to stop is what was asked for.
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        try:
            uvicorn.Server(config).run([listening])
        finally:
            signal.signal(signal.SIGTERM, before)


class _WithToken:
    """Refuses requests without the token, before anything reads them."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = f"bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_allowed(scope):
            await self._app(scope, receive, send)
            return
        refusal = JSONResponse(
            {"error": "send the bearer token of this server", "code": "unauthenticated"},
            401,
            {"WWW-Authenticate": "Bearer"},
        )
        await refusal(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        given = [value for name, value in scope.get("headers", ()) if name == b"authorization"]
        if scope["type"] != "http" or len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        return hmac.compare_digest(scheme.lower() + b" " + token, self._expected)
