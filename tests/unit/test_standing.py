"""Watches of withdrawn credentials end, whatever else goes wrong."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jetkv_gateway.auth.authenticator import Authenticator
from jetkv_gateway.http.call import Call
from jetkv_gateway.http.standing import Standing
from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import GatewayError, PermissionDenied


class Withdrawing:
    """Knows the caller at first, breaks once, and then knows nobody."""

    def __init__(self) -> None:
        self.version = 0
        self._left: list[Any] = [Principal("alice", "token"), RuntimeError("a defect"), None]

    def current(self, _principal: Principal) -> Principal | None:
        found = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        if isinstance(found, RuntimeError):
            raise found
        return cast(Principal | None, found)


def test_a_defect_does_not_keep_a_withdrawn_watch_open(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("jetkv_gateway.http.standing._LOOK_SECONDS", 0.001)

    async def go() -> GatewayError:
        known = Withdrawing()
        standing = Standing(cast(Authenticator, known))
        ended: asyncio.Future[GatewayError] = asyncio.get_running_loop().create_future()
        call = SimpleNamespace(principal=Principal("alice", "token"), covered_by=lambda _: True)
        standing.hold(cast(Call, call), ended.set_result)
        standing.start()
        known.version += 1
        try:
            async with asyncio.timeout(5):
                return await ended
        finally:
            await standing.close()

    assert isinstance(asyncio.run(go()), PermissionDenied)
    assert "a defect" in caplog.text
