"""Bucket names, key rules, and the codec between keys and NATS subject tokens.

A key is any UTF-8 string of 1 to 512 bytes without control characters. A subject allows less, so
`encode` escapes everything that NATS KV would refuse. A key that NATS KV accepts and that contains
nothing like an escape is its own encoding, so every NATS client sees the same key.

The codec (docs/architecture.md, decision 5), where XX is the upper-case hex of a byte that can be
escaped:

    byte outside [-/_=.A-Za-z0-9]            → =XX
    dot that starts, ends or doubles a dot   → =2E
    literal =(3D)*XX                         → one more 3D after its "="

`encode` is injective, and `decode` is its inverse. A native client can write a subject that is not
an encoding, such as `a=2Eb`. It decodes to None: it exists, but has no key here.
"""

import re

from jetkv_gateway.kv.errors import InvalidArgument, InvalidBucketName
from jetkv_gateway.kv.kept import make_room

__all__ = [
    "MAX_KEY_BYTES",
    "check_bucket",
    "check_text",
    "decode",
    "display",
    "encode",
    "encode_once",
    "plain",
]

MAX_KEY_BYTES = 512

_kept: dict[str, str] = {}

_BUCKET = re.compile(r"[A-Za-z0-9_-]{1,200}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_PLAIN = re.compile(r"[-/_A-Za-z0-9]+(?:\.[-/_A-Za-z0-9]+)*")
plain = re.compile(b"(?!.{%d})" % (MAX_KEY_BYTES + 1) + _PLAIN.pattern.encode()).fullmatch
"""Match a subject that is its own key, as almost all are: `display` returns it unchanged."""

_SAFE = frozenset(b"-/_=.ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
# The bytes that a key may contain and a subject may not, and the dot.
_ESCAPABLE = sorted(
    (set(range(0x20, 0x7F)) | set(range(0x80, 0xF5))) - {0xC0, 0xC1} - _SAFE | {ord(".")}
)
_HEX = "|".join(f"{byte:02X}" for byte in _ESCAPABLE)
_LOOK_ALIKE = re.compile(f"=((?:3D)*(?:{_HEX}))")
_ESCAPE = re.compile(f"=((?:3D)*)({_HEX})")
_EMPTY_TOKEN_DOT = re.compile(r"(?:^|(?<=\.))\.|\.$")
_TRANSLATION = {byte: f"={byte:02X}" for byte in _ESCAPABLE if byte != ord(".")}


def check_bucket(name: str) -> str:
    """Return `name` if it is a valid bucket name (docs/http-api.md#buckets).

    Raises:
        InvalidBucketName: it is not.
    """
    if _BUCKET.fullmatch(name) is None:
        raise InvalidBucketName(hint="1 to 200 characters of A-Z a-z 0-9 _ -")
    return name


def check_text(text: str, what: str) -> bytes:
    """Return `text` as UTF-8 if it can be a key or a filter (docs/http-api.md#keys).

    Raises:
        InvalidArgument: it is empty, over 512 bytes, not UTF-8, or has a control character.
    """
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"invalid {what}: not valid UTF-8") from error
    if not raw:
        raise InvalidArgument(f"invalid {what}: empty")
    if len(raw) > MAX_KEY_BYTES:
        raise InvalidArgument(
            f"invalid {what}: {len(raw)} bytes, the limit is {MAX_KEY_BYTES}",
            details={"limit_bytes": MAX_KEY_BYTES},
        )
    if _CONTROL.search(text):
        raise InvalidArgument(f"invalid {what}: control characters are not allowed")
    return raw


def encode(key: str) -> str:
    """Return the subject tokens that store `key`, without the bucket's prefix. They are kept.

    Raises:
        InvalidArgument: the key is invalid (docs/http-api.md#keys).
    """
    tokens = _kept.get(key)
    if tokens is None:
        tokens = encode_once(key)
        make_room(_kept)
        _kept[key] = tokens
    return tokens


def encode_once(key: str) -> str:
    """Return what `encode` returns, for a key that is not soon needed again. Raises as `encode`."""
    if len(key) <= MAX_KEY_BYTES and _PLAIN.fullmatch(key):
        return key
    text = check_text(key, "key").decode("latin-1")
    if "=" in text:
        text = _LOOK_ALIKE.sub(r"=3D\1", text)
    return _EMPTY_TOKEN_DOT.sub("=2E", text).translate(_TRANSLATION)


def decode(subject: str) -> str | None:
    """Return the key with the encoding `subject`, or None if there is none."""
    if _PLAIN.fullmatch(subject) and len(subject) <= MAX_KEY_BYTES:
        return subject
    try:
        key = _ESCAPE.sub(_unescape, subject).encode("latin-1").decode()
        return key if encode(key) == subject else None
    except (UnicodeError, InvalidArgument):
        return None


def display(subject: str) -> str:
    """Return the key of `subject`, or the subject itself if it has none, so that it is visible."""
    key = decode(subject)
    return subject if key is None else key


def _unescape(match: re.Match[str]) -> str:
    stuffing, digits = match.groups()
    if stuffing:
        return "=" + stuffing[2:] + digits
    return chr(int(digits, 16))
