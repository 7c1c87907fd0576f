"""Filters of keys, for listings and watches (docs/http-api.md#filters).

A filter has two parts: NATS subject filters, which the server applies and which may match too much,
and an exact matcher on decoded keys, which decides. `*` matches one dot token, a final `>` matches
the rest, and `*` inside a token matches anything but a dot. A filter without wildcards matches that
key, or is a prefix if it ends in one of `. : / -`.

Partial wildcards such as `user-*` are never sent to the server: it accepts them, but matches them
in snapshots only, by accident.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.keys import check_text, encode, encode_once

__all__ = [
    "EVERYTHING",
    "Filter",
    "compile_filter",
    "compile_prefix",
    "covers",
    "disjoint",
    "glob_matches",
    "literal_prefix",
    "overlap",
]

_PREFIX_ENDS = (".", ":", "/", "-")
_STARS = re.compile(r"\*{2,}")
_MOST_TOKENS = 16
"""The limit of tokens before the `>` of a subject filter. Keys with more tokens are rare, and the
exact matcher checks them."""

_SHORT = 64
"""The length of the longest filter that is cached."""

_LITERAL = "\0"
"""Stands before the text of a literal prefix, so that no filter has the same text."""

_Matches = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Filter:
    """A compiled filter.

    Attributes:
        text: the filter as it was given, "" for all. A literal prefix starts with U+0000.
        subjects: NATS subject filters without the bucket's prefix, of which no two overlap.
            Together they match every key that `matches` accepts.
        matches: the exact decision on a decoded key.
        key: the only key that matches, or None if several can.
        cost: the cost of one decision, at most; a filter with one star costs 1.
    """

    text: str
    subjects: tuple[str, ...]
    matches: _Matches
    key: str | None = None
    cost: int = 1


EVERYTHING = Filter("", (">",), lambda _key: True)


def compile_filter(text: str | None) -> Filter:
    """Compile a filter. Short filters are cached, because many watches use the same ones.

    Raises:
        InvalidArgument: `>` elsewhere than as the last token, control characters, over 512 bytes.
    """
    if not text:
        return EVERYTHING
    return _cached(text) if len(text) <= _SHORT else _compile(text)


def _compile(text: str) -> Filter:
    check_text(text, "filter")
    if text == ">":
        return EVERYTHING
    # Several stars in a row mean the same as one and would cost more.
    pattern = _STARS.sub("*", text) if "**" in text else text
    tokens = pattern.split(".")
    rest = tokens[-1] == ">"
    if ">" in (text[:-1] if rest else text):
        raise InvalidArgument("invalid filter: > is allowed only as the last token")
    if "*" in text or rest:
        matches = _below(pattern[:-2]) if rest else _matching(pattern)
        cost = 1 + (text.count("*") + len(tokens)) // 4
        return Filter(text, _wildcard_subjects(tokens), matches, cost=cost)
    if text.endswith(_PREFIX_ENDS):
        return Filter(text, _prefix_subjects(text, tokens), _starts_with(text))
    return Filter(text, (encode(text),), text.__eq__, key=text)


_cached = lru_cache(maxsize=1024)(_compile)


def compile_prefix(text: str) -> Filter:
    """Compile a literal prefix: none of its characters is a wildcard. "" accepts every key.

    The server filters by the complete dot tokens, so a prefix that ends in a dot costs no more than
    the keys that it accepts.

    Raises:
        InvalidArgument: control characters, over 512 bytes (docs/http-api.md#filters).
    """
    if not text:
        return EVERYTHING
    check_text(text, "prefix")
    return Filter(_LITERAL + text, _prefix_subjects(text, text.split(".")), _starts_with(text))


def literal_prefix(compiled: Filter) -> str | None:
    """Return the prefix of a filter that accepts every key with that prefix, or None."""
    text = compiled.text
    if text.startswith(_LITERAL):
        return text[len(_LITERAL) :]
    # The texts of combined filters (`kv.filter_sets`) start with a control character.
    if text.endswith(_PREFIX_ENDS) and "*" not in text and text[0] >= " ":
        return text
    return None


# Anyone may send filters, so compiling and matching take linear time; regular expressions do not.


def _starts_with(prefix: str) -> _Matches:
    return lambda key: key.startswith(prefix)


def _below(head: str) -> _Matches:
    """Return a matcher for the keys below `head`, which may contain wildcards."""
    if "*" in head:
        return partial(_tokens_match, head[: head.index("*")], head, True)
    start, least = head + ".", len(head) + 2
    return lambda key: len(key) >= least and key.startswith(start)


def _matching(pattern: str) -> _Matches:
    """Return a matcher for a pattern with stars."""
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
    """Return whether the tokens of a key match those of a pattern.

    Args:
        start: the pattern up to its first star.
        rest: whether more tokens must follow.
    """
    if not key.startswith(start):
        return False
    # Split the pattern each time: a list of its tokens takes twenty times its memory.
    wanted = pattern.split(".")
    given = key.split(".", len(wanted)) if rest else key.split(".")
    if len(given) != len(wanted) + rest or (rest and not given[-1]):
        return False
    for like, token in zip(wanted, given, strict=False):
        if like == "*":
            if not token:
                return False
        elif like != token and ("*" not in like or not glob_matches(like, token)):
            return False
    return True


def glob_matches(pattern: str, token: str) -> bool:
    """Return whether a pattern with at least one star matches a text, in linear time."""
    first, *middle, last = pattern.split("*")
    start, end = len(first), len(token) - len(last)
    if start > end or not token.startswith(first) or not token.endswith(last):
        return False
    for text in middle:
        # The first match leaves the most text for the rest of the pattern.
        start = token.find(text, start, end)
        if start < 0:
            return False
        start += len(text)
    return True


def _wildcard_subjects(tokens: list[str]) -> tuple[str, ...]:
    """Return the longest run of leading tokens that the server can filter by, then `>`."""
    if tokens[-1] == "":
        # A final dot is escaped in subjects, so the subject has one token less than the filter.
        tokens = [*tokens[:-2], ""]
    out: list[str] = []
    for token in tokens:
        if len(out) == _MOST_TOKENS:
            return (".".join([*out, ">"]),)
        if token in ("*", ">"):
            out.append(token)
        elif token and "*" not in token:
            out.append(encode_once(token))
        else:
            return (".".join([*out, ">"]),)
    return (".".join(out),)


def _prefix_subjects(text: str, tokens: list[str]) -> tuple[str, ...]:
    complete = tokens[:-1]
    if "" in complete:
        complete = complete[: complete.index("")]
    elif tokens[-1] == "" and len(complete) <= _MOST_TOKENS:
        # The prefix itself is a key too; there its final dot is escaped.
        return (encode(text[:-1]) + ".>", encode(text))
    return (".".join([*map(encode_once, complete[:_MOST_TOKENS]), ">"]),)


def disjoint(subjects: Iterable[str]) -> tuple[str, ...]:
    """Return subject filters that match at least what `subjects` match, without overlaps.

    A consumer accepts only such filters.
    """
    wanted = set(subjects)
    exact = {subject for subject in wanted if _is_exact(subject)}
    kept: list[list[str]] = []
    for subject in sorted(wanted - exact, key=_by_depth):
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
    return tuple(sorted(found, key=_by_depth))


def covers(pattern: str, subject: str) -> bool:
    """Return whether a subject filter matches everything that `subject`, also a filter, matches."""
    return _covers(pattern.split("."), subject.split("."))


def overlap(one: str, other: str) -> bool:
    """Return whether a subject exists that both filters match."""
    return _overlap(one.split("."), other.split("."))


def _is_exact(subject: str) -> bool:
    # In a subject filter, a wildcard is always a whole token.
    return "*" not in subject and ">" not in subject


def _by_depth(subject: str) -> tuple[int, str]:
    return subject.count("."), subject


def _covers(pattern: list[str], given: list[str]) -> bool:
    for index, part in enumerate(pattern):
        if part == ">":
            return len(given) > index
        if index == len(given) or part not in ("*", given[index]) or given[index] == ">":
            return False
    return len(pattern) == len(given)


def _overlap(left: list[str], right: list[str]) -> bool:
    for a, b in zip(left, right, strict=False):
        if a != b:
            if a == ">" or b == ">":
                return True
            if a != "*" and b != "*":
                return False
    return len(left) == len(right)
