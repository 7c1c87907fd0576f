"""Combines filters: what two have in common, and what any of several accepts. Pure.

Access is decided with these: what a caller may see is what its scopes and its request have in
common (`kv.scopes`). The text of a combined filter is unique for it, because lists, cursors and
watches are shared between callers by that text.
"""

from collections.abc import Callable, Iterable, Sequence

from jetkv_gateway.kv.filters import EVERYTHING, Filter, disjoint, literal_prefix

__all__ = ["NOTHING", "any_of", "both", "is_within"]

_ANY, _OF, _BOTH, _AND, _NONE = "\1", "\2", "\3", "\4", "\5"
"""No filter of a caller contains these characters, so the texts of combined filters are unique."""

_OTHER = "\0"
"""Stands for whatever a wildcard matches. No key and no literal part of a filter contains it."""

NOTHING = Filter(_NONE, ("nothing=2Enothing",), lambda _key: False)
"""Accepts no key. The server needs a subject to filter by: this one is no key's encoding."""


def is_within(inner: Filter, outer: Filter) -> bool:
    """Return whether `outer` accepts every key that `inner` accepts.

    Neither may be a combined filter.
    """
    if outer is EVERYTHING or inner.text == outer.text:
        return True
    if inner is EVERYTHING:
        return False
    if inner.key is not None:
        return outer.matches(inner.key)
    return all(outer.matches(key) for key in _examples(inner, outer.text.count(".") + 2))


def _examples(accepted: Filter, tokens: int) -> Iterable[str]:
    """Yield keys that stand for all keys that a filter accepts.

    A filter of the same language accepts all of them only if it accepts every key that `accepted`
    does: it matches `_OTHER` by a wildcard alone, and `tokens` more tokens by a final `>` or as a
    prefix alone.
    """
    many = ".".join([_OTHER] * tokens)
    prefix = literal_prefix(accepted)
    if prefix is not None:
        yield prefix
        yield prefix + _OTHER
        yield f"{prefix}{_OTHER}.{many}"
        return
    text = accepted.text
    rest = text.endswith(".>")
    example = (text[:-1] if rest else text).replace("*", _OTHER)
    if not rest:
        yield example
        return
    yield example + _OTHER
    yield example + many


def both(one: Filter, other: Filter) -> Filter | None:
    """Return the filter of the keys that both accept, or None if there are certainly none."""
    if one is EVERYTHING or one.text == other.text:
        return other
    if other is EVERYTHING:
        return one
    for exact, keep in ((one, other), (other, one)):
        if exact.key is not None:
            return exact if keep.matches(exact.key) else None
    prefixes = literal_prefix(one), literal_prefix(other)
    if prefixes[0] is not None and prefixes[1] is not None:
        if prefixes[0].startswith(prefixes[1]):
            return one
        return other if prefixes[1].startswith(prefixes[0]) else None
    common = {
        subject
        for left in one.subjects
        for right in other.subjects
        if (subject := _common_subjects(left, right)) is not None
    }
    if not common:
        return None
    matches, also = one.matches, other.matches
    return Filter(
        f"{_BOTH}{one.text}{_AND}{other.text}",
        disjoint(common),
        lambda key: matches(key) and also(key),
        cost=one.cost + other.cost,
    )


def any_of(filters: Sequence[Filter]) -> Filter:
    """Return the filter of the keys that any of the filters accepts."""
    if EVERYTHING in filters:
        return EVERYTHING
    named = {keep.text: keep for keep in filters if keep is not NOTHING}
    if not named:
        return NOTHING
    different = [named[text] for text in sorted(named)]
    if len(different) == 1:
        return different[0]
    return Filter(
        _ANY + _OF.join(keep.text for keep in different),
        disjoint(subject for keep in different for subject in keep.subjects),
        _any_matches(different),
        cost=sum(keep.cost for keep in different),
    )


def _any_matches(filters: Sequence[Filter]) -> Callable[[str], bool]:
    keys = frozenset(keep.key for keep in filters if keep.key is not None)
    others = [keep.matches for keep in filters if keep.key is None]
    if not others:
        return keys.__contains__
    return lambda key: key in keys or any(matches(key) for matches in others)


def _common_subjects(one: str, other: str) -> str | None:
    """Return the subject filter of what two subject filters have in common, or None."""
    left, right = one.split("."), other.split(".")
    common: list[str] = []
    for place, (a, b) in enumerate(zip(left, right, strict=False)):
        if a == ">":
            return ".".join([*common, *right[place:]])
        if b == ">":
            return ".".join([*common, *left[place:]])
        if a not in ("*", b) and b != "*":
            return None
        common.append(b if a == "*" else a)
    return ".".join(common) if len(left) == len(right) else None
