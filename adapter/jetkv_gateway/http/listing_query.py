"""Reads the parameters of requests for many keys from their query and headers."""

import re

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.ndjson import wants_lines
from jetkv_gateway.http.schema import CompactIn
from jetkv_gateway.http.views import View, choose_view
from jetkv_gateway.kv.access import Verb
from jetkv_gateway.kv.commands import Compact, DeleteKeys, Include, ListPage, ReadKeys
from jetkv_gateway.kv.cursors import CursorScope, read_cursor
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.filters import Filter, compile_filter, compile_prefix

__all__ = [
    "MAX_PAGE",
    "MAX_PAGE_OF_VALUES",
    "compact_command",
    "delete_command",
    "page_command",
    "read_command",
]

MAX_PAGE = 10_000
MAX_PAGE_OF_VALUES = 1000

_LIMIT = re.compile(r"[1-9][0-9]{0,4}")


def _wanted_keys(call: Call, bucket: str, verb: Verb) -> Filter:
    """Read `filter` or `prefix`, and narrow it to the keys that the caller may access.

    Raises:
        InvalidArgument: both are given, or one breaks a rule.
        PermissionDenied: the caller may access no key of the bucket.
    """
    return call.narrow_one(verb, bucket, _given_filter(call))


def _given_filter(call: Call) -> Filter:
    given, prefix = call.parameter("filter"), call.parameter("prefix")
    if prefix is None:
        return compile_filter(given)
    if given is not None:
        raise InvalidArgument("either query parameter 'filter' or 'prefix', not both")
    return compile_prefix(prefix)


def read_command(call: Call, bucket: str) -> tuple[ReadKeys, View] | None:
    """Read a request for JSON lines, or return None for a request for a document.

    Raises:
        InvalidArgument: a parameter breaks a rule.
    """
    if not wants_lines(call):
        return None
    for name in ("limit", "cursor"):
        if call.parameter(name) is not None:
            raise InvalidArgument(f"query parameter {name!r} has no meaning for JSON lines")
    include = _include(call, Include.META)
    view = _view(call, include)
    return ReadKeys(bucket, _wanted_keys(call, bucket, Verb.LIST_KEYS), include), view


def page_command(call: Call, bucket: str) -> tuple[ListPage, View]:
    """Read a request for a document.

    Raises:
        InvalidArgument: a parameter breaks a rule.
    """
    include, limit = _include(call, Include.KEYS), _limit(call)
    if include is Include.HISTORY:
        raise InvalidArgument(
            "include=history is for JSON lines only", hint="send Accept: application/x-ndjson"
        )
    if include is Include.VALUES and (limit is None or limit > MAX_PAGE_OF_VALUES):
        raise InvalidArgument(
            f"include=values needs a limit of at most {MAX_PAGE_OF_VALUES}",
            hint="or send Accept: application/x-ndjson, which has no limit",
        )
    view, key_filter = _view(call, include), _wanted_keys(call, bucket, Verb.LIST_KEYS)
    cursor, given = None, call.parameter("cursor")
    if given is not None:
        if limit is None:
            raise InvalidArgument("query parameter 'cursor' needs a limit")
        cursor = read_cursor(given, CursorScope(bucket, key_filter.text, include))
    return ListPage(bucket, key_filter, include, limit, cursor), view


def delete_command(call: Call, bucket: str) -> DeleteKeys:
    """Read a request to delete many keys.

    Raises:
        InvalidArgument: a parameter breaks a rule, or no parameter selects keys.
    """
    if not (call.parameter("filter") or call.parameter("prefix")):
        # Neither may be empty, since an unset variable of a script must not delete everything.
        raise InvalidArgument(
            "query parameter 'filter' or 'prefix' must say which keys to delete",
            hint="filter=> is every key",
        )
    purge, dry_run = call.flag("purge"), call.flag("dry_run")
    wanted = _wanted_keys(call, bucket, Verb.DELETE_KEYS)
    return DeleteKeys(bucket, wanted, purge, dry_run)


def compact_command(call: Call, bucket: str) -> Compact:
    """Read a request to remove tombstones. An empty body means `{}`.

    Raises:
        InvalidArgument: the body breaks a rule.
    """
    return Compact(bucket, CompactIn.read(call.request.body or b"{}").older_than_seconds)


def _include(call: Call, default: Include) -> Include:
    given = call.parameter("include")
    if given is None:
        return default
    try:
        return Include(given)
    except ValueError:
        raise InvalidArgument(
            "query parameter 'include' must be keys, meta, values or history"
        ) from None


def _limit(call: Call) -> int | None:
    given = call.parameter("limit")
    if given is None:
        return None
    if _LIMIT.fullmatch(given) is None or int(given) > MAX_PAGE:
        raise InvalidArgument(f"query parameter 'limit' must be a number from 1 to {MAX_PAGE}")
    return int(given)


def _view(call: Call, include: Include) -> View:
    given = call.parameter("values")
    if given is not None and include in (Include.KEYS, Include.META):
        raise InvalidArgument(
            "query parameter 'values' has no meaning here", hint="it needs include=values"
        )
    view = choose_view(given, None, call.view)
    if view is View.RAW:
        raise InvalidArgument("query parameter 'values' must be base64 or json here")
    return view
