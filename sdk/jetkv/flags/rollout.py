"""Flags that are on for a part of the users: `{"enabled": true, "rollout": 0.5}`."""

import hashlib
from dataclasses import dataclass
from typing import Any, Self

from jetkv.errors import FlagParseError, TargetingKeyMissingError
from jetkv.flags.context import EvaluationContext
from jetkv.flags.evaluation import Evaluation, Reason

__all__ = ["Rollout"]

_IN = Evaluation(True, "on", Reason.SPLIT)
_OUT = Evaluation(False, "off", Reason.SPLIT)
_ON = Evaluation(True, "on", Reason.STATIC)
_OFF = Evaluation(False, "off", Reason.STATIC)
_DISABLED = Evaluation(False, "off", Reason.DISABLED)


@dataclass(frozen=True, slots=True)
class Rollout:
    """Who has the flag. The rule is in docs/recipes.md, so that any language can follow it.

    Attributes:
        name: the flag's key.
        enabled: whether anybody has it.
        part: the part of the users that have it, from 0 to 1.
    """

    name: str
    enabled: bool
    part: float

    @classmethod
    def of(cls, name: str, value: dict[str, Any]) -> Self:
        """Return the rollout that an object describes; without `rollout`, everybody is in.

        Raises:
            FlagParseError: `enabled` or `rollout` is invalid; the text names it.
        """
        enabled, part = value["enabled"], value.get("rollout", 1.0)
        if not isinstance(enabled, bool):
            raise FlagParseError(f"enabled must be true or false, not {_shown(enabled)}")
        if isinstance(part, bool) or not isinstance(part, int | float) or not 0 <= part <= 1:
            raise FlagParseError(f"rollout must be a number from 0 to 1, not {_shown(part)}")
        return cls(name, enabled, part)

    @property
    def constant(self) -> Evaluation | None:
        """The result for everybody; None if it depends on the user."""
        if not self.enabled:
            return _DISABLED
        if self.part >= 1:
            return _ON
        return _OFF if self.part <= 0 else None

    def __call__(self, context: EvaluationContext) -> Evaluation:
        user = context.targeting_key
        if user is None:
            raise TargetingKeyMissingError(
                f"flag {self.name!r} is on for a part of the users, so it needs a targeting key",
                hint="set targetingKey in the context, such as the id of the user",
            )
        # A hash that any language can compute. It includes the flag's name, so that the first users
        # of a rollout are not the same for every flag.
        digest = hashlib.sha256(f"{self.name}:{user}".encode()).digest()
        return _IN if int.from_bytes(digest[:8], "big") / 2**64 < self.part else _OUT


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
