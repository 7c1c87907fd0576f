"""Caches, counters, feature flags, sessions, locks, elections and deduplication on buckets.

    from jetkv.recipes import Lock, cached

The docstring of each recipe says what you can and cannot rely on. Recipes whose name starts with
`Async` take an `AsyncBucket`, the others take a `Bucket`; `cached` takes both. docs/recipes.md
compares them.
"""

from jetkv.recipes._async.cache import AsyncCached
from jetkv.recipes._async.counter import AsyncCounter
from jetkv.recipes._async.dedup import AsyncCommandDedup
from jetkv.recipes._async.election import AsyncElection
from jetkv.recipes._async.flags import AsyncFlags
from jetkv.recipes._async.lock import AsyncLock
from jetkv.recipes._async.sessions import AsyncSessions
from jetkv.recipes._claim import Claim, Run
from jetkv.recipes._decorator import cached
from jetkv.recipes._sync.cache import Cached
from jetkv.recipes._sync.counter import Counter
from jetkv.recipes._sync.dedup import CommandDedup
from jetkv.recipes._sync.election import Election
from jetkv.recipes._sync.flags import Flags
from jetkv.recipes._sync.lock import Lock
from jetkv.recipes._sync.sessions import Sessions

__all__ = [
    "AsyncCached",
    "AsyncCommandDedup",
    "AsyncCounter",
    "AsyncElection",
    "AsyncFlags",
    "AsyncLock",
    "AsyncSessions",
    "Cached",
    "Claim",
    "CommandDedup",
    "Counter",
    "Election",
    "Flags",
    "Lock",
    "Run",
    "Sessions",
    "cached",
]
