"""`jetkv kv put`, `create`, `update`, `touch`, `rm` and `purge`."""

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from jetkv import TTL, Bucket, Deleted
from jetkv.cli import values
from jetkv.cli.command import BucketName, DryRun, Key, Keys, Prefix, Yes, command
from jetkv.cli.documents import Selection
from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.session import Session
from jetkv.codec import TypedBytesCodec
from jetkv.models import format_time

__all__ = ["register"]

_MAX_BYTES = 64 * 1024 * 1024
"""NATS takes no larger message. A file that is larger is not read into memory."""
_SHOWN_KEYS = 10

Value = Annotated[
    str | None,
    typer.Argument(
        metavar="value",
        help="The value. Without it, or with -, the standard input is stored. Write -- before a "
        "value that begins with a dash.",
    ),
]
File = Annotated[Path | None, typer.Option("--file", "-f", help="Store the content of this file.")]
ContentType = Annotated[
    str | None,
    typer.Option(
        help="Stored with the value. Default: by the file's name, else application/json, "
        "text/plain or application/octet-stream, by what the bytes are."
    ),
]
Ttl = Annotated[
    str | None,
    typer.Option(
        help="When the value expires: 30s, 5m, 1h30m, 7d, or never. Default: the bucket's TTL."
    ),
]
KeyFilter = Annotated[
    str | None, typer.Option(help="All keys that match, such as 'user.*'; '>' is every key.")
]
Revision = Annotated[int | None, typer.Option(help="Only if the key is at this revision.", min=1)]


def register(app: typer.Typer) -> None:
    """Add the commands that write keys."""
    for function in (put, create, update, touch, rm, purge):
        command(app, function.__name__)(function)


def put(
    session: Session,
    bucket: BucketName,
    key: Key,
    value: Value = None,
    file: File = None,
    content_type: ContentType = None,
    ttl: Ttl = None,
) -> None:
    """Store a value, whether or not the key has one."""
    raw, opened = _value(session, bucket, value, file, content_type)
    session.writing = f"the put of {key!r}"
    _stored(session, bucket, key, opened.put(key, raw, ttl=parsed_ttl(ttl)))


def create(
    session: Session,
    bucket: BucketName,
    key: Key,
    value: Value = None,
    file: File = None,
    content_type: ContentType = None,
    ttl: Ttl = None,
) -> None:
    """Store a value if the key has none."""
    raw, opened = _value(session, bucket, value, file, content_type)
    session.writing = f"the create of {key!r}"
    _stored(session, bucket, key, opened.create(key, raw, ttl=parsed_ttl(ttl)))


def update(
    session: Session,
    bucket: BucketName,
    key: Key,
    value: Value = None,
    *,
    revision: Annotated[int, typer.Option(help="The revision that the key must be at.", min=1)],
    file: File = None,
    content_type: ContentType = None,
    ttl: Ttl = None,
) -> None:
    """Store a value if the key is at --revision (compare-and-set)."""
    raw, opened = _value(session, bucket, value, file, content_type)
    session.writing = f"the update of {key!r}"
    _stored(session, bucket, key, opened.update(key, raw, revision, ttl=parsed_ttl(ttl)))


def touch(
    session: Session,
    bucket: BucketName,
    key: Key,
    ttl: Annotated[
        str | None,
        typer.Option(help="The new TTL: 30s, 5m, 1h30m, 7d, or never. Default: the one it has."),
    ] = None,
    revision: Revision = None,
) -> None:
    """Renew a value: its TTL starts again, and the value stays as it is."""
    opened = session.bucket(bucket)
    session.writing = f"the touch of {key!r}"
    touched = opened.touch(key, parsed_ttl(ttl), revision=revision)
    document: dict[str, Any] = {"bucket": bucket, "key": key, "revision": touched.revision}
    when = "does not expire"
    if touched.expires_at is not None:
        document["expires_at"] = format_time(touched.expires_at)
        when = f"expires {values.age(touched.expires_at)}"
    session.output.done(
        document, f"{bucket} {key}: revision {touched.revision}, {when}", str(touched.revision)
    )


def rm(
    session: Session,
    bucket: BucketName,
    keys: Keys = None,
    prefix: Prefix = None,
    filter: KeyFilter = None,
    revision: Revision = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Delete keys. Their histories stay."""
    chosen = Selection(filter, prefix)
    _delete(session, bucket, keys or [], chosen, revision, yes=yes, dry_run=dry_run, purging=False)


def purge(
    session: Session,
    bucket: BucketName,
    keys: Keys = None,
    prefix: Prefix = None,
    filter: KeyFilter = None,
    revision: Revision = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Delete keys and their histories."""
    chosen = Selection(filter, prefix)
    _delete(session, bucket, keys or [], chosen, revision, yes=yes, dry_run=dry_run, purging=True)


def parsed_ttl(text: str | None) -> TTL | None:
    """Return the TTL that an option has.

    Raises:
        CommandError: it is none.
    """
    try:
        found = None if text is None else values.ttl(text)
    except ValueError as error:
        raise CommandError(f"--ttl: {error}, or never", Exit.USAGE) from error
    if found == timedelta():
        raise CommandError("--ttl must be 1s or more, or never", Exit.USAGE)
    return found


def _value(
    session: Session,
    bucket: str,
    value: str | None,
    file: Path | None,
    content_type: str | None,
) -> tuple[bytes, Bucket[bytes]]:
    """Return the bytes to store, and the bucket that stores them with their content type."""
    if value is not None and file is not None:
        raise CommandError("either a value or --file, not both", Exit.USAGE)
    if file is not None:
        with file.open("rb") as source:
            raw = _read(source, str(file))
    elif value is not None and value != "-":
        raw = os.fsencode(value)
    else:
        raw = _from_stdin(explicit=value == "-")
    kind = content_type or values.content_type_of(raw, file)
    return raw, session.kv.bucket(bucket, TypedBytesCodec(kind))


def _from_stdin(*, explicit: bool) -> bytes:
    if sys.stdin.isatty() and not explicit:
        raise CommandError(
            "there is no value",
            Exit.USAGE,
            hint="give it as an argument, with --file, or by a pipe",
        )
    raw = _read(sys.stdin.buffer, "the standard input")
    if not raw and not explicit:
        # A job without a standard input would store an empty value unnoticed.
        raise CommandError(
            "the standard input is empty", Exit.USAGE, hint="to store an empty value, pass '' or -"
        )
    return raw


def _read(source: IO[bytes], name: str) -> bytes:
    raw = source.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise CommandError(f"{name} is larger than any value can be: 64 MiB", Exit.REFUSED)
    return raw


def _stored(session: Session, bucket: str, key: str, revision: int) -> None:
    document = {"bucket": bucket, "key": key, "revision": revision}
    session.output.done(document, f"{bucket} {key}: revision {revision}", str(revision))


def _delete(
    session: Session,
    bucket: str,
    keys: Sequence[str],
    selection: Selection,
    revision: int | None,
    *,
    yes: bool,
    dry_run: bool,
    purging: bool,
) -> None:
    many = [one for one in (selection.filter, selection.prefix) if one is not None]
    if "" in many:
        raise CommandError(
            "an empty --prefix or --filter", Exit.USAGE, hint="--filter '>' is every key"
        )
    if bool(keys) == bool(many) or len(many) > 1:
        raise CommandError("name keys, or give one of --prefix and --filter", Exit.USAGE)
    if revision is not None and len(keys) != 1:
        raise CommandError("--revision needs exactly one key", Exit.USAGE)
    opened = session.bucket(bucket)
    if many:
        _delete_many(session, opened, selection, yes=yes, dry_run=dry_run, purging=purging)
        return
    verb = "purge" if purging else "delete"
    if dry_run:
        live = [key for key in keys if opened.exists(key)]
        document = {"bucket": bucket, "matched": len(live), "deleted": 0, "dry_run": True}
        session.output.done(
            document, f"would {verb} {values.counted(len(live), 'key')} of {bucket}", str(len(live))
        )
        return
    named = ", ".join(repr(key) for key in keys[:_SHOWN_KEYS])
    rest = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    what = "and its history " if len(keys) == 1 else "and their histories "
    session.confirm(
        f"{verb.capitalize()} {named}{rest} {what if purging else ''}in bucket {bucket}?", yes=yes
    )
    write = opened.purge if purging else opened.delete
    for done, key in enumerate(keys):
        session.writing = f"the {verb} of {key!r}, number {done + 1} of {len(keys)},"
        write(key, revision=revision)
        document = {"bucket": bucket, "key": key, "operation": verb}
        session.output.done(document, f"{bucket} {key}: {verb}d", None)


def _delete_many(
    session: Session,
    bucket: Bucket[bytes],
    selection: Selection,
    *,
    yes: bool,
    dry_run: bool,
    purging: bool,
) -> None:
    verb = "purge" if purging else "delete"

    def call(*, dry_run: bool) -> Deleted:
        return bucket.delete_many(
            selection.filter, prefix=selection.prefix, purge=purging, dry_run=dry_run
        )

    if dry_run or not yes:
        found = call(dry_run=True)
    if dry_run:
        session.output.done(
            {"bucket": bucket.name, **asdict(found), "dry_run": True},
            f"would {verb} {values.counted(found.matched, 'key')} of {bucket.name}",
            str(found.matched),
        )
        return
    if not yes:
        session.confirm(
            f"{verb.capitalize()} {values.counted(found.matched, 'key')} of {bucket.name}?", yes=yes
        )
    session.writing = f"a part of the {verb}s"
    done = call(dry_run=False)
    missed = done.matched - done.deleted
    kept = f", {values.counted(missed, 'key')} written meanwhile and kept" if missed else ""
    session.output.done(
        {"bucket": bucket.name, **asdict(done)},
        f"{bucket.name}: {verb}d {values.counted(done.deleted, 'key')}{kept}",
        str(done.deleted),
    )
