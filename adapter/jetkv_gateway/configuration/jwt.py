"""The settings of JWTs (docs/access.md#jwt)."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, Field

from jetkv_gateway.configuration.about import About, Panel
from jetkv_gateway.configuration.errors import SettingsError
from jetkv_gateway.configuration.types import Words

__all__ = ["JwtSettings"]

_MAX_LEEWAY_SECONDS = 10


def _is_url(value: str) -> bool:
    return "://" in value


def _check_keys(value: str | None) -> str | None:
    if value is None or not _is_url(value):
        return value
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ValueError("this is no address") from None
    host = parts.hostname or ""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address of keys has no login")
    if not host or (parts.scheme != "https" and not (parts.scheme == "http" and loopback)):
        raise ValueError("use https: whoever could change the keys could log in as anybody")
    return value


class JwtSettings(BaseModel):
    """A part of `Settings`."""

    jwt_issuer: Annotated[
        str | None, About(Panel.ACCESS, "The `iss` that a JWT must have, with --auth jwt.")
    ] = None
    jwt_audience: Annotated[
        Words, About(Panel.ACCESS, "A JWT must have one of these as `aud`.")
    ] = []
    jwt_keys: Annotated[
        str | None,
        AfterValidator(_check_keys),
        About(Panel.ACCESS, "The issuer's key set (JWKS): a file, or an https address."),
    ] = None
    jwt_scopes_claim: Annotated[
        str, Field(min_length=1), About(Panel.ACCESS, "The claim that has the scopes.")
    ] = "scope"
    jwt_name_claim: Annotated[
        str, Field(min_length=1), About(Panel.ACCESS, "The claim that has the caller's name.")
    ] = "sub"
    jwt_leeway: Annotated[
        float,
        Field(ge=0, le=_MAX_LEEWAY_SECONDS),
        About(Panel.ACCESS, "Seconds by which the issuer's clock may differ."),
    ] = 5.0
    jwt_refresh_seconds: Annotated[
        float,
        Field(ge=10, le=86400),
        About(Panel.ACCESS, "Seconds between two requests to the address of jwt_keys."),
    ] = 300.0
    jwt_stale_seconds: Annotated[
        float,
        Field(ge=60, le=604800),
        About(
            Panel.ACCESS, "While that address does not answer, use its keys for so many seconds."
        ),
    ] = 86400.0

    def check_jwt(self) -> None:
        """Check what --auth jwt needs.

        Raises:
            SettingsError
        """
        needed = {
            "jwt_issuer": self.jwt_issuer,
            "jwt_audience": self.jwt_audience,
            "jwt_keys": self.jwt_keys,
        }
        missing = [name for name, value in needed.items() if not value]
        if missing:
            raise SettingsError(f"--auth jwt needs {', '.join(missing)}")

    @property
    def jwt_key_file(self) -> Path | None:
        """`jwt_keys` if it is a file."""
        keys = self.jwt_keys
        return None if keys is None or _is_url(keys) else Path(keys)
