"""Decides how a bucket can lose messages without a trace, by its stream's configuration. Pure.

A configuration counts only for messages written while it was in force. A change that keeps
messages, or their markers, for longer does not bring back what was lost before. So such a change
stores its time in the stream's metadata, and nothing is known about older messages.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any

from jetkv_gateway.kv.model import SilentLoss

__all__ = ["KEPT_SINCE", "kept_since", "silent_loss_of"]

_SECOND = 1_000_000_000
_SHORTEST_TTL = 1.0

KEPT_SINCE = "jetkv.kept_since"
"""Metadata: the time, in seconds since 1970, from which on the configuration counts."""

_APPLIED_WITHIN = 10
"""Seconds after which a change is in force or was answered with an error."""


def silent_loss_of(config: Mapping[str, Any], now: float) -> SilentLoss | None:
    """Return how a bucket can lose messages without a trace; None if it cannot.

    Args:
        now: the server's time, in seconds since 1970.
    """
    loss, since = _by_settings(config), _kept_since(config)
    if since is None:
        return loss
    kept = max(0.0, now - since)
    if loss is None:
        return SilentLoss(kept, oldest_first=True)
    return SilentLoss(min(kept, loss.after), loss.oldest_first)


def kept_since(before: Mapping[str, Any], after: Mapping[str, Any], now: float) -> str | None:
    """Return the value of `KEPT_SINCE` for a new configuration; None for no value.

    Args:
        now: the server's time, in seconds since 1970.
    """
    old, new = _by_settings(before), _by_settings(after)
    if old is not None and _is_looser(old, new):
        return str(ceil(now) + _APPLIED_WITHIN)
    since = _kept_since(before)
    if since is None or (new is not None and now - since >= new.after):
        return None
    return str(since)


def _is_looser(old: SilentLoss, new: SilentLoss | None) -> bool:
    """Return whether the new rule promises something that the old one did not."""
    if new is None:
        return True
    return new.after > old.after or (new.oldest_first and not old.oldest_first)


def _kept_since(config: Mapping[str, Any]) -> int | None:
    text = (config.get("metadata") or {}).get(KEPT_SINCE, "")
    # Ignore anything but a time, because other clients can write the metadata too.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 12 else None


def _by_settings(config: Mapping[str, Any]) -> SilentLoss | None:
    """Return how a bucket loses messages that were written under this configuration.

    A newer revision of the key is a trace. An expiry marker is one too, until it expires itself. If
    a message can have its own TTL, or `never` in a bucket with a TTL, messages do not expire in
    order of age.
    """
    own_ttls = bool(config.get("allow_msg_ttl"))
    consumed = config.get("retention", "limits") != "limits"
    evicts = config.get("discard") == "old" and (
        config.get("max_bytes", -1) > 0 or config.get("max_msgs", -1) > 0
    )
    kept = [0.0] if evicts or consumed else []
    if config.get("max_age"):
        kept.append(config["max_age"] / _SECOND)
    if own_ttls:
        kept.append(config.get("subject_delete_marker_ttl", 0) / _SECOND or _SHORTEST_TTL)
    return SilentLoss(min(kept), oldest_first=not own_ttls and not consumed) if kept else None
