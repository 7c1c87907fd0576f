"""Finds out which data a change of a bucket would remove. If in doubt, it counts as a loss."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from jetkv_gateway.jetstream.api import TTL, get_next, message_headers
from jetkv_gateway.jetstream.bucket_cache import BucketCache
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.credits import CreditRequest
from jetkv_gateway.jetstream.expiry import seconds_of
from jetkv_gateway.jetstream.names import BucketNames
from jetkv_gateway.kv.errors import KeyNotFound
from jetkv_gateway.kv.plans import Difference, Plan
from jetkv_gateway.kv.retries import Retries

__all__ = ["losses_of"]

_PAGES = 10
"""Lists of 100,000 subjects to read, at most, in the search for a key with a longer history."""

_PAGE_SUBJECTS = 100_000
_PAGE_BYTES = 16 * 1024 * 1024
_AROUND_A_SUBJECT = 16
_NEVER_LOOKED_AT = 32
"""Messages that never expire to skip, at most, in the search for one that would expire."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A look at a bucket's stream; `info` was just read."""

    js: JetStream
    cache: BucketCache
    names: BucketNames
    info: Mapping[str, Any]
    retries: Retries | None


async def losses_of(
    js: JetStream,
    cache: BucketCache,
    names: BucketNames,
    info: Mapping[str, Any],
    plan: Plan,
    retries: Retries | None,
) -> dict[str, Difference]:
    """Return the changes of a plan that would remove something that is stored now.

    Args:
        info: of the bucket's stream, just read.

    Raises:
        GatewayError: the server did not answer.
    """
    look = _Look(js, cache, names, info, retries)
    asks = {"history": _has_longer, "ttl_seconds": _has_older}
    found = {}
    if info["state"]["messages"]:
        for name, difference in plan.changes.items():
            if name in plan.losses and name in asks:
                lost = await asks[name](look, difference.wanted)
            else:
                lost = name == "max_bytes" and _has_more(info, difference.wanted)
            if lost:
                found[name] = difference
    return found


def _has_more(info: Mapping[str, Any], size: int) -> bool:
    """Return whether messages would be removed to bring a bucket down to a size in bytes."""
    return bool(info["config"].get("discard") == "old" and 0 < size < info["state"]["bytes"])


async def _has_longer(look: _Look, history: int) -> bool:
    """Return whether any key has more revisions than that."""
    js, state = look.js, look.info["state"]
    messages, subjects = state["messages"], state.get("num_subjects", 0)
    if messages - subjects + 1 <= history:
        return False
    if messages > subjects * history or subjects > _PAGES * _PAGE_SUBJECTS:
        return True
    # A message is longer than its subject.
    longest = state["bytes"] // max(1, messages) + _AROUND_A_SUBJECT
    page = min(subjects, _PAGE_SUBJECTS) * longest
    if page > _PAGE_BYTES:
        return True
    credit = CreditRequest(js.credits.bulk, page)
    offset = 0
    for _ in range(_PAGES + 1):
        found = await js.call(
            f"STREAM.INFO.{look.names.stream}",
            orjson.dumps({"subjects_filter": look.names.subject_prefix + ">", "offset": offset}),
            retries=look.retries,
            credit=credit,
        )
        counts: dict[str, int] = found["state"].get("subjects") or {}
        if any(count > history for count in counts.values()):
            return True
        offset += len(counts)
        if not counts or offset >= found.get("total", 0):
            return False
    return True


async def _has_older(look: _Look, seconds: int) -> bool:
    """Return whether any message is older than that and can expire."""
    info, names = look.info, look.names
    oldest = seconds_of(info["ts"]) - seconds
    if seconds_of(info["state"]["first_ts"]) > oldest:
        return False
    if not info["config"].get("allow_msg_ttl"):
        return True
    sequence = info["state"]["first_seq"]
    for _ in range(_NEVER_LOOKED_AT):
        query = get_next(names.subject_prefix + ">", sequence)
        try:
            reply = await look.js.call(
                names.get, query, retries=look.retries, credit=look.cache.credit(names)
            )
        except KeyNotFound:
            return False
        message = reply["message"]
        if seconds_of(message["time"]) > oldest:
            return False
        if message_headers(message.get("hdrs")).get(TTL) != "never":
            return True
        sequence = message["seq"] + 1
    return True
