"""The two clients: the same names, arguments and words, but for `async`."""

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jetkv

ROOT = Path(__file__).parents[2]

TWINS = {
    name: (getattr(jetkv, name.removeprefix("Async")), getattr(jetkv, name))
    for name in jetkv.__all__
    if name.startswith("Async")
}
SYNC_NAMES = {
    "aclose": "close",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
"""What the protocols of Python call differently."""
PLAIN = {"kv", "bucket", "watch", "transaction", "pages", "entries"}
PLAIN |= {"__aiter__", "__init__", "__repr__", "__del__"}
"""Methods that wait for nothing, and are not awaited on either side."""


def members(kind: type) -> dict[str, Any]:
    """Return what a class and its bases in the SDK define, and a caller may use."""
    special = (*SYNC_NAMES, *SYNC_NAMES.values(), "__init__", "__repr__", "__del__")
    return {
        name: member
        for base in reversed(kind.__mro__)
        if base.__module__.startswith("jetkv.")
        for name, member in vars(base).items()
        if not name.startswith("_") or name in special
    }


def methods() -> Iterator[tuple[str, Any, Any]]:
    for name, (sync, twin) in TWINS.items():
        for member, asynchronous in members(twin).items():
            if inspect.isfunction(asynchronous):
                counterpart = members(sync).get(SYNC_NAMES.get(member, member))
                yield f"{name}.{member}", counterpart, asynchronous


every_twin = pytest.mark.parametrize(("sync", "twin"), TWINS.values(), ids=TWINS)
METHODS = {name: (sync, twin) for name, sync, twin in methods()}
every_method = pytest.mark.parametrize(("sync", "twin"), METHODS.values(), ids=METHODS)


def without_async(text: str) -> str:
    """Return what a sync twin says instead."""
    text = re.sub(r"\b_async\b", "_sync", text)
    text = re.sub(r"\bAsync(?=[A-Z])", "", text)
    # What a caller's function may return: a value, or something to await for it.
    text = re.sub(r"typing\.Union\[([~\w.\[\], ]+), (?:\w+\.)*Awaitable\[\1\]\]", r"\1", text)
    text = re.sub(r"([~\w.\[\], |]+) \| (?:\w+\.)*Awaitable\[\1\]", r"\1", text)
    return re.sub(r"\baclose\b", "close", text)


def test_every_class_of_a_client_has_a_twin() -> None:
    assert {sync.__name__ for sync, _ in TWINS.values()} == {
        "Bucket",
        "Client",
        "KV",
        "MultiWatch",
        "Watch",
    }


@every_twin
def test_twins_have_the_same_names(sync: type, twin: type) -> None:
    translated = {SYNC_NAMES.get(name, name) for name in members(twin)}
    assert translated == set(members(sync))


@every_twin
def test_twins_have_the_same_attributes_that_are_no_methods(sync: type, twin: type) -> None:
    def attributes(kind: type) -> dict[str, str]:
        return {
            name: type(member).__name__
            for name, member in members(kind).items()
            if not inspect.isfunction(member)
        }

    assert attributes(sync) == attributes(twin)


@every_twin
def test_twins_are_described_by_the_same_words(sync: type, twin: type) -> None:
    assert sync.__doc__ == without_async(twin.__doc__ or "")


@every_method
def test_methods_take_and_return_the_same(sync: Any, twin: Any) -> None:
    assert str(inspect.signature(sync)) == without_async(str(inspect.signature(twin)))


@every_method
def test_methods_are_described_by_the_same_words(sync: Any, twin: Any) -> None:
    assert (sync.__doc__ or "") == without_async(twin.__doc__ or "")


@every_method
def test_what_waits_is_awaited_on_one_side_alone(sync: Any, twin: Any) -> None:
    assert not inspect.iscoroutinefunction(sync)
    assert inspect.iscoroutinefunction(twin) is (twin.__name__ not in PLAIN)


@every_method
def test_every_method_for_callers_is_described(sync: Any, twin: Any) -> None:
    assert sync.__doc__ or sync.__name__.startswith("__")


def test_the_sync_client_is_up_to_date_with_its_async_twin() -> None:
    done = subprocess.run(
        [sys.executable, "tools/unasync.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
