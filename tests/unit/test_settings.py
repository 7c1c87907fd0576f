"""Settings: a flag, then `JETKV_*`, then a TOML file, then the default."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jetkv_gateway.kv.bucket_values import Compression, Placement, Republish, Storage
from jetkv_gateway.kv.buckets import BucketSpec
from jetkv_gateway.settings import AuthMode, BucketSetting, SettingsError, load

Toml = Callable[[str], Path]
KUBERNETES_LINK = "tcp://10.96.0.12:9123"


@pytest.fixture
def toml(tmp_path: Path) -> Toml:
    def write(text: str) -> Path:
        path = tmp_path / "jetkv.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def refusal(flags: dict[str, Any], config: Path | None = None) -> str:
    with pytest.raises(SettingsError) as refused:
        load(flags, config)
    return str(refused.value)


# --- who wins


def test_without_any_setting_the_defaults_stand() -> None:
    settings = load({}, None)
    assert (settings.host, settings.port, settings.workers) == ("127.0.0.1", 9123, 1)
    assert settings.nats_url == "nats://127.0.0.1:4222"
    assert settings.auth is None
    assert settings.cors_origins == []
    assert settings.buckets == []


def test_a_file_wins_over_a_default(toml: Toml) -> None:
    assert load({}, toml("port = 8001")).port == 8001


def test_the_environment_wins_over_a_file(toml: Toml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETKV_PORT", "8002")
    assert load({}, toml("port = 8001")).port == 8002


def test_a_flag_wins_over_all(toml: Toml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETKV_PORT", "8002")
    assert load({"port": 8003}, toml("port = 8001")).port == 8003


def test_a_flag_that_was_not_given_wins_over_nothing(toml: Toml) -> None:
    assert load({"port": None}, toml("port = 8001")).port == 8001


def test_each_setting_has_a_winner_of_its_own(toml: Toml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETKV_NATS_URL", "nats://env:4222")
    settings = load({"port": 1}, toml('nats_url = "nats://file:4222"\nhost = "0.0.0.0"'))
    assert (settings.port, settings.nats_url, settings.host) == (1, "nats://env:4222", "0.0.0.0")


def test_the_file_of_one_start_is_not_read_by_the_next(toml: Toml) -> None:
    load({}, toml("port = 8001"))
    assert load({}, None).port == 9123


# --- beside a Kubernetes Service of the same name


def test_the_address_that_kubernetes_puts_into_jetkv_port_is_ignored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JETKV_PORT", KUBERNETES_LINK)
    monkeypatch.setenv("JETKV_PORT_9123_TCP", KUBERNETES_LINK)
    monkeypatch.setenv("JETKV_SERVICE_HOST", "10.96.0.12")
    assert load({}, None).port == 9123


def test_the_port_of_a_file_stands_beside_that_address(
    toml: Toml, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JETKV_PORT", KUBERNETES_LINK)
    assert load({}, toml("port = 8001")).port == 8001


# --- what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "prot: no such setting"),
        ('[nats]\nurl = "x"', "nats: no such setting"),
        ("jetkv_port = 1", "jetkv_port: no such setting"),
        (
            '[[buckets]]\nname = "a"\nttl = 60',
            "buckets.0.ttl: no such setting",
        ),
    ],
)
def test_a_misspelt_line_of_a_file_is_refused_by_its_name(
    toml: Toml, text: str, message: str
) -> None:
    assert refusal({}, toml(text)) == message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"port": 65536}, "port: Input should be less than or equal to 65535"),
        ({"port": -1}, "port: Input should be greater than or equal to 0"),
        ({"port": KUBERNETES_LINK}, "port: Input should be a valid integer, "),
        ({"workers": 0}, "workers: Input should be greater than or equal to 1"),
        ({"request_timeout": 0}, "request_timeout: Input should be greater than 0"),
        ({"request_timeout": 61}, "request_timeout: Input should be less than or equal to 60"),
        ({"auth": "of"}, "auth.0: Input should be 'off', 'tokens', 'jwt' or 'nats'"),
        ({"log_level": "verbose"}, "log_level: String should match pattern "),
        ({"bucket_prefix": "APP."}, "bucket_prefix: String should match pattern "),
        ({"bucket_prefix": "APP_\n"}, "bucket_prefix: String should match pattern "),
        ({"bucket_prefix": "p" * 41}, "bucket_prefix: String should match pattern "),
        ({"nats_domain": "a.b"}, "nats_domain: String should match pattern "),
        ({"colour": "red"}, "colour: no such setting"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_by_its_name(
    flags: dict[str, Any], message: str
) -> None:
    assert refusal(flags).startswith(message)


def test_every_bad_setting_is_named_in_one_line(toml: Toml) -> None:
    text = refusal({}, toml("port = 70000\nworkers = 0"))
    assert text == (
        "port: Input should be less than or equal to 65535; "
        "workers: Input should be greater than or equal to 1"
    )


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal({}, tmp_path / "none.toml") == f"no such file: {tmp_path / 'none.toml'}"


def test_a_file_that_is_no_toml_is_refused_with_the_place(toml: Toml) -> None:
    assert "at line 2, column 8" in refusal({}, toml("workers = 1\nport = yes"))


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "WARNING"])
def test_a_log_level_is_one_of_four_in_any_case(level: str) -> None:
    assert load({"log_level": level}, None).log_level == level


# --- lists


@pytest.mark.parametrize(
    "text", ["https://a.example https://b.example", "https://a.example,https://b.example"]
)
def test_origins_come_in_one_variable(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETKV_CORS_ORIGINS", text)
    assert load({}, None).cors_origins == ["https://a.example", "https://b.example"]


def test_origins_come_as_a_list_in_a_file(toml: Toml) -> None:
    settings = load({}, toml('cors_origins = ["https://a.example", "loopback"]'))
    assert settings.cors_origins == ["https://a.example", "loopback"]


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("cache", BucketSpec("cache")),
        ("cache,ttl_seconds=300,history=5", BucketSpec("cache", ttl_seconds=300, history=5)),
        ("cache, history = 2", BucketSpec("cache", history=2)),
        (
            "cache,storage=memory,replicas=3",
            BucketSpec("cache", storage=Storage.MEMORY, replicas=3),
        ),
        (
            "cache,max_value_size=10,max_bytes=20",
            BucketSpec("cache", max_value_size=10, max_bytes=20),
        ),
        ("cache,description=a=b", BucketSpec("cache", description="a=b")),
        (
            "cache,compression=s2,key_ttl=false,expiry_markers=false,batches=false,protected=true",
            BucketSpec(
                "cache",
                compression=Compression.S2,
                key_ttl=False,
                expiry_markers=False,
                batches=False,
                protected=True,
            ),
        ),
        (
            "cache,metadata.team=web,metadata.a=b,placement.cluster=east,placement.tags=ssd",
            BucketSpec(
                "cache",
                metadata={"team": "web", "a": "b"},
                placement=Placement("east", ("ssd",)),
            ),
        ),
        (
            "cache,republish.destination=copies.>,republish.headers_only=true",
            BucketSpec("cache", republish=Republish("copies.>", headers_only=True)),
        ),
    ],
)
def test_a_bucket_is_a_name_and_settings(text: str, spec: BucketSpec) -> None:
    assert BucketSetting.parse(text).spec() == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cache,ttl_seconds", "bucket 'cache': 'ttl_seconds' is not setting=value"),
        ("cache,", "bucket 'cache': '' is not setting=value"),
        ("cache,ttl=300", "ttl: no such setting"),
        ("cache,history=many", "history: Input should be a valid integer"),
        ("cache,compression=zip", "compression: Input should be 'none' or 's2'"),
        ("cache,metadata=web", "metadata: Input should be a valid dictionary"),
        ("cache,metadata.a=1,metadata.a=2", "bucket 'cache': 'metadata.a' is given twice"),
        ("cache,history=1,history.x=2", "bucket 'cache': 'history.x' is given twice"),
        ("cache,placement.region=eu", "placement.region"),
        ("cache,storage=disk", "storage: Input should be 'file' or 'memory'"),
    ],
)
def test_a_bucket_that_cannot_be_read_is_refused_with_the_reason(text: str, message: str) -> None:
    assert message in refusal({"buckets": [text]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cache,metadata.jetkv.x=y", "'jetkv.x' belongs to the system"),
        ("cache,key_ttl=false", "invalid key_ttl: expiry_markers need it"),
        ("cache,placement.tags=", "invalid placement: a tag is empty"),
        ("cache,republish.source=a.>", "invalid republish: it has no destination"),
    ],
)
def test_settings_that_no_bucket_can_have_are_refused_with_the_reason(
    text: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        load({"buckets": [text]}, None).wanted_buckets()


@pytest.mark.parametrize(
    "text",
    [
        "a,history=2 b",
        " a,history=2\n b ",
        '["a,history=2", "b"]',
        '[{"name":"a","history":2}, "b"]',
    ],
)
def test_buckets_come_in_one_variable(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETKV_BUCKETS", text)
    assert load({}, None).bucket_specs() == [BucketSpec("a", history=2), BucketSpec("b")]


def test_buckets_come_as_tables_and_as_strings_in_a_file(toml: Toml) -> None:
    tables = '[[buckets]]\nname = "a"\nttl_seconds = 60\n[[buckets]]\nname = "b"'
    assert load({}, toml(tables)).bucket_specs() == [
        BucketSpec("a", ttl_seconds=60),
        BucketSpec("b"),
    ]
    assert load({}, toml('buckets = ["a,ttl_seconds=60"]')).bucket_specs() == [
        BucketSpec("a", ttl_seconds=60)
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.b", "buckets: invalid bucket name"),
        ("a,history=65", "buckets: invalid history: must be from 1 to 64"),
        ("a,history=0", "buckets: invalid history: must be from 1 to 64"),
        ("a,replicas=6", "buckets: invalid replicas: must be from 1 to 5"),
    ],
)
def test_a_bucket_that_cannot_exist_is_refused_by_its_rule(text: str, message: str) -> None:
    settings = load({"buckets": [text]}, None)
    with pytest.raises(SettingsError) as refused:
        settings.bucket_specs()
    assert str(refused.value) == message


# --- who may come in


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "choose who may call: --auth off"),
        ({"auth_tokens": "tokens"}, "choose who may call: --auth off"),
        ({"auth": "tokens", "token_bucket": False}, "--auth tokens needs --auth-tokens FILE"),
    ],
)
def test_somebody_has_to_say_who_may_come_in(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load(flags, None).check_auth()
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    "flags", [{"auth": "off"}, {"auth": "tokens"}, {"auth": "tokens", "auth_tokens": "file"}]
)
def test_both_answers_will_do(flags: dict[str, Any]) -> None:
    settings = load(flags, None)
    settings.check_auth()
    assert settings.auth == (AuthMode(flags["auth"]),)


# --- NATS


def test_several_addresses_of_nats_are_tried_in_order() -> None:
    settings = load({"nats_url": "nats://a:4222, nats://b:4222 tls://c:4222"}, None)
    servers = ("nats://a:4222", "nats://b:4222", "tls://c:4222")
    assert settings.nats_options().servers == servers


def test_a_password_reaches_nats_and_no_print_of_the_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("JETKV_NATS_PASSWORD", "hunter2")
    monkeypatch.setenv("JETKV_NATS_TOKEN", "hunter3")
    settings = load({}, None)
    assert settings.nats_options().password == "hunter2"
    assert settings.nats_options().token == "hunter3"
    assert "hunter" not in f"{settings!r} {settings} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"nats_user": "u", "nats_token": "t"}, "give only one of nats_user and nats_token"),
        ({"nats_user": "u", "nats_creds": "c"}, "give only one of nats_user and nats_creds"),
        ({"nats_creds": "c", "nats_nkey": "k"}, "give only one of nats_creds and nats_nkey"),
        ({"nats_password": "p"}, "nats_password needs nats_user"),
        (
            {"nats_password": "p", "nats_url": "nats://u@a:1,nats://b:1"},
            "nats_password needs nats_user",
        ),
    ],
)
def test_a_login_of_which_a_part_would_be_left_out_is_refused(
    flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(flags, None).check_login()
    assert str(refused.value) == message


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"nats_user": "u", "nats_password": "p"},
        {"nats_user": "u"},
        {"nats_password": "p", "nats_url": "nats://u@a:1"},
        {"nats_creds": "c", "nats_token": "t"},  # for a callout that checks it
    ],
)
def test_a_login_that_is_whole_is_taken(flags: dict[str, Any]) -> None:
    load(flags, None).check_login()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"nats_tls_hostname": "x", "nats_url": "ws://a:1"}, "ws:// cannot have the TLS"),
        ({"nats_tls_first": True, "nats_url": "ws://a:1"}, "ws:// cannot have the TLS"),
        ({"nats_url": "wss://a:1,ws://b:1"}, "ws:// cannot have the TLS"),
    ],
)
def test_tls_settings_that_could_not_be_followed_are_refused(
    flags: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(flags, None).nats_options()
    assert str(refused.value).startswith(message)


def test_a_key_without_its_certificate_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_text("a key")
    with pytest.raises(SettingsError, match=r"^nats_tls_key needs nats_tls_cert$"):
        load({"nats_tls_key": key}, None).nats_options()


@pytest.mark.parametrize(
    ("flags", "required"),
    [
        ({}, False),
        ({"nats_tls_hostname": "x"}, True),
        ({"nats_tls_first": True}, True),
        ({"nats_user": "u", "nats_domain": "d", "nats_inbox_prefix": "_G"}, False),
    ],
)
def test_a_tls_setting_demands_tls(flags: dict[str, Any], required: bool) -> None:
    assert load(flags, None).nats_options().tls_required is required


@pytest.mark.parametrize("prefix", ["", ".", "_G.", "a b", "a.>", "a.*", "$KV.b", "x" * 200])
def test_a_prefix_that_is_no_beginning_of_a_subject_is_refused(prefix: str) -> None:
    assert refusal({"nats_inbox_prefix": prefix}).startswith("nats_inbox_prefix: ")


@pytest.mark.parametrize("url", ["", " , ", "nats://u:hunter2@h:x", "nats://u:hunter2#@h"])
def test_an_invalid_address_of_nats_is_refused_without_its_login(url: str) -> None:
    text = refusal({"nats_url": url})
    assert text.startswith("nats_url: ")
    assert "hunter2" not in text


@pytest.mark.parametrize("name", ["nats_creds", "nats_nkey"])
def test_a_credentials_file_that_is_not_there_is_refused(name: str, tmp_path: Path) -> None:
    settings = load({name: tmp_path / "none"}, None)
    with pytest.raises(SettingsError) as refused:
        settings.nats_options()
    assert str(refused.value) == f"no such file: {tmp_path / 'none'}"


@pytest.mark.parametrize("text", [None, "this is no certificate"])
def test_a_ca_file_that_cannot_be_used_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError, match=r"^cannot use the TLS files for NATS: "):
        load({"nats_tls_ca": path}, None).nats_options()


@pytest.mark.parametrize("origin", ["https://app.example/", "https://App.Example", "app.example"])
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(SettingsError, match=r"must be like https://app\.example"):
        load({"cors_origins": [origin]}, None)


@pytest.mark.parametrize("host", ["https://kv.example", "kv.example:9123", "kv.*", "a/b"])
def test_a_host_that_no_request_names_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match=r"^allowed_hosts: .* must be like kv\.example\.org"):
        load({"allowed_hosts": [host]}, None)


def test_hosts_come_in_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load({}, None).allowed_hosts == []
    monkeypatch.setenv("JETKV_ALLOWED_HOSTS", "KV.example.org, *.apps.example.org. [::1]")
    assert load({}, None).allowed_hosts == ["kv.example.org", "*.apps.example.org", "::1"]


def test_trusted_proxies_come_in_one_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load({}, None).trusted_proxies == []
    monkeypatch.setenv("JETKV_TRUSTED_PROXIES", "10.0.0.0/8, fd00::1 192.0.2.1")
    assert load({}, None).trusted_proxies == ["10.0.0.0/8", "fd00::1", "192.0.2.1"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies: .* write 10.0.0.0/8"),
        ({"trusted_proxies": ["proxy.example"]}, "trusted_proxies: .* must be an IP address"),
        ({"proxy_protocol": True}, ".*proxy_protocol needs trusted_proxies"),
        ({"max_share": 0}, "max_share: .* greater than 0"),
        ({"max_share": 1.5}, "max_share: .* less than or equal to 1"),
        ({"max_connections": 0}, "max_connections: .* greater than or equal to 1"),
    ],
)
def test_a_limit_of_callers_that_cannot_be_is_refused(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{message}"):
        load(flags, None)


def test_origins_of_the_environment_may_be_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETKV_CORS_ORIGINS", '["https://a.example", "*"]')
    assert load({}, None).cors_origins == ["https://a.example", "*"]


def test_an_empty_variable_counts_as_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETKV_PORT", "")
    assert load({}, None).port == 9123


@pytest.mark.parametrize("text", ["cache,name=other", "cache,history=1,history=2"])
def test_a_setting_of_a_bucket_is_given_once(text: str) -> None:
    with pytest.raises(SettingsError, match="is given twice"):
        load({"buckets": [text]}, None)


def test_a_broken_toml_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("port = = 1")
    with pytest.raises(SettingsError, match=r"broken\.toml: "):
        load({}, tmp_path / "broken.toml")
