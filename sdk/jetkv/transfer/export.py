"""Writes the entries of a bucket to a file."""

import dataclasses
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO

from jetkv import Bucket
from jetkv._sync.bucket import endpoint_of
from jetkv.errors import UnexpectedAnswerError
from jetkv.models import format_time
from jetkv.transfer.format import End, Header, item_of, line_of, value_size
from jetkv.transfer.source import Selection, newest_revision, reading

__all__ = ["export"]


def export(
    bucket: Bucket[bytes],
    selection: Selection,
    file: IO[bytes],
    progress: Callable[[int], None] = lambda _count: None,
) -> tuple[Header, End]:
    """Write the entries of a bucket to a file, and return its first and its last line.

    Args:
        bucket: the bucket.
        selection: what to write.
        file: where to.
        progress: is called with the number of entries so far.

    Raises:
        JetKVError: the gateway does not answer, or refuses. The file has no end then.
        OSError: the file cannot be written.
    """
    endpoint = endpoint_of(bucket)
    info = bucket.info()
    revision = newest_revision(endpoint, bucket.name)
    ttl = 0 if info.ttl is None else int(info.ttl.total_seconds())
    header = selection.header(revision, format_time(datetime.now(UTC)), info.history, ttl)
    sha256 = hashlib.sha256()
    count = expiring = largest = 0
    with reading(endpoint, selection) as source:
        header = dataclasses.replace(header, partial=source.partial)
        _write(file, line_of(header.document()), sha256.update)
        for lines in source.lines():
            for line in lines:
                try:
                    item = item_of(line)
                except ValueError as error:
                    raise UnexpectedAnswerError(
                        f"export of bucket {bucket.name!r}: {error}", hint="check the address"
                    ) from error
                expiring += "expires_at" in item
                largest = max(largest, value_size(item))
            count += len(lines)
            _write(file, b"\n".join(lines) + b"\n", sha256.update)
            progress(count)
    end = End(
        count,
        expiring,
        largest,
        revision,
        max(revision, source.revision),
        format_time(datetime.now(UTC)),
        sha256.hexdigest(),
    )
    file.write(line_of(end.document()))
    return header, end


def _write(file: IO[bytes], lines: bytes, hash_them: Callable[[bytes], None]) -> None:
    file.write(lines)
    hash_them(lines)
