"""Tokens of the gateway's own bucket: the routes that create, list and withdraw them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.guarded import TOKENS, Guarded
from tests.support.http import BUCKETS, Http
from tests.support.tokens import new_token, stored_token, token_line
from tests.support.waiting import until


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("tokens")
    root, file = new_token(), folder / "tokens"
    file.write_text(token_line("root", root))
    with ExitStack() as stack:
        nats = stack.enter_context(LocalNats(folder / "nats"))
        gateways = [
            stack.enter_context(running_gateway(nats.url, auth="tokens", auth_tokens=file))
            for _ in range(2)
        ]
        yield Guarded(gateways, root)


def test_a_new_token_does_what_its_scopes_allow_at_once(guarded: Guarded) -> None:
    guarded.ask("POST", BUCKETS, {"name": "b"})
    token = guarded.create("reader", "read:b")
    assert guarded.ask("GET", f"{BUCKETS}/b/keys", token=token).status == 200
    assert guarded.ask("PUT", f"{BUCKETS}/b/keys/k", "v", token=token).status == 403
    until(
        lambda: guarded.ask("GET", f"{BUCKETS}/b/keys", token=token, at=1).status == 200,
        "the other gateway knows it",
        2,
    )


def test_the_answer_to_a_create_is_the_token_and_what_is_stored_of_it(guarded: Guarded) -> None:
    body = {"name": "full", "allow": ["read:b", "write:b/x.*"], "expires_in_seconds": 3600}
    answer = guarded.ask("POST", TOKENS, {**body, "requests_per_second": 7})
    assert answer.status == 201
    made = answer.json
    assert made.pop("token").startswith("jkv_")
    assert made == guarded.listed("full")
    assert made["scopes"] == ["read:b", "write:b/x.*"]
    assert (made["source"], made["expired"], made["requests_per_second"]) == ("bucket", False, 7)
    assert made["expires_at"] > made["created_at"]


def test_a_list_has_the_tokens_of_the_file_too_and_no_secret(guarded: Guarded) -> None:
    token = guarded.create("listed", "read:b")
    answer = guarded.ask("GET", TOKENS)
    assert answer.json["count"] == len(answer.json["tokens"])
    names = [one["name"] for one in answer.json["tokens"]]
    assert names == sorted(names)
    assert guarded.listed("root")["source"] == "file"
    for secret in (token, guarded.root, token[4:20]):
        assert secret not in answer.body.decode()


@pytest.mark.parametrize("name", ["taken", "root"])
def test_a_name_that_is_in_use_is_409(guarded: Guarded, name: str) -> None:
    guarded.ask("POST", TOKENS, {"name": "taken", "allow": ["read:b"]})
    answer = guarded.ask("POST", TOKENS, {"name": name, "allow": ["read:b"]}, at=1)
    assert (answer.status, answer.error) == (409, "token already exists")
    assert answer.json["code"] == "already_exists"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "invalid name: Field required"),
        ({"name": "a"}, "invalid allow: Field required"),
        ({"name": "a", "allow": []}, "invalid allow"),
        ({"name": "a", "allow": "read:b"}, "invalid allow"),
        ({"name": "a", "allow": ["read:b/"]}, "invalid scope 'read:b/'"),
        ({"name": "a", "allow": ["fly:b"]}, "unknown verb 'fly'"),
        ({"name": "a b", "allow": ["read:b"]}, "a token's name is 1 to 64 characters"),
        ({"name": "a" * 65, "allow": ["read:b"]}, "a token's name is 1 to 64 characters"),
        ({"name": "a", "allow": ["read:b"], "requests_per_second": 0}, "requests_per_second"),
        ({"name": "a", "allow": ["read:b"], "requests_per_second": 1.5}, "requests_per_second"),
        ({"name": "a", "allow": ["read:b"], "requests_per_second": True}, "requests_per_second"),
        ({"name": "a", "allow": ["read:b"], "expires_in_seconds": 0}, "expires_in_seconds"),
        ({"name": "a", "allow": ["read:b"], "expires_in_seconds": -1}, "expires_in_seconds"),
        ({"name": "a", "allow": ["read:b"], "expires": 9}, "unknown field 'expires'"),
    ],
)
def test_a_bad_body_is_400_and_the_text_names_the_rule(
    guarded: Guarded, body: dict[str, object], words: str
) -> None:
    answer = guarded.ask("POST", TOKENS, body)
    assert answer.status == 400
    assert words in answer.error


@pytest.mark.parametrize("allow", [["read:*", "write:*"], ["admin:*"], ["*:b"], ["*:*/x"]])
def test_only_a_token_that_may_do_everything_manages_tokens(
    guarded: Guarded, allow: list[str]
) -> None:
    token = guarded.create(f"no-{hash(tuple(allow)) & 0xFFFF}", *allow)
    answers = [
        guarded.ask("GET", TOKENS, token=token),
        guarded.ask("POST", TOKENS, {"name": "x", "allow": ["read:b"]}, token=token),
        guarded.ask("DELETE", f"{TOKENS}/root", token=token),
    ]
    assert {answer.status for answer in answers} == {403}
    assert {answer.error for answer in answers} == {"permission denied: manage tokens"}


def test_a_withdrawn_token_is_refused_in_every_gateway_within_two_seconds(
    guarded: Guarded,
) -> None:
    token = guarded.create("gone", "read:b")
    until(lambda: guarded.ask("GET", BUCKETS, token=token, at=1).status == 200, "it is known", 2)
    assert guarded.ask("DELETE", f"{TOKENS}/gone").status == 204
    answer = guarded.ask("GET", BUCKETS, token=token)
    assert (answer.status, answer.json["hint"]) == (401, "this token is unknown")
    until(lambda: guarded.ask("GET", BUCKETS, token=token, at=1).status == 401, "it is refused", 2)
    assert guarded.ask("DELETE", f"{TOKENS}/gone").status == 404


def test_a_name_can_be_used_again_and_the_old_token_stays_withdrawn(guarded: Guarded) -> None:
    old = guarded.create("again", "read:b")
    guarded.ask("DELETE", f"{TOKENS}/again")
    new = guarded.create("again", "read:b")
    until(lambda: guarded.ask("GET", BUCKETS, token=old).status == 401, "it is refused", 2)
    assert guarded.ask("GET", BUCKETS, token=new).status == 200


def test_an_expired_token_is_refused_and_still_listed(guarded: Guarded) -> None:
    token = guarded.create("short", "read:b", expires_in_seconds=1)
    until(
        lambda: (
            [guarded.ask("GET", BUCKETS, token=token, at=at).status for at in (0, 1)] == [401, 401]
        ),
        "it expires",
        4,
    )
    assert guarded.listed("short")["expired"] is True


def test_a_token_of_the_file_is_withdrawn_there(guarded: Guarded) -> None:
    answer = guarded.ask("DELETE", f"{TOKENS}/root")
    assert (answer.status, answer.error) == (409, "token cannot be withdrawn")
    assert answer.json["hint"] == "it is in the token file: remove its line there"


@pytest.mark.parametrize("name", ["nobody", "a%20b", "%2e%2e", "a%2Fb"])
def test_a_token_that_does_not_exist_is_404(guarded: Guarded, name: str) -> None:
    answer = guarded.ask("DELETE", f"{TOKENS}/{name}")
    assert (answer.status, answer.error) == (404, "token not found")


def test_the_last_use_is_shown_in_every_gateway_and_costs_no_write_per_request(
    guarded: Guarded,
) -> None:
    token = guarded.create("busy", "read:b")
    assert "last_used_at" not in guarded.listed("busy")
    for _ in range(20):
        guarded.ask("GET", BUCKETS, token=token)
    assert guarded.listed("busy")["last_used_at"] >= guarded.listed("busy")["created_at"]
    until(lambda: "last_used_at" in guarded.listed("busy", at=1), "the other one knows it", 15)


def test_tokens_are_403_with_auth_off(http: Http) -> None:
    for answer in (
        http.get(TOKENS),
        http.post(TOKENS, {"name": "x", "allow": ["*:*"]}),
        http.delete(f"{TOKENS}/x"),
    ):
        assert (answer.status, answer.error) == (403, "permission denied: manage tokens")
        assert "jetkv token create" in answer.json["hint"]


@pytest.fixture
def without_file(tmp_path: Path) -> Iterator[Guarded]:
    """Two gateways whose tokens are all in NATS."""
    with ExitStack() as stack:
        nats = stack.enter_context(LocalNats(tmp_path / "nats"))
        root = stored_token(nats.url, "root", "*:*")
        gateways = [stack.enter_context(running_gateway(nats.url, auth="tokens")) for _ in range(2)]
        yield Guarded(gateways, root)


def test_the_last_token_that_may_do_everything_cannot_be_withdrawn(without_file: Guarded) -> None:
    guarded = without_file
    guarded.create("reader", "read:*")
    guarded.create("short", "*:*", expires_in_seconds=1)
    until(lambda: guarded.listed("short")["expired"], "one is left", 4)
    answer = guarded.ask("DELETE", f"{TOKENS}/root")
    assert (answer.status, answer.error) == (409, "token cannot be withdrawn")
    assert answer.json["hint"] == "it is the last one with *:*: create another one first"
    guarded.create("other", "*:*")
    assert guarded.ask("DELETE", f"{TOKENS}/root").status == 204


def test_of_the_last_two_tokens_one_stays_whoever_withdraws_them_at_once(
    without_file: Guarded,
) -> None:
    guarded = without_file
    other = guarded.create("other", "*:*")
    until(lambda: guarded.ask("GET", TOKENS, token=other, at=1).status == 200, "it is known", 2)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(guarded.ask, "DELETE", f"{TOKENS}/other")
        second = pool.submit(guarded.ask, "DELETE", f"{TOKENS}/root", token=other, at=1)
    statuses = sorted([first.result().status, second.result().status])
    assert statuses[0] == 204
    assert statuses[1] in (401, 409)
    left = [guarded.root, other]
    assert any(guarded.ask("GET", TOKENS, token=one).status == 200 for one in left)
