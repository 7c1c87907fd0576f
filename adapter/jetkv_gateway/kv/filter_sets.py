"""Combines filters: what two have in common, and what any of several accepts. Pure.

Access is decided with these: what a caller may see is what its scopes and its request have in
common (`kv.scopes`). The text of a combined filter is unique for it, because lists, cursors and
watches are shared between callers by that text.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from jetkv_gateway.kv.filters import EVERYTHING, Filter, disjoint, literal_prefix

__all__ = [
    "MOST_SUBJECTS",
    "NOTHING",
    "AllOf",
    "AnyOf",
    "any_of",
    "both",
    "examples_of",
    "is_covered",
    "is_within",
]

_ANY, _OF, _BOTH, _AND, _NONE = "\1", "\2", "\3", "\4", "\5"
"""No filter of a caller contains these characters, so the texts of combined filters are unique."""

_OTHER = "\0"
"""Stands for whatever a wildcard matches. No key and no literal part of a filter contains it."""

MOST_SUBJECTS = 64
"""Subjects of a combined filter. The cost of some work in NATS grows with their number."""

NOTHING = Filter(_NONE, ("nothing=2Enothing",), lambda _key: False)
"""Accepts no key. The server needs a subject to filter by: this one is no key's encoding."""


@dataclass(frozen=True, slots=True)
class AnyOf(Filter):
    """A filter that accepts what any of its parts accepts."""

    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class AllOf(Filter):
    """A filter that accepts what all of its parts accept."""

    parts: tuple[Filter, ...] = ()


def is_covered(keep: Filter, granted: Sequence[Filter]) -> bool:
    """Return whether the granted filters accept every key that a filter accepts.

    It may be False although they do, if only several of them together accept all of these keys.

    Args:
        granted: no combined filters.
    """
    if keep is NOTHING:
        return True
    if isinstance(keep, AnyOf):
        return all(is_covered(part, granted) for part in keep.parts)
    if isinstance(keep, AllOf):
        return any(is_covered(part, granted) for part in keep.parts)
    examples = examples_of(keep, 2 + max([one.text.count(".") for one in granted], default=0))
    return any(is_within(examples, one) for one in granted)


def is_within(examples: Iterable[str], outer: Filter) -> bool:
    """Return whether `outer` accepts every key that another filter accepts.

    Args:
        examples: of the other filter, as `examples_of` returns them.
    """
    return all(map(outer.matches, examples))


def examples_of(accepted: Filter, tokens: int) -> tuple[str, ...]:
    """Return keys that stand for all keys that a filter accepts.

    Another filter that accepts these accepts all of them: it matches `_OTHER` by a wildcard alone,
    and so many tokens by a final `>` or as a prefix alone.

    Args:
        accepted: no combined filter.
        tokens: more than the other filter has.
    """
    if accepted.key is not None:
        return (accepted.key,)
    many = ".".join([_OTHER] * tokens)
    if accepted is EVERYTHING:
        return _OTHER, many
    prefix = literal_prefix(accepted)
    if prefix is not None:
        return prefix, prefix + _OTHER, f"{prefix}{_OTHER}.{many}"
    text = accepted.text
    if not text.endswith(".>"):
        return (text.replace("*", _OTHER),)
    start = text[:-1].replace("*", _OTHER)
    return start + _OTHER, start + many


def both(one: Filter, other: Filter, *, most: int = MOST_SUBJECTS) -> Filter | None:
    """Return the filter of the keys that both accept, or None if there are certainly none.

    Args:
        most: the number of its subjects, unless each of the two has more.
    """
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
    # Both have subjects that do not overlap, so what these have in common does not, either.
    subjects = tuple(sorted(common))
    if len(subjects) > most:
        subjects = min(one.subjects, other.subjects, key=len)
    matches, also = one.matches, other.matches
    return AllOf(
        f"{_BOTH}{one.text}{_AND}{other.text}",
        subjects,
        lambda key: matches(key) and also(key),
        cost=one.cost + other.cost,
        parts=(one, other),
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
    return AnyOf(
        _ANY + _OF.join(keep.text for keep in different),
        disjoint(subject for keep in different for subject in keep.subjects),
        _any_matches(different),
        cost=sum(keep.cost for keep in different),
        parts=tuple(different),
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
