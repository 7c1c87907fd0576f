"""The one place that joins HTTP, the language and JetStream: settings in, an ASGI app out."""

import asyncio
import functools
import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from jetkv_gateway.filewatch import FileWatcher
from jetkv_gateway.http.auth import Authenticator, NoAuth, TokenFile
from jetkv_gateway.http.batch import BatchHandlers
from jetkv_gateway.http.buckets import BODY_LIMIT, BucketHandlers
from jetkv_gateway.http.call import Handler
from jetkv_gateway.http.gateway import Gateway
from jetkv_gateway.http.health import HealthHandlers
from jetkv_gateway.http.hosts import ANY_HOST, AllowedHosts
from jetkv_gateway.http.keys import KeyHandlers
from jetkv_gateway.http.listing import ListingHandlers
from jetkv_gateway.http.openapi import ApiHandlers
from jetkv_gateway.http.origins import AllowedOrigins
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.http.watch import WatchHandlers
from jetkv_gateway.http.watch_many import MergedWatchHandlers
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.client import RETRY_SECONDS
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.store import open_store
from jetkv_gateway.kv.access import Policy, full_access
from jetkv_gateway.kv.batches import MAX_BODY_BYTES
from jetkv_gateway.kv.configured import ConfiguredBucket
from jetkv_gateway.kv.store import Store
from jetkv_gateway.readiness import GatewayReadiness
from jetkv_gateway.serving.options import AppFactory, ServerOptions
from jetkv_gateway.settings import AuthMode, Settings, SettingsError
from jetkv_gateway.watch.hub import Hub, WatchLimits
from jetkv_gateway.watch.pacing import TurnPacer

__all__ = ["authenticator_for", "build", "factory", "gateway", "server_options"]

_log = logging.getLogger("jetkv")

_START_SECONDS = 2.0
_CLOSE_SECONDS = 1.5
_WATCHES_A_TURN = 16
"""Watches that begin in one turn of the event loop: some five milliseconds."""

# Requests leave no cycles, so a collection finds nothing and only costs a pause. 5,000 more objects
# than at the last one are what 64 busy connections do not come to: none in 30,000 requests, where
# 1,000 made 120. Where thousands of watches begin, all those objects stay, and a pause is as long
# as what has come since the collection before the last one: the second figure is as small as it can
# be. The third leaves a look at all that lives as rare as it was. 3.14 has another use for the
# second one: the larger it is, the less of what is old is looked at each time.
_COLLECT_AFTER = (5000, 10, 100) if sys.version_info >= (3, 14) else (5000, 1, 500)


def authenticator_for(settings: Settings) -> Authenticator:
    """Return who tells the callers, by the settings.

    Raises:
        TokenFileError: the token file cannot be used.
    """
    if settings.auth is AuthMode.TOKENS:
        assert settings.auth_tokens is not None, "checked by Settings"
        return TokenFile(settings.auth_tokens)
    return NoAuth()


def factory(settings: Settings, authenticator: Authenticator) -> AppFactory:
    """Return what makes the gateway in each process that serves, with what `authenticator` knows.

    It raises SettingsError where a file cannot be used any more.
    """
    return functools.partial(gateway, settings, authenticator=authenticator)


def server_options(settings: Settings) -> ServerOptions:
    """Return how to serve the gateway."""
    return ServerOptions(
        workers=settings.workers,
        log_level=settings.log_level,
        # Waiting for a leader, and then for its answer.
        request=settings.request_timeout + RETRY_SECONDS,
        ping=settings.watch_ping_seconds,
        shutdown_delay=settings.shutdown_delay,
        admission=settings.admission_limits(),
        callers=settings.caller_options(),
        connections=settings.max_connections,
        held_bytes=settings.max_held_bytes,
    )


def gateway(
    settings: Settings,
    *,
    authenticator: Authenticator | None = None,
    policy: Policy = full_access,
) -> Gateway:
    """Return the gateway as an ASGI app; its lifespan connects to NATS and disconnects.

    Its `reload` reads tokens again, and looks whether the files for NATS can be read.

    Args:
        authenticator: made by the settings where it is None.

    Raises:
        TokenFileError: the token file cannot be used.
    """
    authenticator = authenticator or authenticator_for(settings)
    connection = Connection(settings.nats_options())
    naming = Naming(prefix=settings.bucket_prefix, domain=settings.nats_domain)
    store = open_store(
        connection,
        naming,
        timeout=settings.request_timeout,
        in_flight_bytes=settings.max_reading_bytes,
    )
    return build(
        store,
        connection=connection,
        authenticator=authenticator,
        files=FileWatcher(
            authenticator.refresh, functools.partial(_reload, settings, authenticator)
        ),
        origins=_origins(settings, authenticator),
        wanted=settings.wanted_buckets(),
        watch_limits=settings.watch_limits(),
        policy=policy,
    )


def build(
    store: Store,
    *,
    connection: Connection,
    authenticator: Authenticator,
    files: FileWatcher,
    origins: AllowedOrigins,
    wanted: list[ConfiguredBucket],
    watch_limits: WatchLimits,
    policy: Policy = full_access,
) -> Gateway:
    """Join the parts; `wanted` are buckets that have to exist once NATS is there."""
    hub = Hub(store.changes, watch_limits)
    readiness = GatewayReadiness(
        connection, store.health, store.buckets, wanted, authenticator, hub
    )
    pacer = TurnPacer(_WATCHES_A_TURN)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        files.start()
        connection.start()
        readiness.start()
        # What start-up built stays; the collector need not walk it again.
        gc.collect()
        gc.freeze()
        # With its usual haste the collector walks all that lives for a while again and again.
        gc.set_threshold(*_COLLECT_AFTER)
        # Before it accepts anybody: where another worker serves already, or another gateway, a
        # client is better off there, and a bucket of the settings is no 404. Without NATS it starts
        # all the same, and answers 503.
        await readiness.wait(_START_SECONDS)
        try:
            yield
        finally:
            await readiness.close()
            with suppress(TimeoutError):
                # A NATS that does not answer removes the consumers by itself.
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await hub.close()
            await connection.close()
            files.close()

    return Gateway(
        handlers=_handlers(
            KeyHandlers(store.entries),
            ListingHandlers(store.listings, store.pages, store.readings, store.sweeps),
            BatchHandlers(store.batches, store.entries),
            BucketHandlers(store.buckets, store.bucket_changes),
            HealthHandlers(readiness, auth_required=authenticator.required),
            ApiHandlers(auth_required=authenticator.required),
            WatchHandlers(hub, pacer),
            MergedWatchHandlers(hub, pacer),
        ),
        body_limits={
            "put_entry": functools.partial(getattr, connection, "max_value_bytes"),
            **dict.fromkeys(("create_bucket", "put_bucket", "patch_bucket"), lambda: BODY_LIMIT),
            "compact_bucket": lambda: BODY_LIMIT,
            "batch": lambda: MAX_BODY_BYTES,
        },
        lifespan=lifespan,
        origins=origins,
        authenticator=authenticator,
        policy=policy,
        reload=files.ask,
    )


def _origins(settings: Settings, authenticator: Authenticator) -> AllowedOrigins:
    """Return which pages may call, and under which names.

    A page that rebinds a name has no token. So a gateway that asks for tokens needs no list of
    names; the operator may still set one.
    """
    hosts = ANY_HOST
    if settings.loopback_host or settings.allowed_hosts or not authenticator.required:
        hosts = AllowedHosts(settings.allowed_hosts, loopback=settings.loopback_host)
    return AllowedOrigins(frozenset(settings.cors_origins), hosts)


def _handlers(*groups: object) -> dict[str, Handler]:
    """Return the handler of each row, which has its row's name."""
    return {
        name: getattr(group, name)
        for group in groups
        for name in ROUTER.names
        if hasattr(group, name)
    }


def _reload(settings: Settings, authenticator: Authenticator) -> None:
    """Do what SIGHUP asks for; what cannot be used leaves what was there before."""
    _log.info("reload: files are read again; settings count from the next start")
    authenticator.refresh(force=True)
    try:
        settings.check_nats_files()
    except SettingsError as error:
        _log.error("reload: %s; the connection to NATS goes on", error)
    else:
        if settings.nats_files:
            _log.info("reload: credentials and certificates count from the next connection to NATS")
