"""Reads the file of `jetkv bucket apply`. Pure, but for reading the file.

    [[buckets]]
    name = "sessions"
    ttl_seconds = 1800

The same in YAML and JSON. In place of a list, `buckets` may have a table for each bucket by its
name. The output of `jetkv bucket ls -o json` is a file of this kind, too.
"""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jetkv.cli.exits import CommandError, Exit

__all__ = ["Wanted", "read", "wanted"]

Wanted = dict[str, dict[str, Any]]
"""The settings of each bucket by its name, as the HTTP API names them."""

_MAX_BYTES = 16 * 1024 * 1024
_REPORTED = frozenset(
    {"values", "bytes", "created_at", "warnings", "marker_ttl_seconds", "changed", "created"}
)
"""What a gateway says of a bucket beside its settings."""
_FORM = "it needs `buckets`: a list of tables with a name, or a table for each name"


class _OtherFormError(ValueError):
    """Raised if a document has another form than the one above."""


def read(path: Path) -> Wanted:
    """Return the buckets that a file asks for, in its order.

    Raises:
        CommandError: the file cannot be read, or has another form.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise CommandError(
            f"{path} cannot be read: {error.strerror or error}", Exit.LOCAL
        ) from error
    if len(content) > _MAX_BYTES:
        raise CommandError(f"{path} is larger than 16 MiB", Exit.LOCAL)
    try:
        return wanted(_parsed(content.decode(), path.suffix.lower()))
    except (ValueError, RecursionError) as error:
        line = " ".join(str(error).split())
        raise CommandError(f"{path}: {line}", Exit.USAGE) from error


def _parsed(text: str, suffix: str) -> Any:
    if suffix == ".json":
        return json.loads(text)
    if suffix in (".yaml", ".yml"):
        return _yaml(text)
    if suffix == ".toml":
        return tomllib.loads(text)
    raise ValueError("the name of the file must end in .toml, .yaml or .json")


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise CommandError(
            "PyYAML is not installed", Exit.LOCAL, hint='pip install "jetkv[cli]", or use TOML'
        ) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"no YAML: {error}") from error


def wanted(document: Any) -> Wanted:
    """Return the buckets that a document asks for.

    Raises:
        ValueError: it has another form; the text says which is expected.
    """
    found = {"buckets": document} if isinstance(document, list) else document
    if not isinstance(found, Mapping) or "buckets" not in found:
        raise _OtherFormError(_FORM)
    unknown = sorted(map(str, found.keys() - {"buckets", "count"}))
    if unknown:
        raise ValueError(f"unknown field {', '.join(unknown)}: {_FORM}")
    listed = found["buckets"]
    if isinstance(listed, Mapping):
        listed = [_named(name, given) for name, given in listed.items()]
    if not isinstance(listed, list):
        raise _OtherFormError(_FORM)
    result: Wanted = {}
    for one in listed:
        if not isinstance(one, Mapping) or not isinstance(one.get("name"), str):
            raise _OtherFormError(_FORM)
        name = one["name"]
        if name in result:
            raise ValueError(f"bucket {name!r} is there twice")
        settings = {str(key): value for key, value in one.items() if key not in _REPORTED}
        del settings["name"]
        for setting, value in settings.items():
            _check_json(value, f"{setting} of bucket {name!r}")
        result[name] = settings
    return result


def _check_json(value: Any, what: str) -> None:
    # TOML and YAML have dates and infinite numbers, for example.
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} cannot be sent as JSON: {error}") from error


def _named(name: Any, given: Any) -> Any:
    if not isinstance(given, Mapping | None):
        raise _OtherFormError(_FORM)
    settings = dict(given or {})
    if settings.setdefault("name", name) != name:
        raise ValueError(f"bucket {name!r} has another name inside")
    return settings
