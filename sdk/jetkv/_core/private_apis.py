"""The parts of aiohttp and httpcore that the SDK uses although they are not documented.

A new version of these libraries may change such a part without notice. So the SDK checks before
the first connection that all of them exist: without the first one, for example, a write could reach
the gateway twice. `tests/unit/test_private_apis.py` finds parts in the code that are missing here.
"""

from importlib import import_module
from importlib.metadata import version
from types import FunctionType
from typing import Any, NamedTuple

__all__ = ["PARTS", "RANGES", "Part", "check"]

RANGES = {"aiohttp": ">=3.11,<4", "httpcore": ">=1.0.8,<2"}
"""The versions that have the parts below; the same as in `pyproject.toml`."""


class Part(NamedTuple):
    """A method or attribute of a library's class, and the module of the SDK that uses it."""

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
    """Check that all parts of a library exist.

    Raises:
        ImportError: a part is missing; the text names the versions that have it.
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
    """Return whether a class has an attribute, or a method of it sets one of that name."""
    return hasattr(owner, name) or any(
        name in function.__code__.co_names
        for kind in getattr(owner, "__mro__", ())
        for function in vars(kind).values()
        if isinstance(function, FunctionType)
    )
