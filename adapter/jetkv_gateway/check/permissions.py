"""Finds out what the gateway's NATS user may publish, without changing anything.

NATS tells no client what it may do in a form that covers imports of other accounts, so each subject
is tried. A request that would change something is sent in a form that JetStream refuses, or for a
bucket that does not exist. A server refuses a publish before anything else, and by its subject.
"""

import asyncio
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from jetkv_gateway.check.report import Answer, Permission
from jetkv_gateway.jetstream.api import EXPECTED_STREAM, OWN_BUCKET, Naming, TokenNaming
from jetkv_gateway.jetstream.requests import (
    Multiplexer,
    NoResponders,
    NotPermitted,
    RequestFailed,
    RequestTimeout,
)

__all__ = ["NEEDS", "TOKEN_NEEDS", "Need", "try_permissions", "try_token_permissions"]

_SECONDS = 3.0
_SILENT_SECONDS = 1.0
_AT_ONCE = 16
_MOST_BUCKETS = 16

_STREAM = "KV_*"


@dataclass(frozen=True, slots=True)
class Need:
    """A subject that the gateway publishes to.

    Attributes:
        subject: `KV_*` stands for the stream of a bucket. It follows the prefix of the API, unless
            it begins with `$KV`.
        effect: what does not work without it.
        vital: whether it is needed to read, list or watch keys.
        payload: one that changes nothing, whether the bucket exists or not.
        on_buckets: whether the request is harmless for a bucket that exists.
        answers: who has to answer: JetStream, the stream of a bucket that exists, or nobody.
    """

    subject: str
    effect: str
    vital: bool = False
    payload: bytes = b""
    on_buckets: bool = True
    answers: Literal["jetstream", "bucket", "nobody"] = "jetstream"

    @property
    def creates(self) -> bool:
        """Whether it is for new buckets."""
        return self.subject.startswith("STREAM.CREATE.")


# A configuration without a name, or with another one than the subject, is refused.
_NO_CONFIG = b"{}"

NEEDS = (
    Need("INFO", "the gateway is never ready", vital=True),
    Need("STREAM.INFO.KV_*", "requests for a bucket", vital=True),
    Need("STREAM.MSG.GET.KV_*", "reads of keys", vital=True, payload=b"{}"),
    Need("$KV.*.>", "writes of keys", answers="bucket"),
    Need("CONSUMER.CREATE.KV_*.*", "lists, histories, watches", vital=True, payload=_NO_CONFIG),
    Need("CONSUMER.MSG.NEXT.KV_*.*", "lists, histories, watches", vital=True, answers="nobody"),
    Need("CONSUMER.DELETE.KV_*.*", "consumers stay until they time out"),
    Need("DIRECT.GET.KV_*", "reads by replicas, several keys at one moment", answers="nobody"),
    Need("STREAM.LIST", "the list of buckets"),
    Need("STREAM.NAMES", "buckets with republish"),
    Need("STREAM.CREATE.KV_*", "new buckets", payload=_NO_CONFIG),
    Need("STREAM.UPDATE.KV_*", "changes of buckets", payload=_NO_CONFIG),
    Need("STREAM.DELETE.KV_*", "deletion of buckets", on_buckets=False),
    Need("STREAM.PURGE.KV_*", "deletion of many keys, compaction", on_buckets=False),
)


_TOKENS = "tokens in NATS"

TOKEN_NEEDS = (
    Need("STREAM.INFO.KV_*", _TOKENS),
    Need("CONSUMER.CREATE.KV_*.*", _TOKENS, payload=_NO_CONFIG),
    Need("CONSUMER.MSG.NEXT.KV_*.*", _TOKENS, answers="nobody"),
    Need("$KV.*.>", "new tokens, and the time of their last use", answers="nobody"),
)
"""For the bucket that the gateway keeps tokens in."""


async def try_token_permissions(
    mux: Multiplexer, naming: TokenNaming
) -> list[tuple[Need, Permission]]:
    """Try the subjects for the gateway's own bucket of tokens, as `try_permissions` does."""

    async def try_need(need: Need) -> tuple[Need, Permission]:
        answer = await _publish(mux, naming, need, OWN_BUCKET, silent=need.answers == "nobody")
        return need, Permission(_subject(naming, need.subject), need.effect, answer, {})

    return list(await asyncio.gather(*map(try_need, TOKEN_NEEDS)))


async def try_permissions(
    mux: Multiplexer, naming: Naming, existing: Collection[str], wanted: Collection[str]
) -> list[tuple[Need, Permission]]:
    """Try each subject that the gateway publishes to. It takes at most a few seconds.

    Args:
        existing: buckets. Some permissions are for certain buckets only.
        wanted: buckets that the settings name.
    """
    unused = f"jetkv-check-{secrets.token_hex(6)}"
    # The buckets of the settings matter most.
    names = sorted({*existing, *wanted}, key=lambda name: (name not in wanted, name))
    names = names[:_MOST_BUCKETS]
    places = asyncio.Semaphore(_AT_ONCE)

    async def try_one(need: Need, bucket: str) -> Answer:
        async with places:
            silent = need.answers == "nobody" or (
                need.answers == "bucket" and bucket not in existing
            )
            return await _publish(mux, naming, need, bucket, silent=silent)

    async def try_need(need: Need) -> tuple[Need, Permission]:
        general = await try_one(need, unused)
        tried = names if _has_bucket(need) and need.on_buckets else []
        answers = await asyncio.gather(*(try_one(need, name) for name in tried))
        found = dict(zip(tried, answers, strict=True))
        return need, Permission(_subject(naming, need.subject), need.effect, general, found)

    return list(await asyncio.gather(*map(try_need, NEEDS)))


def _subject(naming: Naming, subject: str) -> str:
    if subject.startswith("$KV"):
        return naming.publish_subject("*", ">")
    stream = naming.stream("")
    return naming.api + subject.replace(
        _STREAM, stream if isinstance(naming, TokenNaming) else f"{stream}*"
    )


def _has_bucket(need: Need) -> bool:
    return _STREAM in need.subject or need.subject.startswith("$KV")


async def _publish(
    mux: Multiplexer, naming: Naming, need: Need, bucket: str, *, silent: bool
) -> Answer:
    """Publish. `silent`: nobody has to answer; a refusal comes at once."""
    headers = None
    if need.subject.startswith("$KV"):
        # No stream has this name, so nothing stores the message.
        headers = {EXPECTED_STREAM: f"jetkv-check-{secrets.token_hex(6)}"}
        subject = naming.publish_subject(bucket, "jetkv-check")
    else:
        name = need.subject.replace(_STREAM, naming.stream(bucket))
        subject = naming.api + name.replace("*", "jetkv-check")
    timeout = _SILENT_SECONDS if silent else _SECONDS
    try:
        await mux.request(subject, need.payload, headers, timeout=timeout)
    except NotPermitted:
        return Answer.REFUSED
    except NoResponders:
        # The API of JetStream always answers, unless the account does not import this subject.
        return Answer.GRANTED if silent else Answer.NOBODY
    except RequestTimeout:
        # Behind a leaf node, no server says that nobody has subscribed.
        return Answer.GRANTED if silent else Answer.UNKNOWN
    except RequestFailed:
        return Answer.UNKNOWN
    return Answer.GRANTED
