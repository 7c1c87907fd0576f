"""`jetkv export`, `import` and `copy` (docs/transfer.md)."""

import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from jetkv.cli import completion
from jetkv.cli.command import BucketName, DryRun, Prefix, Yes, command
from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.meter import Meter
from jetkv.cli.profiles import connection
from jetkv.cli.session import Session, say
from jetkv.cli.transfer_options import (
    FilterOption,
    History,
    OnConflict,
    TtlOption,
    Workers,
    breaking_off,
    entries,
    of_file,
    told,
)
from jetkv.transfer.copy import copy
from jetkv.transfer.export import export
from jetkv.transfer.files import new_file
from jetkv.transfer.load import Import
from jetkv.transfer.policy import Counts, Policy, Ttl
from jetkv.transfer.source import Selection

__all__ = ["app"]

_WORKERS = 4

app = typer.Typer()

Target = Annotated[
    Path | None,
    typer.Argument(
        metavar="file",
        help="Compressed if it ends in .gz or .zst. Without it, or with -, the standard output.",
    ),
]
Source = Annotated[Path, typer.Argument(metavar="file", help="A file that `jetkv export` made.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Compare the bucket with the file afterwards.")
]


def export_(
    session: Session,
    bucket: BucketName,
    file: Target = None,
    filter: FilterOption = None,
    prefix: Prefix = None,
    history: History = False,
    yes: Yes = False,
) -> None:
    """Write the keys of a bucket to a file, with their values."""
    selection = _selection(bucket, filter, prefix, history=history)
    opened = session.bucket(bucket)
    to_stdout = file is None or str(file) == "-"
    if to_stdout and session.output.on_terminal:
        raise CommandError("an export is no text for a terminal", Exit.USAGE, hint="name a file")
    target: Any
    if to_stdout:
        target = nullcontext(sys.stdout.buffer)
    else:
        assert file is not None
        if file.exists():
            session.confirm(f"Replace {file}?", yes=yes)
        target = new_file(file)
    total = opened.info().values if filter is prefix is None else None
    with target as output, Meter("entries", total, quiet=session.output.quiet) as meter:
        written: IO[bytes] = output
        header, end = export(opened, selection, written, meter)
    if header.partial:
        session.note(f"warning: the export lacks the keys of {bucket} that you may not read")
    if not to_stdout:
        document = {"bucket": bucket, "file": str(file), **end.document()}
        del document["type"]
        text = f"{bucket}: wrote {entries(end.count)} to {file}, as of revision {end.to_revision}"
        session.output.done(document, text, str(end.count))


def import_(
    session: Session,
    bucket: BucketName,
    file: Source,
    on_conflict: OnConflict = Policy.FAIL,
    ttl: TtlOption = Ttl.REMAINING,
    workers: Workers = _WORKERS,
    verify: Verify = False,
    dry_run: DryRun = False,
) -> None:
    """Write the keys of a file to a bucket. If it was interrupted, it goes on."""
    quiet = session.output.quiet
    opened = session.bucket(bucket)
    if file.exists() and not file.is_file():
        raise CommandError(
            f"{file} is no file, so it cannot be checked before the first write",
            Exit.USAGE,
            hint="keep the export in a file",
        )
    with of_file(file):
        found = Import.prepare(file, opened, on_conflict, ttl)
        total = found.checked.end.count
        if dry_run:
            with Meter("entries", total, quiet=quiet) as meter:
                seen = found.survey(meter)
            document = {
                "bucket": bucket,
                "dry_run": True,
                "same": seen.same,
                "missing": seen.missing,
                "differ": seen.differ,
                "expired": seen.expired,
            }
            text = (
                f"{bucket}: of {entries(total)}, {seen.missing:,} are missing, {seen.differ:,} "
                f"differ, {seen.same:,} are the same, {seen.expired:,} have expired"
            )
            session.output.done(document, text, str(seen.missing))
            return
        session.writing = "a part of the import (the same command goes on from there)"
        goes_on = "and the same command goes on from there"
        with Meter("entries", total, quiet=quiet) as meter, breaking_off(found.counts, goes_on):
            counts = found.run(workers, meter)
        session.writing = ""
        if found.resumed:
            session.note("this went on where an import had broken off; the counts are of both")
        told(session, bucket, counts, "wrote", resumed=found.resumed)
        if verify:
            _verify(session, found)


def _verify(session: Session, found: Import) -> None:
    with Meter("entries", found.checked.end.count, quiet=session.output.quiet) as meter:
        seen = found.survey(meter)
    name = found.bucket.name
    if seen.missing or seen.differ:
        raise CommandError(
            f"{name} is not as the file: {seen.missing:,} missing, {seen.differ:,} different, such "
            f"as {seen.example!r}",
            Exit.CONFLICT,
            hint="with --on-conflict overwrite, the import replaces them",
        )
    session.note(f"{name}: {entries(seen.same)} compared, byte for byte")


def copy_(
    session: Session,
    bucket: BucketName,
    target: Annotated[
        str,
        typer.Argument(
            help="The bucket to write to. It has to exist.", autocompletion=completion.buckets
        ),
    ],
    to_url: Annotated[
        str | None, typer.Option(help="The gateway of the target. Default: the same one.")
    ] = None,
    to_profile: Annotated[str | None, typer.Option(help="The profile of the target.")] = None,
    to_token_file: Annotated[
        Path | None, typer.Option(help="File with the token for the target.")
    ] = None,
    filter: FilterOption = None,
    prefix: Prefix = None,
    history: History = False,
    on_conflict: OnConflict = Policy.FAIL,
    ttl: TtlOption = Ttl.REMAINING,
    workers: Workers = _WORKERS,
) -> None:
    """Write the keys of a bucket to another one, of this or another gateway."""
    selection = _selection(bucket, filter, prefix, history=history)
    elsewhere = to_url is not None or to_profile is not None
    if to_token_file is not None and not elsewhere:
        raise CommandError("--to-token-file needs --to-url or --to-profile", Exit.USAGE)
    if bucket == target and not elsewhere:
        raise CommandError(f"{bucket} cannot be copied to itself", Exit.USAGE)
    source = session.bucket(bucket)
    other = session
    if elsewhere:
        other = _elsewhere(session, to_url, to_profile, to_token_file)
    try:
        session.writing = "a part of the copy"
        total = source.info().values if filter is prefix is None else None
        counts = Counts()
        repeat = "and the same command leaves out what is the same by then"
        quiet = session.output.quiet
        with Meter("entries", total, quiet=quiet) as meter, breaking_off(counts, repeat):
            to = other.bucket(target)
            copy(source, selection, to, on_conflict, ttl, workers, counts, meter)
        session.writing = ""
    finally:
        if elsewhere:
            other.close()
    told(session, target, counts, "copied")


def _elsewhere(
    session: Session, url: str | None, profile: str | None, token_file: Path | None
) -> Session:
    # A token of the environment belongs to the source, and goes nowhere else.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("JETKV_TOKEN", "JETKV_TOKEN_FILE")
    }
    return Session(
        lambda: connection(
            environment,
            url=url,
            profile=profile,
            token_file=token_file,
            warn=lambda text: say(f"warning: {text}"),
        ),
        session.output,
    )


def _selection(bucket: str, filter: str | None, prefix: str | None, *, history: bool) -> Selection:
    if filter is not None and prefix is not None:
        raise CommandError("either --filter or --prefix, not both", Exit.USAGE)
    return Selection(bucket, filter, prefix, history)


for name, function in (("export", export_), ("import", import_), ("copy", copy_)):
    command(app, name)(function)
