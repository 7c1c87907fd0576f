"""The three ways in, by name."""

from contextlib import AsyncExitStack

from jetkv import AsyncClient, Client
from tests.sdk.way_http import Raw
from tests.sdk.way_sdk import Sdk
from tests.sdk.ways import Way
from tests.support.clients import sync_client
from tests.support.http import Http

WAYS = ("HTTP", Client.__name__, AsyncClient.__name__)


async def enter(stack: AsyncExitStack, name: str, http: Http) -> Way:
    """Open one of the ways until the stack ends."""
    if name == "HTTP":
        return Raw(http)
    client = sync_client(http.url) if name == Client.__name__ else AsyncClient(http.url)
    return Sdk(await stack.enter_async_context(client))
