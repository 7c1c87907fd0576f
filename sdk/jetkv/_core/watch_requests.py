"""The requests of watches (docs/watch.md)."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from urllib.parse import urlencode

from jetkv._core.messages import Kind, Request
from jetkv._core.requests import bucket_path, checked_text
from jetkv.errors import InvalidArgumentError
from jetkv.models import format_time

__all__ = ["checked_filter", "open_many", "open_watch"]


def checked_filter(text: str) -> str:
    """Return a filter that can be sent.

    Raises:
        InvalidArgumentError: it is no text, or empty.
    """
    if not checked_text(text, "filter"):
        raise InvalidArgumentError(
            "a filter must not be empty", hint="to watch all keys, leave it out"
        )
    return text


def open_watch(
    bucket: str,
    filters: Iterable[str],
    *,
    snapshot: bool,
    resume_after: int | None,
    last_seen: int | None,
    created_at: datetime,
    ignore_deletes: bool,
) -> Request:
    """Return the request for a watch's event stream (docs/watch.md).

    If `last_seen` is given, the gateway ignores `snapshot` and `resume_after`.

    Raises:
        InvalidArgumentError: a filter is no text, or empty.
    """
    query = [("key", checked_filter(name)) for name in filters]
    query.append(("bucket_created_at", format_time(created_at)))
    if snapshot:
        query.append(("snapshot", "true"))
    if resume_after is not None:
        query.append(("resume_after", str(resume_after)))
    if ignore_deletes:
        query.append(("ignore_deletes", "true"))
    headers = {"Accept": "text/event-stream"}
    if last_seen is not None:
        headers["Last-Event-ID"] = str(last_seen)
    return Request(
        "GET",
        f"{bucket_path(bucket)}/watch?{urlencode(query)}",
        Kind.READ,
        f"watch of bucket {bucket!r}",
        headers,
    )


def open_many(
    filters: Mapping[str, Sequence[str]],
    *,
    snapshot: bool,
    resume: str | None,
    last_seen: str | None,
    ignore_deletes: bool,
) -> Request:
    """Return the request for the event stream of a watch over several buckets.

    If `last_seen` is given, the gateway ignores `resume`.

    Args:
        filters: of each bucket, by its name; none for all of its keys.
        snapshot: whether the current values come first, or the rest of them.
        resume: the bookmark to go on after.
        last_seen: the bookmark of the last event.
        ignore_deletes: whether deletes are left out.
    """
    query = [
        ("watch", target)
        for bucket, some in filters.items()
        for target in ([f"{bucket}/{one}" for one in some] or [bucket])
    ]
    if snapshot:
        query.append(("snapshot", "true"))
    if resume is not None:
        query.append(("resume", resume))
    if ignore_deletes:
        query.append(("ignore_deletes", "true"))
    headers = {"Accept": "text/event-stream"}
    if last_seen is not None:
        headers["Last-Event-ID"] = last_seen
    return Request(
        "GET",
        f"/api/v1/kv/watch?{urlencode(query)}",
        Kind.READ,
        f"watch of {len(filters)} buckets",
        headers,
    )
