"""Open watches and long listings end when their token does, or allows less (docs/access.md)."""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.http.standing import Hold
from jetkv_gateway.jetstream.bulk_deletes import JetStreamBulkDeletes
from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.commands import DeleteKeys
from jetkv_gateway.kv.retries import Retries
from jetkv_gateway.kv.store import BulkDeleteProgress
from tests.support.gateway import running_gateway
from tests.support.guarded import TOKENS, Guarded
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.tokens import new_token, token_line
from tests.support.waiting import eventually, until
from tests.support.watching import Frame, streaming, watching

WHOAMI = "/api/v1/auth/whoami"
GONE = "permission denied: the credential is withdrawn or has expired"
LESS = "permission denied: the credential does not cover this any more"
SOON = 4
"""Seconds; what the contract says is two, of a machine that is not busy."""


class WithFile(Guarded):
    """The same, and the file of tokens, which a test may change."""

    file: Path

    def allow(self, token: str, *scopes: str, expires: str | None = None) -> None:
        """Give a token of the file these scopes, and take away those that it had."""
        lines = [token_line("root", self.root)]
        if scopes:
            lines.append(token_line("app", token, *scopes, expires=expires))
        self.file.write_text("\n".join(lines))

    async def known(self, token: str, at: int = 0) -> None:
        async def is_known() -> bool:
            answer = await asyncio.to_thread(self.ask, "GET", BUCKETS, token=token, at=at)
            return answer.status == 200

        await eventually(is_known, "the token is known")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WithFile]:
    folder = tmp_path_factory.mktemp("withdrawn")
    root, file = new_token(), folder / "tokens"
    file.write_text(token_line("root", root))
    with ExitStack() as stack:
        nats = stack.enter_context(LocalNats(folder / "nats"))
        gateways = [
            stack.enter_context(
                running_gateway(nats.url, auth="tokens", auth_tokens=file, buckets="b other")
            )
            for _ in range(2)
        ]
        found = WithFile(gateways, root)
        found.file = file
        yield found


@asynccontextmanager
async def open_watch(
    guarded: Guarded, token: str, transport: str, bucket: str, query: str, at: int = 0
) -> AsyncIterator["Ending"]:
    """Open a watch, and yield what tells its end."""
    client = guarded.client(token, at)
    if transport == "websocket":
        async with watching(client, bucket, query) as watcher:

            async def close() -> tuple[list[Frame], int | None]:
                return await watcher.closed()

            yield Ending(close)
    else:
        async with streaming(client, bucket, query) as stream:
            assert stream.status == 200

            async def end() -> tuple[list[Frame], int | None]:
                frames = []
                while (event := await stream.next()) is not None:
                    frames.append(event.frame)
                return frames, None

            yield Ending(end)


class Ending:
    """The end of a watch that has to come."""

    def __init__(self, wait) -> None:
        self._wait = wait

    async def told(self) -> tuple[str, str, int | None]:
        """The text and the code of the last frame, and the code of the close."""
        async with asyncio.timeout(SOON):
            frames, code = await self._wait()
        assert frames[-1]["type"] == "error"
        return frames[-1]["message"], frames[-1]["code"], code


WATCHES = [("b", ""), ("", "?watch=b&watch=other")]


@pytest.mark.parametrize("transport", ["websocket", "sse"])
@pytest.mark.parametrize(("bucket", "query"), WATCHES, ids=["one", "merged"])
async def test_a_watch_ends_when_its_token_is_withdrawn_at_another_gateway(
    guarded: WithFile, transport: str, bucket: str, query: str
) -> None:
    name = f"gone-{transport}-{bucket or 'all'}"
    token = guarded.create(name, "read:b", "read:other")
    await guarded.known(token, at=1)
    async with open_watch(guarded, token, transport, bucket, query, at=1) as ending:
        await asyncio.to_thread(guarded.ask, "DELETE", f"{TOKENS}/{name}")
        message, code, close = await ending.told()
    assert (message, code) == (GONE, "permission_denied")
    assert close == (4403 if transport == "websocket" else None)


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_a_watch_ends_when_its_token_expires(guarded: WithFile, transport: str) -> None:
    token = guarded.create(f"short-{transport}", "read:b", expires_in_seconds=2)
    async with open_watch(guarded, token, transport, "b", "") as ending:
        message, code, _ = await ending.told()
    assert (message, code) == (GONE, "permission_denied")


async def test_a_watch_of_a_token_of_the_file_ends_when_its_line_goes(guarded: WithFile) -> None:
    token = new_token()
    guarded.allow(token, "read:b")
    await guarded.known(token)
    async with open_watch(guarded, token, "websocket", "b", "") as ending:
        guarded.allow(token)
        assert (await ending.told())[0] == GONE


@pytest.mark.parametrize(
    ("before", "after", "bucket", "query"),
    [
        (["read:b"], ["read:b/user.*"], "b", ""),
        (["read:b", "read:other"], ["read:b"], "", "?watch=b&watch=other"),
    ],
)
async def test_a_watch_ends_when_its_token_does_not_cover_it_any_more(
    guarded: WithFile, before: list[str], after: list[str], bucket: str, query: str
) -> None:
    token = new_token()
    guarded.allow(token, *before)
    await guarded.known(token)
    async with open_watch(guarded, token, "websocket", bucket, query) as ending:
        guarded.allow(token, *after)
        assert await ending.told() == (LESS, "permission_denied", 4403)


async def test_a_watch_that_is_still_covered_goes_on(guarded: WithFile) -> None:
    before, after = ["read:b/user.*", "read:other"], ["read:b/user.*"]
    token = new_token()
    guarded.allow(token, *before)
    await guarded.known(token)
    async with watching(guarded.client(token), "b") as watcher:
        guarded.allow(token, *after)

        async def has_changed() -> bool:
            path = "/api/v1/auth/whoami"
            answer = await asyncio.to_thread(guarded.ask, "GET", path, token=token)
            scopes: list[str] = answer.json["scopes"]
            return scopes == after

        await eventually(has_changed, "the scopes are read")
        await asyncio.sleep(1)  # The gateway looks at its watches twice a second.
        bucket = Bucket(guarded.client(guarded.root), "b")
        await asyncio.to_thread(bucket.put, "user.1", "v")
        assert (await watcher.next())["key"] == "user.1"


async def test_watches_of_other_tokens_go_on(guarded: WithFile) -> None:
    token, gone = guarded.create("stays", "read:b"), guarded.create("goes", "read:b")
    async with (
        watching(guarded.client(token), "b") as watcher,
        open_watch(guarded, gone, "websocket", "b", "") as ending,
    ):
        guarded.ask("DELETE", f"{TOKENS}/goes")
        assert (await ending.told())[2] == 4403
        bucket = Bucket(guarded.client(guarded.root), "b")
        await asyncio.to_thread(bucket.put, "k", "v")
        assert (await watcher.next())["key"] == "k"


async def test_no_change_is_sent_after_the_end_of_the_token(guarded: WithFile) -> None:
    token = guarded.create("quiet", "read:b")
    async with watching(guarded.client(token), "b") as watcher:
        guarded.ask("DELETE", f"{TOKENS}/quiet")
        frames, code = await watcher.closed(SOON)
    assert ([frame["type"] for frame in frames], code) == (["error"], 4403)


async def test_a_long_listing_ends_with_an_error_line(guarded: WithFile) -> None:
    bucket = Bucket(guarded.client(guarded.root), "other")
    ops = [{"op": "put", "key": f"k{number}", "text": "x" * 8000} for number in range(900)]
    for turn in range(3):
        batch = {"atomic": False, "ops": [{**op, "key": f"{op['key']}.{turn}"} for op in ops]}
        assert bucket.http.post(f"{bucket.path}/batch", batch).status == 200
    token = guarded.create("reader", "read:other")
    reader, writer = await asyncio.open_connection(
        guarded.gateways[0].host, guarded.gateways[0].port, limit=2**20
    )
    try:
        head = [
            f"GET {bucket.path}/keys?include=values HTTP/1.1",
            "Host: localhost",
            "Accept: application/x-ndjson",
            f"Authorization: Bearer {token}",
        ]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode())
        await reader.readuntil(b"\r\n\r\n")
        guarded.ask("DELETE", f"{TOKENS}/reader")
        until(lambda: guarded.ask("GET", BUCKETS, token=token).status == 401, "it is refused", SOON)
        await asyncio.sleep(1)  # The gateway looks at its listings twice a second.
        body = b""
        async with asyncio.timeout(20):
            while not body.endswith(b"\r\n0\r\n\r\n"):
                body += await reader.read(2**20)
    finally:
        writer.close()
    lines = [line for line in body.split(b"\n") if line.startswith(b'{"')]
    last = json.loads(lines[-1])
    assert (last["type"], last["code"]) == ("error", "permission_denied")
    assert len(lines) < 2700


@asynccontextmanager
async def slow_put(http: Http, path: str, token: str) -> AsyncIterator[socket.socket]:
    """A PUT whose head the gateway has checked, and whose body of two bytes is still to come."""
    with await asyncio.to_thread(
        socket.create_connection, (http.host, http.port), 10
    ) as connection:
        head = f"PUT {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
        connection.sendall(f"{head}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n".encode())
        assert (await asyncio.to_thread(connection.recv, 100)).startswith(b"HTTP/1.1 100 ")
        yield connection


@pytest.mark.parametrize(("left", "status"), [((), 401), (("read:b",), 403), (("write:b",), 200)])
async def test_a_body_that_comes_after_the_end_of_its_token_is_not_stored(
    guarded: WithFile, monkeypatch: pytest.MonkeyPatch, left: tuple[str, ...], status: int
) -> None:
    monkeypatch.setattr("jetkv_gateway.http.gateway._LOOK_AGAIN_SECONDS", 0.0)
    token, path = new_token(), f"{BUCKETS}/b/keys/late-{status}"
    guarded.allow(token, "read,write:b")
    await guarded.known(token)
    async with slow_put(guarded.gateways[0], path, token) as connection:
        guarded.allow(token, *left)

        async def is_changed() -> bool:
            answer = await asyncio.to_thread(guarded.ask, "GET", WHOAMI, token=token)
            return answer.status == 401 if not left else answer.json["scopes"] == list(left)

        await eventually(is_changed, "the gateway knows it")
        connection.sendall(b"vv")
        answer = await asyncio.to_thread(connection.recv, 1000)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert guarded.ask("GET", path).status == (200 if status == 200 else 404)


def note_denials(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Return an event that is set when a long answer learns that its token is gone."""
    denied, review = threading.Event(), Hold.review

    def noted(hold: Hold, current: Principal | None) -> None:
        review(hold, current)
        if current is None:
            denied.set()

    monkeypatch.setattr(Hold, "review", noted)
    return denied


async def test_a_long_history_breaks_off_when_its_token_is_withdrawn(
    guarded: WithFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guarded.ask("POST", BUCKETS, {"name": "old", "history": 40}).status == 201
    bucket = Bucket(guarded.client(guarded.root), "old")
    for _ in range(40):
        assert bucket.put("k", b"x" * 400_000).status == 200
    token = guarded.create("historian", "read:old")
    denied = note_denials(monkeypatch)
    address = guarded.gateways[0].host, guarded.gateways[0].port
    with await asyncio.to_thread(socket.create_connection, address, 10) as connection:
        head = f"GET {bucket.path}/history/k HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}"
        connection.sendall(f"{head}\r\n\r\n".encode())
        body = await asyncio.to_thread(connection.recv, 1000)
        assert body.startswith(b"HTTP/1.1 200 ")
        guarded.ask("DELETE", f"{TOKENS}/historian")
        assert await asyncio.to_thread(denied.wait, 10)
        with suppress(ConnectionError):
            while part := await asyncio.to_thread(connection.recv, 2**20):
                body += part
    assert not body.endswith(b"0\r\n\r\n")
    assert body.count(b'"revision"') < 40


async def test_a_deletion_of_many_keys_stops_with_its_token(
    guarded: WithFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Bucket(guarded.client(guarded.root), "other")
    ops = [{"op": "put", "key": f"many.{number}", "text": "x"} for number in range(1000)]
    assert bucket.http.post(f"{bucket.path}/batch", {"atomic": False, "ops": ops}).status == 200
    token = guarded.create("deleter", "delete:other/many.*")
    begun, may_go_on = threading.Event(), threading.Event()
    delete_keys = JetStreamBulkDeletes.delete_keys

    async def delete_with_a_pause(
        self: JetStreamBulkDeletes, command: DeleteKeys, retries: Retries
    ) -> AsyncGenerator[BulkDeleteProgress, None]:
        async with aclosing(delete_keys(self, command, retries)) as steps:
            async for progress in steps:
                yield progress
                begun.set()
                await asyncio.to_thread(may_go_on.wait, 10)

    monkeypatch.setattr(JetStreamBulkDeletes, "delete_keys", delete_with_a_pause)
    denied = note_denials(monkeypatch)
    path = f"{bucket.path}/keys?filter=many.*"
    deletion = asyncio.create_task(asyncio.to_thread(guarded.ask, "DELETE", path, token=token))
    assert await asyncio.to_thread(begun.wait, 10)
    guarded.ask("DELETE", f"{TOKENS}/deleter")
    assert await asyncio.to_thread(denied.wait, 10)
    may_go_on.set()
    answer = await deletion
    assert (answer.status, answer.error) == (403, GONE)
    assert answer.json["details"]["matched"] <= 1000
