"""What flags in memory give, from what is stored and the defaults of the code."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jetkv.errors import (
    EvaluationError,
    FlagParseError,
    InvalidArgumentError,
)
from jetkv.flags import (
    ABSENT,
    ErrorCode,
    Evaluation,
    EvaluationContext,
    Flag,
    Reason,
    evaluate,
    flag_of,
)

__all__ = ["Unreadable", "changed", "default_flags", "evaluation", "is_on", "stored_value"]

_MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stored value that is not a flag, where no earlier value is known.

    Attributes:
        reason: why it is not a flag.
    """

    reason: str


Stored = Mapping[str, Flag | Unreadable]


def default_flags(values: Mapping[str, Any]) -> dict[str, Flag]:
    """Return the defaults as flags.

    Raises:
        InvalidArgumentError: a default is not a valid flag.
    """
    flags = {}
    for name, value in values.items():
        try:
            flags[name] = flag_of(name, value)
        except FlagParseError as error:
            raise InvalidArgumentError(f"default of flag {name!r}: {error}") from error
    return flags


def stored_value(
    stored: Stored, defaults: Mapping[str, Flag], name: str, default: Any = None
) -> Any:
    """Return a copy of a flag's value: the stored one, else its default, else `default`."""
    flag = _flag(stored, defaults, name)
    return default if flag is None else _copy(flag.value)


def is_on(
    stored: Stored,
    defaults: Mapping[str, Flag],
    name: str,
    user: str | None,
    attributes: Mapping[str, Any] | None,
) -> bool:
    """Return whether a flag is true for a user; None asks whether it is on for everybody."""
    found, own = _flag(stored, defaults, name), defaults.get(name)
    for flag in (found, own):
        if flag is None:
            continue
        result = flag.constant or _evaluated(flag, user, attributes)
        if result.error_code is ErrorCode.TARGETING_KEY_MISSING:
            return False
        if result.value is not ABSENT:
            return result.value is True
    return False


def evaluation(
    stored: Stored,
    defaults: Mapping[str, Flag],
    name: str,
    default: Any,
    user: str | None,
    attributes: Mapping[str, Any] | None,
) -> Evaluation:
    """Return a flag's value for a user, and why; an error gives the default."""
    found, own = stored.get(name), defaults.get(name)
    if isinstance(found, Unreadable):
        result = _failed(ErrorCode.PARSE_ERROR, found.reason)
    elif found is not None:
        result = _evaluated(found, user, attributes)
    elif own is not None:
        result = _evaluated(own, user, attributes)
    else:
        result = _failed(
            ErrorCode.FLAG_NOT_FOUND, f"flag {name!r} is not stored and has no default"
        )
    if result.value is not ABSENT:
        return replace(result, value=_copy(result.value))
    # The code's own default is meant: first that of the flags, then that of the call.
    value = ABSENT if own is None else _evaluated(own, user, attributes).value
    return replace(result, value=default if value is ABSENT else _copy(value))


def changed(before: Stored, after: Stored, defaults: Mapping[str, Flag], name: str) -> bool:
    """Return whether `get` has another answer for a flag than before."""
    flags = [_flag(stored, defaults, name) for stored in (before, after)]
    one, other = [_MISSING if flag is None else flag.value for flag in flags]
    # In Python True == 1, but as flags they differ.
    return type(one) is not type(other) or bool(one != other)


def _flag(stored: Stored, defaults: Mapping[str, Flag], name: str) -> Flag | None:
    flag = stored.get(name)
    return flag if isinstance(flag, Flag) else defaults.get(name)


def _context(user: str | None, attributes: Mapping[str, Any] | None) -> EvaluationContext:
    # An id is often a number. Its text is what other languages send.
    key = user if user is None or isinstance(user, str) else str(user)
    return EvaluationContext(key, attributes or {})


def _evaluated(flag: Flag, user: str | None, attributes: Mapping[str, Any] | None) -> Evaluation:
    try:
        return evaluate(flag, _context(user, attributes))
    except EvaluationError as error:
        return _failed(ErrorCode(error.error_code), str(error))


def _failed(code: ErrorCode, details: str) -> Evaluation:
    return Evaluation(ABSENT, "", Reason.ERROR, error_code=code, error_details=details)


def _copy(value: Any) -> Any:
    return copy.deepcopy(value) if isinstance(value, dict | list) else value
