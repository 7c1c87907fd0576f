"""Reads settings: from flags, then `JETKV_*`, then a TOML file, then defaults."""

import json
import re
import tomllib
from collections.abc import Mapping
from contextvars import ContextVar
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from jetkv_gateway.environment import is_service_link
from jetkv_gateway.http.hosts import allowed_host
from jetkv_gateway.jetstream.connection import NatsOptions
from jetkv_gateway.jetstream.credentials import (
    SecretError,
    TlsFiles,
    read_credentials,
    read_nkey,
)
from jetkv_gateway.jetstream.credits import IN_FLIGHT_BYTES
from jetkv_gateway.jetstream.servers import Server, parse_server
from jetkv_gateway.kv.buckets import FIELDS, BucketSpec
from jetkv_gateway.kv.configured import ConfiguredBucket
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.serving.addresses import TrustedProxies
from jetkv_gateway.serving.admission import AdmissionLimits
from jetkv_gateway.serving.callers import CallerOptions
from jetkv_gateway.serving.options import CannotStart
from jetkv_gateway.telemetry.logs import LogFormat
from jetkv_gateway.telemetry.request_log import RequestLogMode
from jetkv_gateway.watch.hub import WatchLimits
from jetkv_gateway.watch.session import Limits

__all__ = ["AuthMode", "BucketSetting", "Settings", "SettingsError", "load"]

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/A-Z\s]+")

_MIB = 1024 * 1024

_INBOX_PREFIX = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"

_TLS_FILES = "cannot use the TLS files for NATS: "

_config_file: ContextVar[Path | None] = ContextVar("config_file", default=None)


class SettingsError(CannotStart):
    """Raised for unusable settings. The text is one line for the operator."""


class AuthMode(StrEnum):
    OFF = "off"
    TOKENS = "tokens"


_FIELDS: dict[str, Any] = {
    name: (one.type if one.default is not None else one.type | None, one.default)
    for name, one in FIELDS.items()
}
_BucketFields: Any = create_model("_BucketFields", **{"name": (str, ...), **_FIELDS})


class BucketSetting(_BucketFields):
    """A bucket that must exist, as `name[,setting=value…]` or a TOML table."""

    model_config = ConfigDict(extra="forbid")

    def spec(self) -> BucketSpec:
        """Return the bucket as a `BucketSpec`. Raises as `BucketSpec` does."""
        return BucketSpec(**{name: getattr(self, name) for name in type(self).model_fields})

    @classmethod
    def parse(cls, text: str) -> "BucketSetting":
        """Read `cache,ttl_seconds=300,history=5`; a dot leads into a setting that has parts.

        Raises:
            ValueError: a part is not `setting=value`, or the setting is unknown.
        """
        name, *parts = text.split(",")
        fields: dict[str, Any] = {"name": name}
        for part in parts:
            field, equals, value = part.partition("=")
            if not equals:
                raise ValueError(f"bucket {name!r}: {part!r} is not setting=value")
            whole, dot, inner = field.strip().partition(".")
            into = fields.setdefault(whole, {}) if dot else fields
            if not isinstance(into, dict) or (inner or whole) in into:
                raise ValueError(f"bucket {name!r}: {field.strip()!r} is given twice")
            into[inner or whole] = [value.strip()] if inner == "tags" else value.strip()
        return cls.model_validate(fields)


class _Environment(EnvSettingsSource):
    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        # If there is a Service named jetkv, Kubernetes sets JETKV_PORT=tcp://10.0.0.1:9123.
        if is_service_link("JETKV_PORT", str(values.get("port", ""))):
            del values["port"]
        return values


class Settings(BaseSettings):
    """All settings of the gateway. Times are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="JETKV_", env_ignore_empty=True, extra="forbid", validate_default=True
    )

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 9123
    workers: Annotated[int, Field(ge=1, le=256)] = 1
    log_level: Annotated[str, Field(pattern="(?i)^(debug|info|warning|error)$")] = "info"
    log_format: LogFormat = LogFormat.CONSOLE
    request_log: RequestLogMode = RequestLogMode.ERRORS

    auth: AuthMode | None = None
    auth_tokens: Path | None = None
    allowed_hosts: Annotated[list[str], NoDecode] = []
    cors_origins: Annotated[list[str], NoDecode] = []
    loopback_host: bool = False

    bucket_prefix: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{0,40}$")] = ""
    buckets: Annotated[list[BucketSetting], NoDecode] = []
    ready_buckets: Annotated[list[str], NoDecode] = []
    request_timeout: Annotated[float, Field(gt=0, le=60)] = 5.0
    shutdown_delay: Annotated[float, Field(ge=0, le=300)] = 0.0

    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None

    trusted_proxies: Annotated[list[str], NoDecode] = []
    proxy_protocol: bool = False

    max_connections: Annotated[int, Field(ge=1)] | None = None
    max_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    limit_loopback: bool = False
    max_requests: Annotated[int, Field(ge=0)] = 128
    max_waiting_requests: Annotated[int, Field(ge=0)] = 4096
    request_wait: Annotated[float, Field(ge=0, le=60)] = 0.5

    max_reading_bytes: Annotated[int, Field(ge=8 * _MIB, le=2**40)] = IN_FLIGHT_BYTES
    max_held_bytes: Annotated[int, Field(ge=4 * _MIB, le=2**40)] = 32 * _MIB

    max_watches: Annotated[int, Field(ge=0)] = 10_000
    max_watches_per_address: Annotated[int, Field(ge=0)] = 2_000
    watch_queue: Annotated[int, Field(ge=16, le=1_000_000)] = 4096
    watch_queue_bytes: Annotated[int, Field(ge=64 * 1024, le=2**30)] = 4 * 1024 * 1024
    watch_ping_seconds: Annotated[float, Field(gt=0, le=600)] = 20.0

    nats_url: str = "nats://127.0.0.1:4222"
    nats_user: str | None = None
    nats_password: SecretStr | None = None
    nats_token: SecretStr | None = None
    nats_creds: Path | None = None
    nats_nkey: Path | None = None
    nats_tls_ca: Path | None = None
    nats_tls_cert: Path | None = None
    nats_tls_key: Path | None = None
    nats_tls_hostname: str | None = None
    nats_tls_first: bool = False
    nats_inbox_prefix: Annotated[str, Field(pattern=_INBOX_PREFIX, max_length=128)] = "_INBOX"
    nats_domain: Annotated[str, Field(pattern="^[A-Za-z0-9_-]*$")] = ""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface has it
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface has it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface has it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = _config_file.get()
        files = (TomlConfigSettingsSource(settings_cls, path),) if path else ()
        return (init_settings, _Environment(settings_cls), *files)

    @field_validator("nats_url")
    @classmethod
    def _check_addresses(cls, value: str) -> str:
        if not [parse_server(address) for address in _addresses(value)]:
            raise ValueError("it names no server")
        return value

    @field_validator(
        "allowed_hosts", "cors_origins", "trusted_proxies", "ready_buckets", mode="before"
    )
    @classmethod
    def _split_words(cls, value: object) -> object:
        if isinstance(value, str) and value.lstrip().startswith("["):
            return json.loads(value)
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: list[str]) -> list[str]:
        return [allowed_host(entry) for entry in value]

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, value: list[str]) -> list[str]:
        for origin in value:
            if origin not in ("*", "loopback") and _ORIGIN.fullmatch(origin) is None:
                # A browser sends scheme, host and port in lower case, so other forms never match.
                raise ValueError(f"{origin!r} must be like https://app.example or *")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: list[str]) -> list[str]:
        TrustedProxies.parse(value)
        return value

    @model_validator(mode="after")
    def _check_proxy_protocol(self) -> Self:
        if self.proxy_protocol and not self.trusted_proxies:
            raise ValueError("proxy_protocol needs trusted_proxies, which send it")
        return self

    @field_validator("buckets", mode="before")
    @classmethod
    def _read_buckets(cls, value: object) -> object:
        if isinstance(value, str):
            value = json.loads(value) if value.lstrip().startswith("[") else value.split()
        if isinstance(value, list):
            return [BucketSetting.parse(item) if isinstance(item, str) else item for item in value]
        return value

    def bucket_specs(self) -> list[BucketSpec]:
        """Return the buckets that must exist.

        Raises:
            SettingsError: a bucket is invalid. The text names it.
        """
        return [wanted.spec for wanted in self.wanted_buckets()]

    def wanted_buckets(self) -> list[ConfiguredBucket]:
        """Return the buckets that must exist, with the fields that the settings name."""
        try:
            return [
                ConfiguredBucket(bucket.spec(), frozenset(bucket.model_fields_set))
                for bucket in self.buckets
            ]
        except GatewayError as error:
            raise SettingsError(f"buckets: {error.message}") from error

    def watch_limits(self) -> WatchLimits:
        """Return the limits of watches."""
        return WatchLimits(
            watches=self.max_watches,
            watches_per_address=self.max_watches_per_address,
            queue=Limits(changes=self.watch_queue, bytes=self.watch_queue_bytes),
        )

    def admission_limits(self) -> AdmissionLimits:
        """Return the limits of requests in flight."""
        return AdmissionLimits(
            requests=self.max_requests,
            waiting=self.max_waiting_requests,
            wait=self.request_wait,
            share=self.max_share,
        )

    def caller_options(self) -> CallerOptions:
        """Return how callers are told apart."""
        return CallerOptions(
            proxies=TrustedProxies.parse(self.trusted_proxies),
            proxy_protocol=self.proxy_protocol,
            limit_loopback=self.limit_loopback,
        )

    def check_auth(self) -> None:
        """Check that the operator has decided who may call.

        Raises:
            SettingsError
        """
        if self.auth is None:
            raise SettingsError(
                "choose who may call: --auth off (everybody) or --auth tokens --auth-tokens FILE "
                "(`jetkv token new NAME` makes a line for FILE)"
            )
        if self.auth is AuthMode.TOKENS and self.auth_tokens is None:
            raise SettingsError("--auth tokens needs --auth-tokens FILE")

    @property
    def nats_files(self) -> list[Path]:
        """Files that a connection to NATS needs."""
        paths = (
            self.nats_creds,
            self.nats_nkey,
            self.nats_tls_ca,
            self.nats_tls_cert,
            self.nats_tls_key,
        )
        return [path for path in paths if path is not None]

    @property
    def nats_servers(self) -> list[Server]:
        """The addresses of `nats_url`. Their texts do not show the login."""
        return [parse_server(address) for address in _addresses(self.nats_url)]

    def nats_options(self) -> NatsOptions:
        """Return the options for connecting to NATS.

        Raises:
            SettingsError: settings contradict each other, or a file cannot be used.
        """
        for path in self.nats_files:
            # Reading a pipe would block.
            if not path.is_file():
                what = "" if path in (self.nats_creds, self.nats_nkey) else _TLS_FILES
                raise SettingsError(f"{what}no such file: {path}")
        tls = self._tls()
        return NatsOptions(
            servers=tuple(_addresses(self.nats_url)),
            user=self.nats_user,
            password=_secret(self.nats_password),
            token=_secret(self.nats_token),
            credentials=self.nats_creds,
            nkey_seed=self.nats_nkey,
            tls=tls,
            tls_hostname=self.nats_tls_hostname,
            tls_first=self.nats_tls_first,
            tls_required=self._tls_settings,
            inbox_prefix=self.nats_inbox_prefix,
        )

    def check_nats_files(self) -> None:
        """Check that the next connection to NATS can use its files.

        Raises:
            SettingsError: one cannot be used.
        """
        self.nats_options()
        for what, path, read in (
            ("credentials", self.nats_creds, read_credentials),
            ("nkey", self.nats_nkey, read_nkey),
        ):
            try:
                if path is not None:
                    read(path)
            except (SecretError, OSError) as error:
                raise SettingsError(f"cannot use the {what} file {path}: {error}") from error

    def check_login(self) -> None:
        """Check that no part of the login to NATS is silently ignored.

        Raises:
            SettingsError
        """
        by_user = self.nats_user is not None or self.nats_password is not None
        logins_given = {
            "nats_user": by_user,
            "nats_token": self.nats_token is not None,
            "nats_creds": self.nats_creds is not None,
            "nats_nkey": self.nats_nkey is not None,
        }
        given = [name for name, is_given in logins_given.items() if is_given]
        # A token besides a signature is for servers with an auth callout.
        if len(given) > 1 and (by_user or "nats_token" not in given or len(given) > 2):
            raise SettingsError(f"give only one of {' and '.join(given)}")
        if self.nats_password is not None and self.nats_user is None:
            logins = [server.login for server in self.nats_servers]
            if any(login.user is None and login.token is None for login in logins):
                raise SettingsError("nats_password needs nats_user")

    @property
    def _tls_settings(self) -> bool:
        """Whether a setting requires TLS."""
        return self.nats_tls_first or any(
            (self.nats_tls_ca, self.nats_tls_cert, self.nats_tls_key, self.nats_tls_hostname)
        )

    def _tls(self) -> TlsFiles:
        if self.nats_tls_key and not self.nats_tls_cert:
            raise SettingsError("nats_tls_key needs nats_tls_cert")
        schemes = {server.scheme for server in self.nats_servers}
        if "ws" in schemes and (self._tls_settings or schemes & {"tls", "wss"}):
            raise SettingsError("ws:// cannot have the TLS that the settings demand: use wss://")
        files = TlsFiles(self.nats_tls_ca, self.nats_tls_cert, self.nats_tls_key)
        if files == TlsFiles():
            return files
        try:
            files.renewed().get()
        except SecretError as error:
            raise SettingsError(str(error)) from error
        return files


def _addresses(value: str) -> list[str]:
    return value.replace(",", " ").split()


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None


def load(flags: Mapping[str, Any], config: Path | None) -> Settings:
    """Return the settings. Flags that are None count as not given.

    Raises:
        SettingsError: settings are unusable. The text names each one.
    """
    if config is not None and not config.is_file():
        raise SettingsError(f"no such file: {config}")
    token = _config_file.set(config)
    try:
        return Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        lines = [
            f"{'.'.join(map(str, item['loc']))}: "
            + ("no such setting" if item["type"] == "extra_forbidden" else item["msg"])
            for item in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        raise SettingsError("; ".join(lines)) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config}: {error}") from error
    except ValueError as error:
        raise SettingsError(str(error)) from error
    finally:
        _config_file.reset(token)
