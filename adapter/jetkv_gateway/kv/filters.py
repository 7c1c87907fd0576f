"""Filters of keys, for listings and watches (contract 1.2).

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

from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.keys import check_text, encode

__all__ = ["EVERYTHING", "Filter", "collide", "compile_filter", "covers", "disjoint"]

_PREFIX_ENDS = (".", ":", "/", "-")


@dataclass(frozen=True, slots=True)
class Filter:
    """A compiled filter.

    Attributes:
        text: the filter as it was given, "" for all.
        subjects: NATS subject filters without the bucket's prefix, none overlapping another;
            together they pass every key that `matches` accepts.
        matches: the exact decision on a decoded key.
        key: the one key that is accepted, or None where it can be more.
    """

    text: str
    subjects: tuple[str, ...]
    matches: Callable[[str], bool]
    key: str | None = None


EVERYTHING = Filter("", (">",), lambda _key: True)


def compile_filter(text: str | None) -> Filter:
    """Compile a filter.

    Raises:
        InvalidArgument: `>` elsewhere than as the last token, control characters, over 512 bytes.
    """
    if not text:
        return EVERYTHING
    check_text(text, "filter")
    if text == ">":
        return EVERYTHING
    tokens = re.sub(r"\*+", "*", text).split(".")
    rest = tokens[-1] == ">"
    if ">" in (text[:-1] if rest else text):
        raise InvalidArgument("invalid filter: > is allowed only as the last token")
    if "*" in text or rest:
        return Filter(text, _wildcard_subjects(tokens), _matcher(tokens, rest))
    if text.endswith(_PREFIX_ENDS):
        return Filter(text, _prefix_subjects(text, tokens), _starts_with(text))
    return Filter(text, (encode(text),), text.__eq__, key=text)


def _starts_with(prefix: str) -> Callable[[str], bool]:
    return lambda key: key.startswith(prefix)


def _matcher(tokens: list[str], rest: bool) -> Callable[[str], bool]:
    head = tokens[:-1] if rest else tokens
    parts = [_part_pattern(part) for part in head]
    if rest:
        parts.append(".+")
    fullmatch = re.compile(r"\.".join(parts), re.DOTALL).fullmatch
    return lambda key: fullmatch(key) is not None


def _part_pattern(part: str) -> str:
    if part == "*":
        return r"[^.]+"
    first, *others = map(re.escape, part.split("*"))
    if not others:
        return first
    *middle, last = others
    # Atomic groups: what was found is not looked for again, or a few stars would take hours.
    return first + "".join(f"(?>[^.]*?{text})" for text in middle) + f"[^.]*{last}"


def _wildcard_subjects(tokens: list[str]) -> tuple[str, ...]:
    """Return the longest run of leading tokens that the server can filter on, then `>`."""
    if tokens[-1] == "":
        # A last dot is escaped, so a subject has one token less here than the filter.
        tokens = [*tokens[:-2], ""]
    out: list[str] = []
    for token in tokens:
        if token in ("*", ">"):
            out.append(token)
        elif token and "*" not in token:
            out.append(encode(token))
        else:
            return (".".join([*out, ">"]),)
    return (".".join(out),)


def _prefix_subjects(text: str, tokens: list[str]) -> tuple[str, ...]:
    complete = tokens[:-1]
    if "" in complete:
        complete = complete[: complete.index("")]
    elif tokens[-1] == "":
        # The prefix is a key too, and as a key its last dot is escaped.
        return (encode(text[:-1]) + ".>", encode(text))
    return (".".join([*map(encode, complete), ">"]),)


def disjoint(subjects: Iterable[str]) -> tuple[str, ...]:
    """Return subject filters that pass at least what `subjects` pass, none overlapping another.

    A consumer takes only such filters, and would deliver twice what two of them pass.
    """
    kept: list[str] = []
    for subject in sorted(set(subjects), key=lambda subject: (subject.count("."), subject)):
        for other in kept:
            if covers(other, subject):
                break
            if collide(other, subject):
                return (">",)
        else:
            kept.append(subject)
    return tuple(kept)


def covers(pattern: str, subject: str) -> bool:
    """Return whether a subject filter passes all that `subject`, a filter too, passes."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, part in enumerate(wanted):
        if part == ">":
            return len(given) > index
        if index == len(given) or part not in ("*", given[index]) or given[index] == ">":
            return False
    return len(wanted) == len(given)


def collide(one: str, other: str) -> bool:
    """Return whether there is a subject that both pass."""
    left, right = one.split("."), other.split(".")
    for a, b in zip(left, right, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(left) == len(right)
