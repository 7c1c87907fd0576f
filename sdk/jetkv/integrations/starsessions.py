"""A store for sessions of ASGI apps by starsessions (docs/integrations.md#starsessions)."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from starsessions.stores.base import SessionStore

from jetkv.integrations import _cache as cache
from jetkv.integrations._keys import stored_key
from jetkv.integrations._places import Place
from jetkv.integrations._steps import Stepwise
from jetkv.integrations._values import JSON_TYPE

__all__ = ["JetKVStore"]

_THIRTY_DAYS = 30 * 24 * 3600


class JetKVStore(SessionStore):
    """Sessions in a bucket, for `SessionMiddleware(store=…)` of starsessions.

        store = JetKVStore("http://localhost:9123/sessions")

    You can rely on: a session ends when its time is over, without a clean-up of yours. What
    `write` has stored is there for the next `read` of every process. The first call creates the
    bucket if it is missing. One store serves every event loop, and closes its connections at the
    end of each. Any cookie is a valid id.

    You cannot rely on: two requests of one session that change it at the same time. The later one
    wins, as in every store of starsessions.

    Args:
        location: the URL of the gateway and the name of the bucket.
        prefix: a text in front of the ids, or a function that makes a key from an id.
        gc_ttl: seconds that a session without a lifetime is kept.
        content_type: of what the middleware's serializer returns.
        bucket: arguments of `create_bucket` for a bucket that is missing; None to create none.
        options: arguments of `AsyncClient`, such as `token`.

    Raises:
        InvalidArgumentError: the location, the prefix or an option is invalid.
    """

    def __init__(
        self,
        location: str,
        *,
        prefix: str | Callable[[str], str] = "starsessions.",
        gc_ttl: int = _THIRTY_DAYS,
        content_type: str = JSON_TYPE,
        bucket: Mapping[str, Any] | None = MappingProxyType({}),
        **options: Any,
    ) -> None:
        self._stepwise = Stepwise(Place(location, bucket, options), ignores_outages=False)
        self._prefix = prefix
        self._gc_ttl = gc_ttl
        self._content_type = content_type
        self._key("")

    async def read(self, session_id: str, lifetime: int) -> bytes:  # noqa: ARG002 - not ours to name
        """Return what was stored; no bytes if there is no such session, or its time is over.

        Raises:
            JetKVError: the session cannot be read now. It is not lost.
        """
        raw: bytes | None = await self._stepwise.arun(lambda: cache.get(self._key(session_id)))
        return raw or b""

    async def write(self, session_id: str, data: bytes, lifetime: int, ttl: int) -> str:
        """Store a session, and return its id.

        Args:
            session_id: any text.
            data: what to store.
            lifetime: seconds; 0 for a session that lasts as long as its browser runs.
            ttl: seconds from now that it is kept, at least one; `gc_ttl` without a lifetime.

        Raises:
            ValueTooLargeError: the session is larger than a value may be.
            BucketUnsuitableError: the bucket cannot keep it for as long.
        JetKVError: the session may not be stored.
        """
        key, value = self._key(session_id), cache.Stored(data, self._content_type)
        seconds = cache.whole_seconds(max(1, ttl if lifetime else self._gc_ttl))
        await self._stepwise.arun(lambda: cache.put(key, value, seconds))
        return session_id

    async def remove(self, session_id: str) -> None:
        """Delete a session. If there is no such session, this does nothing.

        Raises:
            JetKVError: the session may still be there.
        """
        await self._stepwise.arun(lambda: cache.delete([self._key(session_id)]))

    def _key(self, session_id: str) -> str:
        if callable(self._prefix):
            return stored_key("", self._prefix(session_id))
        return stored_key(self._prefix, session_id)
