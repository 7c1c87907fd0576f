"""The handlers of the routes, by the names of the routes."""

from jetkv_gateway.flags.follower import FlagFollower
from jetkv_gateway.http.batch import BatchHandlers
from jetkv_gateway.http.buckets import BucketHandlers
from jetkv_gateway.http.call import Handler
from jetkv_gateway.http.flags import FlagHandlers, FlagOptions
from jetkv_gateway.http.keys import KeyHandlers
from jetkv_gateway.http.listing import ListingHandlers
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.http.watch import WatchHandlers
from jetkv_gateway.http.watch_many import MergedWatchHandlers
from jetkv_gateway.kv.store import Store
from jetkv_gateway.watch.hub import Hub
from jetkv_gateway.watch.pacing import TurnPacer

__all__ = ["data_handlers", "handlers_of"]


def data_handlers(
    store: Store, hub: Hub, pacer: TurnPacer, options: FlagOptions
) -> dict[str, Handler]:
    """Return the handlers of the routes to buckets, keys and flags, on one connection to NATS."""
    flags = FlagFollower(hub, options.bucket)
    return handlers_of(
        KeyHandlers(store.entries, flags),
        ListingHandlers(store.listings, store.pages, store.readings, store.bulk_deletes, flags),
        BatchHandlers(store.batches, store.entries, flags),
        BucketHandlers(store.buckets, store.bucket_changes),
        WatchHandlers(hub, pacer),
        MergedWatchHandlers(hub, pacer),
        FlagHandlers(flags, hub, pacer, options),
    )


def handlers_of(*groups: object) -> dict[str, Handler]:
    """Return the handlers of groups. Each has the name of its route."""
    return {
        name: getattr(group, name)
        for group in groups
        for name in ROUTER.names
        if hasattr(group, name)
    }
