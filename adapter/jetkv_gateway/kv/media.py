"""The media type and the content codings that are stored with a value. Pure.

They are stored as headers of the message and become headers of a response, so they must be
printable and short. A value whose content type is not is stored without it.
"""

import re

__all__ = ["storable_encoding", "storable_type"]

_TYPE = re.compile(r"[\x20-\x7e]{1,255}")
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CODINGS = re.compile(rf"(?=.{{1,64}}$){_NAME}(?:[ \t]*,[ \t]*{_NAME})*")
_NO_CODING = "identity"


def storable_type(text: str) -> str | None:
    """Return the `Content-Type` to store, None if it is not 1 to 255 printable ASCII characters."""
    return text if _TYPE.fullmatch(text) else None


def storable_encoding(text: str) -> str | None:
    """Return the `Content-Encoding` to store, None if it cannot be stored or is `identity`.

    It can be stored if it is a comma-separated list of codings (RFC 9110 §8.4.1) of at most 64
    characters.
    """
    text = text.strip(" \t")
    if _CODINGS.fullmatch(text) is None or text.lower() == _NO_CODING:
        return None
    return text
