"""What the tests of a watch's session offer to it."""

from jetkv_gateway.kv.filters import Filter, compile_filter
from jetkv_gateway.kv.model import Change, Operation

WEIGHT = 256
"""What a change weighs beside its value."""


def put(revision: int, key: str = "k", value: bytes = b"v") -> Change:
    return Change(key, value, revision, Operation.PUT)


def tombstone(revision: int, key: str = "k", operation: Operation = Operation.DELETE) -> Change:
    return Change(key, b"", revision, operation)


def filters(*texts: str) -> list[Filter]:
    return [compile_filter(text) for text in texts]
