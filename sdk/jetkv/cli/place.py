"""Where a watch is, in a file that survives a power cut."""

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jetkv import Watch
from jetkv.cli.exits import CommandError, Exit
from jetkv.models import format_time, parse_time

__all__ = ["Place"]

_MAX_BYTES = 64 * 1024


@dataclass(slots=True)
class Place:
    """The place of a watch, and the file that keeps it.

    Attributes:
        path: the file.
        bucket, filters: what is watched.
        revision: the newest revision that was handled; None if there is no file yet.
        bucket_created_at: which bucket of that name it belongs to.
    """

    path: Path
    bucket: str
    filters: list[str]
    revision: int | None = None
    bucket_created_at: datetime | None = None

    @classmethod
    def read(cls, path: Path, bucket: str, filters: list[str]) -> "Place":
        """Return the place that a file has; a place without a revision if there is no file.

        Raises:
            CommandError: the file is no such file, or belongs to a watch of other keys.
        """
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_BYTES)
        except FileNotFoundError:
            return cls(path, bucket, sorted(filters))
        try:
            watched, revision, created = _parsed(text)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise CommandError(
                f"{path} is no file of `kv watch --resume`",
                Exit.USAGE,
                hint="name another file; to start again, remove this one",
            ) from error
        if watched != (bucket, sorted(filters)):
            raise CommandError(
                f"{path} belongs to a watch of bucket {watched[0]}, filters {watched[1]}",
                Exit.USAGE,
                hint="use one file for each watch",
            )
        return cls(path, bucket, sorted(filters), revision, created)

    def keep(self, watch: Watch[Any]) -> None:
        """Store where a watch is. When this returns, a power cut does not lose it.

        Raises:
            OSError: the file cannot be written.
        """
        revision, created = watch.last_revision, watch.bucket_created_at
        if revision is None or created is None:
            return
        if (revision, created) == (self.revision, self.bucket_created_at):
            return
        document = {
            "bucket": self.bucket,
            "filters": self.filters,
            "revision": revision,
            "bucket_created_at": format_time(created),
        }
        _replace(self.path, json.dumps(document).encode() + b"\n")
        self.revision, self.bucket_created_at = revision, created


def _parsed(text: bytes) -> tuple[tuple[Any, Any], int, datetime]:
    """Return what is watched, the revision, and when the bucket was created.

    Raises:
        ValueError, KeyError, TypeError: the text has another form.
    """
    found = json.loads(text)
    revision = found["revision"]
    if type(revision) is not int or revision < 0:
        raise ValueError(f"no revision: {revision!r}")
    return (found["bucket"], found["filters"]), revision, parse_time(found["bucket_created_at"])


def _replace(path: Path, content: bytes) -> None:
    # The file that is there stays whole until the new one is.
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
