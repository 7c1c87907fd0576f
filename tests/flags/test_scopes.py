"""What a scoped token sees of flags, and the tickets of event streams (docs/flags.md#access)."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.support.flags import FLAGS, flag_events, stream_url
from tests.support.gateway import running_gateway
from tests.support.guarded import TOKENS, Guarded
from tests.support.http import Answer, Bucket
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until

BUCKET = "feature-flags"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("flags")
    root, file = new_token(), folder / "tokens"
    file.write_text(token_line("root", root))
    with ExitStack() as stack:
        nats = stack.enter_context(LocalNats(folder / "nats"))
        settings = {"auth": "tokens", "auth_tokens": file, "buckets": BUCKET}
        gateways = [stack.enter_context(running_gateway(nats.url, **settings)) for _ in range(2)]
        found = Guarded(gateways, root)
        put(found, "web.new", "true")
        put(found, "secret", '{"enabled":true,"rollout":0.5}')
        yield found


def put(guarded: Guarded, name: str, value: str) -> int:
    answer = Bucket(guarded.client(guarded.root), BUCKET).put(name, value)
    assert answer.status == 200, answer
    revision: int = answer.json["revision"]
    return revision


def one(guarded: Guarded, token: str, name: str, *, at: int = 0) -> Answer:
    return guarded.ask("POST", f"{FLAGS}/{name}", {}, token=token, at=at)


def every(guarded: Guarded, token: str, *, at: int = 0) -> Answer:
    return guarded.ask("POST", FLAGS, {}, token=token, at=at)


def test_without_a_token_nothing_is_evaluated(guarded: Guarded) -> None:
    for path in (FLAGS, f"{FLAGS}/web.new"):
        answer = guarded.gateways[0].post(path, {})
        assert (answer.status, answer.json["errorCode"]) == (401, "GENERAL")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert guarded.gateways[0].get("/ofrep/v1/events").status == 401


def test_a_flag_outside_of_the_scope_is_403_whether_it_exists_or_not(guarded: Guarded) -> None:
    token = guarded.create("web-only", f"read:{BUCKET}/web.*")
    assert one(guarded, token, "web.new").json["value"] is True
    assert one(guarded, token, "web.missing").status == 404
    answers = [one(guarded, token, name) for name in ("secret", "public")]
    assert [answer.status for answer in answers] == [403, 403]
    bodies = [{**answer.json, "request_id": "", "key": ""} for answer in answers]
    assert bodies[0] == bodies[1]
    assert bodies[0]["errorCode"] == "GENERAL"
    assert "secret" not in bodies[0]["error"]


def test_all_flags_are_those_of_the_scope_and_the_answer_says_so(guarded: Guarded) -> None:
    token = guarded.create("web-all", f"read:{BUCKET}/web.*")
    answer = every(guarded, token)
    assert [flag["key"] for flag in answer.json["flags"]] == ["web.new"]
    assert answer.headers["jetkv-filtered"] == "true"
    whole = every(guarded, guarded.create("whole", f"read:{BUCKET}"))
    assert {"web.new", "secret"} <= {flag["key"] for flag in whole.json["flags"]}
    assert "jetkv-filtered" not in whole.headers
    nothing = guarded.create("nothing", f"read:{BUCKET}/none.*")
    assert every(guarded, nothing).json["flags"] == []


@pytest.mark.parametrize("scope", [f"write,delete,admin:{BUCKET}", "read:other", "metrics:*"])
def test_without_read_on_the_bucket_everything_is_403(guarded: Guarded, scope: str) -> None:
    token = guarded.create(f"no-read-{len(scope)}", scope)
    assert one(guarded, token, "web.new").status == 403
    assert every(guarded, token).status == 403
    assert guarded.ask("GET", "/ofrep/v1/events", token=token).status == 403


def test_the_etag_does_not_change_with_a_flag_outside_of_the_scope(guarded: Guarded) -> None:
    token = guarded.create("etag", f"read:{BUCKET}/web.*")
    etag = every(guarded, token).headers["etag"]
    put(guarded, "secret", '"changed"')
    assert every(guarded, token).headers["etag"] == etag


async def test_a_ticket_opens_the_stream_everywhere_and_shows_no_other_flag(
    guarded: Guarded,
) -> None:
    token = guarded.create("page", f"read:{BUCKET}/web.*")
    url = stream_url(every(guarded, token))
    assert "ticket=jkt_" in url
    assert token[4:] not in url
    async with flag_events(guarded.gateways[1], url) as stream:
        assert stream.status == 200
        assert stream.headers["jetkv-filtered"] == "true"
        await asyncio.to_thread(put, guarded, "secret", '"other"')
        revision = await asyncio.to_thread(put, guarded, "web.new", '"dark"')
        event = await stream.next(2)
        assert event is not None
        assert event.id == str(revision), "nothing is told of the other flag"
        last = stream.last_id or ""
    await asyncio.to_thread(put, guarded, "secret", '"another"')
    revision = await asyncio.to_thread(put, guarded, "web.new", "true")
    async with flag_events(guarded.gateways[0], url, Last_Event_ID=last) as stream:
        event = await stream.next(2)
        assert event is not None
        assert event.id == str(revision)


def test_a_ticket_is_the_same_for_the_same_flags_and_opens_no_other_url(guarded: Guarded) -> None:
    token = guarded.create("tickets", f"read:{BUCKET}")
    url = stream_url(every(guarded, token))
    assert stream_url(every(guarded, token)) == url, "a provider keeps its connection"
    assert stream_url(every(guarded, guarded.root)) != url
    path, _, query = url.partition("?")
    _, _, ticket = query.partition("ticket=")
    for other in (f"{path}?ticket={ticket}", f"/api/v1/kv/watch?watch={BUCKET}&ticket={ticket}"):
        answer = guarded.gateways[0].get(other, Accept="text/event-stream")
        assert answer.status == 401, other
    assert guarded.gateways[0].post(f"{FLAGS}?ticket={ticket}", {}).status == 401


async def test_a_stream_ends_with_its_token(guarded: Guarded) -> None:
    token = guarded.create("gone", f"read:{BUCKET}")
    url = stream_url(every(guarded, token))
    async with flag_events(guarded.gateways[1], url) as stream:
        assert stream.status == 200
        await asyncio.to_thread(guarded.ask, "DELETE", f"{TOKENS}/gone")
        event = await stream.next(5)
        assert event is not None
        assert event.frame["code"] == "permission_denied"
        assert await stream.next(5) is None
    again = guarded.gateways[1]
    until(lambda: again.request("HEAD", url).status == 401, "the ticket is void", 3)


def test_a_ticket_of_the_usual_kind_opens_the_stream_too(guarded: Guarded) -> None:
    token = guarded.create("usual", f"read:{BUCKET}")
    url = "/ofrep/v1/events"
    answer = guarded.ask("POST", "/api/v1/auth/tickets", {"url": url}, token=token)
    opened = guarded.gateways[0].request("HEAD", f"{url}?ticket={answer.json['ticket']}")
    assert opened.status == 200


def test_without_a_bucket_of_tokens_no_stream_is_named(tmp_path: Path) -> None:
    root, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("root", root))
    settings = {"auth": "tokens", "auth_tokens": file, "token_bucket": False}
    with LocalNats(tmp_path / "nats") as nats, running_gateway(nats.url, **settings) as http:
        guarded = Guarded([http], root)
        assert every(guarded, root).json == {"flags": []}
        assert guarded.ask("HEAD", "/ofrep/v1/events").status == 200
