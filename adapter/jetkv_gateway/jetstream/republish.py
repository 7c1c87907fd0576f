"""Checks where a bucket may republish its messages."""

import orjson

from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.kv.bucket_values import Republish
from jetkv_gateway.kv.errors import PermissionDenied
from jetkv_gateway.kv.retries import Retries

__all__ = ["check_republish"]


async def check_republish(
    js: JetStream, bucket: str, republish: Republish, retries: Retries | None = None
) -> None:
    """Check that a bucket republishes into no other bucket and to no API.

    NATS republishes with all permissions of the account, so this applies to every caller. A stream
    that is created later is not known here.

    Raises:
        PermissionDenied: the text says why.
    """
    why = republish.forbidden
    if why is None and republish:
        found = await js.call(
            "STREAM.NAMES", orjson.dumps({"subject": republish.reaches}), retries=retries
        )
        streams = found.get("streams") or []
        if streams:
            why = f"the stream {streams[0]} stores it"
    if why is not None:
        raise PermissionDenied(
            f"permission denied: republish of bucket {bucket} to {republish.destination}: {why}"
        )
