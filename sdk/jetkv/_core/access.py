"""Requests and answers of calls about access (docs/http-api.md#access)."""

from typing import Any
from urllib.parse import urlencode

from jetkv._access_models import Caller, Permission
from jetkv._core import fields
from jetkv._core.answers import expiry_of, read_document
from jetkv._core.messages import Answer, Kind, Request
from jetkv._core.requests import checked_text

__all__ = ["WHOAMI", "can", "is_filtered", "read_caller", "read_permission"]

WHOAMI = Request("GET", "/api/v1/auth/whoami", Kind.READ, "whoami")


def can(verb: str, bucket: str | None, key: str | None) -> Request:
    """Return the request that asks whether a verb is allowed.

    Raises:
        InvalidArgumentError: an argument is no text.
    """
    given = {"verb": verb, "bucket": bucket, "key": key}
    query = {name: checked_text(text, name) for name, text in given.items() if text is not None}
    return Request("GET", f"/api/v1/auth/can?{urlencode(query)}", Kind.READ, f"can({verb!r})")


def read_caller(answer: Answer, request: Request) -> Caller:
    return read_document(
        answer,
        request,
        lambda document: Caller(
            fields.string(document, "name"),
            fields.string(document, "method"),
            tuple(fields.strings(document, "scopes")),
            expiry_of(document),
        ),
    )


def read_permission(answer: Answer, request: Request) -> Permission:
    def read(document: dict[str, Any]) -> Permission:
        allowed = document.get("allowed")
        if not isinstance(allowed, bool):
            raise fields.FieldError("allowed must be true or false")
        return Permission(
            allowed,
            fields.string(document, "scope", "") or None,
            fields.string(document, "reason", "") or None,
        )

    return read_document(answer, request, read)


def is_filtered(answer: Answer) -> bool:
    """Return whether the answer leaves out what the caller's scopes do not cover."""
    return answer.headers.get("jetkv-filtered") == "true"
