"""NATS contexts: named settings of a connection, in the files of the `nats` command line.

Source of the format: ADR-21, and natscontext in nats-io/jsm.go, which newer releases extend.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["SELECTED", "ContextError", "NatsContext", "folder", "read"]

SELECTED = "."
"""Stands for the context that `nats context select` has chosen. No context can have this name."""

_TEXTS = {
    "url": "nats_url",
    "user": "nats_user",
    "password": "nats_password",
    "token": "nats_token",
    "inbox_prefix": "nats_inbox_prefix",
    "jetstream_domain": "nats_domain",
}
_FILES = {
    "creds": "nats_creds",
    "nkey": "nats_nkey",
    "cert": "nats_tls_cert",
    "key": "nats_tls_key",
    "ca": "nats_tls_ca",
}

# The gateway does not need these.
_IRRELEVANT = frozenset({"name", "description", "color_scheme", "jetstream_event_prefix"})

_UNSUPPORTED = {
    "nsc": "write the credentials to a file (`nsc generate creds`) and name it in `creds`",
    "socks_proxy": "the gateway connects without a proxy",
    "user_jwt": "put JWT and seed into a credentials file, and name it in `creds`",
    "user_seed": "put JWT and seed into a credentials file, and name it in `creds`",
    "windows_cert_store": "name PEM files in `cert`, `key` and `ca`",
    "windows_cert_match_by": "name PEM files in `cert`, `key` and `ca`",
    "windows_cert_match": "name PEM files in `cert`, `key` and `ca`",
    "windows_ca_certs_match": "name PEM files in `cert`, `key` and `ca`",
}
"""Without these, the gateway would connect in another way than the `nats` command line does."""

_API_OF_DOMAIN = re.compile(r"\$JS\.([A-Za-z0-9_-]+)\.API\.?")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_REFERENCE = re.compile(r"(env|op|nsc|file|data):", re.IGNORECASE)

_MAX_BYTES = 1024 * 1024


class ContextError(ValueError):
    """Raised for an unusable context. The text contains no secret."""


@dataclass(frozen=True, slots=True)
class NatsContext:
    """A context, as settings.

    Attributes:
        file: the file that it was read from.
        settings: settings of the gateway by name. What the context leaves empty is missing.
        warnings: lines about fields that have no effect.
    """

    name: str
    file: Path
    settings: dict[str, Any] = field(repr=False)
    warnings: tuple[str, ...] = ()


def folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the `nats` command line."""
    return Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nats"


def read(name: str, environment: Mapping[str, str] = os.environ) -> NatsContext:
    """Read a context.

    Args:
        name: of the context, or `SELECTED`.
        environment: for `XDG_CONFIG_HOME`, and for the variables that the context names.

    Raises:
        ContextError: there is no such context, or the gateway cannot do what it asks for.
    """
    home = folder(environment)
    if name == SELECTED:
        name = _selected(home)
    if not name or ".." in name or "/" in name or "\\" in name or name == SELECTED:
        raise ContextError(f"{name!r} cannot be the name of a context")
    file = home / "context" / f"{name}.json"
    if not file.is_file():
        raise ContextError(_not_found(name, file))
    try:
        with file.open("rb") as opened:
            content = json.loads(opened.read(_MAX_BYTES))
    except OSError as error:
        raise ContextError(f"cannot read {file}: {error.strerror}") from error
    except ValueError:
        # The text of the error may quote a secret.
        raise ContextError(f"{file} is not valid JSON") from None
    if not isinstance(content, dict):
        raise ContextError(f"{file} is not a JSON object")
    settings, warnings = _translate(name, content, environment)
    return NatsContext(name, file, settings, warnings)


def _selected(home: Path) -> str:
    try:
        name = (home / "context.txt").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        name = ""
    if not name:
        raise ContextError("no context is selected: `nats context select` does that")
    return name


def _not_found(name: str, file: Path) -> str:
    known = sorted(path.stem for path in file.parent.glob("*.json"))
    there = f"; there are {', '.join(known)}" if known else ", and no other one"
    return f"no context {name!r} in {file.parent}{there}"


def _translate(
    name: str, content: dict[str, Any], environment: Mapping[str, str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    given = {key: value for key, value in content.items() if value not in ("", None, False)}
    for key, cure in _UNSUPPORTED.items():
        if key in given:
            raise ContextError(f"the context {name!r} has {key}, which jetkv does not know: {cure}")
    settings: dict[str, Any] = {}
    for key in (_TEXTS | _FILES).keys() & given.keys():
        if not isinstance(given[key], str):
            raise ContextError(f"{key} of the context {name!r} must be a text")
        if key in _TEXTS:
            settings[_TEXTS[key]] = _text(name, key, given[key], environment)
        else:
            settings[_FILES[key]] = _file(name, key, given[key], environment)
    if "tls_first" in given:
        settings["nats_tls_first"] = given["tls_first"]
    prefix = given.get("jetstream_api_prefix")
    if prefix is not None:
        _take_api_prefix(name, str(prefix), settings)
    known = {*_TEXTS, *_FILES, "tls_first", "jetstream_api_prefix"} | _IRRELEVANT
    warnings = tuple(
        f"{key} of the context {name!r} has no effect: jetkv does not know it"
        for key in sorted(given.keys() - known)
    )
    return settings, warnings


def _take_api_prefix(name: str, prefix: str, settings: dict[str, Any]) -> None:
    """Take the prefix of a domain as that domain; others are for imports of other accounts."""
    if prefix.rstrip(".") == "$JS.API":
        return
    domain = _API_OF_DOMAIN.fullmatch(prefix)
    if domain is None or settings.setdefault("nats_domain", domain[1]) != domain[1]:
        raise ContextError(
            f"the context {name!r} has jetstream_api_prefix {prefix!r}: jetkv can use a JetStream "
            "domain (jetstream_domain), but no other prefix"
        )


def _text(name: str, key: str, value: str, environment: Mapping[str, str]) -> str:
    reference = _REFERENCE.match(value) if key in ("user", "password", "token") else None
    if reference is None:
        return value
    kind = reference[1].lower()
    if kind != "env":
        raise ContextError(
            f"{key} of the context {name!r} is a reference to {kind}, "
            "which jetkv cannot read: set it as a setting of jetkv"
        )
    variable = value[len("env:") :].lstrip("/")
    if not (found := environment.get(variable)):
        raise ContextError(f"{key} of the context {name!r} is in {variable}, which is not set")
    return found.rstrip("\r\n")


def _file(name: str, key: str, value: str, environment: Mapping[str, str]) -> Path:
    reference = _REFERENCE.match(value)
    if reference is not None:
        kind = reference[1].lower()
        if kind != "file":
            raise ContextError(
                f"{key} of the context {name!r} is a reference to {kind}, which jetkv cannot read: "
                "name a file"
            )
        value = unquote(urlsplit(value).path)
    value = _VARIABLE.sub(lambda match: environment.get(match[1] or match[2], ""), value)
    return Path(value).expanduser()
