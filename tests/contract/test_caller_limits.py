"""What one caller may do in a second, and what refused credentials cost it."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from jetkv.testing import LocalNats
from tests.contract.test_metrics import figure
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until

TOKENS = "/api/v1/auth/tokens"
ROOT, OTHER = new_token(), new_token()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("limits") / "tokens"
    file.write_text(f"{token_line('root', ROOT)}\n{token_line('other', OTHER)}\n")
    return file


@pytest.fixture(scope="module")
def limited(nats: LocalNats, tokens: Path) -> Iterator[Http]:
    """A gateway without a rate of its own; a token may have one."""
    with running_gateway(nats.url, auth="tokens", auth_tokens=tokens, buckets="limited") as client:
        yield client


def caller(http: Http, token: str) -> Bucket:
    return Bucket(Http(http.host, http.port, Authorization=f"Bearer {token}"), "limited")


def make_token(http: Http, rate: int) -> str:
    """Create a token with a name of its own: other tests use the same NATS."""
    body = {"name": f"limited-{uuid4().hex[:12]}", "allow": ["*:*"], "requests_per_second": rate}
    answer = http.post(TOKENS, body, Authorization=f"Bearer {ROOT}")
    assert answer.status == 201, answer
    token: str = answer.json["token"]
    return token


def batch(bucket: Bucket, number: int) -> Answer:
    ops = [{"op": "put", "key": f"b-{n}", "text": "v"} for n in range(number)]
    return bucket.http.post(f"{bucket.path}/batch", {"ops": ops, "atomic": False})


def test_a_token_over_its_rate_is_refused_and_told_when_to_come_back(limited: Http) -> None:
    bucket = caller(limited, make_token(limited, 5))
    answers = [bucket.get("k") for _ in range(20)]
    refused = [answer for answer in answers if answer.status == 429]
    assert 10 <= len(refused) <= 15
    assert refused[0].json["code"] == "resource_exhausted"
    assert refused[0].json["error"] == "too many requests with this token"
    assert refused[0].headers["retry-after"] == "1"


def test_another_token_is_not_refused(limited: Http) -> None:
    slow = caller(limited, make_token(limited, 1))
    assert 429 in [slow.get("k").status for _ in range(5)]
    assert caller(limited, OTHER).get("k").status == 404


def test_a_batch_counts_its_items_and_leaves_a_debt(limited: Http) -> None:
    bucket = caller(limited, make_token(limited, 10))
    assert batch(bucket, 100).status == 200
    refused = batch(bucket, 1)
    assert refused.status == 429
    assert int(refused.headers["retry-after"]) >= 8
    assert bucket.get("k").status == 429


def test_a_batch_that_is_refused_is_not_run(limited: Http) -> None:
    bucket = caller(limited, make_token(limited, 10))
    bucket.get("k")
    assert batch(bucket, 50).status == 429
    assert caller(limited, OTHER).keys("b-4?") == []


def test_probes_have_no_rate(nats: LocalNats) -> None:
    with running_gateway(
        nats.url, limit_loopback=True, max_requests_per_second_per_address=1
    ) as http:
        assert [http.get("/health").status for _ in range(5)] == [200] * 5


def test_an_address_over_its_rate_is_refused_whatever_its_tokens(
    nats: LocalNats, tokens: Path
) -> None:
    with running_gateway(
        nats.url,
        auth="tokens",
        auth_tokens=tokens,
        buckets="limited",
        limit_loopback=True,
        max_requests_per_second_per_address=5,
    ) as http:
        answers = [caller(http, token).get("k") for _ in range(10) for token in (ROOT, OTHER)]
    refused = [answer for answer in answers if answer.status == 429]
    assert refused[0].json["error"] == "too many requests from this address"


def test_a_token_without_a_rate_of_its_own_has_that_of_the_setting(
    nats: LocalNats, tokens: Path
) -> None:
    with running_gateway(
        nats.url,
        auth="tokens",
        auth_tokens=tokens,
        buckets="limited",
        max_requests_per_second_per_token=2,
    ) as http:
        bucket = caller(http, ROOT)
        assert 429 in [bucket.get("k").status for _ in range(8)]
        assert caller(http, OTHER).get("k").status == 404


def test_one_token_has_a_limited_number_of_watches(nats: LocalNats, tokens: Path) -> None:
    with running_gateway(
        nats.url, auth="tokens", auth_tokens=tokens, buckets="limited", max_watches_per_token=1
    ) as http:
        address = f"ws://127.0.0.1:{http.port}{BUCKETS}/limited/watch"

        def watch(token: str):
            return connect(address, additional_headers={"Authorization": f"Bearer {token}"})

        with watch(ROOT), watch(OTHER):
            with pytest.raises(InvalidStatus) as refused:
                watch(ROOT).__enter__()
            assert refused.value.response.status_code == 429


# --- refused credentials


def slowed(http: Http) -> float:
    """How many answers to wrong credentials a gateway has delayed."""
    name = 'jetkv_failed_logins_total{slowed="true"} '
    lines = http.get("/metrics", Authorization=f"Bearer {ROOT}").body.decode().splitlines()
    return next(float(line.removeprefix(name)) for line in lines if line.startswith(name))


@pytest.fixture
def guarded(nats: LocalNats, tokens: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Http]:
    """A gateway that delays from the second refused credential on."""
    monkeypatch.setattr("jetkv_gateway.http.failed_logins._FREE", 1)
    monkeypatch.setattr("jetkv_gateway.http.failed_logins._LONGEST_DELAY", 1.0)
    with running_gateway(
        nats.url, auth="tokens", auth_tokens=tokens, buckets="limited", limit_loopback=True
    ) as http:
        yield http


def guess(http: Http) -> Answer:
    return http.get(BUCKETS, Authorization=f"Bearer {new_token()}")


def test_wrong_credentials_are_answered_later_and_counted(guarded: Http) -> None:
    before = slowed(guarded)
    answers = [guess(guarded) for _ in range(2)]
    assert [answer.status for answer in answers] == [401, 401]
    assert slowed(guarded) == before + 1


def test_a_wrong_credential_is_refused_however_late_its_body_comes(
    guarded: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetkv_gateway.http.gateway._LOOK_AGAIN_SECONDS", 0.0)
    assert [guess(guarded).status for _ in range(2)] == [401, 401]


def test_a_right_credential_from_the_same_address_is_not_delayed(guarded: Http) -> None:
    for _ in range(2):
        guess(guarded)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(guess, guarded) for _ in range(4)]
        assert caller(guarded, ROOT).get("k").status == 404
        assert not any(one.done() for one in waiting)


def test_a_caller_that_sends_no_credential_is_not_delayed(guarded: Http) -> None:
    for _ in range(3):
        guess(guarded)
    assert guarded.get(BUCKETS).status == 401
    root = Http(guarded.host, guarded.port, Authorization=f"Bearer {ROOT}")
    before = figure(root, "jetkv_http_requests_in_flight")
    until(lambda: figure(root, "jetkv_http_requests_in_flight") <= before, "nothing hangs")


def test_more_wrong_credentials_at_a_time_than_are_delayed_are_refused(
    guarded: Http, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetkv_gateway.http.failed_logins._MOST_DELAYED_PER_ADDRESS", 1)
    guess(guarded)
    with ThreadPoolExecutor(8) as pool:
        statuses = [one.status for one in pool.map(lambda _: guess(guarded), range(8))]
    assert 429 in statuses
    assert 401 in statuses


def test_logins_that_nats_refuses_are_answered_later_too(
    tmp_path: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetkv_gateway.http.failed_logins._FREE", 1)
    config = "authorization { users: [{ user: gateway, password: p }] }"
    settings = {
        "auth": "tokens,nats",
        "auth_tokens": tokens,
        "nats_user": "gateway",
        "nats_password": "p",
    }
    with (
        LocalNats(tmp_path, config=config) as server,
        running_gateway(server.url, limit_loopback=True, **settings) as http,
    ):
        before = slowed(http)
        wrong = base64.b64encode(b"gateway:wrong").decode()
        answers = [http.get(BUCKETS, Authorization=f"Basic {wrong}") for _ in range(2)]
        assert [answer.status for answer in answers] == [401, 401]
        assert slowed(http) == before + 1
