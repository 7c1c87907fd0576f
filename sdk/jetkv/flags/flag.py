"""Flags, parsed once for each change, and evaluated for each context."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from jetkv.errors import FlagParseError
from jetkv.flags.context import NOBODY, EvaluationContext
from jetkv.flags.evaluation import ABSENT, Evaluation, Reason
from jetkv.flags.rollout import Rollout

__all__ = ["Flag", "evaluate", "flag_of", "parse_flag"]

Rule = Callable[[EvaluationContext], Evaluation]

# Levels of JSON: what every encoder can write, and no recursion of Python fails on.
_MAX_DEPTH = 128

# Two of these make a definition of flagd; one alone may be a field of some other object, but for a
# state that is one of flagd's.
_FLAGD_MEMBERS = frozenset({"state", "variants", "defaultVariant", "targeting"})
_FLAGD_STATES = ("ENABLED", "DISABLED")


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag that can be evaluated any number of times, from any thread.

    Attributes:
        name: the flag's key.
        value: the stored value.
        constant: the result for every context; None if it depends on the context.
        rule: how it depends on the context; None for a constant.
    """

    name: str
    value: Any
    constant: Evaluation | None
    rule: Rule | None = None


def parse_flag(name: str, raw: bytes) -> Flag:
    """Return the flag that stored bytes stand for.

    Args:
        name: the flag's key, which is part of what decides a rollout.
        raw: the stored bytes.

    Raises:
        FlagParseError: the bytes are not a flag; the text says why.
    """
    return flag_of(name, _json(raw))


def flag_of(name: str, value: Any) -> Flag:
    """Return the flag that a value stands for, which is JSON as Python has it.

    Raises:
        FlagParseError: the value is not a flag; the text says why.
    """
    if isinstance(value, dict | list):
        _check_depth(value)
    if value is None:
        return Flag(name, value, Evaluation(ABSENT, "", Reason.DEFAULT))
    if isinstance(value, bool):
        return Flag(name, value, Evaluation(value, "on" if value else "off", Reason.STATIC))
    if isinstance(value, dict):
        if len(value.keys() & _FLAGD_MEMBERS) > 1 or value.get("state") in _FLAGD_STATES:
            return _flagd(name, value)
        if "enabled" in value:
            rollout = Rollout.of(name, value)
            constant = rollout.constant
            return Flag(name, value, constant, rollout if constant is None else None)
    return Flag(name, value, Evaluation(value, "static", Reason.STATIC))


def evaluate(flag: Flag, context: EvaluationContext = NOBODY) -> Evaluation:
    """Return the value of a flag for a context.

    Raises:
        TargetingKeyMissingError: the flag is on for a part of the users, and the context has no
            targeting key.
        FlagParseError: the flag is a definition of flagd, and the extra `flags` is not installed.
        EvaluationError: the flag's targeting fails for this context; `error_code` is OpenFeature's.
    """
    if flag.constant is not None:
        return flag.constant
    assert flag.rule is not None
    return flag.rule(context)


def _flagd(name: str, value: dict[str, Any]) -> Flag:
    try:
        from jetkv.flags import flagd
    except ImportError:
        return Flag(name, value, None, _without_package)
    found = flagd.constant_or_targeting(name, value)
    if isinstance(found, Evaluation):
        return Flag(name, value, found)
    return Flag(name, value, None, found)


def _without_package(_context: EvaluationContext) -> NoReturn:
    raise FlagParseError(
        "the flag is a definition of flagd, and a package for it is missing",
        hint='pip install "jetkv[flags]"',
    )


def _json(raw: bytes) -> Any:
    try:
        text = raw.decode()
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
        # Only an escape can bring in half of a surrogate pair, which no answer could have in UTF-8.
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError as error:
        raise FlagParseError("the value of the flag is not valid UTF-8") from error
    except RecursionError as error:
        raise FlagParseError("the value of the flag is nested too deeply") from error
    except ValueError as error:
        raise FlagParseError(
            f"the value of the flag is not JSON: {error}", hint='text needs quotes: "dark"'
        ) from error
    return value


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise FlagParseError(f"the value of the flag is nested deeper than {_MAX_DEPTH} levels")
        inner = [item.values() if isinstance(item, dict) else item for item in level]
        level = [item for items in inner for item in items if isinstance(item, dict | list)]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is too large")
    return number
