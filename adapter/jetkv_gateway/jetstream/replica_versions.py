"""Asks the servers of a replicated stream for their versions.

The leader of a stream reports only its own version, and in a rolling upgrade the others have
another one. Every server answers for the account, unless the login or a leaf node does not allow
the request.
"""

import asyncio
from collections.abc import Iterable

import orjson

from jetkv_gateway.jetstream.bucket_cache import WriteLimits
from jetkv_gateway.jetstream.capabilities import Capability, host_of_version
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.jetstream.errors import request_error
from jetkv_gateway.jetstream.requests import Multiplexer, NotConnected
from jetkv_gateway.stepping import deadline

__all__ = ["can_probe"]

_PING_SUBJECT = "$SYS.REQ.ACCOUNT.PING.CONNZ"
_ANSWER_SECONDS = 0.5
_PING_BODY = b'{"limit":1}'


async def can_probe(js: JetStream, limits: WriteLimits) -> bool:
    """Return whether it is safe to send a message that an old leader refuses.

    It is safe if no follower would store such a message. A follower that does not answer may be
    restarting with another version. If not even the leader answers, because of the login or a leaf
    node, the followers count as equal to the leader.

    Raises:
        Unavailable: there is no connection.
    """
    try:
        versions = await _versions_of(js.mux, limits.servers, _ANSWER_SECONDS)
    except NotConnected as failed:
        raise request_error(failed, None) from failed
    if any(
        host_of_version(text).can(Capability.FOLLOWERS_SKIP_CONDITIONS)
        for text in versions.values()
    ):
        return False
    return limits.leader not in versions or limits.servers <= versions.keys()


async def _versions_of(mux: Multiplexer, names: Iterable[str], timeout: float) -> dict[str, str]:
    """Return the versions of the servers that answer within `timeout` seconds, by name.

    Raises:
        NotConnected: there is no connection.
    """
    missing = set(names)
    found: dict[str, str] = {}
    done = asyncio.Event()

    def take(_subject: bytes, _reply: bytes, _headers: bytes, data: bytes) -> None:
        try:
            server = orjson.loads(data)["server"]
            name, version = str(server["name"]), str(server["ver"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return
        if name in missing:
            missing.remove(name)
            found[name] = version
        if not missing:
            done.set()

    inbox = await mux.subscribe(take, done.set)
    mux.on_denied(_PING_SUBJECT, done.set)
    try:
        await mux.send(_PING_SUBJECT, _PING_BODY, inbox.subject)
        async with deadline(timeout):
            await done.wait()
    except TimeoutError:
        pass
    finally:
        mux.on_denied(_PING_SUBJECT, None)
        await inbox.close()
    return found
