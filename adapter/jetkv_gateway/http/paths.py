"""Names and queries, as they come in a URL.

A name is percent-decoded once, after routing. So a key may hold slashes, dots and percent signs in
any number, and an encoded slash in a bucket's name cannot reach another route.
"""

from functools import lru_cache
from urllib.parse import parse_qsl, unquote_to_bytes

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.keys import check_bucket

__all__ = ["bucket_name", "key_name", "parse_query"]


@lru_cache(maxsize=4096)
def bucket_name(raw: bytes) -> str:
    """Return a path's bucket.

    Raises:
        InvalidBucketName
    """
    return check_bucket(unquote_to_bytes(raw).decode("utf-8", "replace"))


def key_name(raw: bytes) -> str:
    """Percent-decode a key once; a `%` that starts no valid escape is itself.

    Raises:
        InvalidArgument: the result is not UTF-8.
    """
    try:
        return (unquote_to_bytes(raw) if b"%" in raw else raw).decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument("invalid key: not valid UTF-8") from error


def parse_query(
    query: bytes, allowed: frozenset[str], repeated: frozenset[str] = frozenset()
) -> dict[str, list[str]]:
    """Return a query's parameters; those in `repeated` may come more than once.

    Raises:
        InvalidArgument: one is not known to the route (an unescaped `?` in a key must not pass
            for an option), comes twice, or is not UTF-8.
    """
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
        if name in parameters and name not in repeated:
            raise InvalidArgument(f"query parameter {name!r} is given twice")
        parameters.setdefault(name, []).append(value)
    if not pairs:
        raise InvalidArgument(f"invalid query {query[:100].decode(errors='replace')!r}")
    return parameters
