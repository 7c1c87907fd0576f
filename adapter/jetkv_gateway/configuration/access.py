"""The settings of who may call."""

from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_settings import NoDecode

from jetkv_gateway.configuration.about import About, Panel
from jetkv_gateway.configuration.errors import SettingsError
from jetkv_gateway.configuration.jwt import JwtSettings
from jetkv_gateway.configuration.types import split_words

__all__ = ["AccessSettings", "AuthMode"]


class AuthMode(StrEnum):
    OFF = "off"
    TOKENS = "tokens"
    JWT = "jwt"
    NATS = "nats"


def _check_modes(modes: tuple[AuthMode, ...] | None) -> tuple[AuthMode, ...] | None:
    if modes is not None and AuthMode.OFF in modes and len(modes) > 1:
        raise ValueError("off goes with nothing else")
    if modes is not None and not modes:
        raise ValueError("it names nothing")
    return None if modes is None else tuple(dict.fromkeys(modes))


class AccessSettings(JwtSettings):
    """A part of `Settings`."""

    auth: Annotated[
        tuple[AuthMode, ...] | None,
        NoDecode,
        BeforeValidator(split_words),
        AfterValidator(_check_modes),
        About(
            Panel.ACCESS,
            "Who may call: everybody (off), or those with tokens, jwt, nats, or several. Required.",
        ),
    ] = None
    auth_tokens: Annotated[
        Path | None,
        About(Panel.ACCESS, "File of name:sha256 SCOPE… lines; read again when it changes."),
    ] = None
    token_bucket: Annotated[
        bool,
        About(Panel.ACCESS, "Keep tokens in NATS, too, where `jetkv token create` puts them."),
    ] = True
    token_stale_seconds: Annotated[
        float,
        Field(ge=1, le=86400),
        About(
            Panel.ACCESS,
            "While NATS cannot be read, accept its tokens as they were for so many seconds.",
        ),
    ] = 300.0

    insecure: Annotated[
        bool,
        About(Panel.ACCESS, "Allow --auth off on an address that other machines reach."),
    ] = False

    def check_address(self, host: str) -> None:
        """Check that a gateway for everybody does not listen to other machines by mistake.

        Raises:
            SettingsError
        """
        if self.auth == (AuthMode.OFF,) and not self.insecure and not _is_loopback(host):
            raise SettingsError(
                f"with --auth off, everybody who reaches {host} may read and write all buckets: "
                "use --auth tokens, or add --insecure if something else protects this address"
            )

    max_nats_logins: Annotated[
        int,
        Field(ge=1, le=10_000),
        About(Panel.ACCESS, "With --auth nats: connections of callers that a worker keeps."),
    ] = 64
    nats_login_idle_seconds: Annotated[
        float,
        Field(ge=1, le=86400),
        About(Panel.ACCESS, "Seconds after which such a connection ends if nothing uses it."),
    ] = 60.0

    def check_auth(self) -> None:
        """Check that the operator has decided who may call.

        Raises:
            SettingsError
        """
        if self.auth is None:
            raise SettingsError(
                "choose who may call: --auth off (everybody) or --auth tokens "
                "(`jetkv token create NAME --allow SCOPE` creates the first one)"
            )
        if AuthMode.TOKENS in self.auth and self.auth_tokens is None and not self.token_bucket:
            raise SettingsError("--auth tokens needs --auth-tokens FILE or token_bucket")
        if AuthMode.JWT in self.auth:
            self.check_jwt()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
