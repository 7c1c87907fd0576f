"""The bucket at a URL, from any thread, forked child or event loop of a process."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jetkv._async.client import AsyncClient
from jetkv._async.kv import AsyncKV
from jetkv._sync.client import Client
from jetkv._sync.kv import KV
from jetkv.errors import InvalidArgumentError
from jetkv.models import BucketInfo
from jetkv.recipes._outage import CoolDown

__all__ = ["Place"]


@dataclass
class _Gateway:
    """What all places with the same address and options share.

    Attributes:
        client: for all threads. A forked child may go on using it.
        async_clients: one for each event loop, and what closes it at the end of the loop.
        infos: the buckets that were described, by name; their TTLs decide on those of values.
        cool_down: decides which calls try a gateway that was away.
    """

    client: Client
    async_clients: dict[
        asyncio.AbstractEventLoop, tuple[AsyncClient, AsyncGenerator[None, None]]
    ] = field(default_factory=dict)
    infos: dict[str, BucketInfo] = field(default_factory=dict)
    cool_down: CoolDown = field(default_factory=CoolDown)


_gateways: dict[tuple[Any, ...], _Gateway] = {}


class Place:
    """A bucket, by its URL. Places with the same gateway and options share their clients.

    Args:
        url: the URL of the gateway and the name of the bucket: `http://localhost:9123/sessions`.
        settings: arguments of `create_bucket` for a bucket that is missing; None to create none.
        options: arguments of `Client` and `AsyncClient`.

    Attributes:
        name: the bucket's name.
        infos: the buckets of the gateway that were described, by name.
        cool_down: of the gateway; for callers that ignore an outage.

    Raises:
        InvalidArgumentError: the URL or an option is invalid.
    """

    def __init__(
        self,
        url: str,
        settings: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> None:
        base, _, self.name = url.rstrip("/").rpartition("/") if isinstance(url, str) else ("",) * 3
        if not base.partition("://")[2]:
            raise InvalidArgumentError(
                "the location must be the URL of a gateway and the name of a bucket",
                hint="for example http://localhost:9123/sessions",
            )
        self._base = base
        self._settings, self._options = settings, dict(options)
        shared = (base, *sorted(self._options.items()))
        try:
            found = _gateways.get(shared)
        except TypeError as error:
            raise InvalidArgumentError(f"an option of the client is invalid: {error}") from error
        # Two threads may make one at the same time: a client without connections costs nothing.
        self._gateway = found or _gateways.setdefault(shared, _Gateway(self._client()))
        self.infos, self.cool_down = self._gateway.infos, self._gateway.cool_down

    def _client(self) -> Client:
        try:
            return Client(self._base, **self._options)
        except TypeError as error:
            raise InvalidArgumentError(f"an option of the client is invalid: {error}") from error

    @property
    def kv(self) -> KV:
        """The buckets of the gateway, for any thread."""
        return self._gateway.client.kv()

    async def async_kv(self) -> AsyncKV:
        """Return the buckets of the gateway, for tasks of the running event loop."""
        return (await self._async_client()).kv()

    def create(self) -> bool:
        """Create the bucket, if the place has settings for it; return whether it has."""
        if self._settings is None:
            return False
        self.infos[self.name] = self.kv.create_bucket(self.name, exist_ok=True, **self._settings)
        return True

    async def acreate(self) -> bool:
        """Do what `create` does."""
        if self._settings is None:
            return False
        kv = await self.async_kv()
        found = await kv.create_bucket(self.name, exist_ok=True, **self._settings)
        self.infos[self.name] = found
        return True

    async def _async_client(self) -> AsyncClient:
        clients = self._gateway.async_clients
        loop = asyncio.get_running_loop()
        found = clients.get(loop)
        if found is None:
            for other in list(clients):
                if other.is_closed():
                    clients.pop(other, None)
            client = AsyncClient(self._base, **self._options)
            # A loop ends its asynchronous generators before it closes, and nothing else of ours.
            closing = self._open_until_the_loop_ends(client)
            await anext(closing)
            found = clients[loop] = client, closing
        return found[0]

    async def _open_until_the_loop_ends(self, client: AsyncClient) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._gateway.async_clients.pop(asyncio.get_running_loop(), None)
            await client.aclose()
