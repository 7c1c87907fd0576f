"""A gateway in this process: real uvicorn, real sockets, a thread of its own."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from opentelemetry.sdk.trace.export import SpanExporter

from jetkv.testing import LocalNats
from jetkv_gateway.app import gateway as make_gateway
from jetkv_gateway.app import server_options
from jetkv_gateway.auth.authenticator import Authenticator
from jetkv_gateway.jetstream.credits import CreditPool, ReadCredits
from jetkv_gateway.serving.server import GatewayServer, config_for, listen
from jetkv_gateway.settings import load
from tests.support.http import Bucket, Http
from tests.support.permissions import AS_GATEWAY, RESTRICTED
from tests.support.waiting import until


@contextmanager
def running_gateway(
    nats_url: str,
    *,
    authenticator: Authenticator | None = None,
    ready: bool = True,
    protocol: str | None = None,
    port: int = 0,
    loop: str | None = None,
    tls: ssl.SSLContext | None = None,
    exporter: SpanExporter | None = None,
    **settings: object,
) -> Iterator[Http]:
    """Serve on a free port, or on `port`; with `ready` only once NATS is connected.

    `authenticator` is one instead of that of the settings.

    `protocol` is one of uvicorn's HTTP implementations instead of the gateway's own; WebSockets,
    too, are then uvicorn's. `loop` is an event loop as uvicorn names it. `tls` is the
    client's, for a gateway with `tls_cert`. `exporter` takes the spans where `traces` is true.
    """
    login = AS_GATEWAY if nats_url in RESTRICTED else {}
    flags = {
        "auth": "off",
        "host": "127.0.0.1",
        "port": 0,
        "log_level": "error",
        **login,
        **settings,
    }
    loaded = load({**flags, "nats_url": nats_url}, None)
    config = config_for(
        lambda: make_gateway(loaded, authenticator=authenticator, exporter=exporter),
        server_options(loaded),
    )
    if protocol is not None:
        config.http = protocol
        config.ws = "websockets-sansio"
    if loop is not None:
        config.loop = loop
    started = threading.Event()
    server = GatewayServer(config, started.set)
    with listen("127.0.0.1", port) as server_socket:
        left: list[str] = []
        arguments = (server, config, server_socket, left)
        thread = threading.Thread(target=_serve, args=arguments, daemon=True)
        thread.start()
        assert started.wait(10), "the gateway did not start"
        http = Http("127.0.0.1", server_socket.getsockname()[1], tls=tls)
        try:
            if ready:
                until(lambda: http.get("/ready").status == 200, "the gateway is ready")
            yield http
        finally:
            server.should_exit = True
            thread.join(25)
            assert not thread.is_alive(), "the gateway did not stop"
            assert left == [], "credit that was not given back, or given back twice"


@contextmanager
def running_bucket(
    server: LocalNats, *, buckets: str = "b", **settings: object
) -> Iterator[Bucket]:
    """Start a test's own nats-server and a gateway on it, and yield the bucket `b` on them.

    `buckets` is that setting of the gateway, and may add fields, such as `b,history=5`.
    """
    server.start()
    with running_gateway(server.url, buckets=buckets, **settings) as http:
        yield Bucket(http, "b")


def _serve(server, config, server_socket, left: list[str]) -> None:
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        made = _credits[runner.get_loop()] = []
        runner.run(server.serve(sockets=[server_socket]))
        del _credits[runner.get_loop()]
        for credits in made:
            for name in ("small", "large", "bulk", "live"):
                pool: CreditPool = getattr(credits, name)
                # What was abandoned comes back with the reply to a later request.
                taken = pool.taken - pool._abandoned - pool._abandoned_before
                if taken < 0 or (taken and name in ("bulk", "live")):
                    left.append(f"{name}: {taken} bytes")


_credits: dict[asyncio.AbstractEventLoop, list[ReadCredits]] = {}
"""The credits that each running gateway has made, by its event loop."""


def _noted(make: Callable[..., None]) -> Callable[..., None]:
    def note(self: ReadCredits, *arguments: int) -> None:
        make(self, *arguments)
        with suppress(RuntimeError):
            _credits.get(asyncio.get_running_loop(), []).append(self)

    return note


ReadCredits.__init__ = _noted(ReadCredits.__init__)  # type: ignore[method-assign] - for `_serve`
