"""Buckets as the documents of the HTTP API.

A setting that only a newer gateway knows passes through, and the gateway checks what users write.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from jetkv._core import requests
from jetkv._core.answers import read_document
from jetkv._core.fields import array
from jetkv._core.messages import Kind, Request
from jetkv.cli.output import Document
from jetkv.cli.session import Session

__all__ = ["change", "create", "every", "one"]


def every(session: Session) -> list[Document]:
    """Return all buckets that the caller may see, sorted by name."""
    request = requests.list_buckets()
    answer = session.endpoint.call(request)
    return read_document(answer, request, lambda document: array(document, "buckets"))


def one(session: Session, name: str) -> Document:
    """Return a bucket.

    Raises:
        BucketNotFoundError: it does not exist.
    """
    request = requests.get_bucket(name)
    return read_document(session.endpoint.call(request), request, dict)


def create(session: Session, name: str, settings: Mapping[str, Any]) -> Document:
    """Create a bucket.

    Raises:
        BucketExistsError: it exists.
    """
    request = requests.create_bucket(name, ttl=None, **settings)
    return read_document(session.endpoint.call(request), request, dict, 201)


def change(
    session: Session,
    name: str,
    settings: Mapping[str, Any],
    *,
    create: bool,
    dry_run: bool,
    allow_data_loss: bool,
) -> Document:
    """Give a bucket its settings, and return it with `changed`. What is not named stays as it is.

    Args:
        create: whether the bucket is created if it does not exist.
        dry_run: whether the answer only says what would be done.
        allow_data_loss: whether the change may remove stored data.

    Raises:
        BucketNotFoundError: it does not exist, and is not to be created.
        WouldLoseDataError: the change would remove stored data; nothing was changed.
        CannotBeChangedError: NATS cannot change one of the settings; nothing was changed.
    """
    query = {"dry_run": dry_run, "allow_data_loss": allow_data_loss}
    flags = urlencode({flag: "true" for flag, on in query.items() if on})
    request = Request(
        "PUT" if create else "PATCH",
        f"{requests.bucket_path(name)}{'?' if flags else ''}{flags}",
        Kind.READ if dry_run else Kind.WRITE,
        f"{'plan' if dry_run else 'change'} of bucket {name!r}",
        {"Content-Type": "application/json"},
        json.dumps(settings).encode(),
        how_to_check="`jetkv bucket info` shows the settings",
    )
    answer = session.endpoint.call(request)
    return read_document(answer, request, dict, 201 if answer.status == 201 else 200)
