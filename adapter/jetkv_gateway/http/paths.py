"""Decodes the names and the query of a URL.

A name is percent-decoded once, after routing. So a key may contain slashes, dots and percent signs,
and an encoded slash in a bucket name cannot reach another route.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from urllib.parse import parse_qsl, unquote_to_bytes

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.keys import check_bucket

__all__ = ["bucket_name", "decode_names", "key_name", "parse_query", "plain_name"]


@lru_cache(maxsize=4096)
def bucket_name(raw: bytes) -> str:
    """Return a path's bucket.

    Raises:
        InvalidBucketName
    """
    return check_bucket(unquote_to_bytes(raw).decode("utf-8", "replace"))


def key_name(raw: bytes) -> str:
    """Percent-decode a key once. A `%` that starts no valid escape stays as it is.

    Raises:
        InvalidArgument: the result is not UTF-8.
    """
    try:
        return (unquote_to_bytes(raw) if b"%" in raw else raw).decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument("invalid key: not valid UTF-8") from error


def plain_name(raw: bytes) -> str:
    """Percent-decode a name that has no rule of its own here."""
    return unquote_to_bytes(raw).decode("utf-8", "replace")


_DECODE: Mapping[str, Callable[[bytes], str]] = {
    "bucket": bucket_name,
    "key": key_name,
    "name": plain_name,
    "file": plain_name,
}


def decode_names(parameters: tuple[str, ...], raw: tuple[bytes, ...]) -> tuple[str, ...]:
    """Return the decoded names in a path.

    Args:
        parameters: the names of the template's parameters.
        raw: their values in the path.

    Raises:
        InvalidBucketName, InvalidArgument: a name breaks its rule.
    """
    return tuple([_DECODE[name](held) for name, held in zip(parameters, raw, strict=True)])


def parse_query(
    query: bytes, allowed: frozenset[str], repeated: frozenset[str] = frozenset()
) -> dict[str, list[str]]:
    """Return a query's parameters. Those in `repeated` may occur several times.

    Raises:
        InvalidArgument: a parameter is unknown to the route, occurs twice, or is not UTF-8. The
            check for unknown parameters protects keys that contain an unescaped `?`.
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
                hint=f"known parameters: {known}; send the ? of a key as %3F",
            )
        if name in parameters and name not in repeated:
            raise InvalidArgument(f"query parameter {name!r} is given twice")
        parameters.setdefault(name, []).append(value)
    if not pairs:
        raise InvalidArgument(f"invalid query {query[:100].decode(errors='replace')!r}")
    return parameters
