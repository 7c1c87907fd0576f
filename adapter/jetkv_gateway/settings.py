"""Reads settings: from flags, `JETKV_*`, a TOML file, a NATS context; then defaults.

A new setting is one line here: its type and limits, what the command line says of it, its default.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from jetkv_gateway.configuration import nats_login
from jetkv_gateway.configuration.about import About, Panel
from jetkv_gateway.configuration.access import AccessSettings, AuthMode
from jetkv_gateway.configuration.bucket_setting import BucketSetting
from jetkv_gateway.configuration.errors import SettingsError
from jetkv_gateway.configuration.sources import (
    Environment,
    Flags,
    Loading,
    NatsContextSource,
    Origin,
    TomlFile,
    loading,
)
from jetkv_gateway.configuration.telemetry import TelemetrySettings
from jetkv_gateway.configuration.types import (
    Buckets,
    Hosts,
    NatsUrl,
    Origins,
    Proxies,
    Words,
)
from jetkv_gateway.http.caller_limits import RateLimits
from jetkv_gateway.jetstream.connection import NatsOptions
from jetkv_gateway.jetstream.credits import IN_FLIGHT_BYTES
from jetkv_gateway.jetstream.servers import Server
from jetkv_gateway.kv.buckets import BucketSpec
from jetkv_gateway.kv.configured import ConfiguredBucket
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.serving.addresses import TrustedProxies
from jetkv_gateway.serving.admission import AdmissionLimits
from jetkv_gateway.serving.callers import CallerOptions
from jetkv_gateway.telemetry.audit import AuditOptions
from jetkv_gateway.watch.hub import WatchLimits
from jetkv_gateway.watch.session import Limits

__all__ = ["FLAGS_BUCKET", "AuthMode", "BucketSetting", "Settings", "SettingsError", "load"]

_MIB = 1024 * 1024

FLAGS_BUCKET = "feature-flags"

_INBOX_PREFIX = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"


class Settings(AccessSettings, TelemetrySettings, BaseSettings):
    """All settings of the gateway. Times are in seconds."""

    model_config = SettingsConfigDict(
        env_prefix="JETKV_", env_ignore_empty=True, extra="forbid", validate_default=True
    )

    host: Annotated[str, About(Panel.SERVING, "Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535), About(Panel.SERVING, "Port to listen on.")] = 9123
    workers: Annotated[int, Field(ge=1, le=256), About(Panel.SERVING, "Number of processes.")] = 1
    request_timeout: Annotated[
        float,
        Field(gt=0, le=60),
        About(Panel.SERVING, "Seconds that one request to NATS may take."),
    ] = 5.0
    ready_buckets: Annotated[
        Words,
        About(
            Panel.SERVING,
            "Bucket that must exist and have a leader, else /ready answers 503.",
            flag="--ready-bucket",
        ),
    ] = []
    shutdown_delay: Annotated[
        float,
        Field(ge=0, le=300),
        About(Panel.SERVING, "Seconds to go on serving after SIGTERM while /ready answers 503."),
    ] = 0.0

    console: Annotated[
        bool, About(Panel.SERVING, "Serve the console, a page in the browser, at /console.")
    ] = True

    tls_cert: Annotated[
        Path | None, About(Panel.SERVING, "Certificate of the gateway: serve HTTPS.")
    ] = None
    tls_key: Annotated[
        Path | None, About(Panel.SERVING, "Private key of the certificate, if it is not in it.")
    ] = None
    tls_client_ca: Annotated[
        Path | None,
        About(Panel.SERVING, "File of CA certificates: clients must have a certificate of one."),
    ] = None

    allowed_hosts: Annotated[
        Hosts,
        About(
            Panel.ACCESS,
            "Without tokens, a name that clients may use for the gateway: kv.example.org, "
            "*.example.org, or * for any.",
            flag="--allowed-host",
        ),
    ] = []
    cors_origins: Annotated[
        Origins,
        About(
            Panel.ACCESS,
            "Origin whose pages may call the gateway; * for any.",
            flag="--cors-origin",
        ),
    ] = []
    loopback_host: Annotated[
        bool,
        About(Panel.ACCESS, "Refuse requests that name no loopback host.", flag=""),
    ] = False
    trusted_proxies: Annotated[
        Proxies,
        About(
            Panel.ACCESS,
            "Address or network of a proxy whose headers name the caller's address.",
            flag="--trusted-proxy",
        ),
    ] = []
    proxy_protocol: Annotated[
        bool, About(Panel.ACCESS, "Trusted proxies send a PROXY protocol header.")
    ] = False

    buckets: Annotated[
        Buckets,
        About(
            Panel.BUCKETS,
            "Create a bucket if it does not exist: cache, or cache,ttl_seconds=300.",
            flag="--bucket",
        ),
    ] = []
    bucket_prefix: Annotated[
        str,
        Field(pattern="^[A-Za-z0-9_-]{0,40}$"),
        About(Panel.BUCKETS, "Prefix of stream names: KV_<prefix><bucket>.", default="none"),
    ] = ""

    flags_bucket: Annotated[
        str,
        Field(pattern="^[A-Za-z0-9_-]{1,200}$"),
        About(Panel.BUCKETS, "Bucket whose values are feature flags, for OpenFeature."),
    ] = FLAGS_BUCKET

    max_connections: Annotated[
        Annotated[int, Field(ge=1)] | None,
        About(Panel.LIMITS, "Connections.", default="from the limit of open files"),
    ] = None
    max_share: Annotated[
        float,
        Field(gt=0, le=1),
        About(Panel.LIMITS, "Part of a worker that one caller may take while others want some."),
    ] = 0.25
    limit_loopback: Annotated[
        bool, About(Panel.LIMITS, "Apply --max-share to callers on this machine, too.")
    ] = False
    max_requests: Annotated[
        int,
        Field(ge=0),
        About(Panel.LIMITS, "Requests that a worker runs at once, 0 = no limit."),
    ] = 128
    max_waiting_requests: Annotated[
        int, Field(ge=0), About(Panel.LIMITS, "Requests that may wait for their turn.")
    ] = 4096
    request_wait: Annotated[
        float,
        Field(ge=0, le=60),
        About(Panel.LIMITS, "Seconds that a request waits before it gets 429."),
    ] = 0.5
    max_reading_bytes: Annotated[
        int,
        Field(ge=8 * _MIB, le=2**40),
        About(
            Panel.LIMITS,
            "Bytes under way from NATS to a worker; at most two thirds of max_pending of "
            "nats-server.",
        ),
    ] = IN_FLIGHT_BYTES
    max_held_bytes: Annotated[
        int,
        Field(ge=4 * _MIB, le=2**40),
        About(Panel.LIMITS, "Bytes that a worker holds for its clients."),
    ] = 32 * _MIB
    max_watches: Annotated[
        int, Field(ge=0), About(Panel.LIMITS, "Watches of a worker, 0 = no limit.")
    ] = 10_000
    max_watches_per_address: Annotated[
        int, Field(ge=0), About(Panel.LIMITS, "Watches of one client address, 0 = no limit.")
    ] = 2_000
    max_watches_per_token: Annotated[
        int, Field(ge=0), About(Panel.LIMITS, "Watches with one token, 0 = no limit.")
    ] = 0
    max_requests_per_second_per_address: Annotated[
        int, Field(ge=0), About(Panel.LIMITS, "Requests a second of one address, 0 = no limit.")
    ] = 0
    max_requests_per_second_per_token: Annotated[
        int,
        Field(ge=0),
        About(Panel.LIMITS, "The same with one token that has no rate of its own."),
    ] = 0
    watch_queue: Annotated[
        int,
        Field(ge=16, le=1_000_000),
        About(Panel.LIMITS, "Changes that may wait for one slow watcher."),
    ] = 4096
    watch_queue_bytes: Annotated[
        int,
        Field(ge=64 * 1024, le=2**30),
        About(Panel.LIMITS, "Bytes of values that may wait."),
    ] = 4 * 1024 * 1024
    watch_ping_seconds: Annotated[
        float,
        Field(gt=0, le=600),
        About(Panel.LIMITS, "Seconds between the pings of a WebSocket."),
    ] = 20.0

    context: Annotated[
        str | None,
        About(
            Panel.NATS,
            "NATS context, as the nats command line has them; . for the selected one. "
            "Other settings win over it.",
        ),
    ] = None
    nats_url: Annotated[NatsUrl, About(Panel.NATS, "Addresses of NATS, separated by commas.")] = (
        "nats://127.0.0.1:4222"
    )
    nats_user: Annotated[str | None, About(Panel.NATS, "User name for NATS.")] = None
    nats_password: Annotated[SecretStr | None, About(Panel.NATS, "password for NATS")] = None
    nats_token: Annotated[SecretStr | None, About(Panel.NATS, "token for NATS")] = None
    nats_creds: Annotated[
        Path | None, About(Panel.NATS, "Credentials file for NATS (JWT and seed).")
    ] = None
    nats_nkey: Annotated[Path | None, About(Panel.NATS, "File with an nkey seed for NATS.")] = None
    nats_tls_ca: Annotated[Path | None, About(Panel.NATS, "File of CA certificates to trust.")] = (
        None
    )
    nats_tls_cert: Annotated[Path | None, About(Panel.NATS, "Client certificate for NATS.")] = None
    nats_tls_key: Annotated[
        Path | None, About(Panel.NATS, "Private key of the client certificate.")
    ] = None
    nats_tls_hostname: Annotated[
        str | None, About(Panel.NATS, "Name that the certificate of NATS must have.")
    ] = None
    nats_tls_first: Annotated[
        bool, About(Panel.NATS, "Start TLS before the server sends anything.")
    ] = False
    nats_inbox_prefix: Annotated[
        str,
        Field(pattern=_INBOX_PREFIX, max_length=128),
        About(Panel.NATS, "Prefix of the subjects for replies."),
    ] = "_INBOX"
    nats_domain: Annotated[
        str, Field(pattern="^[A-Za-z0-9_-]*$"), About(Panel.NATS, "JetStream domain.")
    ] = ""
    nats_service: Annotated[
        bool, About(Panel.NATS, "Show the gateway to `nats micro ls`, info, stats and ping.")
    ] = False

    _origins: dict[str, Origin] = PrivateAttr(default_factory=dict)
    _secret_files: dict[str, Path] = PrivateAttr(default_factory=dict)
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface has it
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface has it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the interface has it
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = loading.get().file
        files = (TomlFile(settings_cls, path),) if path else ()
        assert isinstance(init_settings, InitSettingsSource)
        flags = Flags(settings_cls, init_settings.init_kwargs)
        return (flags, Environment(settings_cls), *files, NatsContextSource(settings_cls))

    def origin(self, name: str) -> Origin:
        """Return where a setting comes from."""
        return self._origins.get(name, Origin("default"))

    def secret_file(self, name: str) -> Path | None:
        """Return the file that a secret comes from, if it comes from one."""
        return self._secret_files.get(name)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Lines about what was given and has no effect."""
        return self._warnings

    @model_validator(mode="after")
    def _check_proxy_protocol(self) -> Self:
        if self.proxy_protocol and not self.trusted_proxies:
            raise ValueError("proxy_protocol needs trusted_proxies, which send it")
        return self

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
            watches_per_token=self.max_watches_per_token,
            queue=Limits(changes=self.watch_queue, bytes=self.watch_queue_bytes),
        )

    def rate_limits(self) -> RateLimits:
        """Return how many requests a second a caller may send."""
        return RateLimits(
            self.max_requests_per_second_per_address, self.max_requests_per_second_per_token
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

    def audit_options(self) -> AuditOptions | None:
        """Return what the audit log has, or None if it is off."""
        if self.audit_log is None:
            return None
        key = self.audit_hash_key
        return AuditOptions(
            self.audit_log,
            self.audit_keys,
            b"" if key is None else key.get_secret_value().encode()[:64],
            self.audit_reads,
        )

    @property
    def nats_files(self) -> list[Path]:
        """Files that a connection to NATS needs."""
        return nats_login.files(self)

    @property
    def nats_servers(self) -> list[Server]:
        """The addresses of `nats_url`. Their texts do not show the login."""
        return nats_login.servers(self)

    def nats_options(self) -> NatsOptions:
        """Return the options for connecting to NATS. Raises SettingsError."""
        return nats_login.options(self)

    def check_nats_files(self) -> None:
        """Check that the next connection to NATS can use its files. Raises SettingsError."""
        nats_login.check_files(self)

    def check_login(self) -> None:
        """Check that no part of the login to NATS is silently ignored. Raises SettingsError."""
        nats_login.check_login(self)


def load(flags: Mapping[str, Any], config: Path | None) -> Settings:
    """Return the settings. Flags that are None count as not given.

    Raises:
        SettingsError: settings are unusable. The text names each one.
    """
    if config is not None and not config.is_file():
        raise SettingsError(f"no such file: {config}")
    now = Loading(config)
    token = loading.set(now)
    try:
        settings = Settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("; ".join(_lines(error))) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{config}: {error}") from error
    except ValueError as error:
        raise SettingsError(str(error)) from error
    finally:
        loading.reset(token)
    settings._origins = now.origins
    settings._secret_files = now.secret_files
    settings._warnings = tuple(now.warnings)
    return settings


def _lines(error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            text = "no such setting"
        yield ": ".join(filter(None, (".".join(map(str, item["loc"])), text)))
