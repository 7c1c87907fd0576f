"""`jetkv kv get`, `ls` and `history`."""

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from jetkv import Bucket
from jetkv.cli import documents
from jetkv.cli.command import BucketName, Filter, Key, Prefix, command
from jetkv.cli.documents import Hidden, Selection
from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.key_stream import sorted_if_few, streamed
from jetkv.cli.output import Column, Document, Format
from jetkv.cli.session import Session
from jetkv.cli.values import age, is_safe_on_a_terminal, size
from jetkv.models import parse_time

__all__ = ["register"]


_LIST_SECONDS = 60.0
"""For the first page of a list, the gateway has to find and sort all keys."""


def register(app: typer.Typer) -> None:
    """Add the commands that read keys."""
    command(app, "get")(get)
    command(app, "ls")(ls)
    command(app, "history")(history)


def get(
    session: Session,
    bucket: BucketName,
    key: Key,
    revision: Annotated[
        int | None, typer.Option(help="An older revision that the history has.")
    ] = None,
    eventual: Annotated[
        bool, typer.Option("--eventual", help="Any replica may answer, perhaps an older value.")
    ] = False,
) -> None:
    """Print the value of a key, byte for byte.

    -o json prints the entry, with its revision and when it expires.
    """
    out = session.output
    opened = session.bucket(bucket)
    if out.format not in (None, Format.VALUE):
        entry = documents.entry(opened, key, revision, eventual=eventual)
        out.one(entry, [*_facts(entry), ("value", _text_of(entry))], None)
        return
    value = opened.get(key, revision=revision, consistency="eventual" if eventual else "strong").raw
    if out.on_terminal and not is_safe_on_a_terminal(value):
        raise CommandError(
            f"the value of {key!r} has {len(value)} bytes, and a terminal cannot show some of them",
            Exit.USAGE,
            hint="write it to a file with > FILE, or print it as text with -o json",
        )
    out.raw(value)
    if out.on_terminal and out.format is None and value and not value.endswith(b"\n"):
        # The shell's prompt would stand behind the value. A pipe gets the bytes alone.
        out.raw(b"\n")


def ls(
    session: Session,
    bucket: BucketName,
    filter: Filter = None,
    prefix: Prefix = None,
    values: Annotated[
        bool, typer.Option("--values", help="With the values, in -o json, ndjson and table.")
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="As the gateway finds them, by revision and not sorted: for large buckets.",
        ),
    ] = False,
) -> None:
    """List the keys that have a value, sorted; one a line when piped."""
    if filter is not None and prefix is not None:
        raise CommandError("either a filter or --prefix, not both", Exit.USAGE)
    session.timeout = _LIST_SECONDS
    opened = session.bucket(bucket)
    selection = Selection(filter, prefix)
    hidden = documents.Hidden(session.note)
    if session.output.chosen() is Format.VALUE:
        for key in _keys(opened, selection, hidden, stream=stream):
            session.output.line(key)
        return
    columns = [
        Column("KEY", _field("key")),
        Column("REVISION", _field("revision"), right=True),
        Column("SIZE", lambda one: size(one["size"]), right=True),
        Column("TYPE", _field("content_type")),
        Column("WRITTEN", _ago("created_at"), right=True),
        Column("EXPIRES", _ago("expires_at"), right=True),
    ]
    if values:
        columns[2:4] = [Column("VALUE", _text_of)]
    include = "values" if values else "meta"
    found = streamed(opened, selection, hidden, include=include)
    if not stream:
        found = sorted_if_few(found, session.note)
    session.output.many(found, columns, lambda one: str(one["key"]))


def _keys(
    bucket: Bucket[bytes], selection: Selection, hidden: Hidden, *, stream: bool
) -> Iterator[str]:
    if stream:
        for document in streamed(bucket, selection, hidden, include="keys"):
            yield str(document["key"])
        return
    for page in bucket.pages(selection.filter, prefix=selection.prefix, limit=10_000):
        if page.filtered:
            hidden.tell()
        yield from page.keys


def history(session: Session, bucket: BucketName, key: Key) -> None:
    """List the stored revisions of a key, oldest first, deletes too."""
    columns = [
        Column("REVISION", _field("revision"), right=True),
        Column("OPERATION", _field("operation")),
        Column("WRITTEN", _ago("created_at"), right=True),
        Column("VALUE", _text_of),
    ]
    session.output.many(
        documents.history(session.bucket(bucket), key), columns, _text_of, piped=Format.NDJSON
    )


def _facts(entry: Document) -> list[tuple[str, str]]:
    rows = [
        ("key", str(entry["key"])),
        ("revision", str(entry["revision"])),
        ("written", f"{entry['created_at']} ({_ago('created_at')(entry)})"),
    ]
    if "expires_at" in entry:
        rows.append(("expires", f"{entry['expires_at']} ({_ago('expires_at')(entry)})"))
    return rows


def _field(name: str) -> Any:
    return lambda document: str(document.get(name, ""))


def _ago(name: str) -> Any:
    def show(document: Document) -> str:
        return age(parse_time(document[name])) if name in document else ""

    return show


def _text_of(entry: Document) -> str:
    """Return a value in one text; base64 of one that is no text."""
    if entry.get("operation", "put") != "put":
        return ""
    value = entry.get("value", "")
    if entry.get("encoding") == "json":
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value)
