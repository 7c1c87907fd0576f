# Made from adapter/jetkv_gateway/kv/buckets.py by `make format`; edit that one.
"""How far a bucket that exists may differ from one that is asked for."""

__all__ = ["AT_LEAST", "EQUAL"]

EQUAL = (
    "ttl_seconds",
    "storage",
)
"""Has to be the same."""

AT_LEAST = (
    "history",
    "replicas",
)
"""Has to be no less."""
