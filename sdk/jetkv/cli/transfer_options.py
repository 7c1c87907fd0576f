"""What `jetkv export`, `import` and `copy` have in common."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from jetkv.cli.exits import CommandError, Exit, exit_of, line_of
from jetkv.cli.session import Session
from jetkv.errors import JetKVError
from jetkv.transfer.policy import Counts, Policy, Ttl
from jetkv.transfer.problems import FileDamagedError

__all__ = [
    "FilterOption",
    "History",
    "OnConflict",
    "TtlOption",
    "Workers",
    "breaking_off",
    "entries",
    "of_file",
    "told",
]

FilterOption = Annotated[
    str | None,
    typer.Option("--filter", help="Only keys that match: 'user.*', 'user.>', 'user:' or a key."),
]
History = Annotated[
    bool, typer.Option("--history", help="All stored revisions, and tombstones too.")
]
OnConflict = Annotated[
    Policy,
    typer.Option(
        "--on-conflict",
        help="What to do with a key that has another value: fail, skip it, overwrite it, or "
        "overwrite it if the new value was written later.",
    ),
]
TtlOption = Annotated[
    Ttl,
    typer.Option(
        "--ttl",
        help="How long values that expire live: what remains of it, all of it again, or drop: the "
        "TTL of the bucket.",
    ),
]
Workers = Annotated[int, typer.Option(help="How many batches are in flight.", min=1, max=32)]


@contextmanager
def of_file(path: Path) -> Iterator[None]:
    """Have errors of a file name it."""
    try:
        yield
    except FileDamagedError as error:
        raise CommandError(f"{path}: {error.message}", Exit.LOCAL, hint=error.hint) from error


@contextmanager
def breaking_off(counts: Counts, what_next: str) -> Iterator[None]:
    """Have errors say how much was written before them."""
    try:
        yield
    except (JetKVError, OSError) as error:
        if not counts.written:
            raise
        code = Exit.LOCAL if isinstance(error, OSError) else exit_of(error)
        raise CommandError(
            f"{line_of(error)}; {entries(counts.written)} were written before, {what_next}", code
        ) from error


def entries(count: int) -> str:
    """Return a number of entries with its noun."""
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def told(session: Session, bucket: str, counts: Counts, verb: str, **more: Any) -> None:
    """Print what became of entries."""
    parts = [f"{verb} {entries(counts.written)}"]
    for count, what in (
        (counts.unchanged, "were the same already"),
        (counts.kept, "left out, since their keys have other values"),
        (counts.expired, "left out, since they have expired"),
    ):
        if count:
            parts.append(f"{count:,} {what}")
    document = {
        "bucket": bucket,
        "written": counts.written,
        "unchanged": counts.unchanged,
        "kept": counts.kept,
        "expired": counts.expired,
        **more,
    }
    session.output.done(document, f"{bucket}: {', '.join(parts)}", str(counts.written))
