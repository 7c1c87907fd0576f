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
        form = _Format(rule, signature)
        return lambda args, named: form.key(_bound(signature, args, named))
    name = f"{fn.__module__}.{fn.__qualname__}"
    return lambda args, named: _named(name, _bound(signature, args, named))


class _Format(Formatter):
    """A format of arguments' names, which gives two calls two keys.

    In `doc:{user}:{name}`, a colon of a user's could pass for the one after it: what stands between
    two names is percent-encoded in values.
    """

    def __init__(self, rule: str, signature: inspect.Signature) -> None:
        parts = list(self.parse(rule))
        fields = [field for _, field, _, _ in parts if field is not None]
        for field in fields:
            if re.split(r"[.\[]", field)[0] not in signature.parameters:
                raise InvalidArgumentError(
                    f"the key {rule!r} names {field!r}, which is no argument",
                    hint=f"arguments are: {', '.join(signature.parameters) or 'none'}",
                )
        if any(not text for text, field, _, _ in parts[1:] if field is not None):
            raise InvalidArgumentError(
                f"in the key {rule!r} two names stand side by side",
                hint="put something between them, such as a colon",
            )
        # One character of each text between two names is enough to tell them apart.
        between = [text for text, field, _, _ in parts[1:] if field is not None]
        marks = {next((one for one in text if not one.isalnum()), text[0]) for text in between}
        encoded = marks | {"%"} if marks else set()
        self._encoded = {
            ord(one): "".join(f"%{byte:02X}" for byte in one.encode()) for one in encoded
        }
        self._rule = rule

    def key(self, arguments: Mapping[str, Any]) -> str:
        return self.vformat(self._rule, (), arguments)

    def format_field(self, value: Any, format_spec: str) -> str:
        text: str = super().format_field(value, format_spec)
        return text.translate(self._encoded)


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
