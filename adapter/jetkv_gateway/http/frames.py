"""The frames of a watch: JSON, as WebSocket frames or as events (docs/watch.md#frames).

Each change keeps the frames that were made of it, so watchers of the same format share them.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
from pybase64 import b64encode

from jetkv_gateway.kv.model import Change, Operation, to_base64
from jetkv_gateway.watch.session import Item, MergedSnapshotEnd, SnapshotEnd

__all__ = [
    "FrameFormat",
    "as_event",
    "as_frame",
    "as_frames",
    "as_json",
    "as_shared_json",
    "bookmark_event",
    "frame_texts",
    "marked_event",
    "marked_frame",
    "text_frame",
]

_PUT = Operation.PUT  # looking up an enum member costs as much as encoding a short value


@dataclass(frozen=True, slots=True)
class FrameFormat:
    """The format of the frames of a watch.

    Attributes:
        text: `value` is the stored text (base URL `/json`) instead of base64.
        meta_only: send the size of the value instead of the value.
        cache_key: equal for equal formats. Frames are cached by it, since the hash of a string is
            computed only once.
    """

    bucket: str
    text: bool = False
    meta_only: bool = False
    cache_key: str = field(init=False, repr=False, compare=False)
    put: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        name = f"{self.bucket} {self.text:d} {self.meta_only:d}"
        object.__setattr__(self, "cache_key", name)
        put = b""
        if not (self.text or self.meta_only):
            put = b'{"type":"kv_update","bucket":%b,"key":%%b,"value":"%%b",' % orjson.dumps(
                self.bucket
            ).replace(b"%", b"%%")
            put += b'"revision":%d,"operation":"put"}'
        object.__setattr__(self, "put", put)

    def encode(self, change: Change) -> bytes:
        """Return a change as JSON without line breaks."""
        if self.put and change.operation is _PUT:
            # This is nearly every frame. A template takes a third of the time of a dictionary.
            value = b64encode(change.value)
            made = self.put % (orjson.dumps(change.key), value, change.revision)
            if change.expires_at is None:
                return made
            return b'%b,"expires_at":"%b"}' % (made[:-1], change.expires_at.encode())
        fields: dict[str, Any] = {"type": "kv_update", "bucket": self.bucket, "key": change.key}
        encoding = None
        if self.meta_only:
            fields["size"] = len(change.value)
        elif self.text and change.live:
            encoding, fields["value"] = _text(change)
        else:
            fields["value"] = to_base64(change.value)
        fields["revision"] = change.revision
        fields["operation"] = (Operation.PUT if change.live else Operation.DELETE).value
        if change.expires_at is not None:
            fields["expires_at"] = change.expires_at
        if change.expired:
            fields["reason"] = "expired"
        elif change.operation is Operation.PURGE:
            fields["reason"] = "purge"
        if encoding is not None:
            fields["encoding"] = encoding
            if change.content_encoding is not None:
                fields["content_encoding"] = change.content_encoding
        return orjson.dumps(fields)


def _text(change: Change) -> tuple[str, str]:
    if change.content_encoding is None:
        with suppress(UnicodeDecodeError):
            return "text", change.value.decode()
    return "base64", to_base64(change.value)


def as_json(item: Item, form: FrameFormat) -> bytes:
    """Return an item as JSON without line breaks."""
    if isinstance(item, SnapshotEnd):
        return orjson.dumps({"type": "kv_snapshot_end", "revision": item.revision})
    return form.encode(item)


def as_frame(item: Item, form: FrameFormat) -> bytes:
    """Return an item as a WebSocket text frame (RFC 6455 §5.2), unmasked, as a server sends it."""
    if isinstance(item, SnapshotEnd):
        return text_frame(as_json(item, form))
    shown = item.shown
    made = None if shown is None else shown.get(form.cache_key)
    if made is None:
        made = text_frame(form.encode(item))
        if shown is not None:
            shown[form.cache_key] = made
    return made


def as_frames(items: Iterable[Item], form: FrameFormat) -> bytes:
    """Return items as consecutive frames."""
    name, put, frames = form.cache_key, form.put, []
    dumps, before, head = orjson.dumps, 0, b""
    for item in items:
        if isinstance(item, Change):
            # Frames that were made for another watcher are taken without a call.
            shown = item.shown
            made = None if shown is None else shown.get(name)
            if made is None and put and item.operation is _PUT and item.expires_at is None:
                # Nearly every frame: what `as_frame` does, without a call.
                value = b64encode(item.value)
                text = put % (dumps(item.key), value, item.revision)
                size = len(text)
                if size != before:
                    head, before = _head(size), size
                if shown is None:
                    # Joined below, without one more copy.
                    frames.append(head)
                    frames.append(text)
                    continue
                made = shown[name] = head + text
            frames.append(made or as_frame(item, form))
        else:
            frames.append(as_frame(item, form))
    return b"".join(frames)


@lru_cache(maxsize=1024)
def _head(size: int) -> bytes:
    """Return the head of a text frame with so many bytes."""
    if size < 126:
        return bytes((0x81, size))
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big")
    return b"\x81\x7f" + size.to_bytes(8, "big")


def as_event(item: Item, form: FrameFormat) -> bytes:
    """Return an item as a server-sent event whose id is the revision to resume after."""
    shown = item.shown if isinstance(item, Change) else None
    name = form.cache_key + " event"
    made = None if shown is None else shown.get(name)
    if made is None:
        made = b"id: %d\ndata: %s\n\n" % (item.revision, as_json(item, form))
        if shown is not None:
            shown[name] = made
    return made


def bookmark_event(bookmark: int | str) -> bytes:
    """Return an event that only tells an `EventSource` where to resume."""
    return f"id: {bookmark}\n\n".encode()


def as_shared_json(item: Item | MergedSnapshotEnd, form: FrameFormat) -> bytes:
    """Return an item as JSON. It is made once for all watches over several buckets."""
    if isinstance(item, MergedSnapshotEnd):
        return orjson.dumps({"type": "kv_snapshot_end", "revisions": item.revisions})
    shown = item.shown if isinstance(item, Change) else None
    name = form.cache_key + " json"
    made = None if shown is None else shown.get(name)
    if made is None:
        made = as_json(item, form)
        if shown is not None:
            shown[name] = made
    return made


def marked_frame(made: bytes, bookmark: str) -> bytes:
    """Return JSON as a WebSocket text frame with the field `bookmark`."""
    return text_frame(b'%s,"bookmark":"%s"}' % (made[:-1], bookmark.encode()))


def marked_event(made: bytes, bookmark: str) -> bytes:
    """Return JSON as a server-sent event whose id is the bookmark to resume after."""
    return b"id: %s\ndata: %s\n\n" % (bookmark.encode(), made)


def text_frame(payload: bytes) -> bytes:
    """Return a WebSocket text frame."""
    return _head(len(payload)) + payload


def frame_texts(frames: bytes) -> Iterator[str]:
    """Yield the texts of frames that `text_frame` made."""
    at = 0
    while at < len(frames):
        size, at = frames[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(frames[at : at + width], "big"), at + width
        yield frames[at : at + size].decode()
        at += size
