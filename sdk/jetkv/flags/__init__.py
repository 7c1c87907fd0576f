"""Evaluation of feature flags: a stored value and a context in, a value, variant and reason out.

    flag = parse_flag("dark-mode", b'{"enabled": true, "rollout": 0.5}')
    evaluate(flag, EvaluationContext.of({"targetingKey": "ada"})).value

It does no I/O. The gateway and `jetkv.recipes.Flags` both use it, so they always agree. A flag has
one of three forms:

- `{"enabled": true, "rollout": 0.5}`: on for a part of the users, by their targeting key;
- a flagd definition with `state`, `variants`, `defaultVariant` and `targeting`, which needs the
  extra `flags` (https://flagd.dev/reference/flag-definitions/);
- any other JSON: this value, for everybody.
"""

from jetkv.errors import (
    EvaluationError,
    FlagParseError,
    InvalidContextError,
    TargetingKeyMissingError,
)
from jetkv.flags.context import NOBODY, EvaluationContext
from jetkv.flags.evaluation import ABSENT, Absent, ErrorCode, Evaluation, Reason
from jetkv.flags.flag import Flag, evaluate, flag_of, parse_flag

__all__ = [
    "ABSENT",
    "NOBODY",
    "Absent",
    "ErrorCode",
    "Evaluation",
    "EvaluationContext",
    "EvaluationError",
    "Flag",
    "FlagParseError",
    "InvalidContextError",
    "Reason",
    "TargetingKeyMissingError",
    "evaluate",
    "flag_of",
    "parse_flag",
]
