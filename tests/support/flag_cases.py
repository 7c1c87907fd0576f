"""The cases of tests/flags/cases.json: what every evaluation of a flag has to give."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetkv.flags import ABSENT, ErrorCode

CASES_FILE = Path(__file__).parents[1] / "flags" / "cases.json"


@dataclass(frozen=True)
class FlagCase:
    """One flag, one context, and what the evaluation gives.

    Attributes:
        name: what the case is about; unique.
        flag: the key of the flag.
        raw: the stored bytes.
        context: the context of the request; None if it has none.
        value: the value; `ABSENT` if the caller's own default is meant, and for an error.
        variant, reason: as in an answer; empty for an error.
        error: OpenFeature's code; None if the evaluation succeeds.
        flagd: whether the case needs the extra `flags`.
    """

    name: str
    flag: str
    raw: bytes
    context: Mapping[str, Any] | None
    value: Any
    variant: str
    reason: str
    error: ErrorCode | None
    flagd: bool

    def __str__(self) -> str:
        return self.name


def flag_cases() -> list[FlagCase]:
    """Return every case of the file, in its order."""
    document = json.loads(CASES_FILE.read_text())
    return [_case(case) for case in document["cases"]]


def _case(case: dict[str, Any]) -> FlagCase:
    gives, error = case["gives"], case["gives"].get("error")
    raw = case["text"] if "text" in case else json.dumps(case["stored"])
    return FlagCase(
        case["name"],
        case.get("flag", "new"),
        raw.encode(),
        case.get("context"),
        gives.get("value", ABSENT),
        gives.get("variant", ""),
        gives.get("reason", ""),
        None if error is None else ErrorCode(error),
        case.get("flagd", False),
    )


def same_json(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON, the types of numbers included."""
    return bool(one == other) and json.dumps(one) == json.dumps(other)
