"""How many buckets a token may create, and how many bytes they may have."""

import asyncio
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.auth.token_file import TokenFile, TokenFileError
from jetkv_gateway.kv.quotas import Quota
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Http
from tests.support.native import native_client
from tests.support.tokens import new_token, token_line

TOKENS = "/api/v1/auth/tokens"
MIB = 1024 * 1024
ROOT = new_token()
_numbers = itertools.count()


@pytest.fixture(scope="module")
def root(nats: LocalNats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http]:
    """The owner of a gateway."""
    file = tmp_path_factory.mktemp("quotas") / "tokens"
    file.write_text(token_line("root", ROOT))
    with running_gateway(nats.url, auth="tokens", auth_tokens=file) as http:
        yield Http(http.host, http.port, Authorization=f"Bearer {ROOT}")


@pytest.fixture
def name() -> str:
    return f"q{next(_numbers)}"


def tenant(root: Http, name: str, **quota: int) -> Http:
    """A caller who may do everything with buckets whose names begin so."""
    allow = [f"read,write,delete,admin:{name}-*"]
    answer = root.post(TOKENS, {"name": name, "allow": allow, **quota})
    assert answer.status == 201, answer
    return Http(root.host, root.port, Authorization=f"Bearer {answer.json['token']}")


def create(http: Http, bucket: str, **settings: object) -> Answer:
    return http.post(BUCKETS, {"name": bucket, **settings})


def test_a_token_creates_as_many_buckets_as_its_quota_allows(root: Http, name: str) -> None:
    caller = tenant(root, name, max_buckets=2)
    statuses = [create(caller, f"{name}-{number}").status for number in range(3)]
    assert statuses == [201, 201, 507]
    refused = create(caller, f"{name}-3")
    assert refused.error == "quota exceeded: 2 of 2 buckets"
    assert refused.json["code"] == "failed_precondition"
    assert caller.delete(f"{BUCKETS}/{name}-0").status == 204
    assert create(caller, f"{name}-3").status == 201


def test_a_bucket_that_another_caller_created_does_not_count(root: Http, name: str) -> None:
    caller = tenant(root, name, max_buckets=1)
    assert create(root, f"{name}-0").status == 201
    assert create(caller, f"{name}-1").status == 201


def test_put_creates_under_the_same_quota(root: Http, name: str) -> None:
    caller = tenant(root, name, max_buckets=1)
    statuses = [caller.put(f"{BUCKETS}/{name}-{number}", "{}").status for number in range(2)]
    assert statuses == [201, 507]
    assert caller.put(f"{BUCKETS}/{name}-0", "{}").status == 200


def test_the_bytes_of_all_buckets_together_have_a_limit(root: Http, name: str) -> None:
    caller = tenant(root, name, max_stored_bytes=10 * MIB)
    assert create(caller, f"{name}-0", max_bytes=6 * MIB).status == 201
    refused = create(caller, f"{name}-1", max_bytes=6 * MIB)
    assert refused.status == 507
    assert refused.json["details"] == {"limit_bytes": 10 * MIB, "taken_bytes": 6 * MIB}
    assert create(caller, f"{name}-1", max_bytes=4 * MIB).status == 201


def test_a_bucket_under_a_quota_of_bytes_needs_a_limit(root: Http, name: str) -> None:
    caller = tenant(root, name, max_stored_bytes=10 * MIB)
    refused = create(caller, f"{name}-0")
    assert (refused.status, "max_bytes" in refused.error) == (400, True)


def test_a_change_does_not_get_around_a_quota(root: Http, name: str) -> None:
    caller = tenant(root, name, max_stored_bytes=10 * MIB)
    path = f"{BUCKETS}/{name}-0"
    create(caller, f"{name}-0", max_bytes=6 * MIB)
    for body in (f'{{"max_bytes":{11 * MIB}}}', '{"max_bytes":0}'):
        assert caller.request("PATCH", path, body).status in (400, 507)
        assert caller.request("PUT", path, body).status in (400, 507)
    assert caller.request("PATCH", path, f'{{"max_bytes":{10 * MIB}}}').status == 200
    assert caller.request("PATCH", path, '{"description":"d"}').status == 200
    assert caller.request("PATCH", path, '{"metadata":{"jetkv.owner":"root"}}').status == 400


def test_creates_at_once_do_not_get_around_a_quota(root: Http, name: str) -> None:
    caller = tenant(root, name, max_buckets=3)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: create(caller, f"{name}-{n}").status, range(8)))
    assert sorted(answers) == [201] * 3 + [507] * 5


def test_the_list_of_tokens_shows_quotas(root: Http, name: str) -> None:
    tenant(root, name, max_buckets=3, max_stored_bytes=4)
    (found,) = [one for one in root.get(TOKENS).json["tokens"] if one["name"] == name]
    assert (found["max_buckets"], found["max_stored_bytes"]) == (3, 4)


def test_the_stream_of_a_bucket_has_its_owner_and_that_of_others_has_not(
    root: Http, name: str, nats: LocalNats
) -> None:
    caller = tenant(root, name, max_buckets=1)
    create(caller, f"{name}-own")
    create(root, f"{name}-other")

    async def owners() -> list[str | None]:
        async with native_client(nats.url) as client:
            infos = [
                await client.client.jetstream().stream_info(f"KV_{name}-{one}")
                for one in ("own", "other")
            ]
            return [(info.config.metadata or {}).get("jetkv.owner") for info in infos]

    assert asyncio.run(owners()) == [name, None]
    assert "metadata" not in caller.get(f"{BUCKETS}/{name}-own").json


def test_a_line_of_the_file_may_have_a_rate_and_a_quota(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{token_line('a', ROOT)} rate=5 buckets=2 bytes=4096\n")
    (token,) = TokenFile(file).tokens()
    assert (token.requests_per_second, token.quota) == (5, Quota(2, 4096))


@pytest.mark.parametrize("option", ["rate=", "rate=x", "rate=0", "bytes=-1", "rate=1 rate=2"])
def test_a_line_with_a_strange_limit_is_refused(tmp_path: Path, option: str) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"{token_line('a', ROOT)} {option}\n")
    with pytest.raises(TokenFileError, match="line 1"):
        TokenFile(file)
