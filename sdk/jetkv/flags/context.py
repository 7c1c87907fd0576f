"""For whom a flag is evaluated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jetkv.errors import InvalidContextError

__all__ = ["NOBODY", "EvaluationContext"]


@dataclass(frozen=True, slots=True)
class EvaluationContext:
    """The subject of an evaluation.

    Attributes:
        targeting_key: what identifies the subject, such as the id of a user; None if nothing does.
        attributes: everything else that is known about it, as JSON.

    Raises:
        InvalidContextError: the targeting key is not text.
    """

    targeting_key: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        key = self.targeting_key
        if key is None:
            return
        if not isinstance(key, str):
            raise InvalidContextError(
                f"targetingKey must be a string, not {type(key).__name__}",
                hint="leave it out if nothing identifies the subject",
            )
        # JSON may have half of a surrogate pair, which has no UTF-8 form to hash.
        if not key.isascii():
            try:
                key.encode()
            except UnicodeEncodeError:
                raise InvalidContextError("targetingKey is not valid Unicode") from None

    @classmethod
    def of(cls, context: Any) -> "EvaluationContext":
        """Return the context that a request has: a JSON object, `targetingKey` among its members.

        Raises:
            InvalidContextError: it is not an object, or its `targetingKey` is not a string.
        """
        if not isinstance(context, Mapping):
            raise InvalidContextError(
                f"the context must be an object, not {type(context).__name__}",
                hint='send {"context": {"targetingKey": "…"}}',
            )
        if "targetingKey" not in context:
            return cls(None, context)
        key = context["targetingKey"]
        if key is None:
            raise InvalidContextError(
                "targetingKey must be a string, not null",
                hint="leave it out if nothing identifies the subject",
            )
        return cls(key, {name: value for name, value in context.items() if name != "targetingKey"})


NOBODY: Final = EvaluationContext()
