"""Both clients behind a proxy: nothing is sent twice, and secrets go where they belong."""

import base64
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from jetkv import JetKVError, OutcomeUnknownError, Retry, UnavailableError
from tests.sdk.calls import INFO, ONCE, WRITES, Call, every_write, take
from tests.sdk.test_retry import BREAK, GET, PUT
from tests.sdk.test_transport import authority, tls, trust
from tests.sdk.test_watch_place import stream, updates
from tests.support.clients import MakeClient
from tests.support.scripted import Scripted, Step, http, scripted, tunnel

__all__ = ["authority", "tls", "trust"]

PLAIN = "http://127.0.0.1:9"
SECURE = "https://127.0.0.1:9"
"""Where a gateway would be: only the proxy is spoken to."""

QUICK = Retry(attempts=4, first_delay=0.001)
LOGIN = "Basic " + base64.b64encode(b"user:p/secret").decode()
TOKEN = "tokensecret"
SECRETS = (TOKEN, "p/secret", "p%2Fsecret", LOGIN.removeprefix("Basic "))


def with_login(proxy: Scripted) -> str:
    return proxy.url.replace("://", "://user:p%2Fsecret@")


def writes(server: Scripted) -> list[str]:
    return [call for call in server.calls if not call.startswith(("GET", "CONNECT"))]


@every_write
async def test_a_write_that_a_proxy_took_and_lost_is_sent_once_and_unknown(
    make, call: Call
) -> None:
    with scripted(*[BREAK] * 8) as proxy:
        async with make(PLAIN, proxy=proxy.url, retry=QUICK, timeout=5) as client:
            with pytest.raises(OutcomeUnknownError):
                await call(client)
    assert len(writes(proxy)) == 1


@pytest.mark.parametrize("call", [WRITES["put"], WRITES["create_bucket"]], ids=["put", "create"])
async def test_a_write_that_was_lost_behind_a_tunnel_is_sent_once_and_unknown(
    make, tls, trust, call: Call
) -> None:
    tunnels = [tunnel(tls, BREAK) for _ in range(8)]
    with scripted(*[step for step, _ in tunnels]) as proxy:
        async with make(
            SECURE, proxy=proxy.url, ssl_context=trust, retry=QUICK, timeout=5
        ) as client:
            with pytest.raises(OutcomeUnknownError):
                await call(client)
    assert sum(len(writes(gateway)) for _, gateway in tunnels) == 1


async def test_a_write_through_a_kept_tunnel_that_breaks_is_sent_once(make, tls, trust) -> None:
    kept, gateway = tunnel(tls, GET, BREAK)
    later = [tunnel(tls, BREAK) for _ in range(4)]
    with scripted(kept, *[step for step, _ in later]) as proxy:
        async with make(
            SECURE, proxy=proxy.url, ssl_context=trust, retry=QUICK, timeout=5
        ) as client:
            bucket = client.kv().bucket("b")
            await bucket.get("k")
            with pytest.raises(OutcomeUnknownError):
                await bucket.put("k", 1)
    assert sum(len(writes(server)) for server in (gateway, *[server for _, server in later])) == 1


@pytest.mark.parametrize("status", [403, 407, 502, 503])
async def test_a_write_for_which_a_proxy_makes_no_tunnel_was_not_sent(make, status: int) -> None:
    with scripted(http(status, "no", kind="text/plain")) as proxy:
        async with make(SECURE, proxy=proxy.url, retry=ONCE, timeout=5) as client:
            with pytest.raises(UnavailableError, match=f"the proxy: {status}"):
                await client.kv().bucket("b").put("k", 1)
    assert proxy.calls == ["CONNECT 127.0.0.1:9"]


async def test_a_write_for_which_no_proxy_is_there_was_not_sent(make, nobody: str) -> None:
    async with make(PLAIN, proxy=nobody, retry=ONCE, timeout=5) as client:
        with pytest.raises(UnavailableError):
            await client.kv().bucket("b").put("k", 1)


async def test_a_proxy_is_asked_for_the_whole_address(make) -> None:
    with scripted(PUT) as proxy:
        async with make(PLAIN, proxy=proxy.url, timeout=5) as client:
            await client.kv().bucket("b").put("k", 1)
    assert proxy.calls == [f"PUT {PLAIN}/api/v1/kv/buckets/b/keys/k"]


async def test_a_proxy_is_told_its_user_and_password(make) -> None:
    with scripted(PUT) as proxy:
        async with make(PLAIN, proxy=with_login(proxy), timeout=5) as client:
            await client.kv().bucket("b").put("k", 1)
    assert [asked.headers.get("proxy-authorization") for asked in proxy.asked] == [LOGIN]


async def test_a_watch_tells_a_proxy_user_and_password_too(make) -> None:
    with scripted(INFO, stream(updates(1))) as proxy:
        async with (
            make(PLAIN, proxy=with_login(proxy), retry=ONCE, timeout=5) as client,
            client.kv().bucket("b").watch(resume_after=0) as watch,
        ):
            await take(watch, 1)
    assert {asked.headers.get("proxy-authorization") for asked in proxy.asked} == {LOGIN}


async def test_the_proxy_of_a_tunnel_gets_the_login_and_never_the_token(make, tls, trust) -> None:
    step, _ = tunnel(tls, PUT)
    with scripted(step) as proxy:
        async with make(
            SECURE, proxy=with_login(proxy), token=TOKEN, ssl_context=trust, timeout=5
        ) as client:
            await client.kv().bucket("b").put("k", 1)
    [asked] = proxy.asked
    assert asked.headers.get("proxy-authorization") == LOGIN
    assert "authorization" not in asked.headers


async def test_the_gateway_behind_a_tunnel_gets_the_token_and_never_the_login(
    make, tls, trust
) -> None:
    step, gateway = tunnel(tls, PUT)
    with scripted(step) as proxy:
        async with make(
            SECURE, proxy=with_login(proxy), token=TOKEN, ssl_context=trust, timeout=5
        ) as client:
            await client.kv().bucket("b").put("k", 1)
    [asked] = gateway.asked
    assert asked.headers.get("authorization") == f"Bearer {TOKEN}"
    assert "proxy-authorization" not in asked.headers


TROUBLE: dict[str, Step] = {
    "closed": BREAK,
    "garbage": lambda connection: said_and_closed(connection, b"garbage\r\n\r\n"),
    "half an answer": lambda connection: said_and_closed(
        connection, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"
    ),
    "an endless header": lambda connection: said_and_closed(
        connection, b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n"
    ),
    "a tunnel that ends at once": lambda connection: said_and_closed(
        connection, b"HTTP/1.1 200 Established\r\n\r\n"
    ),
    "a page": http(200, "<html>", kind="text/html"),
    "no login": http(407, "no", kind="text/plain"),
    "no token": http(
        401,
        '{"error":"authentication required","code":"unauthenticated","retryable":false,'
        '"request_id":"r"}',
    ),
}


def said_and_closed(connection: Any, words: bytes) -> None:
    connection.sendall(words)
    connection.shutdown(2)


def behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and all that hangs on it, whether a traceback shows it or not."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            waiting += [found.__cause__, found.__context__]
            yield found


async def error_behind_a_proxy(make: MakeClient, url: str, step: Step) -> JetKVError:
    with scripted(step) as proxy:
        async with make(
            url, proxy=with_login(proxy), token=TOKEN, retry=ONCE, timeout=0.3
        ) as client:
            with pytest.raises(JetKVError) as caught:
                await client.kv().bucket("b").put("k", 1)
    return caught.value


@pytest.mark.parametrize("url", [PLAIN, SECURE], ids=["forward", "tunnel"])
@pytest.mark.parametrize("step", TROUBLE.values(), ids=TROUBLE)
async def test_no_secret_stands_in_an_error_or_in_what_hangs_on_it(
    make, url: str, step: Step
) -> None:
    error = await error_behind_a_proxy(make, url, step)
    texts = ["".join(traceback.format_exception(error))]
    for found in behind(error):
        texts += [str(found), repr(found), repr(found.args)]
    assert [secret for secret in SECRETS for text in texts if secret in text] == []


async def test_no_secret_stands_in_an_error_of_a_proxy_that_is_not_there(make, nobody) -> None:
    proxy = nobody.replace("://", "://user:p%2Fsecret@")
    async with make(SECURE, proxy=proxy, token=TOKEN, retry=ONCE, timeout=5) as client:
        with pytest.raises(UnavailableError) as caught:
            await client.kv().bucket("b").put("k", 1)
    texts = [text for found in behind(caught.value) for text in (str(found), repr(found))]
    assert [secret for secret in SECRETS for text in texts if secret in text] == []


async def test_no_secret_stands_in_an_error_without_a_proxy(make) -> None:
    with scripted(TROUBLE["garbage"]) as server:
        async with make(server.url, token=TOKEN, retry=ONCE, timeout=5) as client:
            with pytest.raises(OutcomeUnknownError) as caught:
                await client.kv().bucket("b").put("k", 1)
    texts = [text for found in behind(caught.value) for text in (str(found), repr(found))]
    assert [secret for secret in SECRETS for text in texts if secret in text] == []


async def test_no_secret_stands_in_a_client(make) -> None:
    client = make(SECURE, proxy="http://user:p%2Fsecret@127.0.0.1:9", token=TOKEN)
    shown = repr(getattr(client, "_target", client)) + repr(client._endpoint.address)
    await client.aclose()
    assert [secret for secret in SECRETS if secret in shown] == []
