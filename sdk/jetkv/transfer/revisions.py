"""A set of revisions in little memory. Pure."""

from bisect import bisect_right
from collections.abc import Iterable
from threading import Lock

__all__ = ["Revisions", "runs_of"]


def runs_of(revisions: Iterable[int]) -> list[list[int]]:
    """Return revisions as runs, `[first, last]`, sorted."""
    runs: list[list[int]] = []
    for revision in sorted(revisions):
        if runs and revision <= runs[-1][1] + 1:
            runs[-1][1] = revision
        else:
            runs.append([revision, revision])
    return runs


class Revisions:
    """The revisions that a transfer has written. Any number of threads may use it.

    Revisions of batches follow each other, so a million of them are few runs.
    """

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._lock = Lock()

    def add(self, runs: Iterable[list[int]]) -> None:
        """Add runs that have no revision in common with those that are there."""
        with self._lock:
            for first, last in runs:
                place = bisect_right(self._firsts, first)
                joins_left = place > 0 and self._lasts[place - 1] >= first - 1
                joins_right = place < len(self._firsts) and self._firsts[place] <= last + 1
                if joins_left and joins_right:
                    self._lasts[place - 1] = self._lasts[place]
                    del self._firsts[place], self._lasts[place]
                elif joins_left:
                    self._lasts[place - 1] = max(last, self._lasts[place - 1])
                elif joins_right:
                    self._firsts[place] = first
                else:
                    self._firsts.insert(place, first)
                    self._lasts.insert(place, last)

    def __contains__(self, revision: int) -> bool:
        with self._lock:
            place = bisect_right(self._firsts, revision)
            return place > 0 and revision <= self._lasts[place - 1]
