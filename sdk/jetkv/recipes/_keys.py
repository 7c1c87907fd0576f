"""Makes the key of a function's call: the same arguments give the same key in every process."""

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

_MAX_BYTES = 512
_SIMPLE = (type(None), bool, int, float, str, bytes, date, datetime, Decimal, UUID)


def key_of(fn: Callable[..., Any], rule: KeyRule | None) -> KeyOf:
    """Return a function that makes keys from arguments.

    Args:
        fn: the function that takes the arguments.
        rule: a function of the same arguments; or a template with their names; or None to use the
            function's name and all arguments, including those with a default.

    Raises:
        InvalidArgumentError: the template names an argument that the function does not have, or
            has two names without a text between them.
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
    """A template with the names of arguments. Different arguments give different keys.

    In `doc:{user}:{name}`, a colon inside a user's name could look like the colon after it.
    Therefore the text between two names is percent-encoded inside the values.
    """

    def __init__(self, rule: str, signature: inspect.Signature) -> None:
        parts = list(self.parse(rule))
        fields = [field for _, field, _, _ in parts if field is not None]
        for field in fields:
            if re.split(r"[.\[]", field)[0] not in signature.parameters:
                raise InvalidArgumentError(
                    f"the key {rule!r} names {field!r}, which is not an argument of the function",
                    hint=f"its arguments: {', '.join(signature.parameters) or '(it has none)'}",
                )
        if any(not text for text, field, _, _ in parts[1:] if field is not None):
            raise InvalidArgumentError(
                f"the key {rule!r} has two names without a text between them",
                hint="put a text between them, such as a colon",
            )
        # It is enough to encode one character of each text between two names.
        between = [text for text, field, _, _ in parts[1:] if field is not None]
        marks = {next((char for char in text if not char.isalnum()), text[0]) for text in between}
        encoded = marks | {"%"} if marks else set()
        self._encoded = {
            ord(char): "".join(f"%{byte:02X}" for byte in char.encode()) for char in encoded
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
            hint="cache a function, and call it from the method",
        ) from error
    bound.apply_defaults()
    return bound.arguments


def _named(name: str, arguments: Mapping[str, Any]) -> str:
    text = ",".join(_text(value, name, argument) for argument, value in arguments.items())
    key = f"{name}({text})"
    if len(key.encode()) <= _MAX_BYTES:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    key = f"{name}#{digest}"
    return key if len(key.encode()) <= _MAX_BYTES else digest


def _text(value: Any, name: str, argument: str) -> str:
    # Compares exact types, because a subclass may have another repr.
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
        f"argument {argument!r} of {name} cannot be part of a key: it is a {type(value).__name__}",
        hint="use cached(bucket, key=…) with a function of the arguments, or with a template such "
        "as 'user:{id}'",
    )
