"""Notes when each token was last used, without a write for each request.

A worker looks every few seconds at which tokens were used. It stores the time of a token only if
the stored one is some minutes old. All workers and gateways follow the stored times, so a busy
token costs a few writes an hour in all.
"""

import asyncio
import logging
from time import time

from jetkv_gateway.auth.token_bucket import TokenBucket
from jetkv_gateway.auth.token_logins import TokenLogins
from jetkv_gateway.auth.token_records import USED
from jetkv_gateway.kv.errors import GatewayError

__all__ = ["TokenUses"]

_log = logging.getLogger("jetkv.auth")

_LOOK_SECONDS = 5.0
_PRECISION_SECONDS = 600.0
_WRITES_A_LOOK = 50
_KEPT = 100_000


class TokenUses:
    """The last use of each token, by name."""

    def __init__(self, logins: TokenLogins, bucket: TokenBucket) -> None:
        self._logins = logins
        self._bucket = bucket
        self._seen: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def last(self, name: str) -> float | None:
        """Return when a token was last used, in seconds since 1970, right to some minutes."""
        self._look()
        times = [one for one in (self._seen.get(name), self._bucket.last_use(name)) if one]
        return max(times, default=None)

    def start(self) -> None:
        """Note uses until `close`."""
        self._task = asyncio.create_task(self._run(), name="uses of tokens")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _look(self) -> None:
        used = self._logins.used
        now = time()
        while used:
            token = used.pop()
            token.used = False
            self._seen[token.name] = now
        if len(self._seen) > _KEPT:
            # Most of these tokens are withdrawn by now.
            self._seen.clear()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._look()
            due = [
                name
                for name, at in self._seen.items()
                if at - (self._bucket.last_use(name) or 0) > _PRECISION_SECONDS
            ]
            if self._bucket.stale:
                continue
            try:
                for name in due[:_WRITES_A_LOOK]:
                    value = f"{self._seen[name]:.0f}".encode()
                    await self._bucket.store.put(USED + name, value)
            except GatewayError as error:
                _log.debug("cannot note the use of a token: %s", error.message)
