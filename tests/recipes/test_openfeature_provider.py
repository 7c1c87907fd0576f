"""The OpenFeature provider in memory, by OpenFeature's own client (docs/flags.md#in-memory)."""

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.event import EventDetails, ProviderEvent
from openfeature.exception import ErrorCode, ProviderNotReadyError
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason
from openfeature.provider import ProviderStatus

from jetkv import AsyncClient, Client, InvalidArgumentError, Retry
from jetkv.flags import ABSENT
from jetkv.integrations.openfeature import JetKVProvider
from tests.recipes.test_flags import put
from tests.support.flag_cases import FlagCase, flag_cases, same_json
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS
from tests.support.ports import free_port
from tests.support.waiting import until

PAGE = Path(__file__).parents[2] / "docs" / "flags.md"
ADA = EvaluationContext("ada", {"plan": "pro"})

Provide = Callable[[JetKVProvider], OpenFeatureClient]


@pytest.fixture
def domain() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def provide(domain: str) -> Iterator[Provide]:
    """Sets providers, and shuts them down after the test."""
    providers = []

    def provide(provider: JetKVProvider) -> OpenFeatureClient:
        providers.append(provider)
        api.set_provider_and_wait(provider, domain)
        return api.get_client(domain)

    yield provide
    for provider in providers:
        provider.shutdown()


@pytest.fixture
def flags(provide: Provide, sync_kv, bucket) -> OpenFeatureClient:
    return provide(JetKVProvider(sync_kv.bucket(bucket.name)))


def until_seen(flags: OpenFeatureClient, name: str, value: int) -> None:
    until(lambda: flags.get_integer_value(name, -1) == value, f"{name} is {value}")


def details_of(
    flags: OpenFeatureClient, case: FlagCase
) -> tuple[FlagEvaluationDetails[Any], object]:
    """The details of a case, by the method for its type, and the default of the call."""
    attributes = dict(case.context or {})
    context = EvaluationContext(attributes.pop("targetingKey", None), attributes)
    methods: dict[type, tuple[Callable[..., Any], object]] = {
        str: (flags.get_string_details, "default"),
        int: (flags.get_integer_details, -1),
        float: (flags.get_float_details, -1.0),
        dict: (flags.get_object_details, {}),
        list: (flags.get_object_details, []),
    }
    method, default = methods.get(type(case.value), (flags.get_boolean_details, True))
    return method(case.flag, default, context), default


def test_every_case_of_the_table(flags: OpenFeatureClient, bucket) -> None:
    for number, case in enumerate(flag_cases()):
        if (case.context or {}).get("targetingKey") == "":
            continue  # the client of OpenFeature leaves out an empty key
        # Without a value first, so that no earlier one stays in place of an unreadable one.
        bucket.delete(case.flag)
        assert bucket.put(case.flag, case.raw).status == 200
        put(bucket, "number", number)
        until_seen(flags, "number", number)
        details, default = details_of(flags, case)
        if case.error is not None:
            assert details.error_code == ErrorCode(case.error.value), case.name
            assert (details.value, details.reason) == (default, Reason.ERROR), case.name
            assert details.error_message, case.name
            continue
        assert details.error_code is None, case.name
        assert same_json(details.value, default if case.value is ABSENT else case.value), case.name
        assert (details.variant or "", details.reason) == (case.variant, case.reason), case.name


async def test_the_async_methods_give_the_same(flags: OpenFeatureClient, bucket) -> None:
    put(bucket, "on", True)
    put(bucket, "number", 1)
    until_seen(flags, "number", 1)
    assert await flags.get_boolean_value_async("on", False, ADA) is True
    assert await flags.get_string_value_async("on", "off", ADA) == "off"


def test_a_whole_number_is_a_float_where_one_is_asked_for(flags: OpenFeatureClient, bucket) -> None:
    put(bucket, "ten", 10)
    until_seen(flags, "ten", 10)
    assert same_json(flags.get_float_value("ten", 0.5), 10.0)


def test_a_value_of_another_type_is_a_mismatch(flags: OpenFeatureClient, bucket) -> None:
    for name, value in (("text", "dark"), ("on", True), ("half", 0.5), ("number", 1)):
        put(bucket, name, value)
    until_seen(flags, "number", 1)
    for details in (
        flags.get_boolean_details("text", True),
        flags.get_boolean_details("number", True),
        flags.get_integer_details("on", 7),
        flags.get_integer_details("half", 7),
        flags.get_float_details("on", 0.7),
        flags.get_string_details("number", "light"),
        flags.get_object_details("text", {}),
    ):
        assert details.error_code == ErrorCode.TYPE_MISMATCH, details


def test_metadata_of_a_definition_is_there(flags: OpenFeatureClient, bucket) -> None:
    definition = {"state": "ENABLED", "variants": {"on": True}, "defaultVariant": "on"}
    put(bucket, "new", {**definition, "metadata": {"team": "web"}})
    put(bucket, "number", 1)
    until_seen(flags, "number", 1)
    assert flags.get_boolean_details("new", False).flag_metadata == {"team": "web"}


def test_a_change_is_an_event_with_the_name_of_the_flag(flags: OpenFeatureClient, bucket) -> None:
    changed: list[str] = []

    def note(details: EventDetails) -> None:
        changed.extend(details.flags_changed or [])

    flags.add_handler(ProviderEvent.PROVIDER_CONFIGURATION_CHANGED, note)
    put(bucket, "one", True)
    until(lambda: changed == ["one"], "the change is told")
    put(bucket, "one", True)  # the same value again
    put(bucket, "two", True)
    until(lambda: changed == ["one", "two"], "the next change is told")


def test_a_filter_leaves_other_flags_out(provide: Provide, sync_kv, bucket) -> None:
    put(bucket, "web.one", True)
    put(bucket, "app.one", True)
    flags = provide(JetKVProvider(sync_kv.bucket(bucket.name), filter="web.*"))
    assert flags.get_boolean_value("web.one", False)
    assert flags.get_boolean_details("app.one", False).error_code == ErrorCode.FLAG_NOT_FOUND


def test_a_provider_without_a_gateway_is_in_error_and_ready_later(
    provide: Provide, nats, bucket, domain
) -> None:
    put(bucket, "one", 1)
    port = free_port()
    with Client(f"http://127.0.0.1:{port}", retry=Retry(attempts=1)) as client:
        flags = api.get_client(domain)
        with pytest.raises(ProviderNotReadyError, match="cannot be loaded"):
            provide(JetKVProvider(client.kv().bucket(bucket.name)))
        assert flags.get_provider_status() is ProviderStatus.ERROR
        details = flags.get_integer_details("one", 7)
        assert (details.value, details.error_code) == (7, ErrorCode.PROVIDER_NOT_READY)
        with running_gateway(nats.url, port=port):
            until(lambda: flags.get_provider_status() is ProviderStatus.READY, "it is ready", 20)
            assert flags.get_integer_value("one", 7) == 1


def test_a_provider_is_stale_while_the_gateway_is_away(provide: Provide, relay, bucket) -> None:
    put(bucket, "one", 1)
    with Client(relay.url, retry=Retry(attempts=2, longest_delay=0.05)) as client:
        flags = provide(JetKVProvider(client.kv().bucket(bucket.name)))
        relay.cut()
        until(lambda: flags.get_provider_status() is ProviderStatus.STALE, "it is stale", 20)
        assert flags.get_integer_value("one", 7) == 1
        put(bucket, "one", 2)
        relay.mend()
        until(lambda: flags.get_provider_status() is ProviderStatus.READY, "it is ready", 20)
        until_seen(flags, "one", 2)


def test_a_provider_that_was_shut_down_can_be_set_again(provide: Provide, sync_kv, bucket) -> None:
    put(bucket, "one", 1)
    provider = JetKVProvider(sync_kv.bucket(bucket.name))
    for _ in range(2):
        flags = provide(provider)
        assert flags.get_integer_value("one", 7) == 1
        provider.shutdown()


def test_what_is_no_bucket_of_a_client_is_refused() -> None:
    for wrong in ("feature-flags", AsyncClient().kv().bucket("feature-flags")):
        with pytest.raises(InvalidArgumentError):
            JetKVProvider(wrong)  # type: ignore[arg-type]  # on purpose


def test_the_example_of_the_page_runs(http, capsys) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (example,) = (block for block in blocks if "JetKVProvider" in block)
    http.post(BUCKETS, {"name": "feature-flags"})
    http.put(f"{BUCKETS}/feature-flags/keys/dark-mode", '{"enabled":true,"rollout":0.5}')
    names: dict[str, Any] = {}
    try:
        exec(compile(example.replace("http://localhost:9123", http.url), str(PAGE), "exec"), names)
    finally:
        api.clear_providers()
        names["client"].close()
        http.delete(f"{BUCKETS}/feature-flags")
    assert capsys.readouterr().out == "True\n"
