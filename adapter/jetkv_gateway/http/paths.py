"""Raw paths and queries (contract 1.2).

Routing is done on the path as it was sent; only then is a segment percent-decoded, once. So a key
may hold slashes, dots and percent signs in any number, and an encoded slash in a bucket's name
cannot reach another route.
"""

from functools import lru_cache
from urllib.parse import parse_qsl, unquote_to_bytes

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.keys import check_bucket

__all__ = [
    "BUCKETS",
    "JSON_BASE",
    "PUBLIC",
    "bucket_name",
    "decode_segment",
    "flag",
    "key_route",
    "list_route",
    "parse_lists",
    "parse_query",
    "watch_route",
]

BUCKETS = b"/api/v1/kv/buckets/"
JSON_BASE = b"/json/"
"""The base URL whose GETs answer with ready values by default (contract 2.2)."""

PUBLIC = frozenset({b"/health", b"/ready", b"/api/v1/capabilities"})
"""The paths that need no credential (contract 1.6)."""


def key_route(path: bytes) -> tuple[bytes, bytes] | None:
    """Split `/api/v1/kv/buckets/{bucket}/keys/{key...}` into (bucket, key), both still encoded.

    None for any other path. The key may be empty: `…/keys/` names a key, a bad one.
    """
    if not path.startswith(BUCKETS):
        return None
    bucket, _, rest = path[len(BUCKETS) :].partition(b"/")
    if not bucket or not rest.startswith(b"keys/"):
        return None
    return bucket, rest[5:]


def watch_route(path: bytes) -> bytes | None:
    """Return the bucket of `/api/v1/kv/buckets/{bucket}/watch`, still encoded, else None."""
    return _below(path, b"watch")


def list_route(path: bytes) -> bytes | None:
    """Return the bucket of `/api/v1/kv/buckets/{bucket}/keys`, still encoded, else None."""
    return _below(path, b"keys")


def _below(path: bytes, wanted: bytes) -> bytes | None:
    if not path.startswith(BUCKETS):
        return None
    bucket, _, rest = path[len(BUCKETS) :].partition(b"/")
    return bucket if bucket and rest == wanted else None


def decode_segment(raw: bytes, what: str) -> str:
    """Percent-decode a key once; a `%` that starts no valid escape is itself.

    Raises:
        InvalidArgument: the result is not UTF-8.
    """
    try:
        return (unquote_to_bytes(raw) if b"%" in raw else raw).decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"invalid {what}: not valid UTF-8") from error


@lru_cache(maxsize=4096)
def bucket_name(raw: bytes) -> str:
    """Return a path's bucket.

    Raises:
        InvalidBucketName
    """
    return check_bucket(unquote_to_bytes(raw).decode("utf-8", "replace"))


def parse_query(query: bytes, allowed: frozenset[str]) -> dict[str, str]:
    """Return a query's parameters.

    Raises:
        InvalidArgument: one is not known to the route (an unescaped `?` in a key must not pass
            for an option), comes twice, or is not UTF-8.
    """
    return {name: values[0] for name, values in parse_lists(query, allowed).items()}


def parse_lists(query: bytes, allowed: frozenset[str], repeated: str = "") -> dict[str, list[str]]:
    """Return a query's parameters as `parse_query` does; `repeated` may come more than once."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidArgument("invalid query: not valid UTF-8") from error
    parameters: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            raise InvalidArgument(
                f"unknown query parameter {name[:100]!r}",
                hint=f"known here: {known}; where it belongs to a key, send the ? as %3F",
            )
        if name in parameters and name != repeated:
            raise InvalidArgument(f"query parameter {name!r} is given twice")
        parameters.setdefault(name, []).append(value)
    if not pairs:
        raise InvalidArgument(f"invalid query {query[:100].decode(errors='replace')!r}")
    return parameters


def flag(parameters: dict[str, str], name: str) -> bool:
    """Return a flag's value, false when it is absent.

    Raises:
        InvalidArgument: it is neither `true` nor `false`.
    """
    value = parameters.get(name, "false")
    if value not in ("true", "false"):
        raise InvalidArgument(f"query parameter {name!r} must be true or false")
    return value == "true"
