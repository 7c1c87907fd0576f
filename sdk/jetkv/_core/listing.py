"""Requests and answers of calls that concern many keys (docs/http-api.md#listing)."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

from jetkv._core import fields
from jetkv._core.access import is_filtered
from jetkv._core.answers import Decode, entry_of, error_of, expiry_of, read_document
from jetkv._core.messages import Answer, Kind, Request
from jetkv._core.requests import bucket_path, checked_text
from jetkv.errors import InvalidArgumentError
from jetkv.models import Deleted, Entry, EntryMeta, KeyPage, parse_time

__all__ = [
    "MAX_PAGE",
    "MAX_PAGE_OF_VALUES",
    "LineReader",
    "compact",
    "delete_many",
    "list_page",
    "read_compacted",
    "read_entry_page",
    "read_key_page",
    "read_meta_page",
    "stream_lines",
]

T = TypeVar("T")

MAX_PAGE = 10_000
MAX_PAGE_OF_VALUES = 1_000
_MAX_LINE = 1024 * 1024


def list_page(
    bucket: str,
    filter: str | None,
    prefix: str | None,
    *,
    limit: int,
    cursor: str | None,
    include: str = "keys",
) -> Request:
    """Return the request for one page.

    Raises:
        InvalidArgumentError: both a filter and a prefix were given, one of them is no text, or the
            limit is out of range.
    """
    query = _selection(filter, prefix)
    maximum = MAX_PAGE_OF_VALUES if include == "values" else MAX_PAGE
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= maximum:
        raise InvalidArgumentError(
            f"limit must be a whole number from 1 to {maximum}, not {limit!r}"
        )
    query["limit"] = str(limit)
    if include != "keys":
        query["include"] = include
    if include == "values":
        query["values"] = "base64"
    if cursor is not None:
        query["cursor"] = checked_text(cursor, "cursor")
    target = f"{bucket_path(bucket)}/keys?{urlencode(query)}"
    return Request("GET", target, Kind.READ, f"listing of bucket {bucket!r}", large=True)


def stream_lines(
    bucket: str, filter: str | None, prefix: str | None, include: str, values: str = "json"
) -> Request:
    """Return the request for a list as JSON lines.

    Raises:
        InvalidArgumentError: both a filter and a prefix were given, or one of them is no text.
    """
    query = {**_selection(filter, prefix), "include": include}
    if include == "values":
        query["values"] = values
    return Request(
        "GET",
        f"{bucket_path(bucket)}/keys?{urlencode(query)}",
        Kind.READ,
        f"listing of bucket {bucket!r}",
        {"Accept": "application/x-ndjson"},
        large=True,
    )


def delete_many(
    bucket: str, filter: str | None, prefix: str | None, *, purge: bool, dry_run: bool
) -> Request:
    """Return the request that deletes many keys. Its answer has several lines.

    Raises:
        InvalidArgumentError: neither a filter nor a prefix was given, or both, or an empty one.
    """
    query = _selection(filter, prefix)
    if not any(query.values()):
        raise InvalidArgumentError(
            "delete_many() needs a filter or a prefix", hint='for all keys, use filter=">"'
        )
    if purge:
        query["purge"] = "true"
    if dry_run:
        query["dry_run"] = "true"
    return Request(
        "DELETE",
        f"{bucket_path(bucket)}/keys?{urlencode(query)}",
        Kind.READ if dry_run else Kind.WRITE,
        f"deletes in bucket {bucket!r}",
        {"Accept": "application/x-ndjson"},
        how_to_check="" if dry_run else "call it again: it goes on with the rest",
    )


def compact(bucket: str, older_than: timedelta | None) -> Request:
    """Return the request that removes tombstones.

    Raises:
        InvalidArgumentError: `older_than` is not a number of whole seconds from 0.
    """
    seconds = 0
    if older_than is not None:
        if not isinstance(older_than, timedelta):
            raise InvalidArgumentError(
                f"older_than must be a timedelta, not {type(older_than).__name__}",
                hint="for example timedelta(days=7)",
            )
        seconds, rest = divmod(older_than, timedelta(seconds=1))
        if seconds < 0 or rest:
            raise InvalidArgumentError(f"older_than must be whole seconds from 0: {older_than}")
    return Request(
        "POST",
        f"{bucket_path(bucket)}/compact",
        Kind.WRITE,
        f"compaction of bucket {bucket!r}",
        {"Content-Type": "application/json"},
        json.dumps({"older_than_seconds": seconds}).encode(),
        how_to_check="call it again: it goes on with the rest",
    )


def _selection(filter: str | None, prefix: str | None) -> dict[str, str]:
    if filter is not None and prefix is not None:
        raise InvalidArgumentError("use either a filter or a prefix, not both")
    if prefix is not None:
        return {"prefix": checked_text(prefix, "prefix")}
    return {} if filter is None else {"filter": checked_text(filter, "filter")}


def _next_cursor(document: dict[str, Any]) -> str | None:
    return fields.string(document, "next_cursor") if "next_cursor" in document else None


def read_key_page(answer: Answer, request: Request) -> KeyPage:
    return read_document(
        answer,
        request,
        lambda document: KeyPage(
            tuple(fields.strings(document, "keys")), _next_cursor(document), is_filtered(answer)
        ),
    )


def read_entry_page(
    answer: Answer, request: Request, decode: Decode[T]
) -> tuple[list[Entry[T]], str | None]:
    """Return the entries of a page, and the cursor of the next one."""
    return _read_page(answer, request, lambda item: entry_of(item, decode))


def read_meta_page(answer: Answer, request: Request) -> tuple[list[EntryMeta], str | None]:
    return _read_page(answer, request, _meta)


def _read_page(
    answer: Answer, request: Request, read: Callable[[Any], T]
) -> tuple[list[T], str | None]:
    return read_document(
        answer,
        request,
        lambda document: (
            [read(item) for item in fields.array(document, "entries")],
            _next_cursor(document),
        ),
    )


def _meta(document: Any) -> EntryMeta:
    if not isinstance(document, dict):
        raise fields.FieldError("an entry must be a JSON object")
    return EntryMeta(
        key=fields.key(document),
        size=fields.integer(document, "size"),
        revision=fields.revision(document),
        created_at=parse_time(fields.string(document, "created_at")),
        content_type=fields.string(document, "content_type", "") or None,
        expires_at=expiry_of(document),
    )


def read_compacted(answer: Answer, request: Request) -> int:
    return read_document(answer, request, lambda document: fields.integer(document, "removed"))


class LineReader:
    """Reads the lines of the answer to a deletion.

    Attributes:
        result: the result, once the last line has arrived.
    """

    def __init__(self, request: Request, status: int, *, filtered: bool = False) -> None:
        self._request = request
        self._status = status
        self._filtered = filtered
        self._rest = b""
        self.result: Deleted | None = None

    def feed(self, chunk: bytes) -> None:
        """Read the next bytes.

        Raises:
            JetKVError: the deletion has failed.
            ValueError: the answer does not come from a gateway.
        """
        self._rest += chunk
        for line in self._lines():
            document = fields.json_object(line)
            kind = fields.string(document, "type")
            if kind == "error":
                raise self._error(document)
            if kind == "end":
                self.result = Deleted(
                    fields.integer(document, "matched"),
                    fields.integer(document, "deleted"),
                    fields.integer(document, "revision"),
                    self._filtered,
                )

    def _lines(self) -> Iterator[bytes]:
        *whole, self._rest = self._rest.split(b"\n")
        if len(self._rest) > _MAX_LINE:
            raise fields.FieldError("a line is too long")
        yield from whole

    def _error(self, document: dict[str, Any]) -> Exception:
        text = fields.string(document, "message")
        body = {**document, "error": f"not all keys were deleted: {text}"}
        # An error after the first line has no status. 504 stands for an unknown outcome.
        answer = Answer(504, {}, json.dumps(body).encode())
        return error_of(answer, self._request)
