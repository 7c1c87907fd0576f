"""Filters of keys, for listings and watches (docs/http-api.md#filters).

A filter has two halves: NATS subject filters, which the server applies and which may let too much
through, and an exact matcher on decoded keys, which decides. `*` is one dot token, a final `>` the
rest; `*` inside a token is a glob that stops at a dot; a filter without wildcards is that key, or
a prefix where it ends in one of `. : / -`.

Partial wildcards never reach the server: there they match in snapshots, by accident, and never
live.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.keys import check_text, encode

__all__ = [
    "EVERYTHING",
    "Filter",
    "compile_filter",
    "compile_prefix",
    "covers",
    "disjoint",
    "overlap",
]

_PREFIX_ENDS = (".", ":", "/", "-")
_STARS = re.compile(r"\*{2,}")
_MOST_TOKENS = 16
"""Before the `>` of a subject filter. Deeper keys are rare, and the exact matcher tells them."""

_SHORT = 64
"""Characters of a filter that is worth keeping."""

_LITERAL = "\0"
"""Stands before the text of a literal prefix, so that no filter has the same text."""

_Matches = Callable[[str], bool]

_encode = encode.__wrapped__
"""Parts of filters need not push keys out of the cache."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A compiled filter.

    Attributes:
        text: the filter as it was given, "" for all; a literal prefix follows U+0000.
        subjects: NATS subject filters without the bucket's prefix, none overlapping another;
            together they pass every key that `matches` accepts.
        matches: the exact decision on a decoded key.
        key: the one key that is accepted, or None where it can be more.
        cost: of deciding on a key, at most; 1 is that of a filter with one star.
    """

    text: str
    subjects: tuple[str, ...]
    matches: _Matches
    key: str | None = None
    cost: int = 1


EVERYTHING = Filter("", (">",), lambda _key: True)


def compile_filter(text: str | None) -> Filter:
    """Compile a filter. Short ones are kept for a while: watches that want the same are many.

    Raises:
        InvalidArgument: `>` elsewhere than as the last token, control characters, over 512 bytes.
    """
    if not text:
        return EVERYTHING
    return _kept(text) if len(text) <= _SHORT else _compile(text)


def _compile(text: str) -> Filter:
    check_text(text, "filter")
    if text == ">":
        return EVERYTHING
    # A run of stars says what one says, and would cost more.
    pattern = _STARS.sub("*", text) if "**" in text else text
    tokens = pattern.split(".")
    rest = tokens[-1] == ">"
    if ">" in (text[:-1] if rest else text):
        raise InvalidArgument("invalid filter: > is allowed only as the last token")
    if "*" in text or rest:
        matches = _below(pattern[:-2]) if rest else _alike(pattern)
        cost = 1 + (text.count("*") + len(tokens)) // 4
        return Filter(text, _wildcard_subjects(tokens), matches, cost=cost)
    if text.endswith(_PREFIX_ENDS):
        return Filter(text, _prefix_subjects(text, tokens), _starts_with(text))
    return Filter(text, (encode(text),), text.__eq__, key=text)


_kept = lru_cache(maxsize=1024)(_compile)


def compile_prefix(text: str) -> Filter:
    """Compile a literal prefix: no character of it is a wildcard. "" accepts every key.

    The server filters by the dot tokens that are complete, so a prefix that ends in a dot costs no
    more than the keys that it accepts.

    Raises:
        InvalidArgument: control characters, over 512 bytes (docs/http-api.md#filters).
    """
    if not text:
        return EVERYTHING
    check_text(text, "prefix")
    return Filter(_LITERAL + text, _prefix_subjects(text, text.split(".")), _starts_with(text))


# Matchers. None of them looks twice at a part of a key, whatever the filter, and all are made in no
# more time than it takes to read the filter: anybody may send one. Regular expressions are neither.


def _starts_with(prefix: str) -> _Matches:
    return lambda key: key.startswith(prefix)


def _below(head: str) -> _Matches:
    """Return what matches the keys below `head`, which may have wildcards."""
    if "*" in head:
        return partial(_tokens_match, head[: head.index("*")], head, True)
    start, least = head + ".", len(head) + 2
    return lambda key: len(key) >= least and key.startswith(start)


def _alike(pattern: str) -> _Matches:
    """Return what matches the keys that are like a pattern with stars."""
    first, _, last = pattern.partition("*")
    if "*" in last:
        return partial(_tokens_match, first, pattern, False)
    begin, tail = len(first), len(last)
    whole = (not first or first[-1] == ".") and (not last or last[0] == ".")
    least = begin + tail + (1 if whole else 0)
    return lambda key: (
        len(key) >= least
        and key.startswith(first)
        and key.endswith(last)
        and "." not in key[begin : len(key) - tail]
    )


def _tokens_match(start: str, pattern: str, rest: bool, key: str) -> bool:
    """Return whether the tokens of a key are like those of a pattern.

    Args:
        start: of the pattern, up to its first star.
        rest: whether more tokens have to follow.
    """
    if not key.startswith(start):
        return False
    # The pattern is not kept taken apart: that would be twenty times its size.
    wanted = pattern.split(".")
    given = key.split(".", len(wanted)) if rest else key.split(".")
    if len(given) != len(wanted) + rest or (rest and not given[-1]):
        return False
    for like, token in zip(wanted, given, strict=False):
        if like == "*":
            if not token:
                return False
        elif like != token and ("*" not in like or not _glob_matches(like, token)):
            return False
    return True


def _glob_matches(pattern: str, token: str) -> bool:
    first, *middle, last = pattern.split("*")
    start, end = len(first), len(token) - len(last)
    if start > end or not token.startswith(first) or not token.endswith(last):
        return False
    for text in middle:
        # The first place will do: it leaves the most for what follows.
        start = token.find(text, start, end)
        if start < 0:
            return False
        start += len(text)
    return True


def _wildcard_subjects(tokens: list[str]) -> tuple[str, ...]:
    """Return the longest run of leading tokens that the server can filter on, then `>`."""
    if tokens[-1] == "":
        # A last dot is escaped, so a subject has one token less here than the filter.
        tokens = [*tokens[:-2], ""]
    out: list[str] = []
    for token in tokens:
        if len(out) == _MOST_TOKENS:
            return (".".join([*out, ">"]),)
        if token in ("*", ">"):
            out.append(token)
        elif token and "*" not in token:
            out.append(_encode(token))
        else:
            return (".".join([*out, ">"]),)
    return (".".join(out),)


def _prefix_subjects(text: str, tokens: list[str]) -> tuple[str, ...]:
    complete = tokens[:-1]
    if "" in complete:
        complete = complete[: complete.index("")]
    elif tokens[-1] == "" and len(complete) <= _MOST_TOKENS:
        # The prefix is a key too, and as a key its last dot is escaped.
        return (encode(text[:-1]) + ".>", encode(text))
    return (".".join([*map(_encode, complete[:_MOST_TOKENS]), ">"]),)


def disjoint(subjects: Iterable[str]) -> tuple[str, ...]:
    """Return subject filters that pass at least what `subjects` pass, none overlapping another.

    A consumer takes only such filters, and would deliver twice what two of them pass.
    """
    wanted = set(subjects)
    exact = {subject for subject in wanted if _is_exact(subject)}
    kept: list[list[str]] = []
    for subject in sorted(wanted - exact, key=_by_place):
        parts = subject.split(".")
        over = [other for other in kept if _overlap(other, parts)]
        if any(_covers(other, parts) for other in over):
            continue
        if not all(_covers(parts, other) for other in over):
            return (">",)
        kept = [*(other for other in kept if other not in over), parts]
    longest = max(map(len, kept), default=0)
    found = [".".join(parts) for parts in kept]
    for subject in exact:
        parts = subject.split(".", longest)
        if not any(_covers(other, parts) for other in kept):
            found.append(subject)
    return tuple(sorted(found, key=_by_place))


def covers(pattern: str, subject: str) -> bool:
    """Return whether a subject filter passes all that `subject`, a filter too, passes."""
    return _covers(pattern.split("."), subject.split("."))


def overlap(one: str, other: str) -> bool:
    """Return whether there is a subject that both pass."""
    return _overlap(one.split("."), other.split("."))


def _is_exact(subject: str) -> bool:
    # What a subject holds of these two is a token of its own.
    return "*" not in subject and ">" not in subject


def _by_place(subject: str) -> tuple[int, str]:
    return subject.count("."), subject


def _covers(wanted: list[str], given: list[str]) -> bool:
    for index, part in enumerate(wanted):
        if part == ">":
            return len(given) > index
        if index == len(given) or part not in ("*", given[index]) or given[index] == ">":
            return False
    return len(wanted) == len(given)


def _overlap(left: list[str], right: list[str]) -> bool:
    for a, b in zip(left, right, strict=False):
        if a != b:
            if a == ">" or b == ">":
                return True
            if a != "*" and b != "*":
                return False
    return len(left) == len(right)
