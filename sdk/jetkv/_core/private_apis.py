"""Every part of aiohttp and httpcore in use here that its makers have not promised to keep.

A release of theirs may change one without a word. So they are looked for before the first
connection: without the first one, for example, a write could reach the gateway twice. Another test
looks through the code for parts that are missing in this list.
"""

from importlib import import_module
from importlib.metadata import version
from types import FunctionType
from typing import Any, NamedTuple

__all__ = ["PARTS", "RANGES", "Part", "check"]

RANGES = {"aiohttp": ">=3.11,<4", "httpcore": ">=1.0.8,<2"}
"""The versions in which the parts below were seen; those of `pyproject.toml`, too."""


class Part(NamedTuple):
    """A method or attribute of a class, and the module of the SDK that uses it."""

    library: str
    owner: str
    name: str
    where: str


PARTS = [
    Part("aiohttp", "ClientSession", "_retry_connection", "_async/transport.py"),
    Part("httpcore", "HTTPConnection", "is_closed", "_sync/connections.py"),
    Part("httpcore", "HTTPConnection", "has_expired", "_sync/connections.py"),
]


def check(library: str) -> None:
    """Look for all parts of a library.

    Raises:
        ImportError: one is not there; the text says what to install.
    """
    for part in PARTS:
        if part.library == library and not _is_there(
            getattr(import_module(library), part.owner, None), part.name
        ):
            raise ImportError(
                f"{library} {version(library)} has no {part.owner}.{part.name}, which jetkv "
                f'needs: install "{library}{RANGES[library]}"'
            )


def _is_there(owner: Any, name: str) -> bool:
    """Return whether a class, or else a method of it by setting one, has such an attribute."""
    return hasattr(owner, name) or any(
        name in function.__code__.co_names
        for kind in getattr(owner, "__mro__", ())
        for function in vars(kind).values()
        if isinstance(function, FunctionType)
    )
