"""Both clients by the same words: the sync one's calls run in threads, and are awaited."""

import asyncio
from collections.abc import Callable
from typing import Any

from jetkv import AsyncClient, Client

_PLAIN = {"kv", "bucket", "watch", "transaction", "pages", "entries"}
_STOPPED = object()


class Awaited:
    """A sync client, its buckets or a watch, with the names of its async twin."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, {"aclose": "close"}.get(name, name))
        if not callable(found):
            return found
        if name in _PLAIN:
            return lambda *args, **kwargs: Awaited(found(*args, **kwargs))
        return lambda *args, **kwargs: asyncio.to_thread(found, *args, **kwargs)

    async def __aenter__(self) -> "Awaited":
        await asyncio.to_thread(self._target.__enter__)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.to_thread(self._target.__exit__, *exc)

    def __aiter__(self) -> "Awaited":
        return self

    async def __anext__(self) -> Any:
        item = await asyncio.to_thread(next, self._target, _STOPPED)
        if item is _STOPPED:
            raise StopAsyncIteration
        return item


def sync_client(url: str, **options: Any) -> Any:
    return Awaited(Client(url, **options))


MakeClient = Callable[..., Any]
BOTH: dict[str, MakeClient] = {"sync": sync_client, "async": AsyncClient}
