"""What an evaluation gives, in OpenFeature's terms."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["ABSENT", "Absent", "ErrorCode", "Evaluation", "Reason"]


class Reason(enum.StrEnum):
    """Why a flag has its value (https://openfeature.dev/specification/types#resolution-reason)."""

    STATIC = "STATIC"
    SPLIT = "SPLIT"
    TARGETING_MATCH = "TARGETING_MATCH"
    DEFAULT = "DEFAULT"
    DISABLED = "DISABLED"
    ERROR = "ERROR"


class ErrorCode(enum.StrEnum):
    """Why a flag has no value (https://openfeature.dev/specification/types#error-code)."""

    FLAG_NOT_FOUND = "FLAG_NOT_FOUND"
    PARSE_ERROR = "PARSE_ERROR"
    TARGETING_KEY_MISSING = "TARGETING_KEY_MISSING"
    INVALID_CONTEXT = "INVALID_CONTEXT"
    GENERAL = "GENERAL"


class Absent(enum.Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


# The flag has no value of its own: the caller uses its default.
ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The value of a flag for a context.

    Attributes:
        value: JSON as Python has it, numbers with the type that was stored; `ABSENT` if the caller
            has to use its own default. Do not change it: the flag has the same object.
        variant: the name of the value, such as `on`; empty if the value is absent.
        reason: why it is this value.
        metadata: what the definition of the flag says about it.
        error_code, error_details: why the flag has no value, from `jetkv.recipes.Flags`, which
            raises nothing; None and empty otherwise.
    """

    value: Any
    variant: str
    reason: Reason
    metadata: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    error_code: ErrorCode | None = None
    error_details: str = ""
