"""Builds the JetStream backend."""

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.batches import JetStreamBatches
from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.bucket_changes import JetStreamBucketChanges
from jetkv_gateway.jetstream.buckets import JetStreamBuckets
from jetkv_gateway.jetstream.bulk_deletes import JetStreamBulkDeletes
from jetkv_gateway.jetstream.bulk_reads import JetStreamReadings
from jetkv_gateway.jetstream.changes import JetStreamChanges
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.credits import IN_FLIGHT_BYTES
from jetkv_gateway.jetstream.entries import JetStreamEntries
from jetkv_gateway.jetstream.key_lists import KeyList
from jetkv_gateway.jetstream.listing import JetStreamListings
from jetkv_gateway.jetstream.pages import JetStreamPages
from jetkv_gateway.jetstream.shared_runs import SharedRuns
from jetkv_gateway.jetstream.token_store import JetStreamTokenStore
from jetkv_gateway.kv.store import Store

__all__ = ["open_store", "open_stores"]

_LISTINGS_AT_ONCE = 4
"""They share the event loop with all else."""
_LISTINGS_WAIT_SECONDS = 5.0


def open_stores(
    connection: Connection,
    naming: Naming,
    *,
    timeout: float,
    in_flight_bytes: int = IN_FLIGHT_BYTES,
) -> tuple[Store, JetStreamTokenStore]:
    """Return the backend on a connection, which may still be down, and the tokens beside it.

    Args:
        timeout: seconds that one request to NATS waits for its reply.
        in_flight_bytes: the limit on bytes that NATS may be sending at the same time.
    """
    js = JetStream(connection, naming, timeout, in_flight_bytes)
    cache = BucketCache(js)
    entries = JetStreamEntries(js, cache)
    runs: SharedRuns[KeyList] = SharedRuns(
        "listings", at_once=_LISTINGS_AT_ONCE, wait=_LISTINGS_WAIT_SECONDS
    )
    buckets = JetStreamBuckets(js, cache)
    store = Store(
        entries=entries,
        batches=JetStreamBatches(js, cache),
        listings=JetStreamListings(js, cache, runs),
        pages=JetStreamPages(js, cache, entries, runs),
        readings=JetStreamReadings(js, cache),
        bulk_deletes=JetStreamBulkDeletes(js, cache),
        buckets=buckets,
        bucket_changes=JetStreamBucketChanges(js, cache, buckets),
        changes=JetStreamChanges(js, cache),
        health=js,
    )
    return store, JetStreamTokenStore(js)


def open_store(
    connection: Connection,
    naming: Naming,
    *,
    timeout: float,
    in_flight_bytes: int = IN_FLIGHT_BYTES,
) -> Store:
    """Return the backend alone; see `open_stores`."""
    return open_stores(connection, naming, timeout=timeout, in_flight_bytes=in_flight_bytes)[0]
