"""`jetkv bucket create`, `set`, `rm` and `compact`."""

from typing import Annotated, Any

import typer

from jetkv.cli import bucket_documents
from jetkv.cli.bucket_read import setting_text
from jetkv.cli.bucket_settings import Settings, settings
from jetkv.cli.command import BucketName, DryRun, Yes, command
from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.output import Document
from jetkv.cli.session import Session
from jetkv.cli.values import counted, duration
from jetkv.errors import CannotBeChangedError, WouldLoseDataError

__all__ = ["AllowDataLoss", "register"]

AllowDataLoss = Annotated[
    bool, typer.Option("--allow-data-loss", help="Also if stored data is removed by it.")
]
NewName = Annotated[
    str, typer.Argument(metavar="bucket", help="The name: 1 to 200 of A-Z a-z 0-9 _ -.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "create", settings)(create)
    command(app, "set", settings)(change)
    command(app, "rm")(rm)
    command(app, "compact")(compact)


def create(
    session: Session,
    bucket: NewName,
    *,
    options: Settings,
    exist_ok: Annotated[
        bool,
        typer.Option("--exist-ok", help="It is no error if the bucket exists with these settings."),
    ] = False,
) -> None:
    """Create a bucket."""
    session.writing = f"the creation of bucket {bucket}"
    if exist_ok and (found := _existing(session, bucket, options)) is not None:
        session.output.done(found, f"{bucket}: exists as it should be", bucket)
        return
    made = bucket_documents.create(session, bucket, options)
    session.output.done(made, f"{bucket}: created", bucket)
    _warn(session, made)


def _existing(session: Session, bucket: str, options: Settings) -> Document | None:
    """Return the bucket if it exists with these settings; None if it does not exist.

    Raises:
        CommandError: it exists with other settings.
    """
    try:
        found = bucket_documents.change(
            session, bucket, options, create=True, dry_run=True, allow_data_loss=False
        )
        differing = found["changed"]
    except (CannotBeChangedError, WouldLoseDataError) as error:
        found, differing = {}, list(error.details)
    if found.get("created"):
        return None
    if differing:
        raise CommandError(
            f"bucket {bucket} exists with other settings: {', '.join(differing)}",
            Exit.CONFLICT,
            hint="`jetkv bucket set` changes them",
        )
    return found


def change(
    session: Session,
    bucket: BucketName,
    *,
    options: Settings,
    remove_metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Remove a text of your own.", rich_help_panel="Settings"),
    ] = None,
    allow_data_loss: AllowDataLoss = False,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Change settings of a bucket. What you do not name stays as it is."""
    for name in remove_metadata or []:
        options.setdefault("metadata", {})[name] = None
    if not options:
        raise CommandError("name a setting, such as --ttl 5m", Exit.USAGE)

    def call(*, dry_run: bool, allow: bool) -> Any:
        return bucket_documents.change(
            session, bucket, options, create=False, dry_run=dry_run, allow_data_loss=allow
        )

    losing = False
    if allow_data_loss:
        try:
            call(dry_run=True, allow=False)
        except WouldLoseDataError as error:
            losing = True
            if not dry_run:
                lost = ", ".join(error.details)
                session.confirm(f"Stored data would go ({lost}). Change bucket {bucket}?", yes=yes)
    if not dry_run:
        session.writing = f"the change of bucket {bucket}"
    made = call(dry_run=dry_run, allow=losing)
    shown = ", ".join(f"{name} {setting_text(name, made.get(name, 0))}" for name in made["changed"])
    would = "would change" if dry_run else "changed"
    sentence = f"{bucket}: {would} {shown}" if shown else f"{bucket}: nothing to change"
    if losing:
        sentence += "; stored data would be removed" if dry_run else "; stored data was removed"
    session.output.done(made, sentence, "\n".join(made["changed"]) or None)
    _warn(session, made)


def rm(session: Session, bucket: BucketName, yes: Yes = False, dry_run: DryRun = False) -> None:
    """Delete a bucket and everything in it."""
    found = bucket_documents.one(session, bucket)
    stored = counted(found["values"], "stored revision") if "values" in found else "what is stored"
    if dry_run:
        if found.get("protected"):
            raise CommandError(
                f"bucket {bucket} is protected",
                Exit.REFUSED,
                hint=f"`jetkv bucket set {bucket} --no-protected` allows it",
            )
        session.output.done(
            {**found, "dry_run": True}, f"would delete {bucket} with {stored}", None
        )
        return
    session.confirm(f"Delete bucket {bucket} with {stored}?", yes=yes)
    session.writing = f"the deletion of bucket {bucket}"
    session.kv.delete_bucket(bucket)
    session.output.done({"bucket": bucket, "deleted": True}, f"{bucket}: deleted", None)


def compact(
    session: Session,
    bucket: BucketName,
    older_than: Annotated[
        str | None,
        typer.Option(
            help="Keep younger tombstones: 30s, 5m, 7d. A watch that was away for longer does not "
            "notice those deletes."
        ),
    ] = None,
) -> None:
    """Remove the tombstones of deleted keys of which nothing else is stored; never a value."""
    try:
        limit = None if older_than is None else duration(older_than)
    except ValueError as error:
        raise CommandError(f"--older-than: {error}", Exit.USAGE) from error
    session.writing = "a part of the compaction"
    removed = session.bucket(bucket).compact(older_than=limit)
    session.output.done(
        {"bucket": bucket, "removed": removed},
        f"{bucket}: removed {counted(removed, 'tombstone')}",
        str(removed),
    )


def _warn(session: Session, made: Any) -> None:
    for warning in made.get("warnings", []):
        session.note(f"warning: {warning['code']}: {warning['message']}")
