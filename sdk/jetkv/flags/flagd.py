"""Definitions of flagd: `state`, `variants`, `defaultVariant` and `targeting`.

The operators are those of the package openfeature-flagd-core. This module is imported when the
first definition is met, because the package is optional.
"""

import time
from collections.abc import Mapping
from typing import Any

from openfeature.contrib.tools.flagd.core.model.flag import Flag as Definition
from openfeature.exception import OpenFeatureError

from jetkv.errors import EvaluationError, FlagParseError
from jetkv.flags.context import EvaluationContext
from jetkv.flags.evaluation import ABSENT, ErrorCode, Evaluation, Reason
from jetkv.flags.metered import MeteredList, TooMuchWork, evaluate_rule

__all__ = ["Targeting", "constant_or_targeting"]

_MEMBERS = ("state", "variants", "defaultVariant", "targeting", "metadata")
# Of a rule whose references are replaced. A level of JSON takes about two frames of Python, which
# has a thousand by default.
_MAX_DEPTH = 128
_MAX_NODES = 20_000


class Targeting:
    """The rule of a flag that depends on the context.

    Args:
        name: the flag's key, which a rule sees as `$flagd.flagKey`.
        definition: the flag without its rule.
        rule: its targeting, without references.
        nodes: the number of values in the rule.
    """

    def __init__(self, name: str, definition: Definition, rule: Any, nodes: int) -> None:
        self._name = name
        # The same objects each time, so that callers can keep what they make of them.
        self._evaluations = {
            variant: Evaluation(value, variant, Reason.TARGETING_MATCH, definition.metadata or {})
            for variant, value in definition.variants.items()
            if value is not None
        }
        self._default = _default(definition, Reason.DEFAULT)
        self._rule = rule
        self._nodes = nodes

    def __call__(self, context: EvaluationContext) -> Evaluation:
        variant = self._variant(context)
        if variant is None:
            return self._default
        evaluation = self._evaluations.get(variant)
        if evaluation is None:
            raise self._failed(f"it gives the variant {variant[:60]!r}, which has no value")
        return evaluation

    def _variant(self, context: EvaluationContext) -> str | None:
        data = {
            **context.attributes,
            "$flagd": {"flagKey": self._name, "timestamp": int(time.time())},
            "targetingKey": context.targeting_key,
        }
        try:
            found = evaluate_rule(self._rule, self._nodes, data)
            if isinstance(found, bool):
                return "true" if found else "false"
            # Lists are not turned into text: that may be any amount of work.
            if found is None or isinstance(found, str | int | float):
                return None if found is None else str(found)
        except TooMuchWork:
            raise self._failed("it takes too much work", "make the rule simpler") from None
        except ReferenceError as error:
            raise self._failed(str(error)[:200], code=ErrorCode.PARSE_ERROR) from error
        except Exception as error:
            # Operators raise anything for values that they do not expect.
            raise self._failed(f"{type(error).__name__} in an operator") from error
        raise self._failed(f"it gives a value of type {type(found).__name__}, not a variant")

    def _failed(
        self, why: str, hint: str | None = None, code: ErrorCode = ErrorCode.GENERAL
    ) -> EvaluationError:
        return EvaluationError(
            f"the targeting of flag {self._name!r} fails: {why}", hint=hint, error_code=code
        )


def constant_or_targeting(name: str, value: Mapping[str, Any]) -> Evaluation | Targeting:
    """Return the result of a definition for everybody, or its targeting.

    Raises:
        FlagParseError: the definition is not valid.
    """
    definition = _definition(name, value)
    if definition.state == "DISABLED":
        return Evaluation(ABSENT, "", Reason.DISABLED, definition.metadata or {})
    if not definition.targeting:
        return _default(definition, Reason.STATIC)
    rule, nodes = _resolved(definition.targeting, value.get("$evaluators"))
    return Targeting(name, definition, rule, nodes)


def _definition(name: str, value: Mapping[str, Any]) -> Definition:
    members = {member: value[member] for member in _MEMBERS if member in value}
    try:
        definition = Definition.from_dict(name, members)
    except OpenFeatureError as error:
        why = error.error_message or "state and variants are required"
        raise FlagParseError(f"the definition is not valid: {why}") from error
    if not isinstance(definition.default_variant, bool | str | None):
        raise FlagParseError("defaultVariant must be the name of a variant")
    variant, _ = definition.default
    if variant is not None and variant not in definition.variants:
        raise FlagParseError(f"defaultVariant {variant[:60]!r} is not one of the variants")
    if definition.targeting and not isinstance(definition.targeting, dict):
        raise FlagParseError("targeting must be an object")
    return definition


def _default(definition: Definition, reason: Reason) -> Evaluation:
    variant, value = definition.default
    metadata = definition.metadata or {}
    # Without a variant, or a value of it, the caller's own default is meant.
    if variant is None or value is None:
        return Evaluation(ABSENT, "", Reason.DEFAULT, metadata)
    return Evaluation(value, variant, reason, metadata)


def _resolved(rule: Any, evaluators: Any) -> tuple[Any, int]:
    """Return a rule with each `{"$ref": "name"}` replaced by that evaluator, and its nodes."""
    if evaluators is None:
        evaluators = {}
    if not isinstance(evaluators, dict):
        raise FlagParseError("$evaluators must be an object")
    nodes = 0

    def resolve(node: Any, depth: int) -> Any:
        nonlocal nodes
        nodes += 1
        if nodes > _MAX_NODES:
            raise FlagParseError(f"targeting has more than {_MAX_NODES} values")
        if depth > _MAX_DEPTH:
            raise FlagParseError(
                f"targeting is nested deeper than {_MAX_DEPTH} levels, or refers to itself"
            )
        if isinstance(node, list):
            return MeteredList([resolve(item, depth + 1) for item in node])
        if not isinstance(node, dict):
            return node
        if len(node) == 1 and isinstance(reference := node.get("$ref"), str):
            if reference not in evaluators:
                raise FlagParseError(
                    f"there is no evaluator {reference[:60]!r}",
                    hint="define it in $evaluators of the same flag",
                )
            return resolve(evaluators[reference], depth + 1)
        return {name: resolve(item, depth + 1) for name, item in node.items()}

    return resolve(rule, 0), nodes
