"""Whether a value that was stored and read again is the value that was given.

`==` alone does not tell: a dataclass may leave fields out of it, a class may have none, and a
pydantic model whose serializer loses something still equals itself once both have been through it.
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


class _Found:
    """A difference: why it is one, and where, from the inside out."""

    def __init__(self, why: str, *place: object) -> None:
        self.why = why
        self.place = list(place)

    def at(self, name: object) -> "_Found":
        self.place.append(name)
        return self

    def __str__(self) -> str:
        # Keys and names may be anything: only those of a usual length and kind are shown.
        parts = [str(part) for part in reversed(self.place) if isinstance(part, int | str)]
        return f"{'.'.join(part[:64] for part in parts) or 'the value'} {self.why}"


_Compare = Callable[[Any, Any], _Found | None]
_ANOTHER = "would come back as another value"


def difference(given: Any, read: Any) -> str | None:
    """Return where a value reads back as another one, and why; None where it is the same.

    The text has names of fields and keys, and no values: these may be secrets.
    """
    try:
        found = _find(given, read)
    except RecursionError:
        return "the value refers to itself, or is nested too deeply"
    return None if found is None else str(found)


def _find(given: Any, read: Any) -> _Found | None:
    kind: Any = type(given)
    if kind in _PLAIN:
        return None if given == read else _Found(_ANOTHER)
    return _comparer(kind)(given, read)


@functools.lru_cache(maxsize=1024)
def _comparer(kind: Any) -> _Compare:
    """Return what compares values of a type; looked up once for each, as this is on every write."""
    if hasattr(kind, "__pydantic_fields__") or dataclasses.is_dataclass(kind):
        return _objects(kind)
    if issubclass(kind, Mapping):
        return _mappings
    if issubclass(kind, list | tuple | deque):
        return _sequences
    if kind.__eq__ is object.__eq__:
        return _opaque
    return _by_equality


def _by_equality(given: Any, read: Any) -> _Found | None:
    try:
        same = bool(given == read)
    except (TypeError, ValueError):
        # Arrays compare by their elements, and have no one answer.
        same = type(given) is type(read) and repr(given) == repr(read)
    return None if same else _Found(_ANOTHER)


def _mappings(given: Mapping[Any, Any], read: Any) -> _Found | None:
    if not isinstance(read, Mapping):
        return _type(given, read)
    if len(given) != len(read):
        return _Found(_ANOTHER)
    for key, value in given.items():
        other = read.get(key, _MISSING)
        if type(value) in _PLAIN:
            if value != other:
                return _Found(_ANOTHER, key)
        elif other is _MISSING:
            return _Found(_ANOTHER, key)
        elif (found := _find(value, other)) is not None:
            return found.at(key)
    return None


def _sequences(given: Any, read: Any) -> _Found | None:
    # A tuple is no list; a list of one's own class is one.
    if not isinstance(read, type(given)) and not isinstance(given, type(read)):
        return _type(given, read)
    if len(given) != len(read):
        return _Found(_ANOTHER)
    for number, value in enumerate(given):
        other = read[number]
        if type(value) in _PLAIN:
            if value != other:
                return _Found(_ANOTHER, number)
        elif (found := _find(value, other)) is not None:
            return found.at(number)
    return None


def _objects(kind: Any) -> _Compare:
    """Return what compares models or dataclasses by all that they hold, whatever `==` looks at."""
    fields: Mapping[str, Any] = getattr(kind, "__pydantic_fields__", {})
    slots = _slots(kind)
    if dataclasses.is_dataclass(kind):
        # A field that is no argument may have its default in the class alone.
        slots += [field.name for field in dataclasses.fields(kind)]
    # What is computed once is stored beside the fields, and computed again after reading.
    computed = {
        name
        for base in kind.__mro__
        for name, part in vars(base).items()
        if isinstance(part, functools.cached_property)
    }

    def compare(given: Any, read: Any) -> _Found | None:
        if type(read) is not kind:
            return _type(given, read)
        found = _parts(_held(given, slots), _held(read, slots), computed)
        if found is not None:
            if getattr(fields.get(str(found.place[-1])), "exclude", None):
                found.why = "is excluded from what is stored, and is not as it is after reading"
            return found
        for name in ("__pydantic_extra__", "__pydantic_private__"):
            parts, others = getattr(given, name, None), getattr(read, name, None)
            if not parts and not others:
                continue
            found = _parts(parts or {}, others or {}, computed)
            if found is not None:
                if name == "__pydantic_private__":
                    found.why = "is private, so not stored, and is not as it is after reading"
                return found
        return None

    return compare


def _slots(kind: type) -> list[str]:
    """Return the names of what a type's objects hold outside of their `__dict__`."""
    return [
        name
        for base in kind.__mro__
        for name, part in vars(base).items()
        if isinstance(part, types.MemberDescriptorType) and not name.startswith("__")
    ]


def _held(value: Any, slots: list[str]) -> Mapping[str, Any]:
    held: Mapping[str, Any] = getattr(value, "__dict__", {})
    if not slots:
        return held
    return {**{name: getattr(value, name, _MISSING) for name in slots}, **held}


def _parts(
    parts: Mapping[str, Any], others: Mapping[str, Any], computed: set[str]
) -> _Found | None:
    for name, value in parts.items():
        other = others.get(name, _MISSING)
        if type(value) in _PLAIN:
            if value == other:
                continue
            found: _Found | None = _Found(_ANOTHER)
        else:
            found = _find(value, other)
        if found is not None and name not in computed:
            return found.at(name)
    if parts.keys() != others.keys():
        for name in others.keys() - parts.keys() - computed:
            return _Found(_ANOTHER, name)
    return None


def _opaque(given: Any, read: Any) -> _Found | None:
    """Compare what has no `==`, such as a lock: two of a kind are alike but for what they hold."""
    if given is read:
        return None
    if type(given) is not type(read):
        return _type(given, read)
    slots = _slots(type(given))
    return _parts(_held(given, slots), _held(read, slots), set())


def _type(given: Any, read: Any) -> _Found:
    if read is _MISSING:
        return _Found(_ANOTHER)
    return _Found(f"is a {type(given).__name__}, and would come back as a {type(read).__name__}")
