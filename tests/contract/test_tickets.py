"""Tickets: they open one URL for a page, which cannot send a header there (docs/access.md)."""

import asyncio
import base64
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.auth.tokens import grants_of
from tests.support.gateway import running_gateway
from tests.support.guarded import TOKENS, Guarded
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until
from tests.support.watching import streaming, watching

TICKETS = "/api/v1/auth/tickets"
WATCH = f"{BUCKETS}/b/watch"
MERGED = "/api/v1/kv/watch"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("tickets")
    root, file = new_token(), folder / "tokens"
    file.write_text(token_line("root", root))
    with ExitStack() as stack:
        nats = stack.enter_context(LocalNats(folder / "nats"))

        def start() -> Http:
            settings = {"auth": "tokens", "auth_tokens": file, "buckets": "b other"}
            return stack.enter_context(running_gateway(nats.url, **settings))

        found = Started([start(), start()], root)
        found.start = start
        yield found


class Started(Guarded):
    """The same, and how to start another gateway."""

    start: Callable[[], Http]


def ask_ticket(guarded: Guarded, token: str, url: str) -> Answer:
    return guarded.ask("POST", TICKETS, {"url": url}, token=token)


def ticket_for(guarded: Guarded, token: str, url: str) -> str:
    answer = ask_ticket(guarded, token, url)
    assert answer.status == 201, answer
    ticket: str = answer.json["ticket"]
    return ticket


def made_up(payload: object) -> str:
    """A ticket with a payload of somebody else, whose signature is 24 zero bytes."""
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode()
    return f"jkt_{body}.{'A' * 32}"


def opened(http: Http, url: str, ticket: str) -> Answer:
    """Ask for a HEAD of an event stream with a ticket, and without any header."""
    joined = f"{url}{'&' if '?' in url else '?'}ticket={ticket}"
    return http.request("HEAD", joined, Accept="text/event-stream")


async def test_a_ticket_opens_its_watch_and_reconnects_in_every_gateway(guarded: Started) -> None:
    token = guarded.create("page", "read:b/user.*")
    ticket = ticket_for(guarded, token, f"{WATCH}?key=user.*")
    bucket = Bucket(guarded.client(guarded.root), "b")
    last_id = ""
    for at, gateway in enumerate([*guarded.gateways, guarded.start()]):
        query = f"?key=user.*&ticket={ticket}"
        headers = {"Last_Event_ID": last_id} if last_id else {}
        async with streaming(gateway, "b", query, **headers) as stream:
            assert stream.status == 200
            await asyncio.to_thread(bucket.put, f"user.{at}", "v")
            event = await stream.next()
            assert event is not None
            assert event.frame["key"] == f"user.{at}"
            last_id = stream.last_id or ""


async def test_a_ticket_opens_a_websocket_and_a_merged_watch(guarded: Started) -> None:
    token = guarded.create("socket", "read:*")
    ticket = ticket_for(guarded, token, f"{MERGED}?watch=b&watch=other/x.*")
    query = f"?watch=b&watch=other/x.*&ticket={ticket}"
    async with watching(guarded.gateways[0], "", query) as watcher:
        bucket = Bucket(guarded.client(guarded.root), "other")
        await asyncio.to_thread(bucket.put, "x.1", "v")
        assert (await watcher.next())["key"] == "x.1"


@pytest.mark.parametrize(
    ("asked", "used"),
    [
        (WATCH, f"http://kv.example{WATCH}"),
        (f"https://kv.example:9123{WATCH}", WATCH),
        (f"{WATCH}?key=a%2Fb&snapshot=true", f"{WATCH}?snapshot=true&key=a/b"),
        (f"/json{WATCH}#part", f"/json{WATCH}"),
    ],
)
def test_the_same_url_may_be_written_in_another_way(
    guarded: Started, asked: str, used: str
) -> None:
    token = guarded.create(f"forms-{abs(hash((asked, used)))}", "read:b")
    ticket = ticket_for(guarded, token, asked)
    assert opened(guarded.gateways[1], used.removeprefix("http://kv.example"), ticket).status == 200


@pytest.mark.parametrize(
    "url",
    [
        f"{WATCH}?key=a",
        f"{WATCH}?snapshot=true",
        f"/json{WATCH}",
        f"{BUCKETS}/other/watch",
        f"{MERGED}?watch=b",
    ],
)
def test_a_ticket_opens_no_other_url(guarded: Started, url: str) -> None:
    ticket = ticket_for(guarded, guarded.root, WATCH)
    answer = opened(guarded.gateways[0], url, ticket)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", [f"{BUCKETS}/b/keys", f"{BUCKETS}/b/keys/k", BUCKETS, "/metrics"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_ticket_is_no_credential_elsewhere(guarded: Started, method: str, path: str) -> None:
    ticket = ticket_for(guarded, guarded.root, WATCH)
    assert guarded.gateways[0].request(method, f"{path}?ticket={ticket}").status == 401
    with_token = guarded.ask(method, f"{path}?ticket={ticket}")
    assert with_token.status in (400, 405)


def test_a_damaged_or_made_up_ticket_is_401(guarded: Started) -> None:
    ticket = ticket_for(guarded, guarded.root, WATCH)
    body, _, mac = ticket.partition(".")
    for wrong in (
        ticket[:-4] + "AAAA",
        body,
        f"{body}.",
        f".{mac}",
        ticket + "A" * 4,
        ticket.removeprefix("jkt_"),
        "x",
        "off",
        quote("jkt_\x00é"),
        "jkt_e30." + mac,
        "jkt_bnVsbA." + mac,
        made_up({"m": "jwt", "n": "x", "e": "soon"}),
        made_up({"m": "jwt", "n": "x", "e": 10**400, "s": ["*:*"], "i": "", "p": ""}),
        made_up({"m": "jwt", "n": "x", "e": 2e9, "s": [["*:*"]], "i": "", "p": ""}),
        made_up({"m": "jwt", "n": "x", "e": 2e9, "s": ["*:*"], "i": 5, "p": ""}),
        made_up({"m": "jwt", "n": "x", "e": 2e9, "s": ["*:*"], "i": "", "p": ""}),
        made_up({"m": "token", "n": ["root"]}),
        made_up({"m": "none", "n": "anonymous"}),
        "jkt_" + "W1tb" * 1900 + "." + mac,
        "jkt_" + "A" * 9000,
    ):
        assert opened(guarded.gateways[0], WATCH, wrong).status == 401, wrong


def test_nothing_is_kept_of_the_scopes_of_a_made_up_ticket(guarded: Started) -> None:
    before = grants_of.cache_info().misses
    for number in range(3):
        scopes = [f"read:made-up-{number}/a{one}.*" for one in range(50)]
        payload = {"m": "jwt", "n": "x", "e": 9e9, "s": scopes, "i": "", "p": ""}
        text = base64.urlsafe_b64encode(json.dumps(payload).encode()).rstrip(b"=").decode()
        answer = opened(guarded.gateways[0], WATCH, f"jkt_{text}.{'A' * 32}")
        assert answer.status == 401, answer
    assert grants_of.cache_info().misses == before


@pytest.mark.parametrize("name", ["ticket", "token", "access_token", "auth", "authorization"])
def test_a_token_in_a_url_is_refused_on_every_route(guarded: Started, name: str) -> None:
    for path in (WATCH, BUCKETS, f"{BUCKETS}/b/keys", f"{BUCKETS}/b/keys/k", MERGED):
        answer = guarded.gateways[0].get(f"{path}?{name}={guarded.root}")
        assert answer.status in (400, 401), path
        assert guarded.root not in answer.body.decode()
    assert guarded.ask("GET", f"{BUCKETS}?{name}={guarded.root}").status == 400


async def test_a_ticket_ends_with_its_token_and_so_does_its_watch(guarded: Started) -> None:
    token = guarded.create("ends", "read:b")
    ticket = ticket_for(guarded, token, WATCH)
    async with watching(guarded.gateways[0], "b", f"?ticket={ticket}") as watcher:
        guarded.ask("DELETE", f"{TOKENS}/ends")
        assert (await watcher.closed(5))[1] == 4403
    until(lambda: opened(guarded.gateways[1], WATCH, ticket).status == 401, "it is refused", 2)
    guarded.create("ends", "read:b")
    assert opened(guarded.gateways[0], WATCH, ticket).status == 401, "of another token"


def test_a_ticket_expires_with_its_token(guarded: Started) -> None:
    token = guarded.create("brief", "read:b", expires_in_seconds=2)
    ticket = ticket_for(guarded, token, WATCH)
    assert opened(guarded.gateways[0], WATCH, ticket).status == 200
    until(lambda: opened(guarded.gateways[0], WATCH, ticket).status == 401, "it expires", 4)


def test_a_ticket_allows_what_its_token_allows(guarded: Started) -> None:
    token = guarded.create("narrow", "read:b/user.*")
    ticket = ticket_for(guarded, token, WATCH)
    assert opened(guarded.gateways[0], WATCH, ticket).headers["jetkv-filtered"] == "true"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "watch",
        f"{BUCKETS}/b/keys",
        f"{BUCKETS}/b/keys/watch",
        "/nope",
        "//evil.example",
        f"{WATCH}?kee=a",
        f"{WATCH}?ticket=x",
        f"{BUCKETS}/b%20b/watch",
        f"{MERGED}/",
    ],
)
def test_a_ticket_for_another_url_than_a_watch_is_400(guarded: Started, url: str) -> None:
    answer = ask_ticket(guarded, guarded.root, url)
    assert answer.status == 400


@pytest.mark.parametrize("url", [WATCH, MERGED + "?watch=b&watch=other"])
def test_a_caller_who_may_not_watch_gets_no_ticket(guarded: Started, url: str) -> None:
    token = guarded.create(f"writer-{len(url)}", "write:b")
    assert ask_ticket(guarded, token, url).status == 403


def test_a_ticket_holds_no_token(guarded: Started) -> None:
    token = guarded.create("secret", "read:b")
    ticket = ticket_for(guarded, token, WATCH)
    assert token[4:] not in ticket
    assert ticket_for(guarded, token, WATCH) == ticket, "there is nothing random in it to store"


def test_with_auth_off_a_page_works_the_same(http: Http, bucket: Bucket) -> None:
    url = f"{bucket.path}/watch"
    ticket = http.post(TICKETS, {"url": url}).json["ticket"]
    assert opened(http, url, ticket).status == 200


def test_tickets_survive_a_restart_of_all_gateways(tmp_path: Path) -> None:
    token, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("app", token))
    settings = {"auth": "tokens", "auth_tokens": file, "buckets": "b"}
    with LocalNats(tmp_path / "nats") as nats:
        # With a file of tokens, a gateway is ready before it has read the key of the tickets.
        with running_gateway(nats.url, **settings) as http:
            guarded = Guarded([http], token)
            until(lambda: ask_ticket(guarded, token, WATCH).status == 201, "there is a key")
            ticket = ticket_for(guarded, token, WATCH)
        with running_gateway(nats.url, **settings) as http:
            until(lambda: opened(http, WATCH, ticket).status == 200, "the ticket opens the watch")
