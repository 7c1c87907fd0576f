"""The values that a flag may have, and which users a rollout includes."""

import hashlib
from typing import Any

__all__ = ["check_flag", "is_on"]


def check_flag(value: Any) -> None:
    """Check a flag's value: any JSON, but `enabled` and `rollout` of an object must be valid.

    Raises:
        ValueError: `enabled` or `rollout` is invalid; the text names it.
    """
    if not isinstance(value, dict):
        return
    if "enabled" in value and not isinstance(value["enabled"], bool):
        raise ValueError(f"enabled must be true or false, not {value['enabled']!r}")
    rollout = value.get("rollout", 1.0)
    if isinstance(rollout, bool) or not isinstance(rollout, int | float) or not 0 <= rollout <= 1:
        raise ValueError(f"rollout must be a number from 0 to 1, not {rollout!r}")


def is_on(name: str, value: Any, user: str | None) -> bool:
    """Return whether a flag is on for a user; None asks whether it is on for everybody."""
    if not isinstance(value, dict):
        return value is True
    if value.get("enabled") is not True:
        return False
    rollout: float = value.get("rollout", 1.0)
    if rollout >= 1:
        return True
    return user is not None and _fraction(name, user) < rollout


def _fraction(name: str, user: str) -> float:
    # A hash that any language can compute. It includes the flag's name, so that the first users of
    # a rollout are not the same for every flag.
    digest = hashlib.sha256(f"{name}:{user}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
