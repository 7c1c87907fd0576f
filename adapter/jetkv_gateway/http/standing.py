"""Ends watches and long listings whose caller may not see any more what they show."""

import asyncio
import logging
from collections.abc import Callable
from time import time

from jetkv_gateway.auth.authenticator import Authenticator
from jetkv_gateway.http.call import Call
from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import GatewayError, PermissionDenied

__all__ = ["Hold", "Standing"]

_log = logging.getLogger("jetkv.http")

_LOOK_SECONDS = 0.5
_ENDS_A_TURN = 100
_GONE = "permission denied: the credential is withdrawn or has expired"
_LESS = "permission denied: the credential does not cover this any more"


class Hold:
    """An answer that goes on for long. Call `release` at its end."""

    __slots__ = ("_call", "_end", "_holds")

    def __init__(self, holds: "set[Hold]", call: Call, end: Callable[[GatewayError], None]) -> None:
        self._holds = holds
        self._call = call
        self._end = end
        holds.add(self)

    def release(self) -> None:
        self._holds.discard(self)

    def review(self, current: Principal | None) -> None:
        """End the answer unless the caller may still see it.

        Args:
            current: what is known of the caller now; None if its credential is not valid any more.
        """
        if current is None:
            self._end(PermissionDenied(_GONE))
        elif not self._call.covered_by(current.grants):
            self._end(PermissionDenied(_LESS))

    def fail(self, error: GatewayError) -> None:
        """End the answer, since nobody can tell any more what the caller may see."""
        self._end(error)


class _Group:
    """The answers of one caller."""

    __slots__ = ("expires_at", "holds")

    def __init__(self, expires_at: float | None) -> None:
        self.expires_at = expires_at
        self.holds: set[Hold] = set()


class Standing:
    """The answers that go on for long, by their callers.

    It looks about twice a second whether the authenticator knows something new, or a credential has
    expired. Only then it asks, once for each caller.
    """

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._seen: int | None = authenticator.version
        self._groups: dict[Principal, _Group] = {}
        self._task: asyncio.Task[None] | None = None

    def hold(self, call: Call, end: Callable[[GatewayError], None]) -> Hold:
        """Note an answer, and return what to release at its end.

        Args:
            end: called when the caller may not see the answer any more, even at once.
        """
        principal = call.principal
        group = self._groups.get(principal)
        if group is None:
            group = self._groups[principal] = _Group(principal.expires_at)
        hold = Hold(group.holds, call, end)
        # The credential may have been withdrawn since the request came.
        self._ask(principal, group, [hold])
        return hold

    def start(self) -> None:
        """Look regularly until `close`."""
        self._task = asyncio.create_task(self._run(), name="standing")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._look()
            except Exception:  # noqa: BLE001 - else withdrawn credentials keep their watches
                _log.exception("credentials of open watches are asked about again")
                self._seen = None

    async def _look(self) -> None:
        before, self._seen = self._seen, self._authenticator.version
        changed, now = self._seen != before, time()
        for principal, group in list(self._groups.items()):
            if not group.holds:
                del self._groups[principal]
            elif changed or (group.expires_at is not None and group.expires_at <= now):
                holds = list(group.holds)
                for start in range(0, len(holds), _ENDS_A_TURN):
                    self._ask(principal, group, holds[start : start + _ENDS_A_TURN])
                    await asyncio.sleep(0)

    def _ask(self, principal: Principal, group: _Group, holds: list[Hold]) -> None:
        try:
            current = self._authenticator.current(principal)
        except GatewayError as error:
            for hold in holds:
                hold.fail(error)
            return
        if current is not None:
            group.expires_at = current.expires_at
        for hold in holds:
            hold.review(current)
