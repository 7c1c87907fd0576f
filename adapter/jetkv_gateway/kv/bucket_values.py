"""The settings of a bucket that are not just a number or a text, and their rules. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from jetkv_gateway.kv.errors import InvalidArgument

__all__ = [
    "SYSTEM_METADATA",
    "Compression",
    "Placement",
    "Republish",
    "Storage",
    "check_metadata",
]

SYSTEM_METADATA = ("_nats.", "jetkv.")
"""The prefixes of metadata keys that belong to NATS and to the gateway."""

_MAX_NAME = 255
_MAX_TAGS = 32
_EVERYTHING = ">"


class Storage(StrEnum):
    FILE = "file"
    MEMORY = "memory"


class Compression(StrEnum):
    NONE = "none"
    S2 = "s2"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where in a super-cluster NATS keeps a bucket; False if it may be anywhere.

    Attributes:
        cluster: the name of the NATS cluster, "" for any.
        tags: the tags that each server must have.
    """

    # pydantic reads the settings file with this: an unknown field is an error.
    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    cluster: str = ""
    tags: tuple[str, ...] = ()

    def check(self) -> None:
        """Check that NATS can accept it; raises InvalidArgument."""
        if len(self.tags) > _MAX_TAGS:
            raise InvalidArgument(f"invalid placement: over {_MAX_TAGS} tags")
        for text in (self.cluster, *self.tags):
            if len(text) > _MAX_NAME or any(not " " < char != "\x7f" for char in text):
                raise InvalidArgument(
                    f"invalid placement: a cluster or tag has no spaces and no control characters, "
                    f"and at most {_MAX_NAME} characters"
                )
        if "" in self.tags:
            raise InvalidArgument("invalid placement: a tag is empty")

    def __bool__(self) -> bool:
        return bool(self.cluster or self.tags)


@dataclass(frozen=True, slots=True)
class Republish:
    """Where NATS publishes each message of a bucket again; False if it does not.

    Attributes:
        destination: a NATS subject; `{{wildcard(1)}}` and the like stand for parts of the source.
        source: a NATS subject filter for the subjects of the bucket's keys.
        headers_only: whether the values are left out.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    destination: str = ""
    source: str = _EVERYTHING
    headers_only: bool = False

    def check(self) -> None:
        """Check that NATS can accept it; raises InvalidArgument."""
        if not self.destination:
            if self.source != _EVERYTHING or self.headers_only:
                raise InvalidArgument("invalid republish: it has no destination")
            return
        for part, subject in (("source", self.source), ("destination", self.destination)):
            if not _is_subject(subject):
                raise InvalidArgument(
                    f"invalid republish: the {part} is no NATS subject: tokens between single "
                    f"dots, no spaces, {_EVERYTHING} at the end only, at most {_MAX_NAME} bytes"
                )

    def __bool__(self) -> bool:
        return bool(self.destination)

    @property
    def forbidden(self) -> str | None:
        """Why no caller may use this destination; None if callers may.

        A server republishes with all permissions of the account, whatever the caller may do: into
        other buckets, or to its own API.
        """
        first = self.destination.partition(".")[0]
        if first[:1] in ("$", "_"):
            return "a destination that begins with $ or _ belongs to NATS"
        if first and _is_open(first):
            return "a destination that begins with a wildcard may be any subject"
        return None

    @property
    def reaches(self) -> str:
        """A subject filter for every subject that the destination can become."""
        reached: list[str] = []
        for token in self.destination.split("."):
            if token not in ("*", _EVERYTHING) and _is_open(token):
                # Such a token can become several tokens.
                return ".".join([*reached, _EVERYTHING])
            reached.append(token)
        return ".".join(reached)


def _is_subject(text: str) -> bool:
    tokens = text.split(".")
    return (
        len(text.encode(errors="surrogatepass")) <= _MAX_NAME
        and text.isprintable()
        and " " not in text
        and all(tokens)
        and _EVERYTHING not in tokens[:-1]
    )


def _is_open(token: str) -> bool:
    """Return whether a token of a destination is a wildcard or a function."""
    return token in ("*", _EVERYTHING) or "{{" in token or token.startswith("$")


def check_metadata(metadata: Mapping[str, str | None]) -> None:
    """Check that metadata keys belong to the caller.

    Raises:
        InvalidArgument: a key belongs to NATS or to the gateway.
    """
    for key in metadata:
        if key.startswith(SYSTEM_METADATA):
            raise InvalidArgument(
                f"invalid metadata: {key[:100]!r} belongs to the system: "
                f"a key does not begin with {' or '.join(SYSTEM_METADATA)}"
            )
