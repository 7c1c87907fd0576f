"""Finds differences between a value that was stored and the value that reads back.

`==` is not enough. A dataclass may leave fields out of its `==`, and a class may have no `==`.
"""

import dataclasses
import functools
import types
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["difference"]

_PLAIN = frozenset((int, str, float, bool, bytes, type(None)))
_MISSING: Any = object()


class _Difference:
    """A difference: the reason, and the path to it, innermost name first."""

    def __init__(self, reason: str, *path: object) -> None:
        self.reason = reason
        self.path = list(path)

    def at(self, name: object) -> "_Difference":
        self.path.append(name)
        return self

    def __str__(self) -> str:
        # A key may be any object, so only texts and numbers are shown, and cut.
        parts = [str(part) for part in reversed(self.path) if isinstance(part, int | str)]
        return f"{'.'.join(part[:64] for part in parts) or 'the value'} {self.reason}"


_Compare = Callable[[Any, Any], _Difference | None]
_ANOTHER = "reads back as another value"


def difference(given: Any, read: Any) -> str | None:
    """Return where and why a value reads back as another one; None if it is the same.

    Args:
        given: the value before it was stored.
        read: the value after it was read.

    Returns:
        A text with the names of fields and keys. It has no values, because they may be secret.
    """
    try:
        found = _find(given, read)
    except RecursionError:
        return "the value refers to itself, or is nested too deeply"
    return None if found is None else str(found)


def _find(given: Any, read: Any) -> _Difference | None:
    kind: Any = type(given)
    if kind in _PLAIN:
        return None if given == read else _Difference(_ANOTHER)
    return _comparer(kind)(given, read)


@functools.lru_cache(maxsize=1024)
def _comparer(kind: Any) -> _Compare:
    """Return the function that compares values of a type. It is cached, as each write needs it."""
    if hasattr(kind, "__pydantic_fields__") or dataclasses.is_dataclass(kind):
        return _objects(kind)
    if issubclass(kind, Mapping):
        return _mappings
    if issubclass(kind, list | tuple | deque):
        return _sequences
    if kind.__eq__ is object.__eq__:
        return _opaque
    return _by_equality


def _by_equality(given: Any, read: Any) -> _Difference | None:
    try:
        same = bool(given == read)
    except (TypeError, ValueError):
        # `==` of two arrays is an array, which has no truth value.
        same = type(given) is type(read) and repr(given) == repr(read)
    return None if same else _Difference(_ANOTHER)


def _mappings(given: Mapping[Any, Any], read: Any) -> _Difference | None:
    if not isinstance(read, Mapping):
        return _type(given, read)
    if len(given) != len(read):
        return _Difference(_ANOTHER)
    for key, value in given.items():
        other = read.get(key, _MISSING)
        if type(value) in _PLAIN:
            if value != other:
                return _Difference(_ANOTHER, key)
        elif other is _MISSING:
            return _Difference(_ANOTHER, key)
        elif (found := _find(value, other)) is not None:
            return found.at(key)
    return None


def _sequences(given: Any, read: Any) -> _Difference | None:
    # A tuple differs from a list. A subclass of list does not.
    if not isinstance(read, type(given)) and not isinstance(given, type(read)):
        return _type(given, read)
    if len(given) != len(read):
        return _Difference(_ANOTHER)
    for number, value in enumerate(given):
        other = read[number]
        if type(value) in _PLAIN:
            if value != other:
                return _Difference(_ANOTHER, number)
        elif (found := _find(value, other)) is not None:
            return found.at(number)
    return None


def _objects(kind: Any) -> _Compare:
    """Return a function that compares all parts of two models or dataclasses."""
    fields: Mapping[str, Any] = getattr(kind, "__pydantic_fields__", {})
    slots = _slots(kind)
    if dataclasses.is_dataclass(kind):
        # A field that is not an argument may have its default only in the class.
        slots += [field.name for field in dataclasses.fields(kind)]
    # A cached property is stored beside the fields, and computed again after reading.
    computed = {
        name
        for base in kind.__mro__
        for name, part in vars(base).items()
        if isinstance(part, functools.cached_property)
    }

    def compare(given: Any, read: Any) -> _Difference | None:
        if type(read) is not kind:
            return _type(given, read)
        found = _parts(_attributes(given, slots), _attributes(read, slots), computed)
        if found is not None:
            if getattr(fields.get(str(found.path[-1])), "exclude", None):
                found.reason = "is excluded from the stored value"
            return found
        for name in ("__pydantic_extra__", "__pydantic_private__"):
            parts, others = getattr(given, name, None), getattr(read, name, None)
            if not parts and not others:
                continue
            found = _parts(parts or {}, others or {}, computed)
            if found is not None:
                if name == "__pydantic_private__":
                    found.reason = "is private, and private attributes are not stored"
                return found
        return None

    return compare


def _slots(kind: type) -> list[str]:
    """Return the names of a type's slots."""
    return [
        name
        for base in kind.__mro__
        for name, part in vars(base).items()
        if isinstance(part, types.MemberDescriptorType) and not name.startswith("__")
    ]


def _attributes(value: Any, slots: list[str]) -> Mapping[str, Any]:
    attributes: Mapping[str, Any] = getattr(value, "__dict__", {})
    if not slots:
        return attributes
    return {**{name: getattr(value, name, _MISSING) for name in slots}, **attributes}


def _parts(
    parts: Mapping[str, Any], others: Mapping[str, Any], computed: set[str]
) -> _Difference | None:
    for name, value in parts.items():
        other = others.get(name, _MISSING)
        if type(value) in _PLAIN:
            if value == other:
                continue
            found: _Difference | None = _Difference(_ANOTHER)
        else:
            found = _find(value, other)
        if found is not None and name not in computed:
            return found.at(name)
    if parts.keys() != others.keys():
        for name in others.keys() - parts.keys() - computed:
            return _Difference(_ANOTHER, name)
    return None


def _opaque(given: Any, read: Any) -> _Difference | None:
    """Compare objects of a class without `==` by their attributes."""
    if given is read:
        return None
    if type(given) is not type(read):
        return _type(given, read)
    slots = _slots(type(given))
    return _parts(_attributes(given, slots), _attributes(read, slots), set())


def _type(given: Any, read: Any) -> _Difference:
    if read is _MISSING:
        return _Difference(_ANOTHER)
    return _Difference(f"is a {type(given).__name__}, and reads back as a {type(read).__name__}")
