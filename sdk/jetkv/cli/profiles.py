"""Which gateway a command talks to: flags, the environment, and profiles in a file.

The first of these that has an address decides, and a token goes only to the address that it stands
beside, so that a token for one gateway is never sent to another:

| Address | Token |
|---|---|
| `--url` | `--token-file`, else `JETKV_TOKEN` or `JETKV_TOKEN_FILE` |
| `--profile` | `--token-file`, else that of the profile |
| `JETKV_URL` | `--token-file`, else `JETKV_TOKEN` or `JETKV_TOKEN_FILE` |
| `JETKV_PROFILE`, else `default` of the file | as for `--profile`, else `JETKV_TOKEN` and so on |
| `http://localhost:9123` | as for `JETKV_URL` |
"""

import ssl
import stat
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jetkv.cli.exits import CommandError, Exit

__all__ = ["DEFAULT_URL", "Connection", "connection", "profile_names", "profiles_file"]

DEFAULT_URL = "http://localhost:9123"

_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "url": str,
    "token": str,
    "token_file": str,
    "ca_file": str,
    "timeout": (int, float),
}
_MAX_FILE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a gateway.

    Attributes:
        url: its address.
        token: the token to send, or None.
        timeout: seconds for one call; None for the default of the command.
        ssl_context: for https with an own certificate authority, or None.
        profile: the name of the profile that it comes from, or None.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    timeout: float | None = None
    ssl_context: ssl.SSLContext | None = None
    profile: str | None = None


def profiles_file(environment: Mapping[str, str]) -> Path:
    """Return the path of the file with the profiles."""
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "jetkv" / "profiles.toml"


def connection(
    environment: Mapping[str, str],
    *,
    url: str | None = None,
    profile: str | None = None,
    token_file: Path | None = None,
    timeout: float | None = None,
    warn: Callable[[str], None] = lambda _text: None,
) -> Connection:
    """Return the connection that flags, environment and profiles ask for.

    Args:
        environment: the environment variables.
        url, profile, token_file, timeout: the flags.
        warn: is called with each warning, such as about a token that others can read.

    Raises:
        CommandError: there is no such profile, or a file cannot be used.
    """
    if url is not None and profile is not None:
        raise CommandError("either --url or --profile, not both", Exit.USAGE)
    chosen: Mapping[str, Any] = {}
    name = profile
    if url is None and (name is not None or not environment.get("JETKV_URL")):
        path = profiles_file(environment)
        document = _read_profiles(path)
        name = name or environment.get("JETKV_PROFILE") or document.get("default")
        if name is not None:
            chosen = _profile(document, name, path, warn)
    address = url
    if address is None:
        address = chosen.get("url") or environment.get("JETKV_URL") or DEFAULT_URL
    token = _token(environment, chosen, token_file, explicit=profile is not None, warn=warn)
    return Connection(
        address,
        token,
        timeout=timeout if timeout is not None else chosen.get("timeout"),
        ssl_context=_trusting(chosen["ca_file"]) if "ca_file" in chosen else None,
        profile=name if chosen else None,
    )


def _token(
    environment: Mapping[str, str],
    chosen: Mapping[str, Any],
    token_file: Path | None,
    *,
    explicit: bool,
    warn: Callable[[str], None],
) -> str | None:
    if token_file is not None:
        return _read_token(token_file, warn)
    if "token" in chosen:
        return str(chosen["token"])
    if "token_file" in chosen:
        return _read_token(Path(chosen["token_file"]).expanduser(), warn)
    if explicit:
        return None
    if environment.get("JETKV_TOKEN"):
        return environment["JETKV_TOKEN"]
    named = environment.get("JETKV_TOKEN_FILE")
    return _read_token(Path(named).expanduser(), warn) if named else None


def _read_token(path: Path, warn: Callable[[str], None]) -> str:
    text = _text_of(path, "the token file")
    _warn_if_others_can_read(path, warn)
    token = text.strip()
    if not token or len(token.split()) != 1:
        raise CommandError(f"{path}: a token file has one token, and nothing else", Exit.USAGE)
    return token


def _warn_if_others_can_read(path: Path, warn: Callable[[str], None]) -> None:
    mode = path.stat().st_mode
    # A pipe, as of `--token-file <(command)`, is nobody else's.
    if stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        warn(f"{path} has a token, and others can read it: chmod 600 {path}")


def _read_profiles(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = tomllib.loads(_text_of(path, "the profiles"))
    except tomllib.TOMLDecodeError as error:
        raise CommandError(f"{path} is no TOML: {error}", Exit.USAGE) from error
    unknown = document.keys() - {"default", "profiles"}
    if unknown or not isinstance(document.get("profiles", {}), dict):
        raise CommandError(
            f"{path} may have `default` and tables [profiles.NAME], not {sorted(unknown)}",
            Exit.USAGE,
        )
    return document


def _profile(
    document: Mapping[str, Any], name: object, path: Path, warn: Callable[[str], None]
) -> Mapping[str, Any]:
    known = document.get("profiles", {})
    found = known.get(name) if isinstance(name, str) else None
    if not isinstance(found, dict):
        listed = ", ".join(sorted(known)) or "none"
        raise CommandError(f"{path} has no profile {name!r}", Exit.USAGE, hint=f"it has: {listed}")
    for key, value in found.items():
        if key not in _FIELDS:
            raise CommandError(
                f"{path}: profile {name!r} has the unknown field {key!r}",
                Exit.USAGE,
                hint=f"the fields are {', '.join(_FIELDS)}",
            )
        if not isinstance(value, _FIELDS[key]) or isinstance(value, bool):
            raise CommandError(f"{path}: {key} of profile {name!r} has a wrong type", Exit.USAGE)
    if "url" not in found:
        raise CommandError(f"{path}: profile {name!r} has no url", Exit.USAGE)
    if "token" in found:
        _warn_if_others_can_read(path, warn)
    return found


def _trusting(ca_file: str) -> ssl.SSLContext:
    path = Path(ca_file).expanduser()
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise CommandError(
            f"the ca_file {path} cannot be used: {error.strerror or error}", Exit.LOCAL
        ) from error


def _text_of(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise CommandError(f"{what} {path} is larger than 1 MiB", Exit.LOCAL)
        return content.decode()
    except OSError as error:
        raise CommandError(
            f"{what} {path} cannot be read: {error.strerror or error}", Exit.LOCAL
        ) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{what} {path} is no text", Exit.LOCAL) from error


def profile_names(environment: Mapping[str, str]) -> list[str]:
    """Return the names of all profiles, sorted.

    Raises:
        CommandError: the file cannot be used.
    """
    return sorted(_read_profiles(profiles_file(environment)).get("profiles", {}))
