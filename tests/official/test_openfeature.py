"""The published OFREP provider for Python, unchanged, against the gateway (docs/flags.md).

`make test` installs it from requirements/openfeature.txt; nothing else of the project needs it.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from jetkv.testing import LocalNats
from tests.support.flags import FlagGateways, flag_gateways
from tests.support.gateway import running_gateway
from tests.support.guarded import Guarded
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until

pytestmark = pytest.mark.official_client

PAGE = Path(__file__).parents[2] / "docs" / "flags.md"
ADA = EvaluationContext("ada", {"plan": "pro"})


def client_of(http: Http, token: str | None = None) -> OpenFeatureClient:
    headers = {"Authorization": f"Bearer {token}"}
    provider = OFREPProvider(http.url, headers_factory=(lambda: headers) if token else None)
    domain = f"{http.port}-{token}"
    api.set_provider(provider, domain)
    return api.get_client(domain)


@pytest.fixture(scope="module")
def flags(nats: LocalNats) -> Iterator[FlagGateways]:
    with flag_gateways(nats.url) as started:
        started.create_bucket()
        yield started


@pytest.fixture
def client(flags: FlagGateways) -> OpenFeatureClient:
    return client_of(flags.gateways[0])


def test_each_form_of_a_flag_has_its_type(flags: FlagGateways, client: OpenFeatureClient) -> None:
    stored = {
        "on": "true",
        "seed": '{"enabled":true}',
        "text": '"dark"',
        "whole": "10",
        "float": "10.0",
        "object": '{"colors":["red"]}',
        "list": "[1,2]",
        "folder/flag": "true",
    }
    for name, value in stored.items():
        flags.bucket.put(name, value)
    assert client.get_boolean_value("on", False, ADA) is True
    assert client.get_boolean_value("seed", False) is True
    assert client.get_boolean_value("folder/flag", False) is True
    assert client.get_string_value("text", "light", ADA) == "dark"
    assert client.get_integer_value("whole", 1, ADA) == 10
    found = client.get_float_value("float", 1.0, ADA)
    assert (found, type(found)) == (10.0, float)
    assert client.get_object_value("object", {}, ADA) == {"colors": ["red"]}
    assert client.get_object_value("list", [], ADA) == [1, 2]
    details = client.get_boolean_details("seed", False, ADA)
    assert (details.variant, details.reason) == ("on", Reason.STATIC)


def test_a_rollout_is_by_targeting_key(flags: FlagGateways, client: OpenFeatureClient) -> None:
    flags.bucket.put("dark-mode", '{"enabled":true,"rollout":0.5}')
    on = [
        user
        for user in ("ada", "eve", "radia", "joe")
        if client.get_boolean_value("dark-mode", False, EvaluationContext(user))
    ]
    assert on == ["radia"]
    details = client.get_boolean_details("dark-mode", False, EvaluationContext("radia"))
    assert details.reason == Reason.SPLIT


def test_a_disabled_flag_and_one_without_a_value(
    flags: FlagGateways, client: OpenFeatureClient
) -> None:
    flags.bucket.put("off", '{"enabled":false}')
    details = client.get_boolean_details("off", True, ADA)
    assert (details.value, details.reason) == (False, Reason.DISABLED)
    flags.bucket.put("none", "null")
    details = client.get_boolean_details("none", True, ADA)
    assert (details.value, details.reason, details.error_code) == (True, Reason.DEFAULT, None)


def test_each_error_is_the_one_of_its_code(flags: FlagGateways, client: OpenFeatureClient) -> None:
    flags.bucket.put("half", '{"enabled":true,"rollout":0.5}')
    flags.bucket.put("broken", "{")
    flags.bucket.put("text", '"dark"')
    for name, code in (
        ("missing", ErrorCode.FLAG_NOT_FOUND),
        ("half", ErrorCode.TARGETING_KEY_MISSING),
        ("broken", ErrorCode.PARSE_ERROR),
        ("text", ErrorCode.TYPE_MISMATCH),
    ):
        details = client.get_boolean_details(name, True)
        assert (details.value, details.error_code) == (True, code), details
    large = EvaluationContext("ada", {"large": "x" * 70_000})
    assert client.get_boolean_details("half", True, large).error_code == ErrorCode.GENERAL


def test_a_change_reaches_the_provider_within_a_second(
    flags: FlagGateways, client: OpenFeatureClient
) -> None:
    for value in (1, 2, 3):
        flags.bucket.put("moves", str(value))
        until(
            lambda wanted=value: client.get_integer_value("moves", 0) == wanted,
            f"the flag is {value}",
            1,
        )


def test_a_scoped_token_evaluates_its_flags_and_no_others(nats: LocalNats, tmp_path: Path) -> None:
    root, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("root", root))
    with flag_gateways(nats.url, auth="tokens", auth_tokens=file) as flags:
        guarded = Guarded(flags.gateways, root)
        name = flags.bucket.name
        guarded.ask("POST", BUCKETS, {"name": name})
        bucket = Bucket(guarded.client(root), name)
        bucket.put("web.new", "true")
        bucket.put("secret", "true")
        token = guarded.create(f"page-{name}", f"read:{name}/web.*")
        client = client_of(flags.gateways[0], token)
        assert client.get_boolean_value("web.new", False) is True
        details = client.get_boolean_details("secret", False)
        assert (details.value, details.error_code) == (False, ErrorCode.GENERAL)
        assert "forbidden" in (details.error_message or "")
        stranger = client_of(flags.gateways[0]).get_boolean_details("web.new", False)
        assert "unauthorized" in (stranger.error_message or "")


def test_a_caller_over_its_rate_pauses_as_retry_after_says(nats: LocalNats, tmp_path: Path) -> None:
    root, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("root", root))
    with flag_gateways(nats.url, auth="tokens", auth_tokens=file) as flags:
        guarded = Guarded(flags.gateways, root)
        name = flags.bucket.name
        token = guarded.create(f"slow-{name}", f"read:{name}", requests_per_second=1)
        client = client_of(flags.gateways[0], token)
        texts = [str(client.get_boolean_details("on", False).error_message) for _ in range(4)]
        assert any("Rate limited, retry after: 1" in text for text in texts), texts
        assert any("paused due to TooManyRequests" in text for text in texts), texts


def test_the_python_of_the_page_prints_what_the_flag_is(
    nats: LocalNats, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (code,) = (block for block in blocks if "OFREPProvider" in block)
    with running_gateway(nats.url, flags_bucket="flags-of-the-page") as http:
        http.post(BUCKETS, {"name": "flags-of-the-page"})
        Bucket(http, "flags-of-the-page").put("dark-mode", '{"enabled":true,"rollout":0.5}')
        run = compile(code.replace("http://localhost:9123", http.url), str(PAGE), "exec")
        exec(run, {})
    assert capsys.readouterr().out == "True\n"
