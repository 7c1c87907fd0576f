"""Which versions the servers behind a replicated stream have, asked of each of them.

The leader of a stream says its own version alone, and in a rolling upgrade the others have another.
Every server answers for the account itself; a login or a leaf node may keep the question from them.
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

_QUESTION = "$SYS.REQ.ACCOUNT.PING.CONNZ"
_ANSWER_WITHIN = 0.5
_BRIEFLY = b'{"limit":1}'


async def can_probe(js: JetStream, limits: WriteLimits) -> bool:
    """Return whether no follower of an old leader stores a message that the leader refuses.

    One that is away may be on its way to another version. Where not even the leader can be asked,
    by this login or through a leaf node, they are taken for what the leader is.

    Raises:
        Unavailable: there is no connection.
    """
    try:
        versions = await _versions_of(js.mux, limits.servers, _ANSWER_WITHIN)
    except NotConnected as signal:
        raise request_error(signal, None) from signal
    if any(
        host_of_version(text).can(Capability.FOLLOWERS_SKIP_CONDITIONS)
        for text in versions.values()
    ):
        return False
    return limits.leader not in versions or limits.servers <= versions.keys()


async def _versions_of(mux: Multiplexer, names: Iterable[str], timeout: float) -> dict[str, str]:
    """Return the versions of those servers that answer within `timeout` seconds, by name.

    Raises:
        NotConnected
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
    mux.on_denied(_QUESTION, done.set)
    try:
        await mux.send(_QUESTION, _BRIEFLY, inbox.subject)
        async with deadline(timeout):
            await done.wait()
    except TimeoutError:
        pass
    finally:
        mux.on_denied(_QUESTION, None)
        await inbox.close()
    return found
