"""The store for starsessions: its promises, by itself and under the middleware in apps.

The sdist of starsessions has no tests, so these check what its repository's tests ask of a store.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from starsessions import (
    SessionAutoloadMiddleware,
    SessionMiddleware,
    get_session_id,
    load_session,
    regenerate_session_id,
)

from jetkv import BucketNotFoundError, Client, InvalidArgumentError, ValueTooLargeError
from jetkv.integrations.starsessions import JetKVStore
from tests.support.http import BUCKETS, Bucket, Http

PAGE = Path(__file__).parents[2] / "docs" / "integrations.md"


@pytest.fixture
def location(http: Http, new_bucket: str) -> str:
    return f"{http.url}/{new_bucket}"


@pytest.fixture
def store(location: str) -> JetKVStore:
    return JetKVStore(location)


@pytest.fixture
def stored(http: Http, new_bucket: str) -> Bucket:
    """The bucket, as other clients see it."""
    return Bucket(http, new_bucket)


async def test_what_is_written_is_read_until_it_is_removed(store: JetKVStore) -> None:
    assert await store.read("id", lifetime=60) == b""
    assert await store.write("id", b"one", lifetime=60, ttl=60) == "id"
    assert await store.write("id", b"two", lifetime=60, ttl=60) == "id"
    assert await store.read("id", lifetime=60) == b"two"
    await store.remove("id")
    await store.remove("id")
    assert await store.read("id", lifetime=60) == b""


@pytest.mark.parametrize("prefix", ["shop:", lambda id: f"shop:{id}"], ids=["text", "function"])
async def test_the_prefix_is_in_front_of_the_id(
    location: str, stored: Bucket, prefix: str | Callable[[str], str]
) -> None:
    store = JetKVStore(location, prefix=prefix)
    await store.write("id", b"data", lifetime=60, ttl=60)
    assert stored.http.get(f"{stored.key('shop:id')}?values=raw").body == b"data"
    assert await store.read("id", lifetime=60) == b"data"


async def test_other_clients_read_a_session_as_json(store: JetKVStore, stored: Bucket) -> None:
    await store.write("id", b'{"user":"ada"}', lifetime=60, ttl=60)
    answer = stored.http.get(f"{stored.key('starsessions.id')}?values=raw")
    assert answer.headers["content-type"] == "application/json"


async def seconds_left(store: JetKVStore, bucket: Bucket, id: str) -> float:
    with Client(bucket.http.url) as client:
        expires_at = client.kv().bucket(bucket.name, bytes).get(f"starsessions.{id}").expires_at
    assert expires_at is not None
    return expires_at.timestamp() - time.time()


@pytest.mark.parametrize(
    ("lifetime", "ttl", "expected"),
    [
        (60, 60, 60),
        (60, 20, 20),
        (60, 0, 1),
        (60, -5, 1),
        (0, 0, 2_592_000),
        (10**9, 10**8, 10**8),
    ],
)
async def test_a_session_ends_with_its_ttl_or_is_kept_for_thirty_days(
    store: JetKVStore, stored: Bucket, lifetime: int, ttl: int, expected: int
) -> None:
    await store.write("id", b"{}", lifetime=lifetime, ttl=ttl)
    assert abs(await seconds_left(store, stored, "id") - expected) < 1.5


async def test_a_session_is_gone_after_its_time(store: JetKVStore) -> None:
    await store.write("id", b"{}", lifetime=1, ttl=1)
    await asyncio.sleep(1.6)
    assert await store.read("id", lifetime=1) == b""


@pytest.mark.parametrize("id", ["", "x" * 4000, "a\r\nb", "\x00", "\ud800", "../../buckets", "*"])
async def test_a_cookie_may_be_anything(store: JetKVStore, id: str) -> None:
    assert await store.read(id, lifetime=60) == b""
    assert await store.write(id, b"{}", lifetime=60, ttl=60) == id
    assert await store.read(id, lifetime=60) == b"{}"
    await store.remove(id)


async def test_a_session_that_is_too_large_is_an_error(
    make_bucket: Callable[..., Bucket],
) -> None:
    bucket = make_bucket(max_value_size=100)
    store = JetKVStore(f"{bucket.http.url}/{bucket.name}")
    await store.write("id", b"{}", lifetime=60, ttl=60)
    with pytest.raises(ValueTooLargeError):
        await store.write("id", b"x" * 200, lifetime=60, ttl=60)
    assert await store.read("id", lifetime=60) == b"{}"


async def test_a_missing_bucket_is_created_only_if_it_may_be(location: str) -> None:
    with pytest.raises(BucketNotFoundError):
        await JetKVStore(location, bucket=None).read("id", lifetime=60)
    assert await JetKVStore(location, bucket={"storage": "memory"}).read("id", lifetime=60) == b""
    assert await JetKVStore(location, bucket=None).read("id", lifetime=60) == b""


@pytest.mark.parametrize("arguments", [{"prefix": "a\n"}, {"db": 1}, {"timeout": 0}])
def test_an_argument_that_is_wrong_is_an_error_at_the_start(arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError):
        JetKVStore("http://localhost:9123/sessions", **arguments)


async def show(request: Request) -> Response:
    await load_session(request)
    return JSONResponse(request.session)


async def change(request: Request) -> Response:
    await load_session(request)
    request.session.update(await request.json())
    return JSONResponse({"id": get_session_id(request)})


async def login(request: Request) -> Response:
    await load_session(request)
    request.session["user"] = "ada"
    return JSONResponse({"id": regenerate_session_id(request)})


async def logout(request: Request) -> Response:
    await load_session(request)
    request.session.clear()
    return Response()


ROUTES = [
    Route("/", show),
    Route("/", change, methods=["POST"]),
    Route("/login", login, methods=["POST"]),
    Route("/logout", logout, methods=["POST"]),
]


def app(store: JetKVStore, **options: Any) -> Starlette:
    options = {"cookie_https_only": False, **options}
    return Starlette(
        routes=ROUTES, middleware=[Middleware(SessionMiddleware, store=store, **options)]
    )


@pytest.fixture(params=["one event loop", "an event loop for each request"])
def browser(store: JetKVStore, request: pytest.FixtureRequest) -> Iterator[TestClient]:
    client = TestClient(app(store, lifetime=timedelta(hours=1)))
    if request.param == "one event loop":
        with client:
            yield client
    else:
        yield client


def test_a_session_lives_from_its_first_value_to_its_end(
    browser: TestClient, stored: Bucket
) -> None:
    assert browser.get("/").json() == {}
    assert "session" not in browser.cookies
    browser.post("/", json={"cart": ["book"]})
    assert browser.get("/").json() == {"cart": ["book"]}
    (key,) = stored.http.get(f"{stored.path}/keys").json["keys"]
    assert key == f"starsessions.{browser.cookies['session']}"
    browser.post("/logout")
    assert stored.http.get(f"{stored.path}/keys").json["keys"] == []
    assert browser.get("/").json() == {}


def test_a_login_has_another_id(browser: TestClient) -> None:
    browser.post("/", json={"cart": 1})
    before = browser.cookies["session"]
    assert browser.post("/login").json()["id"] == browser.cookies["session"] != before
    assert browser.get("/").json() == {"cart": 1, "user": "ada"}


def test_a_cookie_that_nobody_gave_is_an_empty_session(browser: TestClient) -> None:
    browser.cookies["session"] = "made-up"
    assert browser.get("/").json() == {}


async def test_a_rolling_session_is_prolonged_and_another_one_is_not(
    store: JetKVStore, stored: Bucket
) -> None:
    left = {}
    for rolling in (True, False):
        with TestClient(app(store, lifetime=60, rolling=rolling)) as browser:
            browser.post("/", json={"a": 1})
            await asyncio.sleep(2.1)
            browser.post("/", json={"a": 2})
            left[rolling] = await seconds_left(store, stored, browser.cookies["session"])
    assert left[True] > 58.5
    assert left[False] < 58.5


def test_two_apps_share_sessions(location: str) -> None:
    with TestClient(app(JetKVStore(location))) as one, TestClient(app(JetKVStore(location))) as two:
        one.post("/", json={"cart": 1})
        two.cookies = one.cookies
        assert two.get("/").json() == {"cart": 1}


def test_a_session_is_loaded_by_itself_in_fastapi(store: JetKVStore, stored: Bucket) -> None:
    api = FastAPI()
    api.add_middleware(SessionAutoloadMiddleware)
    api.add_middleware(SessionMiddleware, store=store, cookie_https_only=False)

    def session(request: Request) -> dict[str, Any]:
        return request.session

    @api.get("/visits")
    async def visits(session: Annotated[dict[str, Any], Depends(session)]) -> int:
        session["visits"] = session.get("visits", 0) + 1
        return session["visits"]

    with TestClient(api) as browser:
        assert [browser.get("/visits").json() for _ in range(3)] == [1, 2, 3]
        key = f"starsessions.{browser.cookies['session']}"
    document = json.loads(stored.http.get(f"{stored.key(key)}?values=raw").body)
    assert (document["visits"], document["__metadata__"]["lifetime"]) == (3, 0)


def test_the_program_of_the_page_keeps_its_sessions(http: Http) -> None:
    section = PAGE.read_text().partition("\n## starsessions\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    program: dict[str, Any] = {"__name__": "shop"}
    exec(compile(code.replace("http://localhost:9123", http.url), str(PAGE), "exec"), program)
    with TestClient(program["app"]) as browser:
        assert browser.post("/cart/book").json() == {"user": None, "cart": ["book"]}
        assert browser.post("/login/ada").status_code == 200
        assert browser.post("/cart/pen").json() == {"user": "ada", "cart": ["book", "pen"]}
    assert http.delete(f"{BUCKETS}/asgi-sessions").status == 204
