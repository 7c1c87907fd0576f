"""Scopes: what a caller may do with which keys of which buckets (docs/http-api.md#scopes). Pure.

A scope is `VERBS:BUCKET[/KEYS]`, such as `read,write:sessions/user.*`. What several scopes allow
adds up. Two questions have the same answer for every key: `Grants.allows` decides on one key, and
`Grants.narrow` returns the filters that are left of the wanted ones. So lists, watches and all
other requests for several keys show exactly the keys that the caller could read one by one.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.filter_sets import (
    MOST_SUBJECTS,
    any_of,
    both,
    examples_of,
    is_covered,
    is_within,
)
from jetkv_gateway.kv.filters import EVERYTHING, Filter, compile_filter, glob_matches

__all__ = [
    "FULL",
    "MAX_SCOPES",
    "NOBODY",
    "Grants",
    "Scope",
    "ScopeVerb",
    "parse_scope",
    "parse_scopes",
]

MAX_SCOPES = 100
"""Scopes of one caller."""

_MAX_BUCKET = 200
_MAX_TEXT = 1024
_KNOWN_BUCKETS = 64
"""Buckets whose filters are kept for each verb of a caller. There may be many callers."""
_KNOWN_UNIONS = 16
_FEWEST_SUBJECTS = 4

_BUCKET = re.compile(r"[A-Za-z0-9_*-]+")
_STARS = re.compile(r"\*{2,}")


class ScopeVerb(StrEnum):
    """What a scope allows."""

    READ = "read"
    """Get, history, list, watch, batch get, bucket info, evaluation of flags."""

    WRITE = "write"
    """Put, create, update, touch."""

    DELETE = "delete"
    """Delete and purge, of one key or many."""

    ADMIN = "admin"
    """Create, change and delete buckets."""

    METRICS = "metrics"
    """Read `/metrics`."""


_OF_KEYS = frozenset({ScopeVerb.READ, ScopeVerb.WRITE, ScopeVerb.DELETE})
_HINT = "a scope is VERBS:BUCKET or VERBS:BUCKET/KEYS, such as read,write:sessions/user.*"


@dataclass(frozen=True, slots=True)
class Scope:
    """One scope.

    Attributes:
        text: as it was given.
        verbs: what it allows.
        bucket: a bucket name, in which `*` stands for any characters.
        keys: the keys that it is about.
    """

    text: str
    verbs: frozenset[ScopeVerb]
    bucket: str
    keys: Filter

    def has_bucket(self, name: str) -> bool:
        """Return whether the scope is about a bucket."""
        return self.bucket == name or (
            "*" in self.bucket and (self.bucket == "*" or glob_matches(self.bucket, name))
        )

    def has_key(self, key: str | None) -> bool:
        """Return whether the scope is about a key, or about all keys if `key` is None."""
        return self.keys is EVERYTHING or (key is not None and self.keys.matches(key))

    @property
    def full(self) -> bool:
        """Whether it allows everything."""
        return len(self.verbs) == len(ScopeVerb) and self.bucket == "*"


def parse_scope(text: str) -> Scope:
    """Parse a scope.

    Raises:
        InvalidArgument: the scope breaks a rule or could never allow anything
            (docs/http-api.md#scopes).
    """
    shown = f"invalid scope {text[:100]!r}"
    if len(text) > _MAX_TEXT:
        raise InvalidArgument(f"{shown}: over {_MAX_TEXT} characters", hint=_HINT)
    verbs_text, colon, rest = text.partition(":")
    if not colon:
        raise InvalidArgument(f"{shown}: no colon between verbs and bucket", hint=_HINT)
    bucket, slash, keys_text = rest.partition("/")
    if _BUCKET.fullmatch(bucket) is None:
        raise InvalidArgument(
            f"{shown}: the bucket must consist of A-Z a-z 0-9 _ - and *", hint=_HINT
        )
    bucket = _STARS.sub("*", bucket)
    if len(bucket.replace("*", "")) > _MAX_BUCKET:
        raise InvalidArgument(f"{shown}: no bucket has over {_MAX_BUCKET} characters")
    if slash and not keys_text:
        raise InvalidArgument(f"{shown}: no keys after the slash", hint=_HINT)
    try:
        keys = compile_filter(keys_text)
    except InvalidArgument as error:
        raise InvalidArgument(f"{shown}: {error.message}") from None
    return Scope(text, _verbs(shown, verbs_text, bucket, has_keys=bool(slash)), bucket, keys)


def _verbs(shown: str, text: str, bucket: str, *, has_keys: bool) -> frozenset[ScopeVerb]:
    """Return the verbs of a scope. With `*`, those that can apply to its bucket and keys."""
    if text == "*":
        if has_keys:
            return _OF_KEYS
        return frozenset(ScopeVerb) if bucket == "*" else frozenset(ScopeVerb) - _METRICS
    verbs = set()
    for word in text.split(","):
        try:
            verbs.add(ScopeVerb(word))
        except ValueError:
            known = ", ".join(ScopeVerb)
            raise InvalidArgument(
                f"{shown}: unknown verb {word[:50]!r}", hint=f"verbs: {known}, or *"
            ) from None
    if has_keys and not verbs <= _OF_KEYS:
        raise InvalidArgument(f"{shown}: admin and metrics are not about keys")
    if ScopeVerb.METRICS in verbs and bucket != "*":
        raise InvalidArgument(f"{shown}: metrics are not about one bucket", hint="metrics:*")
    return frozenset(verbs)


_METRICS = frozenset({ScopeVerb.METRICS})


def parse_scopes(texts: Iterable[str]) -> "Grants":
    """Parse the scopes of one caller.

    Raises:
        InvalidArgument: a scope is invalid, or there are none or too many.
    """
    scopes = [parse_scope(text) for text in dict.fromkeys(texts)]
    if not scopes:
        raise InvalidArgument("no scope", hint=_HINT)
    if len(scopes) > MAX_SCOPES:
        raise InvalidArgument(f"over {MAX_SCOPES} scopes")
    return Grants.of(scopes)


_ALL = (EVERYTHING,)


class Grants:
    """What a caller may do.

    Attributes:
        scopes: in the order in which they were given.
    """

    __slots__ = ("_known", "_unions", "scopes")

    def __init__(self, scopes: Iterable[Scope]) -> None:
        self.scopes = tuple(scopes)
        self._known: dict[str, dict[str, tuple[Filter, ...]]] = {verb: {} for verb in ScopeVerb}
        self._unions: dict[tuple[Filter, ...], Filter] = {}

    @classmethod
    def of(cls, scopes: Iterable[Scope]) -> "Grants":
        """Return the grants of scopes, which are `FULL` if one of them allows everything."""
        scopes = tuple(scopes)
        return FULL if any(scope.full for scope in scopes) else cls(scopes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grants) and self.texts == other.texts

    def __hash__(self) -> int:
        return hash(self.texts)

    def __repr__(self) -> str:
        return f"Grants({' '.join(self.texts)})"

    @property
    def texts(self) -> tuple[str, ...]:
        """The scopes as they were given."""
        return tuple([scope.text for scope in self.scopes])

    def allows(self, verb: ScopeVerb, bucket: str, key: str | None = None) -> bool:
        """Return whether a verb is allowed on a key, or on all keys of a bucket without `key`."""
        granted = self._known[verb].get(bucket)
        if granted is None:
            granted = self._find(verb, bucket)
        if granted is _ALL:
            return True
        if key is not None:
            for keep in granted:
                if keep.matches(key):
                    return True
        return False

    def covers(self, verb: ScopeVerb, bucket: str) -> bool:
        """Return whether one scope allows a verb on all keys of a bucket."""
        return self._of(verb, bucket) is _ALL

    def touches(self, verb: ScopeVerb, bucket: str) -> bool:
        """Return whether a verb is allowed on any key of a bucket."""
        return bool(self._of(verb, bucket))

    def anywhere(self, verb: ScopeVerb) -> bool:
        """Return whether a verb is allowed on any key of any bucket."""
        return any(verb in scope.verbs for scope in self.scopes)

    def everywhere(self, verb: ScopeVerb) -> bool:
        """Return whether one scope allows a verb on all keys of all buckets."""
        return any(
            verb in scope.verbs and scope.bucket == "*" and scope.keys is EVERYTHING
            for scope in self.scopes
        )

    def narrow(
        self, verb: ScopeVerb, bucket: str, wanted: tuple[Filter, ...]
    ) -> tuple[Filter, ...] | None:
        """Return filters of the wanted keys on which a verb is allowed.

        Returns:
            `wanted` itself if all of it is allowed; an empty tuple if none of it is; None if the
            verb is allowed on no key of the bucket.
        """
        granted = self._of(verb, bucket)
        if granted is _ALL:
            return wanted
        if not granted:
            return None
        tokens = 2 + max([keep.text.count(".") for keep in wanted])
        most = max(_FEWEST_SUBJECTS, MOST_SUBJECTS // len(wanted))
        parts = [(one, examples_of(one, tokens)) for one in granted]
        left: dict[str, Filter] = {}
        whole = True
        for keep in wanted:
            if is_covered(keep, granted):
                left[keep.text] = keep
                continue
            whole = False
            for one in self._common(keep, parts, most):
                left[one.text] = one
        return wanted if whole else tuple(left.values())

    def narrow_one(self, verb: ScopeVerb, bucket: str, wanted: Filter) -> Filter | None:
        """Narrow one filter to one filter, as `narrow` does.

        Returns:
            `wanted` itself if all of it is allowed; `NOTHING` if none of it is; None if the verb is
            allowed on no key of the bucket.
        """
        left = self.narrow(verb, bucket, (wanted,))
        if left is None:
            return None
        if len(left) == 1:
            return left[0]
        return self._union(left)

    def cover(self, verb: ScopeVerb, bucket: str, filters: Iterable[Filter]) -> bool:
        """Return whether a verb is allowed on all keys that filters accept.

        Args:
            filters: also those that `narrow` has returned for other grants.
        """
        granted = self._of(verb, bucket)
        return granted is _ALL or all(is_covered(keep, granted) for keep in filters)

    def scope_for(self, verb: ScopeVerb, bucket: str, key: str | None = None) -> Scope | None:
        """Return a scope that allows a verb, asked as `allows` is."""
        for scope in self.scopes:
            if verb in scope.verbs and scope.has_bucket(bucket) and scope.has_key(key):
                return scope
        return None

    def _of(self, verb: ScopeVerb, bucket: str) -> tuple[Filter, ...]:
        granted = self._known[verb].get(bucket)
        return self._find(verb, bucket) if granted is None else granted

    def _find(self, verb: ScopeVerb, bucket: str) -> tuple[Filter, ...]:
        """Return the filters of the keys of a bucket that a verb is allowed on."""
        found: dict[str, Filter] = {}
        for scope in self.scopes:
            if verb in scope.verbs and scope.has_bucket(bucket):
                found[scope.keys.text] = scope.keys
        granted = _ALL if EVERYTHING.text in found else tuple(found.values())
        known = self._known[verb]
        if len(known) >= _KNOWN_BUCKETS:
            known.clear()
        known[bucket] = granted
        return granted

    def _common(
        self, wanted: Filter, granted: Sequence[tuple[Filter, tuple[str, ...]]], most: int
    ) -> Iterable[Filter]:
        """Yield filters of what a wanted filter has in common with the granted ones.

        Args:
            granted: filters, none of which accepts all that is wanted; and their examples.
            most: subjects of a combined filter.
        """
        partly = []
        for one, examples in granted:
            if is_within(examples, wanted):
                yield one
            elif one.key is None:
                partly.append(one)
        # One combined filter instead of many: a caller may send 64 filters, and have 100 scopes.
        if partly and wanted.key is None:
            granted_partly = partly[0] if len(partly) == 1 else self._union(tuple(partly))
            found = both(wanted, granted_partly, most=most)
            if found is not None:
                yield found

    def _union(self, filters: tuple[Filter, ...]) -> Filter:
        union = self._unions.get(filters)
        if union is None:
            if len(self._unions) >= _KNOWN_UNIONS:
                self._unions.clear()
            union = self._unions[filters] = any_of(filters)
        return union


FULL = Grants([Scope("*:*", frozenset(ScopeVerb), "*", EVERYTHING)])
"""Everything is allowed. Callers that have it cost one comparison by identity."""

NOBODY = Grants(())
"""Nothing is allowed."""
