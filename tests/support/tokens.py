"""Tokens, and lines of token files, for tests."""

import asyncio

from jetkv_gateway.auth import tokens
from jetkv_gateway.auth.token_admin import make_token, store_token
from jetkv_gateway.auth.tokens import new_token
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.store import open_stores
from jetkv_gateway.settings import load

__all__ = ["new_token", "stored_token", "token_line"]


def token_line(name: str, token: str, *scopes: str, expires: str | None = None) -> str:
    """A line of a token file; without scopes, the token may do everything."""
    return tokens.token_line(name, token, scopes or ("*:*",), expires)


def stored_token(nats_url: str, name: str, *scopes: str, domain: str = "") -> str:
    """Store a token in the gateways' own bucket, as `jetkv token create` does, and return it."""

    async def store() -> str:
        connection = Connection(load({"nats_url": nats_url}, None).nats_options())
        connection.start()
        try:
            await connection.wait_connected(10)
            _, bucket = open_stores(connection, Naming(domain=domain), timeout=5)
            await bucket.ensure()
            secret, token = make_token(name, scopes, None, None)
            await store_token(bucket, token)
            return secret
        finally:
            await connection.close()

    return asyncio.run(store())
