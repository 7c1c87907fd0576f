"""Values and durations as people write and read them. Pure."""

import json
import mimetypes
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from jetkv.models import NEVER, TTL

__all__ = [
    "BINARY",
    "JSON",
    "TEXT",
    "age",
    "content_type_of",
    "counted",
    "duration",
    "in_json",
    "is_safe_on_a_terminal",
    "shown",
    "size",
    "span",
    "ttl",
]

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
BINARY = "application/octet-stream"

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)
_MAX_DIGITS = 12

# Tab and line ends are text; a terminal obeys the others.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def duration(text: str) -> timedelta:
    """Return the duration that a text such as `90`, `30s`, `1h30m` or `7d` names.

    Raises:
        ValueError: the text is no duration.
    """
    found = text.strip()
    seconds = 0
    if found.isascii() and found.isdigit() and len(found) <= _MAX_DIGITS:
        seconds = int(found)
    else:
        parts = _PART.findall(found)
        if not parts or "".join(map("".join, parts)) != found or len(found) > 4 * _MAX_DIGITS:
            raise ValueError(f"{text!r} is no duration: write 90, 30s, 5m, 1h30m or 7d")
        seconds = sum(int(count) * _UNITS[unit] for count, unit in parts)
    try:
        return timedelta(seconds=seconds)
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long") from error


def ttl(text: str) -> TTL:
    """Return the TTL of a value: a duration, or `never`.

    Raises:
        ValueError: the text is neither.
    """
    return NEVER if text.strip().lower() == "never" else duration(text)


def content_type_of(value: bytes, path: Path | None = None) -> str:
    """Return the content type for a value that is written without one.

    The name of a file decides if its ending is known. Otherwise the bytes decide: JSON, text, or
    neither.
    """
    if path is not None:
        named, encoding = mimetypes.guess_type(path.name, strict=False)
        if encoding is not None:
            return BINARY
        if named is not None:
            return f"{named}; charset=utf-8" if named.startswith("text/") else named
    kind, _ = _read(value)
    return {"json": JSON, "text": TEXT, "base64": BINARY}[kind]


def in_json(value: bytes) -> dict[str, Any]:
    """Return `value` and `encoding` as the gateway does for a value without a content type."""
    kind, found = _read(value)
    return {"value": found, "encoding": kind}


def _read(value: bytes) -> tuple[Literal["json", "text", "base64"], Any]:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        from base64 import b64encode

        return "base64", b64encode(value).decode()
    try:
        return "json", json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return "text", text


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def is_safe_on_a_terminal(value: bytes) -> bool:
    """Return whether a terminal shows a value as it is: UTF-8 without control characters."""
    try:
        return _CONTROL.search(value.decode()) is None
    except UnicodeDecodeError:
        return False


def shown(text: str) -> str:
    """Return a text in which control characters are visible, so that a terminal obeys none."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode()
        for char in text
    )


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: `1 key`, `1,204 keys`."""
    return f"{count:,} {noun if count == 1 else noun + 's'}"


def size(count: int) -> str:
    """Return a number of bytes for people: `512 B`, `1.5 KiB`."""
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 1024 or unit == "TiB":
            break
    return f"{amount:.1f} {unit}"


def age(then: datetime, now: datetime | None = None) -> str:
    """Return how far away a time is, for people: `3m ago`, `in 2h`."""
    seconds = round(((now or datetime.now(UTC)) - then).total_seconds())
    text = span(timedelta(seconds=abs(seconds)))
    return f"{text} ago" if seconds >= 0 else f"in {text}"


def span(length: timedelta) -> str:
    """Return a duration for people, in its two largest units: `1h30m`."""
    left = int(length.total_seconds())
    parts = []
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2]) or "0s"
