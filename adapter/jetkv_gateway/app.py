"""Builds the gateway from its settings, as an ASGI app.

Only this module joins HTTP, `kv/` and JetStream.
"""

import asyncio
import functools
import gc
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from jetkv_gateway import __version__
from jetkv_gateway.auth.authenticator import Authenticator, Chain
from jetkv_gateway.callers import Callers, authenticator_for
from jetkv_gateway.filewatch import FileWatcher
from jetkv_gateway.http.buckets import BODY_LIMIT
from jetkv_gateway.http.caller_limits import CallerLimits, RateLimits
from jetkv_gateway.http.console.handlers import ConsoleHandlers
from jetkv_gateway.http.flags import BODY_LIMIT as FLAG_BODY_LIMIT
from jetkv_gateway.http.flags import FlagOptions
from jetkv_gateway.http.gateway import Gateway
from jetkv_gateway.http.handler_groups import data_handlers, handlers_of
from jetkv_gateway.http.health import HealthHandlers
from jetkv_gateway.http.hosts import ANY_HOST, AllowedHosts
from jetkv_gateway.http.identity import IdentityHandlers
from jetkv_gateway.http.openapi import ApiHandlers
from jetkv_gateway.http.origins import AllowedOrigins
from jetkv_gateway.http.route_parts import KV
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.http.standing import Standing
from jetkv_gateway.http.token_handlers import BODY_LIMIT as TOKEN_BODY_LIMIT
from jetkv_gateway.http.token_handlers import TokenHandlers
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.client import RETRY_SECONDS
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.micro import MicroService, semantic_version
from jetkv_gateway.jetstream.store import open_stores
from jetkv_gateway.kv.batches import MAX_BODY_BYTES
from jetkv_gateway.kv.configured import ConfiguredBucket
from jetkv_gateway.kv.store import Store
from jetkv_gateway.login_pool import LoginPool, PoolOptions
from jetkv_gateway.monitoring import Monitoring
from jetkv_gateway.readiness import GatewayReadiness
from jetkv_gateway.serving.options import AppFactory, ServerOptions
from jetkv_gateway.serving.tls import ListenerFiles, ServerTls
from jetkv_gateway.settings import FLAGS_BUCKET, Settings, SettingsError
from jetkv_gateway.telemetry.audit import AuditLog
from jetkv_gateway.telemetry.sampler import State
from jetkv_gateway.telemetry.tracing import TracingUnavailable, check_tracing
from jetkv_gateway.watch.hub import Hub, WatchLimits
from jetkv_gateway.watch.pacing import TurnPacer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["build", "factory", "gateway", "listener_tls", "server_options"]

_log = logging.getLogger("jetkv")

_NO_RATES = RateLimits()
_START_SECONDS = 2.0
_CLOSE_SECONDS = 1.5
_WATCHES_A_TURN = 16
"""Watches that start in one turn of the event loop, about five milliseconds."""

# Requests leave no reference cycles, so a collection finds nothing and only causes a pause. The
# first figure is the number of new objects that starts one. 64 busy connections never reach 5,000:
# there was no collection in 30,000 requests, compared with 120 at 1,000. When thousands of watches
# start, their objects stay, and a pause is as long as the objects since the collection before the
# last one. So the second figure is as small as possible. The third figure keeps full collections as
# rare as before. Python 3.14 uses the second figure differently: the larger it is, the fewer old
# objects each collection visits.
_COLLECT_AFTER = (5000, 10, 100) if sys.version_info >= (3, 14) else (5000, 1, 500)


def factory(settings: Settings, authenticator: Authenticator) -> AppFactory:
    """Return the factory that creates the gateway in each serving process.

    The gateway starts with the state of `authenticator`. The factory raises SettingsError if a file
    has become unusable.

    Raises:
        SettingsError: traces are on, and cannot be exported.
    """
    if settings.traces:
        try:
            check_tracing()
        except TracingUnavailable as error:
            raise SettingsError(str(error)) from error
    audit = open_audit_log(settings)
    if audit is not None:
        # Each worker opens it for itself. This tells the operator early that it can.
        audit.close()
    return functools.partial(gateway, settings, authenticator=authenticator)


def server_options(settings: Settings) -> ServerOptions:
    """Return the server's options.

    Raises:
        CannotStart: as `listener_tls`.
    """
    return ServerOptions(
        workers=settings.workers,
        log_level=settings.log_level,
        log_format=settings.log_format,
        # A request may wait for a leader, and then for its answer.
        request=settings.request_timeout + RETRY_SECONDS,
        ping=settings.watch_ping_seconds,
        shutdown_delay=settings.shutdown_delay,
        admission=settings.admission_limits(),
        callers=settings.caller_options(),
        connections=settings.max_connections,
        held_bytes=settings.max_held_bytes,
        metrics=settings.metrics_options(),
        tls=listener_tls(settings),
    )


def listener_tls(settings: Settings) -> ServerTls | None:
    """Return TLS for the connections of clients, or None without `tls_cert`.

    Raises:
        CannotStart: settings contradict each other, or a file cannot be used.
    """
    if settings.tls_cert is None:
        for name in ("tls_key", "tls_client_ca"):
            if getattr(settings, name) is not None:
                raise SettingsError(f"{name} needs tls_cert")
        return None
    if settings.proxy_protocol:
        # The header comes before the handshake, where the event loop reads TLS already.
        raise SettingsError("give only one of proxy_protocol and tls_cert: let the proxy end TLS")
    files = ListenerFiles(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
    return ServerTls(files)


def open_audit_log(settings: Settings) -> AuditLog | None:
    """Open the audit log, or return None if it is off.

    Raises:
        SettingsError: its file cannot be opened.
    """
    options = settings.audit_options()
    try:
        return None if options is None else AuditLog(options)
    except OSError as error:
        text = f"cannot open the audit log {settings.audit_log}: {error.strerror or error}"
        raise SettingsError(text) from error


def micro_service(settings: Settings) -> MicroService | None:
    """Return what shows this worker as a NATS micro service, or None if that is off."""
    if not settings.nats_service:
        return None
    metadata = {
        "host": socket.gethostname(),
        "address": f"{settings.host}:{settings.port}",
        "pid": str(os.getpid()),
        "workers": str(settings.workers),
    }
    if settings.bucket_prefix:
        metadata["bucket_prefix"] = settings.bucket_prefix
    return MicroService(semantic_version(__version__), metadata, counted=KV)


def gateway(
    settings: Settings,
    *,
    authenticator: Authenticator | None = None,
    exporter: "SpanExporter | None" = None,
) -> Gateway:
    """Return the gateway as an ASGI app. Its lifespan connects to NATS and disconnects.

    Its `reload` reads the tokens again, and checks the files for NATS.

    Args:
        authenticator: None creates the one that the settings select.
        exporter: takes the spans of traces. None creates the one that `OTEL_*` variables select.

    Raises:
        TokenFileError: the token file cannot be used.
        TracingUnavailable: traces are on, and cannot be exported.
    """
    authenticator = authenticator or authenticator_for(settings)
    pacer = TurnPacer(_WATCHES_A_TURN)
    pool = _login_pool(settings, authenticator, pacer)
    audit = open_audit_log(settings)
    service = micro_service(settings)
    connection = Connection(settings.nats_options(), service)
    naming = Naming(prefix=settings.bucket_prefix, domain=settings.nats_domain)
    store, token_store = open_stores(
        connection,
        naming,
        timeout=settings.request_timeout,
        in_flight_bytes=settings.max_reading_bytes,
    )
    return build(
        store,
        connection=connection,
        callers=Callers.of(settings, authenticator, token_store),
        pool=pool,
        pacer=pacer,
        files=FileWatcher(
            functools.partial(_look_at_files, authenticator, connection),
            functools.partial(_reload, settings, authenticator, audit),
        ),
        origins=_origins(settings, authenticator),
        wanted=settings.wanted_buckets(),
        watch_limits=settings.watch_limits(),
        required=settings.ready_buckets,
        monitoring=Monitoring.of(
            settings, *(one for one in (audit, service) if one is not None), exporter=exporter
        ),
        audit=audit,
        rate_limits=settings.rate_limits(),
        console=settings.console,
        flags_bucket=settings.flags_bucket,
    )


def build(
    store: Store,
    *,
    connection: Connection,
    callers: Callers,
    pool: LoginPool | None = None,
    pacer: TurnPacer,
    files: FileWatcher,
    origins: AllowedOrigins,
    wanted: list[ConfiguredBucket],
    watch_limits: WatchLimits,
    monitoring: Monitoring,
    required: Sequence[str] = (),
    audit: AuditLog | None = None,
    rate_limits: RateLimits = _NO_RATES,
    console: bool = True,
    flags_bucket: str = FLAGS_BUCKET,
) -> Gateway:
    """Join the parts. The `wanted` buckets must exist while NATS is available.

    Args:
        monitoring: listens to the events.
        pool: the connections of callers with logins of NATS, or None.
        pacer: paces the start of watches.
        required: buckets without which the gateway is not ready.
        audit: the audit log, or None if it is off.
        rate_limits: of the callers.
        console: whether it serves the console.
        flags_bucket: the bucket that has the feature flags.
    """
    hub = Hub(store.changes, watch_limits)
    authenticator = callers.authenticator
    standing = Standing(authenticator) if authenticator.required else None
    readiness = GatewayReadiness(
        connection, store.health, store.buckets, wanted, callers, hub, required
    )
    required_auth = authenticator.required

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        monitoring.start(lambda: State(connection.connected, built.in_flight, hub.lag))
        if audit is not None:
            audit.start()
        files.start()
        connection.start()
        callers.start()
        if standing is not None:
            standing.start()
        readiness.start()
        # Objects from the start live until the end, so exclude them from collections.
        gc.collect()
        gc.freeze()
        # With its default thresholds, the collector would repeatedly visit all objects.
        gc.set_threshold(*_COLLECT_AFTER)
        # Wait before accepting connections, since another worker or gateway may already serve, and
        # missing buckets would answer 404. Without NATS, the gateway starts anyway and answers 503.
        await asyncio.gather(readiness.wait(_START_SECONDS), callers.wait(_START_SECONDS))
        try:
            yield
        finally:
            await readiness.close()
            await callers.close()
            if standing is not None:
                await standing.close()
            with suppress(TimeoutError):
                # If NATS does not answer, it removes the consumers itself later.
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await hub.close()
            await connection.close()
            files.close()
            if audit is not None:
                await asyncio.to_thread(audit.close)
            await monitoring.close()

    built = Gateway(
        handlers={
            **data_handlers(
                store, hub, pacer, FlagOptions(flags_bucket, callers.tickets, required_auth)
            ),
            **handlers_of(
                HealthHandlers(
                    readiness,
                    monitoring.write if monitoring.has_metrics else None,
                    auth_required=required_auth,
                ),
                ApiHandlers(auth_required=required_auth),
                IdentityHandlers(),
                ConsoleHandlers(on=console),
                TokenHandlers(ROUTER, callers.admin, callers.tickets, required=required_auth),
            ),
        },
        body_limits={
            "put_entry": functools.partial(getattr, connection, "max_value_bytes"),
            **dict.fromkeys(("create_bucket", "put_bucket", "patch_bucket"), lambda: BODY_LIMIT),
            "compact_bucket": lambda: BODY_LIMIT,
            **dict.fromkeys(("create_token", "create_ticket"), lambda: TOKEN_BODY_LIMIT),
            "batch": lambda: MAX_BODY_BYTES,
            **dict.fromkeys(("evaluate_flag", "evaluate_flags"), lambda: FLAG_BODY_LIMIT),
        },
        lifespan=lifespan,
        origins=origins,
        authenticator=authenticator,
        backends=pool.handlers_of if pool is not None else None,
        tickets=callers.tickets,
        limits=CallerLimits(rate_limits),
        standing=standing,
        reload=files.ask,
    )
    return built


def _origins(settings: Settings, authenticator: Authenticator) -> AllowedOrigins:
    """Return the allowed origins and host names.

    A page that uses DNS rebinding has no token. So a gateway with tokens needs no list of names,
    but the operator may set one.
    """
    hosts = ANY_HOST
    if settings.loopback_host or settings.allowed_hosts or not authenticator.required:
        hosts = AllowedHosts(settings.allowed_hosts, loopback=settings.loopback_host)
    return AllowedOrigins(frozenset(settings.cors_origins), hosts)


def _login_pool(
    settings: Settings, authenticator: Authenticator, pacer: TurnPacer
) -> LoginPool | None:
    """Return the connections of callers with logins of NATS, or None if there are no such."""
    logins = authenticator.nats if isinstance(authenticator, Chain) else None
    if logins is None:
        return None
    options = PoolOptions(
        nats=settings.nats_options(),
        naming=Naming(prefix=settings.bucket_prefix, domain=settings.nats_domain),
        timeout=settings.request_timeout,
        watches=settings.watch_limits(),
        most=settings.max_nats_logins,
        idle=settings.nats_login_idle_seconds,
    )
    # Nobody gets tickets for a login of NATS.
    flags = FlagOptions(settings.flags_bucket, tickets=None, required=True)
    logins.pool = LoginPool(options, lambda store, hub: data_handlers(store, hub, pacer, flags))
    return logins.pool


def _look_at_files(authenticator: Authenticator, connection: Connection) -> None:
    authenticator.refresh()
    connection.look_at_files()


def _reload(settings: Settings, authenticator: Authenticator, audit: AuditLog | None) -> None:
    """Reload on SIGHUP. If a file cannot be used, the state before stays in force."""
    _log.info("reload: files are read again; changed settings need a restart")
    authenticator.refresh(force=True)
    if audit is not None:
        audit.reopen()
    try:
        settings.check_nats_files()
    except SettingsError as error:
        _log.error("reload: %s; the connection to NATS continues", error)
    else:
        if settings.nats_files:
            _log.info("reload: the next connection to NATS uses the credentials and certificates")
