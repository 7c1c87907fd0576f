"""The three implementations of `Api`, by name."""

from contextlib import AsyncExitStack

from jetkv import AsyncClient, Client
from tests.sdk.api import Api
from tests.sdk.api_client import ClientApi
from tests.sdk.api_http import HttpApi
from tests.support.clients import sync_client
from tests.support.http import Http

APIS = ("HTTP", Client.__name__, AsyncClient.__name__)


async def open_api(stack: AsyncExitStack, name: str, http: Http) -> Api:
    """Open one of them until the stack ends."""
    if name == "HTTP":
        return HttpApi(http)
    client = sync_client(http.url) if name == Client.__name__ else AsyncClient(http.url)
    return ClientApi(await stack.enter_async_context(client))
