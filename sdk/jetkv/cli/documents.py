"""Reads entries as the documents of the HTTP API, with values that are ready to use.

The SDK's own calls return values of a bucket's type. Here the gateway decides by the content type
what a value is (docs/http-api.md#values), and what a newer gateway adds is passed on.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from jetkv import Bucket
from jetkv._core import listing, requests
from jetkv._core.access import is_filtered
from jetkv._core.answers import read_document
from jetkv._core.fields import array
from jetkv._core.messages import Answer, Request
from jetkv._sync.bucket import endpoint_of
from jetkv.cli.output import Document
from jetkv.errors import RevisionMismatchError

__all__ = ["Hidden", "Selection", "content_type", "entry", "history"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which keys of a bucket: those of a filter, or of a prefix; all if both are None."""

    filter: str | None = None
    prefix: str | None = None


class Hidden:
    """Tells once that a caller may not read all keys of a list.

    Args:
        tell: is called with the text.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told = False

    def check(self, answer: Answer) -> None:
        """Look at an answer with keys."""
        if is_filtered(answer):
            self.tell()

    def tell(self) -> None:
        if not self._told:
            self._told = True
            self._tell("your token may not read all of these keys; the others are left out")


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


def content_type(bucket: Bucket[bytes], key: str, revision: int) -> tuple[str | None, bool]:
    """Return the content type of a value or None, and whether the value has a content encoding.

    Raises:
        RevisionMismatchError: the key is at another revision.
        KeyNotFoundError: it has no value.
    """
    found = entry(bucket, key, None, eventual=False)
    exact = not (set(key) & {"*", ">"} or key.endswith((".", ":", "/", "-")))
    # The key sorts before all others that begin with it.
    page = listing.list_page(
        bucket.name,
        key if exact else None,
        None if exact else key,
        limit=1,
        cursor=None,
        include="meta",
    )
    described = next(iter(_read(bucket, page, _entries)), {})
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
