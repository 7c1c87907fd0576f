"""The key of a function's call: the same text for the same arguments, today and elsewhere."""

import hashlib
import inspect
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from string import Formatter
from typing import Any
from uuid import UUID

from jetkv.errors import InvalidArgumentError

__all__ = ["KeyOf", "KeyRule", "key_of"]

KeyRule = str | Callable[..., str]
KeyOf = Callable[[tuple[Any, ...], Mapping[str, Any]], str]

_LONGEST = 512
_SIMPLE = (type(None), bool, int, float, str, bytes, date, datetime, Decimal, UUID)


def key_of(fn: Callable[..., Any], rule: KeyRule | None) -> KeyOf:
    """Return what makes keys of arguments.

    Args:
        fn: whose arguments they are.
        rule: a function of the same arguments, a format of their names, or None: the function's
            name and all arguments, the left-out ones too.
    """
    if callable(rule):
        return lambda args, named: rule(*args, **named)
    signature = inspect.signature(fn)
    if rule is not None:
        _check_names(rule, signature)
        return lambda args, named: rule.format(**_bound(signature, args, named))
    name = f"{fn.__module__}.{fn.__qualname__}"
    return lambda args, named: _named(name, _bound(signature, args, named))


def _check_names(rule: str, signature: inspect.Signature) -> None:
    for _, field, _, _ in Formatter().parse(rule):
        if field is not None and re.split(r"[.\[]", field)[0] not in signature.parameters:
            raise InvalidArgumentError(
                f"the key {rule!r} names {field!r}, which is no argument",
                hint=f"arguments are: {', '.join(signature.parameters) or 'none'}",
            )


def _bound(
    signature: inspect.Signature, args: tuple[Any, ...], named: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        bound = signature.bind(*args, **named)
    except TypeError as error:
        if "self" not in signature.parameters:
            raise
        raise InvalidArgumentError(
            f"a method cannot be cached: {error}",
            hint="cache a plain function, which the method calls",
        ) from error
    bound.apply_defaults()
    return bound.arguments


def _named(name: str, arguments: Mapping[str, Any]) -> str:
    text = ",".join(_text(value, name, argument) for argument, value in arguments.items())
    key = f"{name}({text})"
    if len(key.encode()) <= _LONGEST:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    key = f"{name}#{digest}"
    return key if len(key.encode()) <= _LONGEST else digest


def _text(value: Any, name: str, argument: str) -> str:
    # By the exact type: a subclass may show itself in any way.
    if type(value) in _SIMPLE:
        return ascii(value)
    if type(value) in (list, tuple):
        parts = ",".join(_text(part, name, argument) for part in value)
        return f"[{parts}]" if type(value) is list else f"({parts},)"
    if type(value) is dict:
        pairs = sorted(
            f"{_text(key, name, argument)}:{_text(part, name, argument)}"
            for key, part in value.items()
        )
        return "{" + ",".join(pairs) + "}"
    raise InvalidArgumentError(
        f"argument {argument!r} of {name} is a {type(value).__name__}, of which no key can be made",
        hint="cached(bucket, key=…) makes keys of other things: a function of the arguments, or "
        "a format such as 'user:{id}'",
    )
