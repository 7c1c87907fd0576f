"""Converts delivered messages of bulk reads to entries."""

import math
import re
from functools import lru_cache
from typing import NamedTuple

from jetkv_gateway.jetstream.api import Kind, header_kind
from jetkv_gateway.jetstream.expiry import Lifetime
from jetkv_gateway.jetstream.headers import is_block, read_headers, subject_text, without_size
from jetkv_gateway.jetstream.reader import Message
from jetkv_gateway.kv.keys import display, plain
from jetkv_gateway.kv.model import Entry, KeyMeta, Operation
from jetkv_gateway.kv.timestamps import rfc3339

__all__ = ["Stored", "entry_of", "key_of", "meta_of"]

_SIZE = re.compile(rb"Nats-Msg-Size: ([0-9]+)\r\n\r\n\Z")
_BARE = b"NATS/1.0\r\nNats-Msg-Size: "
_BARE_BYTES = len(_BARE)
"""The headers of a value that was stored without any begin so."""
_PUT = Operation.PUT
_new = tuple.__new__
_SHORT_BLOCK = 128
"""The longest header block in bytes that is worth caching: values of the same type have equal
blocks."""


class Stored(NamedTuple):
    """A message without its value.

    Attributes:
        meta: of its key.
        operation: put, delete or purge; an expired value counts as purged.
    """

    meta: KeyMeta
    operation: Operation


def key_of(subject: bytes) -> str:
    """Return the key of a subject without the bucket's prefix."""
    return subject.decode("ascii") if plain(subject) else display(subject_text(subject))


def meta_of(message: Message, lifetime: Lifetime | None, now: float) -> Stored:
    """Convert a message that was delivered with its headers only.

    Args:
        lifetime: of the bucket's values.
        now: the event loop's time.
    """
    subject, revision, stored_at, headers, _ = message
    size_text = headers[_BARE_BYTES:-4]
    if headers.startswith(_BARE) and size_text.isdigit():
        # Nearly every message: so what follows is done without a call in Python where it can be.
        key = subject.decode("ascii") if plain(subject) else key_of(subject)
        operation, expires_at = _PUT, None
        if lifetime is not None and lifetime.max_age != math.inf:
            expires_at = lifetime.expires_at(stored_at, None)
            if lifetime.is_expired(stored_at / 1e9, None, now):
                operation = Operation.PURGE
        bare = _new(KeyMeta, (key, revision, stored_at, int(size_text), None, expires_at))
        return _new(Stored, (bare, operation))
    found = _SIZE.search(headers)
    block = without_size(headers)
    kind = _kind(block)
    operation, expires_at = kind.operation, None
    if operation is Operation.PUT and lifetime is not None and lifetime.concerns(block):
        expires_at = lifetime.expires_at(stored_at, block)
        if lifetime.is_expired(stored_at / 1e9, block, now):
            operation = Operation.PURGE
    size = int(found[1]) if found else 0
    meta = KeyMeta(key_of(subject), revision, stored_at, size, kind.content_type, expires_at)
    return Stored(meta, operation)


def entry_of(message: Message, lifetime: Lifetime | None, now: float) -> Entry | None:
    """Convert a message that was delivered whole; return None for an expired value."""
    subject, revision, stored_at, headers, data = message
    kind = _kind(headers)
    live = kind.operation is Operation.PUT
    if not live or lifetime is None or not lifetime.concerns(headers):
        lifetime = None
    if lifetime is not None and lifetime.is_expired(stored_at / 1e9, headers, now):
        return None
    value = data if live else b""
    entry = Entry(key_of(subject), value, revision, rfc3339(stored_at), *kind)
    if live and lifetime is not None:
        entry.expires_at = lifetime.expires_at_text(stored_at, headers)
    return entry


def _kind(headers: bytes) -> Kind:
    # An invalid block is reported each time, so it must not be cached.
    if len(headers) <= _SHORT_BLOCK and (not headers or is_block(headers)):
        return _kept(headers)
    return _read(headers)


def _read(headers: bytes) -> Kind:
    return header_kind(read_headers(headers))


_kept = lru_cache(maxsize=1024)(_read)
