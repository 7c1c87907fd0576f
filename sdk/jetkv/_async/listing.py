"""Calls that concern many keys of a bucket: listing, reading and deleting them."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Generic, Literal, TypeVar, overload

from jetkv._async.entries import AsyncEntries
from jetkv._core import listing, requests
from jetkv._core.answers import error_of, read_keys
from jetkv._core.messages import Broken, TransportError, Unreadable
from jetkv._core.retry import judge
from jetkv.models import Deleted, Entry, EntryMeta, KeyPage

__all__ = ["AsyncListing"]

T = TypeVar("T")

_ENTRIES = 500
"""Entries of one page. A page of large values has fewer."""
_SILENCE_SECONDS = 30.0
"""A deletion that sends no byte for so long has failed: it sends a line each second."""


class AsyncListing(AsyncEntries[T], Generic[T]):
    """The methods of a bucket that concern many keys."""

    async def keys(self, filter: str | None = None, *, prefix: str | None = None) -> list[str]:
        """Return the keys that have a value, sorted by their UTF-8 bytes.

        Args:
            filter: `user.*` matches one token between dots, `user.>` all further tokens, `user:*` a
                text without a dot, `user:` a prefix (a filter that ends in `.`, `:`, `/` or `-`
                is one); any other text matches one key. None for all keys.
            prefix: the text that the keys start with, instead of a filter. It has no wildcards.

        Raises:
            InvalidArgumentError: the filter or prefix is invalid, or both were given.
        """
        request = requests.list_keys(self.name, filter, prefix)
        return read_keys(await self._endpoint.call(request), request)

    async def pages(
        self,
        filter: str | None = None,
        *,
        prefix: str | None = None,
        limit: int = 1_000,
        cursor: str | None = None,
    ) -> AsyncIterator[KeyPage]:
        """Yield the keys page by page, sorted by their UTF-8 bytes.

        A key that has a value all the time is returned exactly once. Each page is a separate call,
        with its own timeout and retries.

        Args:
            filter: as in `keys`.
            prefix: as in `keys`.
            limit: the largest number of keys in a page, 1 to 10,000.
            cursor: the `next_cursor` of an earlier page, to continue after it. Use the same filter
                or prefix.

        Raises:
            CursorExpiredError: the bucket was deleted, or created again, since the first page.
            InvalidArgumentError: an argument is invalid.
        """
        while True:
            request = listing.list_page(self.name, filter, prefix, limit=limit, cursor=cursor)
            page = listing.read_key_page(await self._endpoint.call(request), request)
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
    ) -> AsyncIterator[Entry[T]]: ...
    @overload
    def entries(
        self, filter: str | None = None, *, prefix: str | None = None, values: Literal[False]
    ) -> AsyncIterator[EntryMeta]: ...
    async def entries(
        self, filter: str | None = None, *, prefix: str | None = None, values: bool = True
    ) -> AsyncIterator[Entry[T] | EntryMeta]:
        """Yield the entries of the keys that have a value, sorted by the keys' UTF-8 bytes.

        They are read in pages, so the number of keys does not matter for memory. A key that has a
        value all the time is returned exactly once. A value is decoded when you access it, so one
        that does not fit the bucket's type does not hide the others.

        Args:
            filter: as in `keys`.
            prefix: as in `keys`.
            values: False to return the sizes of the values instead of the values.

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
            answer = await self._endpoint.call(request)
            found: list[Entry[T]] | list[EntryMeta]
            if values:
                found, cursor = listing.read_entry_page(answer, request, self._decode)
            else:
                found, cursor = listing.read_meta_page(answer, request)
            for entry in found:
                yield entry
            if cursor is None:
                return

    async def delete_many(
        self,
        filter: str | None = None,
        *,
        prefix: str | None = None,
        purge: bool = False,
        dry_run: bool = False,
    ) -> Deleted:
        """Delete the keys that match, and return how many there were.

        The keys are deleted one by one. A key that is written after the call began stays. The
        client's `timeout` does not apply: the call ends if the gateway sends nothing for 30 s.

        Args:
            filter: as in `keys`; `">"` for all keys. Either `filter` or `prefix` is required.
            prefix: as in `keys`.
            purge: also delete the histories of the keys.
            dry_run: only count the keys.

        Raises:
            OutcomeUnknownError: the call failed, and some keys may have been deleted. Call it
                again: it deletes the rest.
            InvalidArgumentError: an argument is invalid, or both `filter` and `prefix` are missing.
        """
        request = listing.delete_many(self.name, filter, prefix, purge=purge, dry_run=dry_run)
        stream = self._endpoint.stream()
        try:
            await stream.open(request, _SILENCE_SECONDS, _SILENCE_SECONDS)
            if stream.status != 200:
                answer = await stream.answer()
                raise error_of(answer, request)
            filtered = "jetkv-filtered" in stream.headers
            reader = listing.LineReader(request, stream.status, filtered=filtered)
            while chunk := await stream.read():
                reader.feed(chunk)
            if reader.result is None:
                raise Broken("the end of the answer is missing")
        except (TransportError, ValueError) as failure:
            outcome = failure
        else:
            return reader.result
        finally:
            stream.abort()
        if not isinstance(outcome, TransportError):
            outcome = Unreadable(f"the answer does not come from a gateway: {outcome}")
        error = judge(request, outcome, self._endpoint.address).error
        assert error is not None, "a failure has an error"
        raise error from outcome

    async def compact(self, *, older_than: timedelta | None = None) -> int:
        """Remove the tombstones of deleted keys, and return how many.

        A deleted key leaves a tombstone in the bucket. A tombstone with older revisions behind it
        stays, and values are never removed.

        Args:
            older_than: keep younger tombstones; None removes all. A watch that resumes after a
                longer time does not notice a delete whose tombstone was removed.

        Raises:
            OutcomeUnknownError: no answer came, and some tombstones may have been removed. Call it
                again.
            InvalidArgumentError: `older_than` is not a number of whole seconds.
        """
        request = listing.compact(self.name, older_than)
        return listing.read_compacted(await self._endpoint.call(request), request)
