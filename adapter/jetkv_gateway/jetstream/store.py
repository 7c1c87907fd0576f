"""The JetStream backend, put together."""

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.batches import JetStreamBatches
from jetkv_gateway.jetstream.buckets import JetStreamBuckets
from jetkv_gateway.jetstream.budget import READING_BYTES
from jetkv_gateway.jetstream.changes import JetStreamChanges
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.entries import JetStreamEntries
from jetkv_gateway.jetstream.known import KnownBuckets
from jetkv_gateway.jetstream.listing import JetStreamListings
from jetkv_gateway.kv.store import Store

__all__ = ["open_store"]


def open_store(
    connection: Connection,
    naming: Naming,
    *,
    timeout: float,
    reading_bytes: int = READING_BYTES,
) -> Store:
    """Return the backend over a connection, which may still be down.

    Args:
        timeout: seconds that one request to NATS waits for its reply.
        reading_bytes: that may be under way from NATS at the same time.
    """
    js = JetStream(connection, naming, timeout, reading_bytes)
    known = KnownBuckets(js)
    return Store(
        entries=JetStreamEntries(js, known),
        batches=JetStreamBatches(js, known),
        listings=JetStreamListings(js, known),
        buckets=JetStreamBuckets(js, known),
        changes=JetStreamChanges(js, known),
        health=js,
    )
