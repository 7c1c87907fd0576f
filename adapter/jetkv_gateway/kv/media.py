"""What is kept of a value beside its bytes: its media type and its content codings. Pure.

Both are stored as headers of the message and become headers of an answer, so they have to be plain
text of a bounded length. What is not is no reason to refuse a value: it is stored without.
"""

import re

__all__ = ["kept_encoding", "kept_type"]

_TYPE = re.compile(r"[\x20-\x7e]{1,255}")
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CODINGS = re.compile(rf"(?=.{{1,64}}$){_NAME}(?:[ \t]*,[ \t]*{_NAME})*")
_NO_CODING = "identity"


def kept_type(text: str) -> str | None:
    """Return the `Content-Type` to keep, None for one that cannot be kept.

    Kept are 1 to 255 printable ASCII characters.
    """
    return text if _TYPE.fullmatch(text) else None


def kept_encoding(text: str) -> str | None:
    """Return the `Content-Encoding` to keep, None for one that cannot be kept, or says nothing.

    Kept are the names of codings (RFC 9110 §8.4.1), with commas between them, 64 characters in all.
    """
    text = text.strip(" \t")
    if _CODINGS.fullmatch(text) is None or text.lower() == _NO_CODING:
        return None
    return text
