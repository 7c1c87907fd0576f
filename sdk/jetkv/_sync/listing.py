# Made from sdk/jetkv/_async/listing.py by `make format`. Edit that file.
"""Calls that concern many keys of a bucket: listing, reading and deleting them."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Generic, Literal, TypeVar, overload

from jetkv._core import listing, requests
from jetkv._core.answers import error_of, read_keys
from jetkv._core.messages import Broken, TransportError, Unreadable
from jetkv._core.retry import judge
from jetkv._sync.entries import Entries
from jetkv.models import Deleted, Entry, EntryMeta, KeyPage

__all__ = ["Listing"]

T = TypeVar("T")

_ENTRIES = 500
"""Entries that are read at a time. A page of large values is shorter."""
_SILENCE_SECONDS = 30.0
"""Without a line about the progress of a deletion, of which there is one each second."""


class Listing(Entries[T], Generic[T]):
    """The methods of a bucket that concern many keys; `Bucket` has all."""

    def keys(self, filter: str | None = None, *, prefix: str | None = None) -> list[str]:
        """Return the keys that have a value, sorted by their UTF-8 bytes.

        Args:
            filter: `user.*` matches one token between dots, `user.>` all further tokens, `user:*` a
                text without a dot, `user:` a prefix (a filter that ends in `.`, `:`, `/` or `-`
                is one); any other text matches one key. None for all keys.
            prefix: in place of a filter: the text that the keys start with. No character of it is a
                wildcard.

        Raises:
            InvalidArgumentError: the filter or prefix is invalid, or both were given.
        """
        request = requests.list_keys(self.name, filter, prefix)
        return read_keys(self._endpoint.call(request), request)

    def pages(
        self,
        filter: str | None = None,
        *,
        prefix: str | None = None,
        limit: int = 1_000,
        cursor: str | None = None,
    ) -> Iterator[KeyPage]:
        """Yield the keys page by page, sorted by their UTF-8 bytes.

        A key that has a value from the first page to the last comes exactly once. Each page is a
        call of its own, with retries.

        Args:
            filter: as in `keys`; so is `prefix`.
            limit: keys in a page, 1 to 10,000. A page may have fewer.
            cursor: `next_cursor` of the page to go on after, with the same filter or prefix.

        Raises:
            CursorExpiredError: the bucket was deleted, or created again, since the first page.
            InvalidArgumentError: an argument is invalid.
        """
        while True:
            request = listing.list_page(self.name, filter, prefix, limit=limit, cursor=cursor)
            page = listing.read_key_page(self._endpoint.call(request), request)
            yield page
            cursor = page.next_cursor
            if cursor is None:
                return

    @overload
    def entries(
        self,
        filter: str | None = None,
        *,
        prefix: str | None = None,
        values: Literal[True] = True,
    ) -> Iterator[Entry[T]]: ...
    @overload
    def entries(
        self, filter: str | None = None, *, prefix: str | None = None, values: Literal[False]
    ) -> Iterator[EntryMeta]: ...
    def entries(
        self, filter: str | None = None, *, prefix: str | None = None, values: bool = True
    ) -> Iterator[Entry[T] | EntryMeta]:
        """Yield the entries of the keys that have a value, sorted by the keys' UTF-8 bytes.

        They are read in pages, so memory stays bounded whatever the number of keys. A key that has
        a value throughout comes exactly once. The value of an entry is decoded when you ask for
        it, so one that does not fit the bucket's type does not hide the others.

        Args:
            filter: as in `keys`; so is `prefix`.
            values: False for the sizes in place of the values.

        Raises:
            CursorExpiredError: the bucket was deleted, or created again, meanwhile.
            InvalidArgumentError: an argument is invalid.
        """
        cursor: str | None = None
        include = "values" if values else "meta"
        while True:
            request = listing.list_page(
                self.name, filter, prefix, limit=_ENTRIES, cursor=cursor, include=include
            )
            answer = self._endpoint.call(request)
            found: list[Entry[T]] | list[EntryMeta]
            if values:
                found, cursor = listing.read_entry_page(answer, request, self._decode)
            else:
                found, cursor = listing.read_meta_page(answer, request)
            for entry in found:
                yield entry
            if cursor is None:
                return

    def delete_many(
        self,
        filter: str | None = None,
        *,
        prefix: str | None = None,
        purge: bool = False,
        dry_run: bool = False,
    ) -> Deleted:
        """Delete every key that has a value and matches, and return how many there were.

        Each key is deleted for itself. A key that is written after the call began stays. It takes
        as long as it takes: the client's `timeout` does not apply, but half a minute of silence
        from the gateway ends the call.

        Args:
            filter: as in `keys`; `">"` is every key. Either this or `prefix` is required.
            prefix: as in `keys`.
            purge: delete the histories of the keys, too.
            dry_run: count the keys and delete none.

        Raises:
            OutcomeUnknownError: something went wrong on the way, and some keys may be deleted. Call
                it again: it goes on with what is left.
            InvalidArgumentError: an argument is invalid, or there is neither filter nor prefix.
        """
        request = listing.delete_many(self.name, filter, prefix, purge=purge, dry_run=dry_run)
        stream = self._endpoint.stream()
        try:
            stream.open(request, _SILENCE_SECONDS, _SILENCE_SECONDS)
            if stream.status != 200:
                answer = stream.answer()
                raise error_of(answer, request)
            reader = listing.LineReader(request, stream.status)
            while chunk := stream.read():
                reader.feed(chunk)
            if reader.result is None:
                raise Broken("the answer broke off")
        except (TransportError, ValueError) as failure:
            outcome = failure
        else:
            return reader.result
        finally:
            stream.abort()
        if not isinstance(outcome, TransportError):
            outcome = Unreadable(f"this is no answer of a gateway: {outcome}")
        error = judge(request, outcome, self._endpoint.address).error
        assert error is not None, "a failure has an error"
        raise error from outcome

    def compact(self, *, older_than: timedelta | None = None) -> int:
        """Remove the tombstones of keys of which nothing else is stored; return how many.

        A deleted key leaves a tombstone in the bucket. No value is ever removed.

        Args:
            older_than: leave younger tombstones. A watch that resumes after a longer time does not
                learn of a delete whose tombstone was removed. None removes all.

        Raises:
            OutcomeUnknownError: no answer came; some may be removed. Call it again.
            InvalidArgumentError: `older_than` is not a number of whole seconds.
        """
        request = listing.compact(self.name, older_than)
        return listing.read_compacted(self._endpoint.call(request), request)
