"""`jetkv dev`, `serve`, `check` and `token`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 NATS is not reachable, 4 a setting cannot be used,
5 NATS refuses the credentials, 6 this NATS cannot be used.
"""

import asyncio
import functools
import logging
import logging.config
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from jetkv_gateway import __version__, private_apis
from jetkv_gateway.app import authenticator_for, factory, server_options
from jetkv_gateway.auth.token_file import TokenFileError
from jetkv_gateway.auth.tokens import new_token, token_line
from jetkv_gateway.check import EXIT_INPUT, Report
from jetkv_gateway.check import check as run_check
from jetkv_gateway.dev import run_dev
from jetkv_gateway.embedded import NatsServerError
from jetkv_gateway.environment import unknown_variables
from jetkv_gateway.http.origins import LOOPBACK
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.serving.options import CannotStart
from jetkv_gateway.serving.processes import run
from jetkv_gateway.serving.server import listen
from jetkv_gateway.settings import AuthMode, Settings, SettingsError, load
from jetkv_gateway.telemetry.logs import LogFormat, logging_for
from jetkv_gateway.telemetry.request_log import RequestLogMode

__all__ = ["app"]

_log = logging.getLogger("jetkv")

_EXIT_FAILED = 1

app = typer.Typer(
    name="jetkv",
    help="Key-value buckets on NATS JetStream over HTTP, compatible with the Ironflow KV API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
token_app = typer.Typer(help="Create tokens for --auth tokens.", no_args_is_help=True)
app.add_typer(token_app, name="token")

Config = Annotated[
    Path | None,
    typer.Option("--config", envvar="JETKV_CONFIG", help="TOML file with settings."),
]
Buckets = Annotated[
    list[str] | None,
    typer.Option(
        "--bucket",
        help="Create a bucket if it does not exist: cache, or cache,ttl_seconds=300. Repeatable.",
    ),
]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error. Default: info.")]
LogForm = Annotated[LogFormat | None, typer.Option(help="Default: console.")]
RequestLog = Annotated[RequestLogMode | None, typer.Option(help="Default: errors.")]
NatsUrl = Annotated[
    str | None,
    typer.Option(help="Addresses of NATS, separated by commas. Default: nats://127.0.0.1:4222."),
]
NatsUser = Annotated[str | None, typer.Option(help="User name for NATS.")]
NatsPassword = Annotated[str | None, typer.Option(help="Password for NATS; prefer the variable.")]
NatsToken = Annotated[str | None, typer.Option(help="Token for NATS; prefer the variable.")]
NatsCreds = Annotated[Path | None, typer.Option(help="Credentials file for NATS (JWT and seed).")]
NatsNkey = Annotated[Path | None, typer.Option(help="File with an nkey seed for NATS.")]
NatsTlsCa = Annotated[Path | None, typer.Option(help="File of CA certificates to trust.")]
NatsTlsCert = Annotated[Path | None, typer.Option(help="Client certificate for NATS.")]
NatsTlsKey = Annotated[Path | None, typer.Option(help="Private key of the client certificate.")]
NatsTlsHostname = Annotated[
    str | None, typer.Option(help="Name that the certificate of NATS must have.")
]
NatsTlsFirst = Annotated[
    bool | None,
    typer.Option("--nats-tls-first", help="Start TLS before the server sends anything."),
]
NatsInboxPrefix = Annotated[
    str | None, typer.Option(help="Prefix of the subjects for replies. Default: _INBOX.")
]
NatsDomain = Annotated[str | None, typer.Option(help="JetStream domain.")]
BucketPrefix = Annotated[
    str | None, typer.Option(help="Prefix of stream names: KV_<prefix><bucket>. Default: none.")
]


def _fail(error: object, code: int) -> NoReturn:
    typer.echo(f"jetkv: {error}", err=True)
    raise typer.Exit(code)


def _settings(flags: dict[str, Any], config: Path | None) -> Settings:
    try:
        return load(flags, config)
    except SettingsError as error:
        _fail(error, EXIT_INPUT)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"jetkv {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


@app.command()
def dev(
    port: Annotated[
        int | None, typer.Option(help="Port of the gateway on 127.0.0.1. Default: 9123.")
    ] = None,
    data_dir: Annotated[Path, typer.Option(help="Folder that keeps the data between runs.")] = Path(
        ".jetkv"
    ),
    nats_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of the embedded nats-server on 127.0.0.1; 0 takes a free one. "
            "Default: the port of the last start.",
        ),
    ] = None,
    bucket: Buckets = None,
    log_level: LogLevel = None,
    config: Config = None,
) -> None:
    """Run the gateway with its own nats-server, on loopback, without authentication.

    Creates the bucket `demo` and those of --bucket. Ctrl-C stops both.
    """
    flags = {
        "host": "127.0.0.1",
        "port": port,
        "workers": 1,
        "auth": AuthMode.OFF,
        "cors_origins": [LOOPBACK],
        "loopback_host": True,
        "buckets": ["demo", *(text for text in bucket or () if text != "demo")],
        "log_level": log_level,
    }
    settings = _settings(flags, config)
    _start_logging(settings)
    try:
        code = run_dev(settings, data_dir, nats_port, _say)
    except (CannotStart, NatsServerError) as error:
        _fail(error, EXIT_INPUT)
    raise typer.Exit(code)


def _say(text: str) -> None:
    typer.echo(text)
    sys.stdout.flush()


def _start_logging(settings: Settings) -> None:
    logging.config.dictConfig(logging_for(settings.log_level, settings.log_format))
    try:
        private_apis.check()
    except private_apis.PrivateApiMissing as error:
        _fail(error, _EXIT_FAILED)
    for line in unknown_variables(os.environ, Settings.model_fields):
        _log.warning("%s", line)


@app.command()
def serve(
    nats_url: NatsUrl = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on. Default: 9123.")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of processes. Default: 1.")] = None,
    auth: Annotated[
        AuthMode | None, typer.Option(help="Who may call: everybody (off) or tokens. Required.")
    ] = None,
    auth_tokens: Annotated[
        Path | None, typer.Option(help="File of name:sha256 lines; read again when it changes.")
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Without tokens, a name that clients may use for the gateway: kv.example.org, "
            "*.example.org, or * for any. Repeatable."
        ),
    ] = None,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose pages may call the gateway; * for any. Repeatable."),
    ] = None,
    bucket: Buckets = None,
    bucket_prefix: BucketPrefix = None,
    request_timeout: Annotated[
        float | None, typer.Option(help="Seconds that one request to NATS may take. Default: 5.")
    ] = None,
    shutdown_delay: Annotated[
        float | None,
        typer.Option(
            help="Seconds to go on serving after SIGTERM while /ready answers 503. Default: 0."
        ),
    ] = None,
    trusted_proxy: Annotated[
        list[str] | None,
        typer.Option(
            help="Address or network of a proxy whose headers name the caller's address. "
            "Repeatable."
        ),
    ] = None,
    proxy_protocol: Annotated[
        bool | None,
        typer.Option("--proxy-protocol", help="Trusted proxies send a PROXY protocol header."),
    ] = None,
    max_connections: Annotated[
        int | None,
        typer.Option(help="Connections of a worker. Default: from the limit of open files."),
    ] = None,
    max_share: Annotated[
        float | None,
        typer.Option(
            help="Part of a worker that one caller may take while others want some. Default: 0.25."
        ),
    ] = None,
    limit_loopback: Annotated[
        bool | None,
        typer.Option("--limit-loopback", help="Apply --max-share to callers on this machine, too."),
    ] = None,
    max_requests: Annotated[
        int | None,
        typer.Option(help="Requests that a worker runs at once, 0 = no limit. Default: 128."),
    ] = None,
    max_waiting_requests: Annotated[
        int | None, typer.Option(help="Requests that may wait for their turn. Default: 4096.")
    ] = None,
    request_wait: Annotated[
        float | None,
        typer.Option(help="Seconds that a request waits before it gets 429. Default: 0.5."),
    ] = None,
    max_reading_bytes: Annotated[
        int | None,
        typer.Option(
            help="Bytes under way from NATS to a worker; at most two thirds of max_pending of "
            "nats-server. Default: 46137344."
        ),
    ] = None,
    max_held_bytes: Annotated[
        int | None,
        typer.Option(help="Bytes that a worker holds for its clients. Default: 33554432."),
    ] = None,
    max_watches: Annotated[
        int | None, typer.Option(help="Watches of a worker, 0 = no limit. Default: 10000.")
    ] = None,
    max_watches_per_address: Annotated[
        int | None, typer.Option(help="Watches of one client address, 0 = no limit. Default: 2000.")
    ] = None,
    watch_queue: Annotated[
        int | None, typer.Option(help="Changes that may wait for one slow watcher. Default: 4096.")
    ] = None,
    watch_queue_bytes: Annotated[
        int | None, typer.Option(help="Bytes of values that may wait. Default: 4194304.")
    ] = None,
    watch_ping_seconds: Annotated[
        float | None, typer.Option(help="Seconds between the pings of a WebSocket. Default: 20.")
    ] = None,
    nats_user: NatsUser = None,
    nats_password: NatsPassword = None,
    nats_token: NatsToken = None,
    nats_creds: NatsCreds = None,
    nats_nkey: NatsNkey = None,
    nats_tls_ca: NatsTlsCa = None,
    nats_tls_cert: NatsTlsCert = None,
    nats_tls_key: NatsTlsKey = None,
    nats_tls_hostname: NatsTlsHostname = None,
    nats_tls_first: NatsTlsFirst = None,
    nats_inbox_prefix: NatsInboxPrefix = None,
    nats_domain: NatsDomain = None,
    log_level: LogLevel = None,
    log_format: LogForm = None,
    request_log: RequestLog = None,
    config: Config = None,
) -> None:
    """Run the gateway for your NATS.

    Every setting can also be a variable, such as JETKV_NATS_URL,
    or a line of the --config file: see docs/configuration.md.
    """
    flags = {
        **_nats_flags(locals()),
        "host": host,
        "port": port,
        "workers": workers,
        "auth": auth,
        "auth_tokens": auth_tokens,
        "allowed_hosts": allowed_host or None,
        "cors_origins": cors_origin or None,
        "buckets": bucket or None,
        "request_timeout": request_timeout,
        "shutdown_delay": shutdown_delay,
        "trusted_proxies": trusted_proxy or None,
        "proxy_protocol": proxy_protocol,
        "max_connections": max_connections,
        "max_share": max_share,
        "limit_loopback": limit_loopback,
        "max_requests": max_requests,
        "max_waiting_requests": max_waiting_requests,
        "request_wait": request_wait,
        "max_reading_bytes": max_reading_bytes,
        "max_held_bytes": max_held_bytes,
        "max_watches": max_watches,
        "max_watches_per_address": max_watches_per_address,
        "watch_queue": watch_queue,
        "watch_queue_bytes": watch_queue_bytes,
        "watch_ping_seconds": watch_ping_seconds,
        "log_level": log_level,
        "log_format": log_format,
        "request_log": request_log,
    }
    settings = _settings(flags, config)
    _start_logging(settings)
    try:
        settings.check_auth()
        settings.check_login()
        settings.bucket_specs()
        settings.nats_options()
        authenticator = authenticator_for(settings)
        options = server_options(settings)
        scheme = "http" if options.tls is None else "https"
        with listen(settings.host, settings.port) as server_socket:
            name = server_socket.getsockname()
            code = run(
                factory(settings, authenticator),
                options,
                server_socket,
                lambda: typer.echo(
                    f"jetkv {__version__} serves {scheme}://{name[0]}:{name[1]}, "
                    f"auth {settings.auth}, workers {settings.workers}",
                    err=True,
                ),
                # A replacement worker starts with the tokens that the main process has read, even
                # if the file has become unusable since. Workers log what they read, so the main
                # process need not.
                refresh=functools.partial(authenticator.refresh, quiet=True),
            )
    except (CannotStart, TokenFileError) as error:
        _fail(error, EXIT_INPUT)
    raise typer.Exit(code)


def _nats_flags(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in values.items()
        if name.startswith("nats_") or name == "bucket_prefix"
    }


@app.command()
def check(
    nats_url: NatsUrl = None,
    nats_user: NatsUser = None,
    nats_password: NatsPassword = None,
    nats_token: NatsToken = None,
    nats_creds: NatsCreds = None,
    nats_nkey: NatsNkey = None,
    nats_tls_ca: NatsTlsCa = None,
    nats_tls_cert: NatsTlsCert = None,
    nats_tls_key: NatsTlsKey = None,
    nats_tls_hostname: NatsTlsHostname = None,
    nats_tls_first: NatsTlsFirst = None,
    nats_inbox_prefix: NatsInboxPrefix = None,
    nats_domain: NatsDomain = None,
    bucket_prefix: BucketPrefix = None,
    json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    config: Config = None,
) -> None:
    """Test whether the gateway can work with your NATS.

    Exit codes: 0 it can, 3 NATS is not reachable, 4 a setting cannot be used,
    5 NATS refuses the credentials, 6 this NATS cannot be used.
    """
    settings = _settings(_nats_flags(locals()), config)
    for line in unknown_variables(os.environ, Settings.model_fields):
        typer.echo(f"warning    {line}", err=True)
    try:
        report = asyncio.run(run_check(settings))
    except SettingsError as error:
        _fail(error, EXIT_INPUT)
    typer.echo(report.as_json() if json else _report(report, settings))
    raise typer.Exit(report.exit_code)


def _report(report: Report, settings: Settings) -> str:
    lines = []
    if report.server:
        servers = ", ".join(server.url for server in settings.nats_servers)
        lines.append(f"NATS       {servers}, nats-server {report.server}")
    if report.limits:
        used = ", ".join(f"{name} {value}" for name, value in report.used.items())
        limits = ", ".join(
            f"{name} {value}" for name, value in report.limits.items() if value not in (-1, False)
        )
        lines += [
            f"JetStream  {used}; limits: {limits or 'none'}",
            f"values     up to {report.max_value_bytes} bytes",
            f"cluster    {_cluster(report.clusters)}",
            f"buckets    {len(report.buckets)}: {', '.join(report.buckets) or 'none'}",
        ]
    if report.expiry_markers:
        lines.append(
            f"markers    {', '.join(report.expiry_markers)}: a key that expires leaves a marker, "
            "which nats-py's kv, older nats.go and nats.js and the nats CLI 0.2 read as a live, "
            "empty value; for readers like these, make buckets with expiry_markers false"
        )
    lines += [
        f"warning    {bucket}: {warning.code}: {warning.message}"
        for bucket, warnings in report.warnings.items()
        for warning in warnings
    ]
    lines += [f"missing    {text}" for text in report.missing]
    lines.append("works" if report.exit_code == 0 else "does not work")
    return "\n".join(lines)


def _cluster(names: list[str] | None) -> str:
    if names is None:
        return "not known before there is a bucket"
    return ", ".join(names) or "none, the server stands alone"


@token_app.command("new")
def token_new(name: Annotated[str, typer.Argument(help="Name of the caller.")]) -> None:
    """Create a token that may do everything. Put the line into the file of --auth-tokens."""
    token = new_token()
    try:
        line = token_line(name, token, ["*:*"])
    except InvalidArgument as error:
        _fail(error, EXIT_INPUT)
    typer.echo(f"token  {token}\nline   {line}")
