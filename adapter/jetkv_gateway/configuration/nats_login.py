"""The settings of the connection to NATS: what they mean together, and their files."""

from pathlib import Path
from typing import Protocol

from pydantic import SecretStr

from jetkv_gateway.configuration.errors import SettingsError
from jetkv_gateway.jetstream.connection import NatsOptions
from jetkv_gateway.jetstream.credentials import (
    SecretError,
    TlsFiles,
    read_credentials,
    read_nkey,
)
from jetkv_gateway.jetstream.servers import Server, parse_server

__all__ = [
    "LOGIN",
    "NatsSettings",
    "addresses",
    "check_files",
    "check_login",
    "files",
    "options",
    "servers",
]

_TLS_FILES = "cannot use the TLS files for NATS: "


LOGIN = ("nats_user", "nats_password", "nats_token", "nats_creds", "nats_nkey")
"""The settings that say who the gateway is to NATS."""


class NatsSettings(Protocol):
    """The settings that this module reads; docs/configuration.md describes them."""

    nats_url: str
    nats_user: str | None
    nats_password: SecretStr | None
    nats_token: SecretStr | None
    nats_creds: Path | None
    nats_nkey: Path | None
    nats_tls_ca: Path | None
    nats_tls_cert: Path | None
    nats_tls_key: Path | None
    nats_tls_hostname: str | None
    nats_tls_first: bool
    nats_inbox_prefix: str

    def secret_file(self, name: str) -> Path | None:
        """Return the file that a secret comes from, if it comes from one."""
        ...


def addresses(value: str) -> list[str]:
    """Return the addresses in a `nats_url`."""
    return value.replace(",", " ").split()


def servers(settings: NatsSettings) -> list[Server]:
    """Return the addresses of `nats_url`. Their texts do not show the login."""
    return [parse_server(address) for address in addresses(settings.nats_url)]


def files(settings: NatsSettings) -> list[Path]:
    """Return the files that a connection to NATS needs."""
    paths = (
        settings.nats_creds,
        settings.nats_nkey,
        settings.nats_tls_ca,
        settings.nats_tls_cert,
        settings.nats_tls_key,
        settings.secret_file("nats_password"),
        settings.secret_file("nats_token"),
    )
    return [path for path in paths if path is not None]


def options(settings: NatsSettings) -> NatsOptions:
    """Return the options for connecting to NATS.

    Raises:
        SettingsError: settings contradict each other, or a file cannot be used.
    """
    for path in files(settings):
        # Reading a pipe would block.
        if not path.is_file():
            tls = (settings.nats_tls_ca, settings.nats_tls_cert, settings.nats_tls_key)
            what = _TLS_FILES if path in tls else ""
            raise SettingsError(f"{what}no such file: {path}")
    return NatsOptions(
        servers=tuple(addresses(settings.nats_url)),
        user=settings.nats_user,
        password=_secret(settings.nats_password),
        token=_secret(settings.nats_token),
        password_file=settings.secret_file("nats_password"),
        token_file=settings.secret_file("nats_token"),
        credentials=settings.nats_creds,
        nkey_seed=settings.nats_nkey,
        tls=_tls(settings),
        tls_hostname=settings.nats_tls_hostname,
        tls_first=settings.nats_tls_first,
        tls_required=_requires_tls(settings),
        inbox_prefix=settings.nats_inbox_prefix,
    )


def check_files(settings: NatsSettings) -> None:
    """Check that the next connection to NATS can use its files.

    Raises:
        SettingsError: one cannot be used.
    """
    options(settings)
    for what, path, read in (
        ("credentials", settings.nats_creds, read_credentials),
        ("nkey", settings.nats_nkey, read_nkey),
    ):
        try:
            if path is not None:
                read(path)
        except (SecretError, OSError) as error:
            raise SettingsError(f"cannot use the {what} file {path}: {error}") from error


def check_login(settings: NatsSettings) -> None:
    """Check that no part of the login to NATS is silently ignored.

    Raises:
        SettingsError
    """
    by_user = settings.nats_user is not None or settings.nats_password is not None
    logins_given = {
        "nats_user": by_user,
        "nats_token": settings.nats_token is not None,
        "nats_creds": settings.nats_creds is not None,
        "nats_nkey": settings.nats_nkey is not None,
    }
    given = [name for name, is_given in logins_given.items() if is_given]
    # A token besides a signature is for servers with an auth callout.
    if len(given) > 1 and (by_user or "nats_token" not in given or len(given) > 2):
        raise SettingsError(f"give only one of {' and '.join(given)}")
    if settings.nats_password is not None and settings.nats_user is None:
        logins = [server.login for server in servers(settings)]
        if any(login.user is None and login.token is None for login in logins):
            raise SettingsError("nats_password needs nats_user")


def _requires_tls(settings: NatsSettings) -> bool:
    """Whether a setting requires TLS."""
    return settings.nats_tls_first or any(
        (
            settings.nats_tls_ca,
            settings.nats_tls_cert,
            settings.nats_tls_key,
            settings.nats_tls_hostname,
        )
    )


def _tls(settings: NatsSettings) -> TlsFiles:
    if settings.nats_tls_key and not settings.nats_tls_cert:
        raise SettingsError("nats_tls_key needs nats_tls_cert")
    schemes = {server.scheme for server in servers(settings)}
    if "ws" in schemes and (_requires_tls(settings) or schemes & {"tls", "wss"}):
        raise SettingsError("ws:// cannot have the TLS that the settings demand: use wss://")
    tls = TlsFiles(settings.nats_tls_ca, settings.nats_tls_cert, settings.nats_tls_key)
    if tls == TlsFiles():
        return tls
    try:
        tls.renewed().get()
    except SecretError as error:
        raise SettingsError(str(error)) from error
    return tls


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None
