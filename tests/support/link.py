"""The gateway's own connection to NATS in the test's event loop, without HTTP above it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jetkv_gateway.jetstream.connection import Connection, NatsOptions
from jetkv_gateway.settings import load


@asynccontextmanager
async def connected(*urls: str, **options: Any) -> AsyncIterator[Connection]:
    """Connect; `options` are those of `NatsOptions`."""
    connection = Connection(NatsOptions(servers=urls, **options))
    connection.start()
    try:
        assert await connection.wait_connected(5), connection.last_error
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def connecting(url: str, **settings: object) -> AsyncIterator[Connection]:
    """A connection as the gateway makes it of these settings, whether it comes to stand or not."""
    connection = Connection(load({"nats_url": url, **settings}, None).nats_options())
    connection.start()
    try:
        yield connection
    finally:
        await connection.close()
