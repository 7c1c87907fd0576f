"""Keys of other libraries, which may be longer than a key of a bucket, or have other characters."""

import hashlib
import re

from jetkv.errors import InvalidArgumentError

__all__ = ["MAX_PREFIX_BYTES", "fitting", "is_digest", "stored_key"]

MAX_PREFIX_BYTES = 400
_MAX_KEY_BYTES = 512
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Return whether a text stands for another one, which did not fit."""
    return _DIGEST.fullmatch(text) is not None


def fitting(text: str, max_bytes: int) -> str:
    """Return a text as it is if a bucket can store it as a part of a key, else its SHA-256.

    Different texts give different results (docs/http-api.md#keys says what a key may be). A text
    that looks like a result is replaced, too.
    """
    try:
        fits = 0 < len(text.encode()) <= max_bytes
    except UnicodeEncodeError:
        fits = False
    if fits and _CONTROL.search(text) is None and not is_digest(text):
        return text
    # Texts with lone surrogates differ in these bytes, too.
    return f"sha256:{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"


def stored_key(prefix: str, key: str) -> str:
    """Return the key of a bucket that stands for a key of another library.

    Raises:
        InvalidArgumentError: the prefix cannot start a key.
    """
    if prefix and fitting(prefix, MAX_PREFIX_BYTES) != prefix:
        raise InvalidArgumentError(
            f"{prefix!r} cannot be the prefix of keys",
            hint=f"use at most {MAX_PREFIX_BYTES} bytes of text without control characters",
        )
    return prefix + fitting(key, _MAX_KEY_BYTES - len(prefix.encode()))
