# Made from adapter/jetkv_gateway/kv/buckets.py by `make format`. Edit that file.
"""How far an existing bucket may differ from the one that a program asks for."""

__all__ = ["AT_LEAST", "EQUAL"]

EQUAL = (
    "ttl_seconds",
    "storage",
)
"""The setting must be the same."""

AT_LEAST = (
    "history",
    "replicas",
)
"""The setting must not be lower."""
