"""`jetkv kv watch`: prints changes as they come, or runs a command for each."""

import json
import os
import subprocess
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from jetkv import Update, WatchLostError
from jetkv.cli import completion
from jetkv.cli.command import BucketName, command
from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.output import Format
from jetkv.cli.place import Place
from jetkv.cli.session import Session, say
from jetkv.cli.values import in_json, shown
from jetkv.models import Operation, format_time

__all__ = ["register"]

_MAX_VARIABLE_BYTES = 64 * 1024
"""Linux takes at most 128 KiB in a variable of the environment."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "watch")(watch)


def watch(
    session: Session,
    bucket: BucketName,
    filters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="filter",
            help="Filters of keys, as in `kv ls`; none for all.",
            autocompletion=completion.keys,
        ),
    ] = None,
    snapshot: Annotated[
        bool, typer.Option("--snapshot", help="Begin with the current values.")
    ] = False,
    ignore_deletes: Annotated[
        bool, typer.Option("--ignore-deletes", help="Leave out deletes.")
    ] = False,
    run: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="CMD",
            help="Run this shell command for each change, instead of printing it. It gets "
            "JETKV_BUCKET, JETKV_KEY, JETKV_OPERATION, JETKV_REASON, JETKV_REVISION, "
            "JETKV_EXPIRES_AT and JETKV_VALUE, and the value on its standard input.",
        ),
    ] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Go on if the command of --exec fails.")
    ] = False,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Go on where an earlier watch with this file was. The file is written after each "
            "change was printed, or its command has ended.",
        ),
    ] = None,
) -> None:
    """Print the changes of a bucket as they come, until Ctrl-C.

    It goes on through restarts of the gateway and of NATS. With --resume, each change is handled at
    least once, also across restarts of this command.
    """
    place = None if resume is None else Place.read(resume, bucket, filters or [])
    opened = session.bucket(bucket)
    known = place is not None and place.revision is not None
    changes = opened.watch(
        *(filters or []),
        snapshot=snapshot and not known,
        resume_after=place.revision if place is not None else None,
        bucket_created_at=place.bucket_created_at if place is not None else None,
        ignore_deletes=ignore_deletes,
    )
    try:
        with changes:
            if place is not None:
                place.keep(changes)
            for update in changes:
                if run is None:
                    _print(session, update)
                else:
                    _execute(run, update, keep_going=keep_going)
                if place is not None:
                    place.keep(changes)
    except WatchLostError as error:
        raise CommandError(error.message, Exit.MISSED_CHANGES, hint=_cure(resume)) from error


def _cure(resume: Path | None) -> str:
    if resume is None:
        return "start again; --snapshot begins with the current values"
    return f"changes are missing: remove {resume}, and start again with --snapshot"


def _print(session: Session, update: Update[bytes | None]) -> None:
    out = session.output
    match out.chosen(Format.NDJSON):
        case Format.TABLE:
            moment = datetime.now().strftime("%H:%M:%S")
            what = update.reason or update.operation.value
            out.line(
                f"{moment}  {what:<8} {update.revision:>8}  {shown(update.key)}  {_summary(update)}"
            )
        case Format.VALUE:
            out.line(_summary(update))
        case Format.JSON:
            out.line(json.dumps(document_of(update), ensure_ascii=False, indent=2))
        case Format.NDJSON:
            text = json.dumps(document_of(update), ensure_ascii=False, separators=(",", ":"))
            out.line(text)
    out.flush()


def document_of(update: Update[bytes | None]) -> dict[str, Any]:
    """Return an update as the JSON that the command prints."""
    document: dict[str, Any] = {
        "bucket": update.bucket,
        "key": update.key,
        "revision": update.revision,
        "operation": update.operation.value,
    }
    if update.reason is not None:
        document["reason"] = update.reason
    if update.expires_at is not None:
        document["expires_at"] = format_time(update.expires_at)
    if update.operation is Operation.PUT:
        document.update(in_json(update.raw))
    return document


def _summary(update: Update[bytes | None]) -> str:
    """Return a value in one line; nothing for a delete."""
    if update.operation is not Operation.PUT:
        return ""
    found = in_json(update.raw)
    if found["encoding"] == "json":
        return json.dumps(found["value"], ensure_ascii=False, separators=(",", ":"))
    return shown(str(found["value"]))


def _execute(run: str, update: Update[bytes | None], *, keep_going: bool) -> None:
    """Run a command for a change.

    Raises:
        CommandError: it failed. The change counts as not handled.
    """
    # The command is the user's own, for their own shell; keys and values are never part of it.
    ended = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", run],
        env={**os.environ, **_variables(update)},
        input=update.raw,
        check=False,
    )
    if ended.returncode == 0:
        return
    text = f"the command failed ({ended.returncode}) for {update.key!r}, revision {update.revision}"
    if not keep_going:
        raise CommandError(text, Exit.LOCAL, hint="--keep-going would go on")
    say(f"warning: {text}")


def _variables(update: Update[bytes | None]) -> dict[str, str]:
    found = {
        "JETKV_BUCKET": update.bucket,
        "JETKV_KEY": update.key,
        "JETKV_OPERATION": update.operation.value,
        "JETKV_REASON": update.reason or "",
        "JETKV_REVISION": str(update.revision),
        "JETKV_EXPIRES_AT": "" if update.expires_at is None else format_time(update.expires_at),
        "JETKV_VALUE": "",
    }
    if len(update.raw) <= _MAX_VARIABLE_BYTES and b"\0" not in update.raw:
        with suppress(UnicodeDecodeError):
            found["JETKV_VALUE"] = update.raw.decode()
    return found
