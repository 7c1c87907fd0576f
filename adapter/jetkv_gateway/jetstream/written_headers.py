"""The headers of a write. Pure."""

from functools import lru_cache

from jetkv_gateway.jetstream.api import (
    CONTENT_ENCODING,
    CONTENT_TYPE,
    EXPECTED_STREAM,
    MESSAGE_ID,
    OPERATION,
    REQUEST,
    ROLLUP,
    TTL,
)
from jetkv_gateway.jetstream.headers import with_line, write_headers
from jetkv_gateway.jetstream.names import BucketNames
from jetkv_gateway.kv.commands import Delete, Write
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.kv.ttl import written_ttl

__all__ = ["headers_of", "shared_headers", "with_first_id"]

_IDS = f"{REQUEST}: %s\r\n{MESSAGE_ID}: %s\r\n\r\n"
"""The last lines of a block: what a retry has in common with the first try."""


def with_first_id(block: bytes, identity: Idempotency) -> bytes:
    """Return the headers of the first try of a write with an idempotency key."""
    return block[:-2] + (_IDS % identity).encode()


def headers_of(names: BucketNames, command: Write) -> bytes:
    """Return the headers of a write, without those of its condition and its idempotency key."""
    if isinstance(command, Delete):
        return shared_headers(names.stream, None, None, "PURGE" if command.purge else "DEL")
    block = shared_headers(names.stream, command.content_type, command.content_encoding)
    if command.ttl is not None:
        block = with_line(block, TTL, written_ttl(command.ttl))
    if command.rolls_up:
        block = with_line(block, ROLLUP, "sub")
    return block


@lru_cache(maxsize=4096)
def shared_headers(
    stream: str,
    content_type: str | None,
    content_encoding: str | None,
    operation: str | None = None,
) -> bytes:
    """Return the headers that many writes have in common; most writes have no others."""
    headers = {EXPECTED_STREAM: stream}
    if content_type is not None:
        headers[CONTENT_TYPE] = content_type
    if content_encoding is not None:
        headers[CONTENT_ENCODING] = content_encoding
    if operation is not None:
        headers[OPERATION] = operation
    if operation == "PURGE":
        headers[ROLLUP] = "sub"
    return write_headers(headers)
