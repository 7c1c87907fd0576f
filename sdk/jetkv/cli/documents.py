"""Reads entries as the documents of the HTTP API, with values that are ready to use.

The SDK's own calls return values of a bucket's type. Here the gateway decides by the content type
what a value is (docs/http-api.md#values), and what a newer gateway adds is passed on.
"""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from jetkv import Bucket
from jetkv._core import listing, requests
from jetkv._core.answers import read_document
from jetkv._core.fields import array
from jetkv._core.messages import Request
from jetkv._sync.bucket import endpoint_of
from jetkv.cli.output import Document
from jetkv.errors import RevisionMismatchError

__all__ = ["Selection", "content_type", "entry", "history", "listed"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which keys of a bucket: those of a filter, or of a prefix; all if both are None."""

    filter: str | None = None
    prefix: str | None = None


def entry(bucket: Bucket[bytes], key: str, revision: int | None, *, eventual: bool) -> Document:
    """Return the entry of a key with its value as JSON has it, and `encoding`.

    Raises:
        JetKVError: the errors of `Bucket.get`.
    """
    request = requests.get_key(bucket.name, key, revision, "eventual" if eventual else "strong")
    return _read(bucket, _as_json(request), dict)


def history(bucket: Bucket[bytes], key: str) -> list[Document]:
    """Return the stored revisions of a key, oldest first.

    Raises:
        JetKVError: the errors of `Bucket.history`.
    """
    return _read(bucket, _as_json(requests.get_history(bucket.name, key)), _entries)


def listed(bucket: Bucket[bytes], selection: Selection, *, values: bool) -> Iterator[Document]:
    """Yield the entries of the keys, sorted, page by page; with `size` in place of values.

    Raises:
        JetKVError: the errors of `Bucket.entries`.
    """
    cursor: str | None = None
    while True:
        request = listing.list_page(
            bucket.name,
            selection.filter,
            selection.prefix,
            limit=listing.MAX_PAGE_OF_VALUES,
            cursor=cursor,
            include="values" if values else "meta",
            values="json",
        )
        found, cursor = _read(
            bucket, request, lambda page: (_entries(page), listing.next_cursor(page))
        )
        yield from found
        if cursor is None:
            return


def content_type(bucket: Bucket[bytes], key: str, revision: int) -> tuple[str | None, bool]:
    """Return the content type of a value or None, and whether the value has a content encoding.

    Raises:
        RevisionMismatchError: the key is at another revision.
        KeyNotFoundError: it has no value.
    """
    found = entry(bucket, key, None, eventual=False)
    exact = not (set(key) & {"*", ">"} or key.endswith((".", ":", "/", "-")))
    selection = Selection(filter=key) if exact else Selection(prefix=key)
    # The key sorts before all others that begin with it.
    described = next(listed(bucket, selection, values=False), {})
    if not found["revision"] == described.get("revision") == revision:
        raise RevisionMismatchError(f"{key!r} has changed meanwhile")
    return described.get("content_type"), "content_encoding" in found


def _as_json(request: Request) -> Request:
    target = f"{request.target}{'&' if '?' in request.target else '?'}values=json"
    return dataclasses.replace(request, target=target)


def _entries(page: dict[str, Any]) -> list[Document]:
    return array(page, "entries")


def _read(bucket: Bucket[bytes], request: Request, read: Callable[[dict[str, Any]], T]) -> T:
    return read_document(endpoint_of(bucket).call(request), request, read)
