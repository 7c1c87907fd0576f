"""The files of the console, read once and ready to be sent."""

import gzip
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

__all__ = ["FOLDER_PAGE", "PAGE", "StaticFile", "load_files", "without_notes"]

PAGE = "index.html"
FOLDER_PAGE = "/"
"""The name of the page under the path that ends with a slash."""

_NOTES = re.compile(rb"/\*\*.*?\*/|^[ \t]*//[^\n]*$", re.DOTALL | re.MULTILINE)
_EDGES = re.compile(rb"\s*\n\s*")
_QUOTED = rb""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`"""
_TEXTS = re.compile(_QUOTED)
_GAPS = re.compile(
    rb"("
    + _QUOTED
    + rb")|\bconst\b|(?<![.\w$])(true|false)\b(?!\s*:)|[ ]*([=<>!&|?:,;{}()\[\]*%]+)[ ]*"
    rb"|(?<=[\w)\]\"'`])[ ]([+/-]=?)[ ](?=[\w(\"'`\[])"
)
_JOINED = (b"{", b"(", b"[", b",", b";", b"=>", b"&&", b"||")
_ENDS = re.compile(rb"^((?:(?!//)[^\n])*)\n(?=[})\]])", re.MULTILINE)
"""A line break before a bracket that closes, and not after a comment."""
_PRIVATE = re.compile(rb"(?<=[.\s;{}])#([A-Za-z]\w*)")
_CSS_GAPS = re.compile(rb"\s*([{};,])\s*|(?<=:)\s+")

_LETTERS = [bytes([letter]) for letter in range(ord("a"), ord("z") + 1)]

_TYPES = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of the console.

    Attributes:
        media: its media type.
        tag: identifies its bytes, for `ETag`.
        packed: the same bytes in gzip.
    """

    media: bytes
    tag: bytes
    body: bytes
    packed: bytes

    @classmethod
    def of(cls, name: str, body: bytes) -> "StaticFile":
        return cls(
            _TYPES[name.rpartition(".")[2]],
            sha256(body).hexdigest()[:24].encode(),
            body,
            # Without the time, each worker and each start makes the same bytes.
            gzip.compress(body, mtime=0),
        )


@cache
def load_files() -> Mapping[str, StaticFile]:
    """Return the files by their names."""
    return dict(_read())


def without_notes(name: str, body: bytes) -> bytes:
    """Return a script or a style without what is for people.

    These are comments, indentation, wide spaces and long names of private members.
    """
    if name.endswith(".css"):
        return _CSS_GAPS.sub(rb"\1", body).replace(b";}", b"}")
    if not name.endswith(".js"):
        return body
    lines = _EDGES.sub(b"\n", _NOTES.sub(b"", body)).strip().split(b"\n")
    short = _ENDS.sub(rb"\1", b"".join(map(_without_gaps, lines))).replace(b";}", b"}")
    return _with_short_names(short)


def _without_gaps(line: bytes) -> bytes:
    """Return a line of a script without the spaces around signs, and the line break after some.

    A line stays as it is if it may have a pattern, a comment, or a template in a template.
    """
    outside = _TEXTS.sub(b"", line).replace(b" / ", b"")  # a division
    if b"/" in outside or b"`" in outside:
        return line + b"\n"
    short = _GAPS.sub(_shorter, line)
    return short if short.endswith(_JOINED) else short + b"\n"


def _shorter(found: re.Match[bytes]) -> bytes:
    quoted, truth, sign, other_sign = found.groups()
    if truth is not None:
        return b"!0" if truth == b"true" else b"!1"
    return quoted or sign or other_sign or b"let"


def _with_short_names(script: bytes) -> bytes:
    """Give private members short names. Nobody outside of the file can know these names."""
    names = dict.fromkeys(_PRIVATE.findall(script))
    short = {
        name: b"#%b%b" % (_LETTERS[n % 26], b"%d" % (n // 26) if n >= 26 else b"")
        for n, name in enumerate(names)
    }
    return _PRIVATE.sub(lambda found: short[found[1]], script)


def _read() -> Iterator[tuple[str, StaticFile]]:
    for one in files(__package__).joinpath("static").iterdir():
        if one.name.rpartition(".")[2] in _TYPES:
            yield one.name, StaticFile.of(one.name, without_notes(one.name, one.read_bytes()))
        if one.name == PAGE:
            # Its links are relative, so that they work behind a proxy that adds a path.
            body = one.read_bytes().replace(b'"console/', b'"')
            yield FOLDER_PAGE, StaticFile.of(one.name, body)
