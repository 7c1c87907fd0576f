"""What a stored flag may be, and whom a part of the users is."""

import hashlib
from typing import Any

__all__ = ["check_flag", "is_on"]


def check_flag(value: Any) -> None:
    """Check a flag's value; any JSON is one, but an object that means a switch must be one.

    Raises:
        ValueError: it is none; the text says why.
    """
    if not isinstance(value, dict):
        return
    if "enabled" in value and not isinstance(value["enabled"], bool):
        raise ValueError(f"enabled is true or false, not {value['enabled']!r}")
    rollout = value.get("rollout", 1.0)
    if isinstance(rollout, bool) or not isinstance(rollout, int | float) or not 0 <= rollout <= 1:
        raise ValueError(f"rollout is a number from 0 to 1, not {rollout!r}")


def is_on(name: str, value: Any, user: str | None) -> bool:
    """Return whether a flag is on, for a user or for everybody."""
    if not isinstance(value, dict):
        return value is True
    if value.get("enabled") is not True:
        return False
    rollout: float = value.get("rollout", 1.0)
    if rollout >= 1:
        return True
    return user is not None and _place(name, user) < rollout


def _place(name: str, user: str) -> float:
    # Anybody can compute it, in any language; the name is in it, so that it is not always the
    # same users who get what is new.
    digest = hashlib.sha256(f"{name}:{user}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
