"""The files of the console, read once and ready to be sent."""

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jetkv_gateway.http.console.scripts import short_script, short_style

__all__ = ["FOLDER_PAGE", "PAGE", "StaticFile", "load_files", "without_notes"]

PAGE = "index.html"
FOLDER_PAGE = "/"
"""The name of the page under the path that ends with a slash."""

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
    """Return a file as it is sent: scripts and styles without what is for people."""
    short = {"js": short_script, "css": short_style}.get(name.rpartition(".")[2])
    return short(body.decode()).encode() if short else body


def _read() -> Iterator[tuple[str, StaticFile]]:
    for one in files(__package__).joinpath("static").iterdir():
        if one.name.rpartition(".")[2] in _TYPES:
            yield one.name, StaticFile.of(one.name, without_notes(one.name, one.read_bytes()))
        if one.name == PAGE:
            # Its links are relative, so that they work behind a proxy that adds a path.
            body = one.read_bytes().replace(b'"console/', b'"')
            yield FOLDER_PAGE, StaticFile.of(one.name, body)
