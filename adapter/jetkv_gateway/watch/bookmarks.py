"""The bookmark of a watch over several buckets, as one text (docs/watch.md#several-buckets). Pure.

A bookmark holds a place for each bucket: the last revision that the watcher was sent, the moment
when the bucket was created, and whether the bucket's snapshot is still incomplete. It is bound to
the names of the buckets, so a bookmark of another watch is refused instead of misread.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.model import MAX_REVISION
from jetkv_gateway.kv.timestamps import nanoseconds_of, rfc3339

__all__ = ["Bookmark", "Place", "read_bookmark"]

_FORMAT = "1"
_DIGEST_LENGTH = 8
_MAX_LENGTH = 4096
_PLACE = re.compile(r"(S?)([0-9a-z]{1,13})(?:\.([0-9a-z]{1,13}))?")
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Place:
    """The place of one bucket.

    Attributes:
        revision: the last one that the watcher was sent, or 0.
        created_at: RFC 3339 in UTC, of the bucket that the revision belongs to; None if unknown.
        in_snapshot: whether the bucket's snapshot is still incomplete.
    """

    revision: int
    created_at: str | None = None
    in_snapshot: bool = False


class Bookmark:
    """The places of all buckets of a watch, and their text, which is safe in a URL and a header.

    Args:
        buckets: their names, each once, in the order of the numbers that `move` takes.
    """

    __slots__ = ("_created", "_order", "_prefix", "_text", "_written")

    def __init__(self, buckets: Sequence[str]) -> None:
        self._prefix = f"{_FORMAT}-{_digest(buckets)}"
        # The text has the places in the order of the names, whatever the order of the URL is.
        self._order = sorted(range(len(buckets)), key=buckets.__getitem__)
        self._written = ["0"] * len(buckets)
        self._created: list[tuple[str | None, str]] = [(None, "")] * len(buckets)
        self._text: str | None = None

    @property
    def text(self) -> str:
        if self._text is None:
            self._text = "-".join([self._prefix, *[self._written[at] for at in self._order]])
        return self._text

    def move(self, bucket: int, place: Place) -> None:
        """Set the place of a bucket, by its number."""
        known, written = self._created[bucket]
        if known != place.created_at:
            written = _written_moment(place.created_at)
            self._created[bucket] = place.created_at, written
        self._written[bucket] = f"{'S' * place.in_snapshot}{_base36(place.revision)}{written}"
        self._text = None


def read_bookmark(text: str, buckets: Iterable[str], part: str) -> dict[str, Place]:
    """Return the places of a bookmark, by bucket.

    Args:
        buckets: the buckets of the watch that resumes.
        part: of the request that holds the bookmark, for the error.

    Raises:
        InvalidArgument: the text is no bookmark, or it is the bookmark of other buckets.
    """
    names = sorted(set(buckets))
    form, *rest = text.split("-", len(names) + 2) if len(text) <= _MAX_LENGTH else [""]
    places = [_read(one) for one in rest[1:]]
    found = {name: place for name, place in zip(names, places, strict=False) if place is not None}
    if form != _FORMAT or not places:
        raise InvalidArgument(f"{part} is not a bookmark of a watch over several buckets")
    if rest[0] != _digest(names) or len(places) != len(names):
        raise InvalidArgument(f"{part} is the bookmark of a watch over other buckets")
    if len(found) != len(names):
        raise InvalidArgument(f"{part} is a damaged bookmark")
    return found


def _digest(buckets: Iterable[str]) -> str:
    # No name contains a slash, so no two lists of names have the same text.
    return hashlib.sha256("/".join(sorted(buckets)).encode()).hexdigest()[:_DIGEST_LENGTH]


def _read(text: str) -> Place | None:
    found = _PLACE.fullmatch(text)
    if found is None:
        return None
    snapshot, revision, moment = found.groups()
    created_at = None if moment is None else _rfc3339(int(moment, 36))
    if int(revision, 36) > MAX_REVISION or (moment is not None and created_at is None):
        return None
    return Place(int(revision, 36), created_at, in_snapshot=bool(snapshot))


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
        if not number:
            return digits


def _written_moment(moment: str | None) -> str:
    """Return a moment in nanoseconds since 1970, "" where it is not written as NATS writes it."""
    try:
        nanoseconds = nanoseconds_of(moment or "")
    except ValueError:
        return ""
    return "." + _base36(nanoseconds) if nanoseconds >= 0 else ""


def _rfc3339(nanoseconds: int) -> str | None:
    try:
        return rfc3339(nanoseconds)
    except (OverflowError, ValueError, OSError):
        return None
