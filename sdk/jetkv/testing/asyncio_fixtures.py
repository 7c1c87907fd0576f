"""The fixture that the plugin adds if pytest-asyncio is active."""

from collections.abc import AsyncIterator

import pytest_asyncio

from jetkv import AsyncClient

__all__: list[str] = []


@pytest_asyncio.fixture
async def _jetkv_asyncio_client(
    jetkv_url: str, jetkv_token: str | None
) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(jetkv_url, token=jetkv_token, proxy="") as client:
        yield client
