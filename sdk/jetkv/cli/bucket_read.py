"""`jetkv bucket ls` and `info`."""

import json
from datetime import timedelta
from typing import Any

import typer

from jetkv.cli import bucket_documents
from jetkv.cli.command import BucketName, command
from jetkv.cli.output import Column, Document, Format
from jetkv.cli.session import Session
from jetkv.cli.values import size, span

__all__ = ["register", "setting_text"]

_SIZES = {"bytes", "max_bytes", "max_value_size"}
_SECONDS = {"ttl_seconds", "marker_ttl_seconds"}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "ls")(ls)
    command(app, "info")(info)


def ls(session: Session) -> None:
    """List the buckets; one name a line when piped."""
    columns = [
        Column("BUCKET", lambda one: str(one["name"])),
        Column("STORED", lambda one: _count(one.get("values")), right=True),
        Column("SIZE", lambda one: _size(one.get("bytes")), right=True),
        Column("HISTORY", lambda one: str(one.get("history", "")), right=True),
        Column("TTL", lambda one: setting_text("ttl_seconds", one.get("ttl_seconds", 0))),
        Column("WARNINGS", lambda one: ", ".join(w["code"] for w in one.get("warnings", []))),
        Column("DESCRIPTION", lambda one: str(one.get("description", ""))),
    ]
    found = bucket_documents.every(session)
    session.output.many(found, columns, lambda one: str(one["name"]))


def info(session: Session, bucket: BucketName) -> None:
    """Describe a bucket: settings, size and warnings."""
    found = bucket_documents.one(session, bucket)
    session.output.one(found, _rows(found), _lines(found), piped=Format.JSON)


def _rows(found: Document) -> list[tuple[str, str]]:
    rows = [
        (name, setting_text(name, value)) for name, value in found.items() if name != "warnings"
    ]
    for warning in found.get("warnings", []):
        rows.append(("warning", f"{warning['code']}: {warning['message']}"))
    return rows


def _lines(found: Document) -> str:
    """Return a line `name=value` for each field, with values as JSON has them."""
    return "\n".join(
        f"{name}={value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in found.items()
    )


def setting_text(name: str, value: Any) -> str:
    """Return a field of a bucket for people."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name in _SECONDS and isinstance(value, int):
        return span(timedelta(seconds=value)) if value else "never"
    if name in _SIZES and isinstance(value, int):
        return size(value) if value or name == "bytes" else "no limit"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else ""


def _size(value: Any) -> str:
    return size(value) if isinstance(value, int) else ""
